"""One forward pass of a model, and one backward pass for every start of relevance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from abslrp.ablations import Ablation, Attention, RelevanceAt, check
from abslrp.arguments import lacks_batch_axis, no_batch_axis, select_logits
from abslrp.engine import LayoutError, UnknownOperationError, propagation
from abslrp.precision import START, working
from abslrp.record import Conserve
from abslrp.registry import RuleSet, rule_set

Starts: TypeAlias = "Callable[[Tensor], list[Tensor]]"
"""From logits (B, N) to one (S, B, N) of starts for each map that is wanted."""


@dataclass(frozen=True)
class Settings:
    """How relevance is propagated, wherever it starts: options of :func:`abslrp.explain`."""

    rules: str | RuleSet = "absLRP"
    conserve: Conserve = "operation"
    on_unknown: Literal["error", "warn"] = "error"
    output: Callable[[Any], Tensor] | None = None
    attention: Attention = None
    relevance_at: RelevanceAt = "input"

    def __post_init__(self) -> None:
        check(self.attention, self.relevance_at)

    @property
    def ablates(self) -> bool:
        """Whether anything is left out of the rule set."""
        return self.attention is not None or self.relevance_at != "input"


def propagate(
    model: nn.Module,
    x: Tensor,
    starts: Starts,
    merge: Callable[[Tensor], Tensor],
    settings: Settings,
    *,
    signed: bool,
) -> Tensor:
    """Relevance of an input for every start.

    Parameters
    ----------
    model
        In evaluation mode.
    x
        (B, ...), on the model's device.
    starts
        From the logits to K tensors (S, B, N) of relevance.
    merge
        From the maps of one of them, (S, B, ...), to what is kept of them, (..., B, ...): the
        axis of the samples is the last before the input's own.
    settings
        Options.
    signed
        Whether a start may be negative.

    Returns
    -------
    (K, ..., B, ...).
    """
    # Of a compiled model what was compiled: dynamo would compile the interception itself.
    model = getattr(model, "_orig_mod", model)
    try:
        return _propagate_batch(model, x, starts, merge, settings, signed)
    except LayoutError:
        if len(x) == 1:
            raise
    # A single sample needs no axis to be followed.

    def nth(index: int) -> Starts:
        def chosen(logits: Tensor) -> list[Tensor]:
            given = starts(logits.expand(len(x), *logits.shape[1:]))
            return [one[:, index : index + 1] for one in given]

        return chosen

    maps = [
        _propagate_batch(model, x[i : i + 1], nth(i), merge, settings, signed)
        for i in range(len(x))
    ]
    return torch.cat(maps, dim=-x.ndim)


def _propagate_batch(
    model: nn.Module,
    x: Tensor,
    starts: Starts,
    merge: Callable[[Tensor], Tensor],
    settings: Settings,
    signed: bool,
) -> Tensor:
    with torch.inference_mode(False):
        leaf = x.detach().clone().requires_grad_()
    rules = settings.rules
    table = rule_set(rules) if isinstance(rules, str) else rules
    ablation = None
    if settings.ablates:
        ablation = Ablation(table, leaf, settings.attention, settings.relevance_at)
        table = ablation.rules
    logits = _logits(model, leaf, table, settings, signed)
    if not logits.requires_grad:
        raise ValueError(
            "model: its logits do not depend on the inputs by a differentiable path (results of "
            "spreads (std, var, norm, logsumexp, rsqrt) count as constants)"
        )
    if ablation is not None:
        ablation.check(logits)
    given = starts(logits.detach())
    narrow = logits.dtype == torch.float16 and settings.conserve == "operation" and table.conserves
    factor = START if narrow else 1.0
    left = sum(len(one) for one in given)
    results = []
    for group in given:
        maps = []
        for one in group:
            left -= 1
            (grad,) = torch.autograd.grad(
                logits, leaf, one * factor, retain_graph=left > 0, allow_unused=True
            )
            if grad is None:
                raise ValueError("model: its logits do not depend on the inputs")
            maps.append(grad if factor == 1 else grad.to(working(grad.dtype)) / factor)
        results.append(merge(torch.stack(maps)))
    return torch.stack(results)


def _logits(
    model: nn.Module, leaf: Tensor, rules: RuleSet, settings: Settings, signed: bool
) -> Tensor:
    """Logits whose gradient with respect to the leaf is relevance."""
    engine = propagation(
        rules, settings.conserve, signed=signed, on_unknown=settings.on_unknown, inputs=[leaf]
    )
    try:
        with torch.inference_mode(False), torch.enable_grad(), engine:
            # A copy, so that a model that overwrites its input leaves the leaf alone.
            logits = select_logits(model(leaf.clone()), settings.output, len(leaf))
            if logits.requires_grad:
                engine.depends(logits)  # or the last call was not seen, which is an error
            return logits
    except (LayoutError, UnknownOperationError):
        raise
    except Exception as error:
        if lacks_batch_axis(model, leaf.detach(), settings.output):
            raise no_batch_axis(leaf) from error
        raise
