"""Relevance of a model's input, or of a function's, from a start at what it returns."""

import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from abslrp.ablations import ablate
from abslrp.batch import Batch
from abslrp.forward import DIFFERENTIATES, Pass, Settings, logits_of
from abslrp.refusals import UnknownOperationError
from abslrp.samples_apart import ROUNDING, Rows, alike, by_rows, check_decisions, evaluate, settled

_ROUNDED = (
    "rules: {0!r} divides by sums of both signs, and what {1} rounds takes the place of those that "
    "nearly cancel: in networks with residual connections or attention the map can have nothing in "
    "common with the one in float32; compare the two, or take rules='absLRP'"
)
Starts: TypeAlias = "Callable[[Tensor], list[Tensor]]"
"""From logits (B, N) to one (S, B, N) of starts for each map that is wanted."""


def propagate(
    model: nn.Module,
    batch: Batch,
    starts: Starts,
    merge: Callable[[Tensor], Tensor],
    settings: Settings,
    *,
    signed: bool,
    channels: bool = False,
) -> list[Tensor]:
    """Relevance of the inputs for every start.

    Parameters
    ----------
    model
        In evaluation mode.
    batch
        On the model's device.
    starts
        From the logits to K tensors (S, B, N) of relevance.
    merge
        From the maps of one of them, (S, B, ...), to what is kept of them, (..., B, ...): the
        axis of the samples is the last before the input's own. Several inputs come as one, flat.
    settings
        Options.
    signed
        Whether a start may be negative.
    channels
        Whether an input's first axis after the samples' is added up in its map.

    Returns
    -------
    (K, ..., B, ...) for each input, or for each module that ``at`` of the settings names.
    """
    shapes: list[torch.Size] = []  # of the samples' maps, once they are known

    def cut(rows: Rows) -> Batch:
        nonlocal batch
        batch = batch if rows == slice(None) else settled(model, batch, settings)
        return batch.rows(rows)

    def evaluated(rows: Rows) -> Tensor:
        return evaluate(model, cut(rows), settings)

    def begun(logits: Tensor, rows: slice) -> list[Tensor]:
        whole = settings.samples == "whole" or len(logits) == len(batch)
        every = logits if whole else logits.expand(len(batch), *logits.shape[1:])
        return [one[:, rows] for one in starts(every)]

    def merged(part: Batch, found: list[Tensor | None], wanted: Any, count: int) -> list[Tensor]:
        if settings.at is None and all(one is None for one in found):
            raise ValueError(f"model: its logits do not depend on the {batch.features}")
        maps = part.maps(found, wanted, count)
        shapes[:] = [one.shape[2:] for one in maps]
        if len(maps) == 1 or settings.at is not None:
            done = [merge(one) for one in maps]
        else:
            flat = merge(torch.cat([one.flatten(2) for one in maps], 2))
            pieces = torch.split(flat, [shape.numel() for shape in shapes], -1)
            pairs = zip(pieces, shapes, strict=True)
            done = [one.reshape(*one.shape[:-1], *shape) for one, shape in pairs]
        if not channels:
            return done
        # Of a module that makes one number for each sample there are none.
        return [
            one.sum(-len(shape), keepdim=True) if shape else one
            for one, shape in zip(done, shapes, strict=True)
        ]

    def maps(rows: slice, settings: Settings) -> tuple[list[Tensor], Tensor]:
        run = Pass(settings, signed=signed)
        # An audit tells of each call, and the definition carries each out.
        by_calls = settings.audits or settings.attention or not settings.accelerate
        run.tape.in_blocks = settings.table.conserves and not signed and not by_calls
        part = cut(rows)
        try:
            logits, wanted = logits_of(model, part, run)
            short = [one.dtype for one in (logits, *wanted) if one.dtype.itemsize == 2]
            if short and not settings.table.conserves:
                told = _ROUNDED.format(settings.table.name, short[0])
                warnings.warn(told, RuntimeWarning, stacklevel=2)
            if run.tape.asks and settings.start_at is None and settings.samples == "rows":
                # torch.autograd.functional finds nothing to take a gradient of, and returns 0.
                own = evaluate(model, part, settings)
                if not alike(own, logits.tensor, ROUNDING):
                    raise UnknownOperationError(DIFFERENTIATES)
            if (run.tape.decides or run.tape.left) and settings.samples == "rows":
                check_decisions(model, part, logits.tensor, settings, run.tape.mixed)
            ablate(run.tape, settings.attention, settings.relevance_at)
            if settings.logits is not None:
                settings.logits[settings.first] = logits.tensor
            begin = begun(logits.tensor, rows)
            found = [
                merged(part, one, wanted, len(start))
                for one, start in zip(run.relevance(logits, begin, wanted), begin, strict=True)
            ]
            lost = torch.stack(torch.broadcast_tensors(*run.lost))  # type: ignore[no-untyped-call]
            if settings.flows is not None and not lost.any():  # else another pass counts
                settings.flows.extend(run.flows)
            return [torch.stack(each) for each in zip(*found, strict=True)], lost
        finally:
            run.forget()

    return by_rows(len(batch), maps, evaluated, settings, shapes)
