"""Maps of classes, or of another target: from arguments to starts, chunk by chunk."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from abslrp.arguments import (
    as_targets,
    check_batch_axis,
    check_targets,
    chunk_size,
    one_each,
    step_of,
)
from abslrp.batch import Batch
from abslrp.contrast import Start, combine, starts
from abslrp.forward import Settings
from abslrp.outputs import Output
from abslrp.propagate import propagate
from abslrp.rule_sets import own_contrast
from abslrp.samples_apart import check_place, settled


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
    against: Any = None,
    channels: bool = False,
    batch_size: int | None = None,
) -> Sequence[Tensor]:
    """Return the maps of each input, or of each module of ``settings.at``; arguments as there."""
    begin: Start = own_contrast(settings.rules) if contrast == "own" else contrast
    if batch.target is not None:
        if contrast not in ("own", None) or against is not None:
            raise ValueError(
                f"contrast, against: a target makes one number, with nothing to be contrasted "
                f"with; expected None, got {contrast!r}, {against!r}"
            )
        begin = None
    signed = begin == "signed" or (begin is None and against is not None)
    predicted = isinstance(targets, str) and targets == "predicted"
    given: dict[str, Any] = {"signed": signed, "channels": channels}

    def started(logits: Tensor, classes: Tensor, others: Tensor | None) -> list[Tensor]:
        check_targets(classes, logits)
        if others is not None:
            check_targets(others, logits, "against")
            others = others.to(logits.device, non_blocking=True)
        columns = classes.reshape(len(classes), -1).to(logits.device, non_blocking=True)
        return [starts(logits, one, begin, others) for one in columns.unbind(1)]

    def whole(logits: Tensor) -> list[Tensor]:
        """Start at each row of the logits by itself."""
        others = None if against is None else one_each(against, len(logits), "against")
        classes = logits.argmax(1) if predicted else one_each(targets, len(logits))
        (every,) = started(logits, classes, others)
        rows = torch.eye(len(logits), dtype=every.dtype, device=every.device)
        return [every * row[:, None] for row in rows]

    if settings.samples == "whole":
        return propagate(
            model, batch, whole, lambda maps: combine(maps[:, None], begin)[0], settings, **given
        )
    classes = None if predicted else _targets(model, batch, targets, settings.output)
    others = None if against is None else one_each(against, len(batch), "against")
    step = step_of(batch_size, min(chunk_size(one) for one in batch.tensors))
    batch = batch if step >= len(batch) else settled(model, batch, settings)

    def chunk(rows: slice) -> list[Tensor]:
        other = None if others is None else others[rows]

        def start(logits: Tensor) -> list[Tensor]:
            return started(logits, logits.argmax(1) if classes is None else classes[rows], other)

        noted: dict[int, Tensor] = {} if settings.logits is None else settings.logits
        here = replace(settings, first=settings.first + rows.start, logits=noted)
        merge = partial(combine, contrast=begin)
        maps = propagate(model, batch.rows(rows), start, merge, here, **given)
        logits = noted[here.first]
        # One at a time may be what is meant, but only where a user says so.
        if batch_size != 1 and rows.start == int(step == 1) and len(logits) == step < len(batch):
            elsewhere = slice(step - 1, step) if step > 1 else slice(0, 2)
            check_place(model, batch, elsewhere, logits[-1:], settings)
        single = classes is None or classes.ndim == 1
        return [one[0] if single else one.transpose(0, 1) for one in maps]

    chunks = [chunk(slice(i, i + step)) for i in range(0, len(batch), step)]
    return [torch.cat(one) for one in zip(*chunks, strict=True)]


def _targets(model: nn.Module, batch: Batch, targets: Any, output: Output) -> Tensor:
    """Targets of the samples, unless the inputs are a single sample without a batch axis."""
    try:
        return as_targets(targets, len(batch))
    except ValueError as error:
        check_batch_axis(model, batch, output, error)
        raise
