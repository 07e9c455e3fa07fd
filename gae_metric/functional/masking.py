"""The masking trajectory: what the model does while features are masked."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from gae_metric.functional.precision import EPSILON, at_least_single, wide_dtype
from gae_metric.functional.selection import highest

#: Index of the orders, least and most relevant first, in every array that holds both.
LERF, MORF = 0, 1

Schedule = Literal["reranked", "uniform"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
Features = Literal["entries", "positions"]
#: States fit a byte, with one value left for "never masked".
MAX_STEPS = 255


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Masking trajectories of B samples along both orders, in compact form.

    The first axis of arrays that hold both orders is LeRF (``LERF``), then MoRF (``MORF``).

    Attributes
    ----------
    masked_from
        uint8 (2, B, ...): the state from which on the feature is masked; ``steps`` if never. See
        :func:`masked_inputs`.
    outputs
        (2, B, steps): the target's output o_t at every state; both orders share state 0.
    repeated
        bool (2, B, steps): whether the input is that of the state before.
    impact_sign
        int8 (B, ...): sign of the combined impact map I_c.
    logits
        (B, K): the model's outputs at state 0.
    targets
        int64 (B,): the class that the trajectory is for.
    finite
        bool (B,): whether all outputs and impacts are finite. The other values of a sample for
        which they are not mean nothing.
    first_impact
        (B,): sum of the impacts at state 0, before they are scaled.
    impacts
        (2, B, ...): sum of the impact maps over all states, scaled to sum 1 (figure 3); their
        difference is I_c. None unless asked for.

    Notes
    -----
    It takes one byte per feature and order, and one more for the sign; the masked inputs are made
    from it when they are needed.

    Examples
    --------
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> trajectory = masking_trajectory(model, torch.ones(1, 4), torch.tensor([0]), steps=4)
    >>> trajectory.masked_from[LERF, 0] <= 2  # what LeRF has masked at state 2
    tensor([False, False,  True,  True])
    """

    masked_from: Tensor
    outputs: Tensor
    repeated: Tensor
    impact_sign: Tensor
    logits: Tensor
    targets: Tensor
    finite: Tensor
    first_impact: Tensor
    impacts: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of what grows with inputs, states or classes, without ``impacts``."""
        parts = self.masked_from, self.outputs, self.impact_sign, self.logits
        return sum(part.nbytes for part in parts)


@torch.inference_mode(False)
@torch.no_grad()
def masking_trajectory(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    targets: Tensor,
    *,
    steps: int = 10,
    schedule: Schedule = "reranked",
    baseline: Tensor | float = 0.0,
    features: Features = "entries",
    keep_impacts: bool = False,
) -> Trajectory:
    """Mask features step by step, least and most relevant first.

    Parameters
    ----------
    model
        Maps (B, ...) inputs to (B, K) logits, each sample on its own.
    x
        (B, ...) floating-point inputs, on the model's device.
    targets
        (B,) integers: the class whose output is followed.
    steps
        Number of states T, 2 to 255.
    schedule
        ``"reranked"``: in state t, the ⌊t/T·D⌋ of all D features are masked that ranked first in
        state t-1, whether they were masked already or not. ``"uniform"``: at each state D/T more.
    baseline
        What masked features become, see :func:`mask_baseline`. Impact is relative to it,
        ``|(x - baseline) ⊙ ∂|f_c| / ∂x|``, so that masked features have impact 0.
    features
        ``"entries"`` of the input, or ``"positions"``: all channels of a position at a time, its
        impact being that of all. Positions that are at the baseline are none of the D features, so
        that padding does not count.
    keep_impacts
        Whether to return the summed impact maps.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        If an argument is not as described, or the output does not depend on the input.

    Notes
    -----
    Cost: the target's input gradient at state 0 and at states 1 to T-1 of both orders, 2T-1 per
    sample, in batches of up to 2B. A state that masks nothing new is not evaluated (with
    ``"reranked"`` MoRF masks 10, 30, 60, 100 % at states 1 to 4 if all features have an impact: 14
    gradients at T = 10). Nothing is left on the model: no gradient reaches its parameters.

    Ties are broken the same way in both orders: masked features first, then the lower flat index.

    Examples
    --------
    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> t = masking_trajectory(model, torch.ones(1, 4), torch.tensor([0]), steps=4)
    >>> t.masked_from[:, 0]
    tensor([[4, 3, 2, 1],
            [1, 2, 2, 3]], dtype=torch.uint8)
    >>> t.outputs[:, 0]
    tensor([[10.,  9.,  7.,  4.],
            [10.,  6.,  1.,  0.]], dtype=torch.float64)
    """
    _check(x, targets, steps)
    check_choices(schedule, features)
    x = x.detach()
    # Made in inference mode, they could not be kept for a gradient.
    targets = targets.clone() if targets.is_inference() else targets
    value = baseline if isinstance(baseline, Tensor) else x.new_tensor(baseline)
    rows, wide = len(x), wide_dtype(x.device)
    value = value.expand_as(x)
    whole = by_positions(features, x)
    form = (1, *x.shape[2:]) if whole else x.shape[1:]
    there = ((x != value).any(1) if whole else x != value).flatten(1).repeat(2, 1)
    present = there if whole else None
    size: Tensor | int = x[0].numel() if present is None else present.sum(1, keepdim=True)

    masked_from = torch.full((2, rows, math.prod(form)), steps, dtype=torch.uint8, device=x.device)
    outputs = torch.zeros((2, rows, steps), dtype=wide, device=x.device)
    logits, output, impact = target_impact(model, x, targets, value, features, check=True)
    outputs[:, :, 0] = output
    finite = output.isfinite() & impact.isfinite().all(1)
    first_impact = impact.sum(1)
    impact = impact.nan_to_num(nan=0.0, posinf=0.0).repeat(2, 1)
    sums = _to_sum_one(impact.to(wide))
    # One row per order and sample from here on: (2B, D).
    masked = torch.zeros_like(impact, dtype=torch.bool) if present is None else ~present
    repeated = torch.zeros((2 * rows, steps), dtype=torch.bool, device=x.device)

    for state in range(1, steps):
        count = state * size // steps
        if schedule == "uniform":
            count = count - (state - 1) * size // steps
        # What is highest is masked first.
        key = torch.cat([-impact[:rows], impact[rows:]])
        if schedule == "uniform":
            key = key.masked_fill(masked, -torch.inf)
        if present is not None:
            key = key.masked_fill(~present, -torch.inf)
        new = highest(key, count, masked) & ~masked
        masked |= new
        masked_from.view(2 * rows, -1).masked_fill_(new, state)

        repeated[:, state] = ~(new & there).any(1)
        going = (~repeated[:, state]).nonzero()[:, 0]
        # What stays as it is has the same output and impact.
        outputs[:, :, state] = outputs[:, :, state - 1]
        if len(going):
            sample = going % rows
            keep = ~masked[going].view(-1, *form)
            state_x, base = torch.where(keep, x[sample], value[sample]), value[sample]
            _, output, found = target_impact(model, state_x, targets[sample], base, features)
            outputs[going // rows, sample, state] = output.to(wide)
            good = torch.ones_like(repeated[:, state])
            good[going] = output.isfinite() & found.isfinite().all(1)
            finite &= good.view(2, rows).all(0)
            impact[going] = found.nan_to_num(nan=0.0, posinf=0.0)
        sums += _to_sum_one(impact.to(wide))

    impacts = (sums / (sums.sum(1, keepdim=True) + EPSILON)).view(2, rows, *form)
    impacts = impacts.expand(2, *x.shape)
    return Trajectory(
        masked_from=masked_from.view(2, rows, *form).expand(2, *x.shape),
        outputs=outputs,
        repeated=repeated.view(2, rows, steps),
        impact_sign=(impacts[LERF] - impacts[MORF]).sign().to(torch.int8),
        logits=logits,
        targets=targets,
        finite=finite,
        first_impact=first_impact,
        impacts=impacts if keep_impacts else None,
    )


def _check(x: Tensor, targets: Tensor, steps: int) -> None:
    if not x.is_floating_point() or x.ndim < 2 or x.numel() == 0:
        raise ValueError(
            "x: expected floating-point values with a batch axis and at least one sample, got "
            f"{x.dtype} {tuple(x.shape)}"
        )
    check_targets(targets, len(x))
    if not 2 <= steps <= MAX_STEPS:
        raise ValueError(f"steps: expected 2 to {MAX_STEPS}, got {steps}")


def check_targets(targets: Tensor, samples: int) -> None:
    """Refuse what is not one integer for each sample."""
    whole = not (targets.is_floating_point() or targets.dtype == torch.bool)
    if targets.shape != (samples,) or not whole:
        raise ValueError(
            f"targets: expected integers of shape ({samples},), got {targets.dtype} "
            f"{tuple(targets.shape)}"
        )


def check_choices(schedule: str, features: str) -> None:
    """Refuse other ways of masking."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if features not in get_args(Features):
        raise ValueError(f'features: expected "entries" or "positions", got {features!r}')


