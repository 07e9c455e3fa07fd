"""absLRP as a function from a model, inputs and targets to attribution maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.arguments import (
    as_input,
    as_targets,
    check_model,
    check_targets,
    like,
    select_logits,
)
from abslrp.engine import LayoutError, propagation
from abslrp.record import Conserve
from abslrp.registry import RuleSet
from abslrp.rule_sets import OWN, Start, combine, own_contrast, starts

Array = TypeVar("Array", Tensor, "NDArray[Any]")

IGNORED = frozenset(
    {
        "method",
        "softmax",
        "channel_first",
        "device",
        "xai_lib",
        "xai_lib_kwargs",
        "nr_channels",
        "img_size",
        "keepdims",
        "reduce_axes",
        "normalise",
        "abs",
    }
)


def explain(
    model: nn.Module,
    inputs: Array,
    targets: Any,
    *,
    conserve: Conserve = "operation",
    contrast: Start | Literal["own"] = OWN,
    rules: str | RuleSet = "absLRP",
    batch_size: int | None = None,
    on_unknown: Literal["error", "warn"] = "error",
    output: Callable[[Any], Tensor] | None = None,
    **kwargs: Any,
) -> Array:
    """Relative Absolute Magnitude LRP: one attribution map per input.

    It has the signature of a Quantus ``explain_func``. Keywords that Quantus passes to every
    explainer (``method``, ``device``, ...) are ignored.

    Parameters
    ----------
    model
        Any PyTorch model in evaluation mode that maps (B, ...) inputs to (B, N) logits.
    inputs
        (B, ...) floating-point array or tensor.
    targets
        Class of each sample: (B,) integers, or one integer for all.
    conserve
        ``"operation"`` (default), ``"argument"`` or None (SPEC 1.3).
    contrast
        ``"streams"``, ``"signed"`` or None (SPEC 1.4), or ``"difference"``: the map of the target
        less that of the other classes, unscaled. By default what the rule set goes with:
        ``"streams"`` for absLRP, ``"difference"`` for cLRP and cRAP, None for the others.
    rules
        Rule set, or its name: ``"absLRP"``, ``"epsilon"``, ``"alpha1beta0"``, ``"alpha2beta1"``,
        ``"cLRP"``, ``"RAP"`` or ``"cRAP"`` (see :mod:`abslrp.rule_sets`).
    batch_size
        Samples explained at a time; by default all of them. It bounds memory and does not
        change the maps.
    on_unknown
        ``"error"``, or ``"warn"`` to use the gradient of functions that have no rule.
    output
        Selects the logits from what the model returns. By default a tensor is taken as it is,
        and an output object by its ``logits``.

    Returns
    -------
    Maps of the same kind, shape, device and dtype as ``inputs``. With ``"streams"`` the positive
    and the negative part of a map are shares: each stream sums to 1 before the subtraction.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is in training mode.
    UnknownOperationError
        If the model uses a torch function that has no rule.

    Notes
    -----
    Cost: one forward pass and one backward pass per start, two for ``"streams"``.

    References
    ----------
    Vukadin et al., ACM TIST 15(3), 2024, doi 10.1145/3649458, eq. 12.

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> maps = abslrp.explain(model.eval(), torch.rand(2, 4), torch.tensor([0, 2]))
    >>> maps.shape
    torch.Size([2, 4])
    """
    check_model(model)
    if unknown := set(kwargs) - IGNORED:
        # Quantus's callers pass keywords of other explainers; a near miss of ours is a typo.
        _refuse_typos(unknown)
    x = as_input(model, inputs)
    classes = as_targets(targets, len(x))
    begin: Start = own_contrast(rules) if contrast == "own" else contrast
    step = len(x) if batch_size is None else int(batch_size)
    if step < 1:
        raise ValueError(f"batch_size: expected a positive integer or None, got {batch_size!r}")

    def one(chunk: Tensor, chosen: Tensor) -> Tensor:
        def start(logits: Tensor) -> Tensor:
            check_targets(chosen, logits)
            return starts(logits, chosen.to(logits.device), begin)

        return combine(
            _propagate(model, chunk, start, rules, conserve, begin == "signed", on_unknown, output),
            begin,
        )

    maps = [one(x[i : i + step], classes[i : i + step]) for i in range(0, len(x), step)]
    result: Array = like(torch.cat(maps), inputs)
    return result


def relevance(
    model: nn.Module,
    inputs: Array,
    start: Any,
    *,
    conserve: Conserve = "operation",
    rules: str | RuleSet = "absLRP",
    on_unknown: Literal["error", "warn"] = "error",
    output: Callable[[Any], Tensor] | None = None,
) -> Array:
    """Propagate a given relevance of the logits to the input.

    Parameters
    ----------
    model, inputs, conserve, rules, on_unknown, output
        As in :func:`explain`.
    start
        (B, N) relevance of the logits, of any sign, or (S, B, N) for S starts in one call.

    Returns
    -------
    Relevance of the input, same kind and shape as ``inputs``; (S, B, ...) for S starts. With
    ``conserve="operation"`` each sample's sum is that of its start, less SPEC 1.3's leaks.

    Raises
    ------
    ValueError
        If ``start`` does not have the logits' shape.

    Notes
    -----
    Cost: one forward pass and one backward pass per start (twice the products where the start
    has both signs).

    Examples
    --------
    >>> import torch, abslrp
    >>> model = torch.nn.Linear(2, 2).eval()
    >>> start = torch.tensor([[1.0, 0.0]])
    >>> abslrp.relevance(model, torch.ones(1, 2), start, conserve=None).shape
    torch.Size([1, 2])
    """
    check_model(model)
    x = as_input(model, inputs)
    given = torch.as_tensor(start)

    def make(logits: Tensor) -> Tensor:
        wanted = given.to(device=logits.device, dtype=logits.dtype)
        if wanted.shape[-2:] != logits.shape or wanted.ndim not in (2, 3):
            raise ValueError(
                f"start: expected the shape of the logits, {tuple(logits.shape)}, or that with "
                f"one axis before it, got {tuple(wanted.shape)}"
            )
        return wanted if wanted.ndim == 3 else wanted[None]

    signed = bool((given < 0).any())
    maps = _propagate(model, x, make, rules, conserve, signed, on_unknown, output)
    if given.ndim == 2:
        maps = maps[0]
    result: Array = like(maps, inputs)
    return result


def _propagate(
    model: nn.Module,
    x: Tensor,
    start: Callable[[Tensor], Tensor],
    rules: str | RuleSet,
    conserve: Conserve,
    signed: bool,
    on_unknown: Literal["error", "warn"],
    output: Callable[[Any], Tensor] | None,
) -> Tensor:
    """Relevance of ``x`` for every start: (S, B, ...)."""
    try:
        return _propagate_batch(model, x, start, rules, conserve, signed, on_unknown, output)
    except LayoutError:
        if len(x) == 1:
            raise
    # A single sample needs no axis to be followed.

    def nth(index: int) -> Callable[[Tensor], Tensor]:
        def chosen(logits: Tensor) -> Tensor:
            return start(logits.expand(len(x), *logits.shape[1:]))[:, index : index + 1]

        return chosen

    maps = [
        _propagate_batch(model, x[i : i + 1], nth(i), rules, conserve, signed, on_unknown, output)
        for i in range(len(x))
    ]
    return torch.cat(maps, dim=1)


def _propagate_batch(
    model: nn.Module,
    x: Tensor,
    start: Callable[[Tensor], Tensor],
    rules: str | RuleSet,
    conserve: Conserve,
    signed: bool,
    on_unknown: Literal["error", "warn"],
    output: Callable[[Any], Tensor] | None,
) -> Tensor:
    with torch.inference_mode(False):
        leaf = x.detach().clone().requires_grad_()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        propagation(rules, conserve, signed=signed, on_unknown=on_unknown, inputs=[leaf]),
    ):
        # A copy, so that a model that overwrites its input leaves the leaf alone.
        logits = select_logits(model(leaf.clone()), output, len(x))
    if not logits.requires_grad:
        raise ValueError("model: its logits do not depend on the inputs by a differentiable path")
    given = start(logits.detach())
    maps = []
    for index, one in enumerate(given):
        (grad,) = torch.autograd.grad(
            logits, leaf, one, retain_graph=index + 1 < len(given), allow_unused=True
        )
        if grad is None:
            raise ValueError("model: its logits do not depend on the inputs")
        maps.append(grad)
    return torch.stack(maps)


OPTIONS = ("conserve", "contrast", "rules", "batch_size", "on_unknown", "output")


def _refuse_typos(unknown: set[str]) -> None:
    import difflib

    for name in sorted(unknown):
        close = difflib.get_close_matches(name, OPTIONS, 1, 0.8)
        if close:
            raise ValueError(f"{name}: no such option; did you mean {close[0]}?")


explain.accepts_tensors = True  # type: ignore[attr-defined]
