"""What becomes of one model: explained, refused with a reason, or wrong, by absLRP and others."""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import abslrp
from benchmarks.compatibility.cases import BATCH, Case
from benchmarks.compatibility.others import OTHERS

LARGE = 150e6
"""Parameters from which on a model is tried in float32."""


class InFloat64(TorchFunctionMode):
    """What a model casts to float32 stays float64, so that maps do not differ by rounding."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch with float64 wherever float32 is asked for."""
        func = Tensor.double if func is Tensor.float else func
        double = {torch.float32: torch.float64}
        named = {k: double.get(v, v) if k == "dtype" else v for k, v in (kwargs or {}).items()}
        return func(*(torch.float64 if one is torch.float32 else one for one in args), **named)


def trial(make: Callable[[], Case]) -> dict[str, Any]:
    """Build a model and explain it, in float64 unless it is large or takes float32 alone.

    Returns
    -------
    ``verdict``: ``"explained"``, ``"refused"`` or ``"wrong"``; of what cannot be explained ``"not
    built"`` or ``"no gradient"``; with its ``reason``. ``shape`` of one sample. ``arrives`` and
    ``lost``: relevance, of 1 at the predicted class, that reaches the input, and that calls do not
    hand on by :func:`abslrp.audit`, means over samples; ``conservation``: |arrives + lost - 1|.
    ``definition`` and ``alone``: largest difference from maps rule by rule, and from those of each
    sample alone, as a share of a map's largest entry. ``time``: CPU time of ``abslrp.explain``
    over that of a forward pass and an input gradient. By name of another library the share that
    arrives by it, or an error.
    """
    verdict = "not built"
    result: dict[str, Any] = {}
    try:
        case = make()
        case.called()
        result["shape"] = "x".join(map(str, case.inputs.shape[1:]))
        verdict = "no gradient"
        case = _precise(case)
        gradient(case)  # what is done only once
        begin = time.process_time()
        gradient(case)
        took = max(time.process_time() - begin, 1e-6)
        verdict = "wrong"
        before = _state(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of losses, which the table has
            result |= _explained(case, took)
        if left := [name for name, is_so in _state(case).items() if is_so != before[name]]:
            result |= {"verdict": "wrong", "reason": f"left on the model: {left[:3]}"}
    except Exception as error:
        refused = isinstance(error, (abslrp.UnknownOperationError, ValueError))
        verdict = "refused" if refused and verdict == "wrong" else verdict
        result |= {"verdict": verdict, "reason": _said(error)}
    if verdict in ("not built", "no gradient"):
        return result
    vars(case.model).pop("forward", None)  # the libraries' copies of it would call this model's
    return result | {name: _share(one, case) for name, one in OTHERS.items()}


def gradient(case: Case) -> Tensor:
    """One forward pass and one input gradient: what a map is compared with."""
    leaf = case.inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(case.called(inputs=leaf.clone()).amax(1).sum(), leaf)
    if not (found.isfinite().all() and found.any()):
        raise ValueError("it is 0 or not finite")
    return found


def _precise(case: Case) -> Case:
    if sum(one.numel() for one in case.model.parameters()) >= LARGE:
        return case
    forward = case.model.forward

    def in_float64(*args: Any, **kwargs: Any) -> Any:
        with InFloat64():
            return forward(*args, **kwargs)

    # Of the model alone: what an explanation does is left as it is.
    case.model.double().forward = in_float64
    double = replace(case, inputs=case.inputs.double())
    try:
        double.called()
    except RuntimeError:  # such as products of groups, which are there for float32 alone
        del case.model.forward
        case.model.float()
        return case
    return double


def _explained(case: Case, took: float) -> dict[str, Any]:
    logits = case.called().detach()
    targets = logits.argmax(1)
    start = torch.nn.functional.one_hot(targets, logits.shape[1]).to(logits.dtype)

    def by(function: Any, what: Tensor, rows: slice = slice(None), **options: Any) -> Any:
        options |= {"output": case.output, "model_kwargs": case.cut(rows)}
        return function(case.model, case.inputs[rows], what[rows], **options)

    single = torch.cat([by(abslrp.explain, targets, slice(i, i + 1)) for i in range(BATCH)])
    begin = time.process_time()
    maps = by(abslrp.explain, targets)
    found = {"time": (time.process_time() - begin) / took}
    arrived = by(abslrp.relevance, start)
    audit = by(abslrp.audit, targets)
    arrives = float(arrived.flatten(1).double().sum(1).mean())
    apart = {
        "conservation": max(abs(arrives + audit.lost - 1), abs(arrives - audit.arrived)),
        "definition": _apart(arrived, by(abslrp.relevance, start, accelerate=False)),
        # The difference of two starts that have the same map is rounding of either.
        "alone": _apart(maps, single, 1e-3 * arrived),
    }
    # Rounding of hundreds of operations; float32 divides by pre-activations that are only that.
    bound = 1e-5 if maps.dtype == torch.float64 else 0.1
    reasons = [name for name, value in apart.items() if not value < bound]
    reasons += ["not finite"] * (not maps.isfinite().all())
    reasons += ["all 0"] * (arrives > 0 and not maps.any())
    found |= {"arrives": arrives, "lost": audit.lost, **apart}
    return found | {"verdict": "wrong" if reasons else "explained", "reason": ", ".join(reasons)}


def _apart(one: Tensor, other: Tensor, least: Tensor | None = None) -> float:
    scale = other.flatten(1).abs().amax(1).clamp(min=torch.finfo(other.dtype).tiny)
    if least is not None:
        scale = torch.maximum(scale, least.flatten(1).abs().amax(1))
    return float(((one - other).flatten(1).abs().amax(1) / scale).max())


def _share(explain: Callable[[Case], Tensor], case: Case) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return f"{float(explain(case).mean()):.3f}"
        except Exception as error:
            return _said(error)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _state(case: Case) -> dict[str, Any]:
    """Return what an explanation must leave as it was: hooks, flags, values, attributes."""
    found: dict[str, Any] = {"logits": repr(case.called().double().sum().item())}
    for name, module in case.model.named_modules():
        own = {k: len(v) if isinstance(v, dict) else 0 for k, v in vars(module).items()}
        found[name] = (own, module.training)
    for name, one in (*case.model.named_parameters(), *case.model.named_buffers()):
        total = one.detach().double().sum().item()
        found[f"{name}:"] = (one.data_ptr(), repr(total), one.requires_grad, one.grad is None)
    return found
