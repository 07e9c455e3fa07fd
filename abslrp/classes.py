"""Maps of classes, or of another target: from arguments to starts, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from abslrp.arguments import (
    as_targets,
    check_targets,
    chunk_size,
    lacks_batch_axis,
    no_batch_axis,
    step_of,
)
from abslrp.batch import Batch
from abslrp.contrast import Start, combine, starts
from abslrp.forward import Settings
from abslrp.outputs import Output
from abslrp.propagate import check_place, propagate
from abslrp.rule_sets import own_contrast


def with_target(
    batch: Batch, targets: Any, target: Callable[[Any], Tensor] | None
) -> tuple[Batch, Any]:
    """Let a function of the output take the place of classes."""
    if callable(targets) and target is None:
        targets, target = None, targets
    if target is None:
        return batch, targets
    if targets is not None or not callable(target):
        given = "classes, too" if targets is not None else type(target).__name__
        raise ValueError(
            f"target: expected a function of the output in place of targets, got {given}"
        )
    return replace(batch, target=target), 0


def maps_of(
    model: nn.Module,
    batch: Batch,
    targets: Any,
    contrast: Start | Literal["own"],
    settings: Settings,
    *,
    channels: bool = False,
    batch_size: int | None = None,
) -> Sequence[Tensor]:
    """Return the maps of each input, or of each module of ``settings.at``; arguments as there."""
    begin: Start = own_contrast(settings.rules) if contrast == "own" else contrast
    if batch.target is not None:
        if contrast not in ("own", None):
            raise ValueError(
                f"contrast: a target makes one number, with nothing to be contrasted with; "
                f"expected None, got {contrast!r}"
            )
        begin = None
    given: dict[str, Any] = {"signed": begin == "signed", "channels": channels}

    def whole(logits: Tensor) -> list[Tensor]:
        """Start at each row of the logits by itself."""
        classes = as_targets(targets, len(logits)).to(logits.device)
        check_targets(classes, logits)
        every = starts(logits, classes, begin)
        rows = torch.eye(len(logits), dtype=every.dtype, device=every.device)
        return [every * row[:, None] for row in rows]

    if settings.samples == "whole":
        return propagate(
            model, batch, whole, lambda maps: combine(maps[:, None], begin)[0], settings, **given
        )
    classes = _targets(model, batch, targets, settings.output)
    step = step_of(batch_size, min(chunk_size(one) for one in batch.tensors))

    def chunk(rows: slice) -> list[Tensor]:
        chosen = classes[rows]
        columns = chosen[:, None] if chosen.ndim == 1 else chosen

        def start(logits: Tensor) -> list[Tensor]:
            check_targets(chosen, logits)
            return [
                starts(logits, one.to(logits.device, non_blocking=True), begin)
                for one in columns.unbind(1)
            ]

        def seen(logits: Tensor) -> None:
            if rows.start == 0 and 1 < step < len(batch):
                check_place(model, batch, slice(step - 1, step), logits[-1:], settings)

        here = replace(settings, first=rows.start)
        part = batch.rows(rows)
        merge = partial(combine, contrast=begin)
        maps = propagate(model, part, start, merge, here, seen=seen, **given)
        return [one[0] if chosen.ndim == 1 else one.transpose(0, 1) for one in maps]

    chunks = [chunk(slice(i, i + step)) for i in range(0, len(batch), step)]
    return [torch.cat(one) for one in zip(*chunks, strict=True)]


def _targets(model: nn.Module, batch: Batch, targets: Any, output: Output) -> Tensor:
    """Targets of the samples, unless the inputs are a single sample without a batch axis."""
    try:
        return as_targets(targets, len(batch))
    except ValueError as error:
        if lacks_batch_axis(model, batch, output):
            raise no_batch_axis(batch.tensors[0]) from error
        raise
