"""Whether each sample's logits are its own: the model is asked where calls do not tell."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from typing import TypeAlias

import torch
from torch import Tensor, nn

from abslrp.batch import Batch
from abslrp.forward import Settings
from abslrp.names import public_name
from abslrp.plan.arrivals import LostSamplesError, RangeError
from abslrp.refusals import UnknownOperationError, no_rule
from abslrp.tape import Value
from abslrp.tape.dispatch import Unheard
from abslrp.tape.modes import leaving_nothing

Rows: TypeAlias = "slice | list[int]"
#: Other kernels for another batch size round otherwise; another function differs by far more.
ROUNDING = 1e-2
#: Samples that are looked at alone, where all would take too long.
LOOKS = 8


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
        if alone is not None and two is not None and alike(alone, two[:1], ROUNDING):
            return known
    return replace(batch, doubtful=frozenset())


@leaving_nothing
def check_place(
    model: nn.Module, batch: Batch, rows: slice, logits: Tensor, settings: Settings
) -> None:
    """Refuse a model whose logits of a sample are others elsewhere: as the last of ``rows``."""
    found = _alone(partial(evaluate, model, batch, settings), rows)
    if found is not None and not alike(found[-1:], logits.detach(), ROUNDING):
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


def alike(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether logits differ by at most ``tolerance`` of the largest."""
    one, other = one.nan_to_num(), other.nan_to_num()  # what is not finite in both is alike
    scale = torch.maximum(one.abs().max(), other.abs().max())
    return bool((one - other).abs().max() <= tolerance * scale)


@leaving_nothing
def by_rows(
    samples: int,
    maps: Callable[[slice, Settings], tuple[list[Tensor], Tensor]],
    evaluated: Callable[[Rows], Tensor],
    settings: Settings,
    shapes: Sequence[torch.Size],
) -> list[Tensor]:
    """Explain a batch: as it is, by the definition what leaves its range, or one by one.

    Parameters
    ----------
    samples
        B.
    maps
        From rows of the batch to their maps, one tensor for each input, and for each start the
        samples that only the definition is right for; a single sample needs no axis to be followed.
    evaluated
        From rows of the batch to their logits, by the model alone.
    settings
        Options.
    shapes
        Those of a sample's maps: the axis of the samples is the one before.
    """

    def part(rows: slice) -> list[Tensor]:
        here = replace(settings, first=settings.first + (rows.start or 0))
        definition = replace(here, accelerate=False)
        try:
            found, lost = maps(rows, here)
        except RangeError:
            return maps(rows, definition)[0]
        if not lost.any():
            return found
        # For these samples alone, so that beside them others have the maps that they have alone.
        every, _ = maps(rows, definition)
        return [
            torch.where(lost.view(len(lost), *[1] * (new.ndim - n - 2), -1, *[1] * n), new, old)
            for n, new, old in zip(map(len, shapes), every, found, strict=True)
        ]

    try:
        return part(slice(None))
    except LostSamplesError as error:
        call = error.call
        if call is not None and not call.ruled and settings.on_unknown == "error":
            raise UnknownOperationError(no_rule(call, settings.table)) from error
        if samples == 1:
            raise
        where = "" if call is None else f" ({public_name(call.operator)}, called at {call.site})"
        together, again = evaluated(slice(None)), evaluated(slice(None))
        if not alike(together, again, _exact(together)):
            raise ValueError(
                f"model: it is random, and it cannot be told which sample each entry is of{where}; "
                "let it draw the same numbers each time, or explain one at a time (batch_size=1)"
            ) from error
        last = _alone(evaluated, slice(samples - 1, samples))
        # The last has other logits alone, or among its like.
        same = last is not None and alike(together[-1:], last, ROUNDING)
        if not same or _depends(evaluated, together, None, samples - 1):
            raise _dependent(where) from error
    noted: dict[int, Tensor] = {} if settings.logits is None else settings.logits
    settings = replace(settings, logits=noted)
    alone = [part(slice(i, i + 1)) for i in range(samples)]
    own = torch.cat([noted[settings.first + i] for i in range(samples)])
    if settings.start_at is None and (
        not alike(together, own, ROUNDING)
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


def check_decisions(
    model: nn.Module, batch: Batch, logits: Tensor, settings: Settings, mixed: Value | None
) -> None:
    """Refuse samples that depend on one another by numbers or masks: a look at some.

    A number that was ``mixed`` of several may move their maps, though it moves no logit.
    """
    if len(batch) == 1:
        return
    if not (logits.is_cuda and torch.cuda.is_current_stream_capturing()):  # values can be read
        batch = settled(model, batch, settings)
        evaluated = partial(evaluate, model, batch, settings)
        together = logits if settings.start_at is None else evaluated(slice(None))
        step = -(-len(batch) // LOOKS)
        for row in {*range(0, len(batch), step), len(batch) - 1}:
            rows = slice(row, row + 1)
            if _depends(evaluated, together, _alone(evaluated, rows), row):
                one, again = evaluated(slice(None))[rows], evaluated(slice(None))[rows]
                if alike(one, again, _exact(one)):  # a model that is random is another matter
                    raise _dependent(" (by numbers, masks or indices that are made of several)")
    if mixed is not None:  # as values are needed then, nothing is recorded
        raise LostSamplesError(mixed)


def _depends(
    evaluated: Callable[[Rows], Tensor], together: Tensor, alone: Tensor | None, row: int
) -> bool:
    """Whether a sample has other logits alone, and among its like.

    There hard decisions do not turn by rounding, as the kernels are the same.
    """
    own = together[row : row + 1]
    if alone is not None and alike(own, alone, _exact(own)):
        return False
    among = evaluated([row] * len(together))
    # Other inputs that the model holds may tell one place from another.
    among = among[row : row + 1] if alone is None else among
    return not alike(own.expand_as(among), among, _exact(own))


def _exact(logits: Tensor) -> float:
    """Return the tolerance of hardly anything but rounding."""
    return min(ROUNDING, 10 * float(torch.finfo(logits.dtype).eps ** 0.5))


def _dependent(how: str) -> ValueError:
    return ValueError(
        f"model: its samples depend on one another{how}, so that no sample has a map of its own; "
        "explain one at a time (batch_size=1) if that is the function you mean, or, if they are "
        "rows of one graph or set, with samples='whole'"
    )
