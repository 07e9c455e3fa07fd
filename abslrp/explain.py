"""absLRP as a function from a model, inputs and targets to attribution maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp.ablations import Attention, RelevanceAt
from abslrp.arguments import (
    as_input,
    as_targets,
    check_model,
    check_reduce,
    check_targets,
    lacks_batch_axis,
    like,
    no_batch_axis,
    step_of,
)
from abslrp.contrast import OWN, Start, combine, starts
from abslrp.plan.propagation import Conserve
from abslrp.propagate import Settings, propagate
from abslrp.registry import RuleSet
from abslrp.rule_sets import own_contrast

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
    reduce: Literal["channels"] | None = None,
    relevance_at: RelevanceAt = "input",
    attention: Attention = None,
    batch_size: int | None = None,
    on_unknown: Literal["error", "warn"] = "error",
    output: Callable[[Any], Tensor] | None = None,
    accelerate: bool = True,
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
        Class of each sample: (B,) integers, or one integer for all; or (B, K) integers for K
        maps of each sample, which share one forward pass.
    conserve
        ``"operation"`` (default), ``"argument"`` or None (SPEC 1.3).
    contrast
        ``"streams"``, ``"signed"`` or None (SPEC 1.4), or ``"logits"``: as ``"streams"``, from the
        absolute logits. By default what the rule set goes with: ``"streams"`` for absLRP,
        ``"logits"`` for cLRP and cRAP, None for the others.
    rules
        Rule set, or its name: ``"absLRP"``, ``"epsilon"``, ``"alpha1beta0"``, ``"alpha2beta1"``,
        ``"cLRP"``, ``"RAP"``, ``"cRAP"``, ``"RAP-eq5"`` or ``"Chefer"`` (see
        :mod:`abslrp.rule_sets`).
    reduce
        ``"channels"``: sum over axis 1, so that images give (B, 1, H, W) and time series
        (B, 1, L). None: maps shaped as the inputs.
    relevance_at
        ``"patches"``: stop at the patch embedding and spread each patch's relevance evenly over
        it, for models that begin with a convolution of patches that do not overlap (SPEC 1.5,
        table 10 of the paper). ``"input"`` (default): go on to the input.
    attention
        ``"values"``: no relevance through queries and keys. ``"queries_keys"``: none through
        values (SPEC 1.5, table 10). None (default): through all three. Any matrix product of a
        softmax's output and an activation is taken for attention.
    batch_size
        Samples explained at a time. It bounds memory and does not change the maps. By default
        all of them on a GPU, and 650,000 input features on a CPU (four photographs of
        224x224), where more would take memory and save no time.
    on_unknown
        ``"error"``, or ``"warn"`` to use the gradient of functions that have no rule.
    output
        Selects the logits from what the model returns. By default a tensor is taken as it is,
        and an output object by its ``logits``.
    accelerate
        False: rule by rule, each call's totals restored at once. That is the definition; it is
        slower and agrees to rounding.

    Returns
    -------
    Maps of the same kind, shape, device and dtype as ``inputs``; (B, K, ...) if targets are
    (B, K). With ``"streams"`` the positive and the negative part of a map are shares: each stream
    sums to 1 before the subtraction.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is in training mode.
    UnknownOperationError
        If the model uses a torch function that has no rule.

    Notes
    -----
    Cost: one forward pass, and for each of K targets one backward pass per start, two for
    ``"streams"``. Memory: that of one batch's forward pass, whatever K.

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

    All three classes of each sample, in one forward pass:

    >>> abslrp.explain(model, torch.rand(2, 4), [[0, 1, 2], [0, 1, 2]]).shape
    torch.Size([2, 3, 4])
    """
    check_model(model)
    if unknown := set(kwargs) - IGNORED:
        # Quantus's callers pass keywords of other explainers; a near miss of ours is a typo.
        _refuse_typos(unknown)
    settings = Settings(rules, conserve, on_unknown, output, attention, relevance_at, accelerate)
    x = as_input(model, inputs)
    check_reduce(reduce, x)
    classes = _targets(model, x, targets, output)
    begin: Start = own_contrast(rules) if contrast == "own" else contrast
    step = step_of(batch_size, x)

    def merge(maps: Tensor) -> Tensor:
        merged = combine(maps, begin)
        return merged.sum(1, keepdim=True) if reduce == "channels" else merged

    def chunk(rows: slice) -> Tensor:
        chosen = classes[rows]
        columns = chosen[:, None] if chosen.ndim == 1 else chosen

        def start(logits: Tensor) -> list[Tensor]:
            check_targets(chosen, logits)
            return [
                starts(logits, one.to(logits.device, non_blocking=True), begin)
                for one in columns.unbind(1)
            ]

        maps = propagate(model, x[rows], start, merge, settings, signed=begin == "signed")
        return maps[0] if chosen.ndim == 1 else maps.transpose(0, 1)

    maps = [chunk(slice(i, i + step)) for i in range(0, len(x), step)]
    result: Array = like(torch.cat(maps), inputs)
    return result


def _targets(
    model: nn.Module, x: Tensor, targets: Any, output: Callable[[Any], Tensor] | None
) -> Tensor:
    """Targets of ``len(x)`` samples, unless ``x`` is a single sample without a batch axis."""
    try:
        return as_targets(targets, len(x))
    except ValueError as error:
        if lacks_batch_axis(model, x, output):
            raise no_batch_axis(x) from error
        raise


def relevance(
    model: nn.Module,
    inputs: Array,
    start: Any,
    *,
    conserve: Conserve = "operation",
    rules: str | RuleSet = "absLRP",
    relevance_at: RelevanceAt = "input",
    attention: Attention = None,
    on_unknown: Literal["error", "warn"] = "error",
    output: Callable[[Any], Tensor] | None = None,
    accelerate: bool = True,
) -> Array:
    """Propagate a given relevance of the logits to the input.

    Parameters
    ----------
    model, inputs, conserve, rules, relevance_at, attention, on_unknown, output, accelerate
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

    settings = Settings(rules, conserve, on_unknown, output, attention, relevance_at, accelerate)

    def make(logits: Tensor) -> list[Tensor]:
        wanted = given.to(device=logits.device, dtype=logits.dtype)
        if wanted.shape[-2:] != logits.shape or wanted.ndim not in (2, 3):
            raise ValueError(
                f"start: expected the shape of the logits, {tuple(logits.shape)}, or that with "
                f"one axis before it, got {tuple(wanted.shape)}"
            )
        return [wanted if wanted.ndim == 3 else wanted[None]]

    signed = bool((given < 0).any())
    maps = propagate(model, x, make, lambda maps: maps, settings, signed=signed)[0]
    if given.ndim == 2:
        maps = maps[0]
    result: Array = like(maps, inputs)
    return result


OPTIONS = (
    "conserve",
    "contrast",
    "rules",
    "reduce",
    "relevance_at",
    "attention",
    "batch_size",
    "on_unknown",
    "output",
    "accelerate",
)


def _refuse_typos(unknown: set[str]) -> None:
    import difflib

    for name in sorted(unknown):
        close = difflib.get_close_matches(name, OPTIONS, 1, 0.8)
        if close:
            raise ValueError(f"{name}: no such option; did you mean {close[0]}?")


explain.accepts_tensors = True  # type: ignore[attr-defined]
