"""Captum's attribution methods as explanation functions, by name (extra ``captum``)."""

import copy
import inspect
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gae_metric.errors import InputError, lookup
from gae_metric.explainers.cams import relus_before
from gae_metric.explainers.chunked_gradients import accepts_tensors, chunked, selected
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.functional.draws import content_generator
from gae_metric.functional.precision import at_least_single
from gae_metric.study.conversion import weights_of
from gae_metric.study.logits import LogitsModel

#: Parameters of ``attribute`` that this adapter knows what to give for.
_GIVEN = frozenset({"self", "inputs", "target", "baselines"})

#: Methods that draw at random.
_DRAWING = frozenset({"GradientShap", "KernelShap", "Lime", "ShapleyValueSampling"})

#: Methods that change the gradient of ReLUs.
_GUIDED = frozenset({"GuidedBackprop", "Deconvolution"})

#: Held while what all threads share is changed: global generators, and filters of warnings.
_ALONE = threading.RLock()

#: Share of a map's size that rounding leaves of DeepLIFT's summation to the change of the logit.
_ROUNDING = 0.01
_NOT_DEEPLIFT = (
    "captum:DeepLift: relevance does not add up to the change of the logit, so that the maps are "
    "not DeepLIFT's. Captum's hooks see modules such as nn.ReLU, but no functions (torch.relu), "
    "GELU, products of activations, scripted or compiled parts, and follow max pools roughly"
)

#: Methods that cannot work with their defaults, and why.
_REFUSED = {
    "DeepLiftShap": "it needs a set of baselines; captum:DeepLift takes one, of zeros",
    "FeaturePermutation": "its maps depend on the other images of a batch",
    "LRP": "it has rules for a few modules only, not for nn.Flatten or nn.Identity; absLRP and "
    "abslrp's rule sets take any model",
    "ShapleyValues": "it tries all orders of the features; captum:KernelShap samples them",
}