def target_impact(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    targets: Tensor,
    baseline: Tensor,
    features: Features = "entries",
    check: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K), the target's output (B,) and impacts (B, D) of the features, not scaled."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        # A copy, for models that overwrite their input.
        logits = model(leaf.clone())
        if check:
            check_classes(targets, logits.shape[-1])
        output = at_least_single(logits.gather(1, targets.to(logits.device)[:, None])[:, 0])
        gradient = gradient_of(output.abs().sum(), leaf)
    impact = at_least_single(x.detach() - baseline) * at_least_single(gradient)
    impact = impact.sum(1) if by_positions(features, x) else impact
    return logits.detach(), output.detach().to(x.device), impact.abs().flatten(1)


def by_positions(features: Features, x: Tensor) -> bool:
    """Whether all channels of a position are one feature; a table has none."""
    return features == "positions" and x.ndim > 2


def gradient_of(score: Tensor, values: Tensor) -> Tensor:
    """Gradient of a number with respect to values, like these.

    The graph towards a model's parameters is not walked.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = None
    if score.requires_grad:  # perhaps with respect to parameters alone
        (found,) = torch.autograd.grad(score, values, allow_unused=True)
    if found is None:
        raise ValueError(
            "model: its output does not depend on the input differentiably (a detached tensor, "
            "NumPy, a quantised layer, or the choice of a class in between?)"
        )
    return found


def check_classes(targets: Tensor, classes: int, name: str = "targets") -> None:
    """Refuse targets that the model has no output for."""
    wrong = ((targets < 0) | (targets >= classes)).nonzero()[:, 0]
    if len(wrong):
        raise ValueError(
            f"{name}: expected classes from 0 to {classes - 1}, as the model has {classes} "
            f"outputs, got {int(targets[wrong[0]])} at position {int(wrong[0])}"
        )


def _to_sum_one(maps: Tensor) -> Tensor:
    """Scale exactly, so that the scale of the model's output does not matter; 0 stays 0."""
    total = maps.sum(1, keepdim=True)
    return maps / torch.where(total > 0, total, torch.ones_like(total))
