"""Relevance of a model's input, or of a function's, from a start at what it returns."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from abslrp.ablations import ablate
from abslrp.batch import Batch
from abslrp.forward import DIFFERENTIATES, Pass, Settings, logits_of
from abslrp.names import public_name
from abslrp.plan.arrivals import LostSamplesError, RangeError
from abslrp.refusals import UnknownOperationError, no_rule
from abslrp.tape.dispatch import Unheard
from abslrp.tape.modes import leaving_nothing

Rows: TypeAlias = "slice | list[int]"
#: Other kernels for another batch size round otherwise; another function differs by far more.
ROUNDING = 1e-2
_ROUNDED = (
    "rules: {0!r} divides by sums of both signs, and what {1} rounds takes the place of those that "
    "nearly cancel: in networks with residual connections or attention the map can have nothing in "
    "common with the one in float32; compare the two, or take rules='absLRP'"
)
#: Samples that are looked at alone, where all would take too long.
LOOKS = 8
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
            done = [
                one.reshape(*one.shape[:-1], *shape)
                for one, shape in zip(pieces, shapes, strict=True)
            ]
        if not channels:
            return done
        return [one.sum(-len(shape), keepdim=True) for one, shape in zip(done, shapes, strict=True)]

    def maps(rows: slice, settings: Settings) -> list[Tensor]:
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
                if not _alike(own, logits.tensor, ROUNDING):
                    raise UnknownOperationError(DIFFERENTIATES)
            if (run.tape.decides or run.tape.left) and settings.samples == "rows":
                _check_decisions(model, part, logits.tensor, settings)
            ablate(run.tape, settings.attention, settings.relevance_at)
            if settings.logits is not None:
                settings.logits[settings.first] = logits.tensor
            begin = begun(logits.tensor, rows)
            found = [
                merged(part, one, wanted, len(start))
                for one, start in zip(run.relevance(logits, begin, wanted), begin, strict=True)
            ]
            run.report()
            return [torch.stack(each) for each in zip(*found, strict=True)]
        finally:
            run.forget()

    return by_rows(len(batch), maps, evaluated, settings, shapes)


def evaluate(
    model: nn.Module, batch: Batch, settings: Settings, rows: Rows = slice(None)
) -> Tensor:
    """Return the logits of some samples, by the model alone, and not by fused layers."""
    part = batch.rows(rows).copied()
    with torch.no_grad(), Unheard():
        return part.logits(model, settings.output, len(part), dense=settings.dense)


@leaving_nothing
def settled(model: nn.Module, batch: Batch, settings: Settings) -> Batch:
    """Return a batch that is cut as the model takes it: a sample is the same alone and with one."""
    if not batch.doubtful:
        return batch
    doubtful = sorted(batch.doubtful, key=str)
    counts = range(len(doubtful) + 1)
    for some in chain.from_iterable(combinations(doubtful, count) for count in counts):
        known = replace(batch, whole=batch.whole.union(some), doubtful=frozenset())
        alone, two = (_alone(partial(evaluate, model, known, settings), slice(n)) for n in (1, 2))
        if alone is not None and two is not None and _alike(alone, two[:1], ROUNDING):
            return known
    return replace(batch, doubtful=frozenset())


@leaving_nothing
def check_place(
    model: nn.Module, batch: Batch, rows: slice, logits: Tensor, settings: Settings
) -> None:
    """Refuse a model whose logits of a sample are others elsewhere: as the last of ``rows``."""
    found = _alone(partial(evaluate, model, batch, settings), rows)
    if found is not None and not _alike(found[-1:], logits.detach(), ROUNDING):
        raise ValueError(
            "model: its output for a sample depends on the sample's place in the batch, or on the "
            "batch, as where other inputs are taken from elsewhere and cut to it; pass them along "
            "(inputs=(x, other), or model_kwargs=), or explain all at once "
            f"(batch_size={len(batch)})"
        )


def _alone(evaluated: Callable[[Rows], Tensor], rows: slice) -> Tensor | None:
    """Return the logits of a sample alone; None of what takes batches of one size, or graphs."""
    try:
        return evaluated(rows)
    except Exception:
        return None


def _alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    one, other = one.nan_to_num(), other.nan_to_num()  # what is not finite in both is alike
    scale = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= tolerance * scale)


@leaving_nothing
def by_rows(
    samples: int,
    maps: Callable[[slice, Settings], list[Tensor]],
    evaluated: Callable[[Rows], Tensor],
    settings: Settings,
    shapes: Sequence[torch.Size],
) -> list[Tensor]:
    """Explain a batch: as it is, by the definition where numbers leave their range, or one by one.

    Parameters
    ----------
    samples
        B.
    maps
        From rows of the batch to their maps, one tensor for each input; a single sample needs no
        axis to be followed.
    evaluated
        From rows of the batch to their logits, by the model alone.
    settings
        Options.
    shapes
        Those of a sample's maps: the axis of the samples is the one before.
    """

    def part(rows: slice) -> list[Tensor]:
        here = replace(settings, first=settings.first + (rows.start or 0))
        try:
            return maps(rows, here)
        except RangeError:
            return maps(rows, replace(here, accelerate=False))

    try:
        return part(slice(None))
    except LostSamplesError as error:
        call = error.call
        if call is not None and not call.ruled and settings.on_unknown == "error":
            raise UnknownOperationError(no_rule(call, settings.table)) from error
        if samples == 1:
            raise
        where = "" if call is None else f" ({public_name(call.operator)}, called at {call.site})"
        together = _check_apart(samples, evaluated, where)
    noted: dict[int, Tensor] = {} if settings.logits is None else settings.logits
    settings = replace(settings, logits=noted)
    alone = [part(slice(i, i + 1)) for i in range(samples)]
    own = torch.cat([noted[settings.first + i] for i in range(samples)])
    if settings.start_at is None and (
        not _alike(together, own, ROUNDING)
        or any(_depends(evaluated, together, own[i : i + 1], i) for i in range(samples))
    ):
        raise _dependent(where)
    warnings.warn(
        f"model: it cannot be told which sample each entry is of{where}, so that samples are "
        "explained one at a time; they have the same logits alone. It is slower, no less right",
        stacklevel=2,
    )
    each = zip(*alone, strict=True)
    return [torch.cat(one, -1 - len(shape)) for one, shape in zip(each, shapes, strict=True)]


def _check_decisions(model: nn.Module, batch: Batch, logits: Tensor, settings: Settings) -> None:
    """Refuse samples that depend on one another by numbers or masks: a look at some."""
    if len(batch) == 1 or (logits.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    batch = settled(model, batch, settings)
    evaluated = partial(evaluate, model, batch, settings)
    together = logits if settings.start_at is None else evaluated(slice(None))
    step = -(-len(batch) // LOOKS)
    for row in {*range(0, len(batch), step), len(batch) - 1}:
        rows = slice(row, row + 1)
        depends = _depends(evaluated, together, _alone(evaluated, rows), row)
        # A model that is random is another matter.
        if depends and _alike(together[rows], evaluated(slice(None))[rows], ROUNDING):
            raise _dependent(" (by numbers, masks or indices that are made of several)")


def _depends(
    evaluated: Callable[[Rows], Tensor], together: Tensor, alone: Tensor | None, row: int
) -> bool:
    """Whether a sample has other logits alone, and among its like.

    There hard decisions do not turn by rounding, as the kernels are the same.
    """
    own = together[row : row + 1]
    if alone is not None and _alike(own, alone, _exact(own)):
        return False
    among = evaluated([row] * len(together))
    # Other inputs that the model holds may tell one place from another.
    among = among[row : row + 1] if alone is None else among
    return not _alike(own.expand_as(among), among, _exact(own))


def _exact(logits: Tensor) -> float:
    """Return the tolerance of hardly anything but rounding."""
    return min(ROUNDING, 10 * float(torch.finfo(logits.dtype).eps ** 0.5))


def _dependent(how: str) -> ValueError:
    return ValueError(
        f"model: its samples depend on one another{how}, so that no sample has a map of its own; "
        "explain one at a time (batch_size=1) if that is the function you mean, or, if they are "
        "rows of one graph or set, with samples='whole'"
    )


@torch.no_grad()
def _check_apart(samples: int, evaluated: Callable[[Rows], Tensor], where: str) -> Tensor:
    """Refuse samples that depend on one another: the last has other logits alone or among its like.

    Returns the logits of all.
    """
    together = evaluated(slice(None))
    alone = _alone(evaluated, slice(samples - 1, samples))
    same = alone is not None and _alike(together[-1:], alone, ROUNDING)
    if not same or _depends(evaluated, together, None, samples - 1):
        raise _dependent(where)
    return together