def captum_explainer(name: str, seed: int = 0) -> tuple[str, Callable[..., Any]]:
    """Wrap a method of ``captum.attr`` that needs nothing but a model.

    Parameters
    ----------
    name
        Name of the class, such as ``DeepLift``, in any case of letters.
    seed
        Seed of the methods that draw at random (GradientShap, KernelShap, Lime and
        ShapleyValueSampling). They explain one sample at a time, with torch's and NumPy's global
        generators seeded by its content and the seed, and put back after it: so a map is the same
        in any batch. Threads wait for one another meanwhile.

    Returns
    -------
    ``captum:NAME``, and a function ``explain_func(model, inputs, targets, *, batch_size=64,
    **kwargs)``: arrays or tensors in, the same kind and shape out. Keywords that the method's
    ``attribute`` has are handed on; Quantus's others are ignored. Baselines are zero.
    GuidedBackprop and Deconvolution refuse models of which Captum does not see every ReLU, and
    DeepLift warns where relevance does not add up to the change of the logit.

    Raises
    ------
    InputError
        If Captum is not installed, has no such method, or the method needs more than a model (a
        layer, a window, another method) or cannot work with its defaults; the message says why.

    Examples
    --------
    >>> name, deep_lift = captum_explainer("deeplift")
    >>> model = nn.Sequential(nn.Linear(4, 2)).eval()
    >>> name, deep_lift(model, torch.ones(3, 4), [0, 1, 0]).shape
    ('captum:DeepLift', torch.Size([3, 4]))
    """
    try:
        import captum.attr
    except ImportError as error:
        raise InputError(
            "methods: captum:NAME needs Captum, which is not installed; "
            "install it with: pip install 'gae-metric[captum]'"
        ) from error
    for refused, reason in _REFUSED.items():
        if name.strip().lower() == refused.lower():
            raise InputError(f"methods: captum:{refused} is not offered: {reason}")
    found, method = lookup("methods (captum)", name, _methods(captum.attr))
    accepted = inspect.signature(method.attribute).parameters

    @accepts_tensors
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int = 64, **kwargs: Any
    ) -> Any:
        options = {key: kwargs[key] for key in kwargs.keys() & accepted.keys() - {"method"}}

        def attribute(model: nn.Module, x: Tensor, target: Tensor) -> Any:
            if found in _GUIDED | {"DeepLift"}:  # which put hooks on modules
                model = _with_own_hooks(model)
            if "baselines" in accepted:
                options.setdefault("baselines", torch.zeros_like(x[:1]))
            if found in _GUIDED:
                _check_relus(found, model, x[:1], target[:1])
            explained = _deep_lift if found == "DeepLift" else attributed
            return explained(method(_Untouched(model)), x, target, **options)

        def drawn(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
            maps = []
            for one, of in zip(torch.split(x, 1), torch.split(target, 1), strict=True):
                draw = content_generator(at_least_single(one[0]).cpu().numpy(), seed)
                with seeded(int(draw.integers(2**32))):
                    maps.append(attribute(model, one, of))
            return torch.cat(maps)

        each = drawn if found in _DRAWING else attribute
        return chunked(each, model, inputs, targets, batch_size, kwargs.get("output"))

    return f"captum:{found}", explain


class _Untouched(LogitsModel):
    """A model that returns logits, as a Hugging Face model does not, and leaves its input alone.

    Captum perturbs, and takes gradients of, the very tensor that it calls a model with. What it
    draws may be of another type than the model.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kind = getattr(weights_of(self.wrapped_model), "dtype", x.dtype)
        return super().forward(x.to(kind, copy=True), *args, **kwargs)


def _with_own_hooks(model: nn.Module) -> nn.Module:
    """Copy the modules of a model, but no weights: other threads do not meet the copy's hooks.

    Of a compiled model that which was compiled, as no hook is seen in it.
    """
    weights = {id(one): one for one in (*model.parameters(), *model.buffers())}
    with suppress(Exception):  # a model's own, where it cannot be copied
        return copy.deepcopy(model._modules.get("_orig_mod") or model, weights)
    return model


def attributed(method: Any, x: Tensor, target: Tensor, **options: Any) -> Any:
    """Return a method's maps, without a word of what Captum does and undoes."""
    told = "Input Tensor|Setting (forward|backward)|Required gradient not req"
    with _ALONE, x.device, warnings.catch_warnings():  # and not torch's default device
        warnings.filterwarnings("ignore", told, UserWarning)
        maps = method.attribute(x.clone(), target=target, **options)
    return tuple(one.detach() for one in maps) if isinstance(maps, tuple) else maps.detach()


def _deep_lift(method: Any, x: Tensor, target: Tensor, **options: Any) -> Any:
    """Return DeepLIFT's maps, and warn where they do not add up to the change of the logit."""
    maps, delta = attributed(method, x, target, **{**options, "return_convergence_delta": True})
    share = max(_ROUNDING, 10 * torch.finfo(maps.dtype).eps)
    if bool((delta.abs() > share * maps.abs().flatten(1).sum(1)).any()):
        warnings.warn(_NOT_DEEPLIFT, RuntimeWarning, stacklevel=2)
    return maps


def _check_relus(name: str, model: nn.Module, x: Tensor, target: Tensor) -> None:
    """Refuse a model in which not every ReLU, or none, is a module that Captum's hooks see."""
    seen: set[Any] = set()
    with ExitStack() as hooks, torch.enable_grad():
        for one in model.modules():
            if isinstance(one, nn.ReLU):
                note = one.register_forward_hook(lambda *call: seen.add(call[-1].grad_fn))
                hooks.enter_context(note)
        found = relus_before(selected(_Untouched(model)(x.clone().requires_grad_()), target).sum())
    if not found or found - seen:
        raise NotApplicableError(
            f"captum:{name} changes the gradient of nn.ReLU modules alone, and the model has other "
            "ReLUs (torch.relu, ReLU6, scripted or compiled parts) or none",
            "write them as nn.ReLU",
        )


def _methods(module: Any) -> dict[str, Any]:
    """Return Captum's methods that can be built from a model and called with inputs and targets."""
    methods = {}
    for name in module.__all__:
        method = getattr(module, name)
        attribution = inspect.isclass(method) and issubclass(method, module.Attribution)
        if not attribution or name in _REFUSED or not hasattr(method, "attribute"):
            continue
        built, called = inspect.signature(method), inspect.signature(method.attribute)
        simple = _needed(built) in (["model"], ["forward_func"]) and "target" in called.parameters
        if simple and _GIVEN.issuperset(_needed(called)):
            methods[name] = method
    return methods


def _needed(signature: inspect.Signature) -> list[str]:
    """Return the parameters that have no default."""
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = signature.parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in given]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's, NumPy's and Python's global generators for a block, and put them back.

    Examples
    --------
    >>> values = []
    >>> for _ in range(2):
    ...     with seeded(1):
    ...         values.append(random.random())
    >>> values[0] == values[1]
    True
    """
    # All of them, named: torch warns where there are several.
    with _ALONE, torch.random.fork_rng(range(torch.cuda.device_count())):
        state, python = np.random.get_state(), random.getstate()  # noqa: NPY002
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
            random.setstate(python)
