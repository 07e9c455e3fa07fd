"""absLRP as a function from a model, inputs and targets to attribution maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.contrast import Contrast, combine, starts
from abslrp.engine import LayoutError, propagation
from abslrp.operation import Conserve
from abslrp.registry import RuleSet

Array = TypeVar("Array", Tensor, "NDArray[Any]")

ModelOutput = Any
IGNORED = frozenset({"method", "softmax", "channel_first", "device", "xai_lib", "xai_lib_kwargs",
                     "nr_channels", "img_size", "keepdims", "reduce_axes", "normalise", "abs"})


def explain(
    model: nn.Module,
    inputs: Array,
    targets: Any,
    *,
    conserve: Conserve = "operation",
    contrast: Contrast = "streams",
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
        ``"streams"`` (default), ``"signed"`` or None (SPEC 1.4).
    rules
        Rule set, by name.
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
    step = len(x) if batch_size is None else int(batch_size)
    if step < 1:
        raise ValueError(f"batch_size: expected a positive integer or None, got {batch_size!r}")

    def one(chunk: Tensor, chosen: Tensor) -> Tensor:
        def start(logits: Tensor) -> Tensor:
            check_targets(chosen, logits)
            return starts(logits, chosen.to(logits.device), contrast)

        return combine(
            _propagate(model, chunk, start, rules, conserve, contrast == "signed", on_unknown, output),
            contrast,
        )

    maps = [one(x[i : i + step], classes[i : i + step]) for i in range(0, len(x), step)]
    return like(torch.cat(maps), inputs)


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
    return like(maps, inputs)


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
        return _propagate_batch(
            model, x, start, rules, conserve, signed, on_unknown, output
        )
    except LayoutError:
        if len(x) == 1:
            raise
    # A single sample needs no axis to be followed.

    def nth(index: int) -> Callable[[Tensor], Tensor]:
        def chosen(logits: Tensor) -> Tensor:
            return start(logits.expand(len(x), *logits.shape[1:]))[:, index : index + 1]

        return chosen

    maps = [
        _propagate_batch(
            model, x[i : i + 1], nth(i), rules, conserve, signed, on_unknown, output
        )
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
    leaf = x.detach().clone().requires_grad_()
    with (
        torch.enable_grad(),
        propagation(rules, conserve, signed=signed, on_unknown=on_unknown),
    ):
        # A copy, so that a model that overwrites its input leaves the leaf alone.
        logits = select_logits(model(leaf.clone()), output, len(x))
    if not logits.requires_grad:
        raise ValueError("model: its logits do not depend on the inputs by a differentiable path")
    given = start(logits.detach())
    import os
    if os.environ.get("BATCHED"):
        (maps,) = torch.autograd.grad(logits, leaf, given, is_grads_batched=True)
        return maps
    maps = []
    for index, one in enumerate(given):
        (grad,) = torch.autograd.grad(
            logits, leaf, one, retain_graph=index + 1 < len(given), allow_unused=True
        )
        if grad is None:
            raise ValueError("model: its logits do not depend on the inputs")
        maps.append(grad)
    return torch.stack(maps)


def select_logits(result: Any, output: Callable[[Any], Tensor] | None, samples: int) -> Tensor:
    """Take the logits from what a model returned, and check their shape."""
    logits = output(result) if output is not None else getattr(result, "logits", result)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"model: expected it to return a tensor of logits, got {type(logits).__name__}; "
            "pass output= to select the logits"
        )
    if logits.ndim != 2 or len(logits) != samples:
        raise ValueError(
            f"model: expected logits of shape ({samples}, classes), got {tuple(logits.shape)}"
        )
    return logits


def check_model(model: Any) -> None:
    """Refuse what is not a PyTorch model in evaluation mode."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if model.training:
        raise ValueError("model: expected evaluation mode, got training mode; call model.eval()")


def as_input(model: nn.Module, inputs: Any) -> Tensor:
    """Inputs as a tensor on the model's device, in its floating-point type."""
    if not isinstance(inputs, (np.ndarray, Tensor)):
        raise ValueError(f"inputs: expected an array or a tensor, got {type(inputs).__name__}")
    x = torch.as_tensor(inputs)
    if not x.is_floating_point():
        raise ValueError(
            f"inputs: expected floating-point values, got {x.dtype}; for token ids, explain the "
            "embeddings (see abslrp.text)"
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"inputs: expected a batch axis and at least one sample, got {tuple(x.shape)}")
    parameter = next((p for p in model.parameters() if p.is_floating_point()), None)
    return x if parameter is None else x.to(device=parameter.device, dtype=parameter.dtype)


def as_targets(targets: Any, samples: int) -> Tensor:
    """Targets as (B,) int64."""
    chosen = torch.as_tensor(targets)
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    if chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool:
        raise ValueError(f"targets: expected integers, got {chosen.dtype}")
    if chosen.shape != (samples,):
        raise ValueError(f"targets: expected shape ({samples},), got {tuple(chosen.shape)}")
    return chosen.long()


def check_targets(targets: Tensor, logits: Tensor) -> None:
    """Refuse classes that the logits do not have."""
    classes = logits.shape[1]
    wrong = (targets < 0) | (targets >= classes)
    if wrong.any():
        raise ValueError(
            f"targets: expected classes from 0 to {classes - 1}, got {int(targets[wrong][0])} at "
            f"position {int(wrong.nonzero()[0])}"
        )


def like(maps: Tensor, inputs: Any) -> Any:
    """Maps as the inputs were: array or tensor, dtype, device."""
    if isinstance(inputs, Tensor):
        return maps.detach().to(device=inputs.device, dtype=inputs.dtype)
    return maps.detach().cpu().numpy().astype(inputs.dtype, copy=False)


OPTIONS = ("conserve", "contrast", "rules", "batch_size", "on_unknown", "output")


def _refuse_typos(unknown: set[str]) -> None:
    import difflib

    for name in sorted(unknown):
        close = difflib.get_close_matches(name, OPTIONS, 1, 0.8)
        if close:
            raise ValueError(f"{name}: no such option; did you mean {close[0]}?")


explain.accepts_tensors = True  # type: ignore[attr-defined]
