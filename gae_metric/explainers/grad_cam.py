"""GradCAM's feature map, found by following a forward pass, and its class activation map."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gae_metric.errors import InputError, nearest
from gae_metric.study.conversion import gradient_of
from gae_metric.study.logits import LogitsModel

Weigh: TypeAlias = Callable[[Tensor, Tensor, tuple[int, int]], Tensor]
"""From a feature map's gradient, its values and the axes of its positions to its weights."""

#: Functions that turn a feature map into fewer positions.
_POOLS = re.compile(r"(adaptive_)?(avg|max|lp|fractional_max)_pool2d(_with_indices)?")
#: Functions whose second argument is no axis.
_NO_AXES = frozenset({"flatten", "view", "reshape", "__getitem__"})

_NOT_POOLED = "no feature map of the model is pooled"


class NotApplicableError(ValueError):
    """A method that a model of this kind has nothing for."""

    def __init__(
        self, reason: str, remedy: str = "give the layer that GradCAM is to use as layer="
    ) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason


@dataclass
class _Pooling:
    """One call that pooled, or made something else of a feature map, and what it took and gave."""

    taken: Tensor
    #: Axes of ``taken`` that are positions: (2, 3), or (1, 2) where channels are last.
    positions: tuple[int, int]
    given: Tensor
    #: Whether tokens were mixed between it and the next one.
    tokens_since: bool = False


class _Watch(TorchFunctionMode):
    """Notes the poolings of a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.poolings: list[_Pooling] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").partition(".")[0]  # mean.dim, in an exported program
        # The equation of an einsum comes before its operands.
        given_first = (each for each in args if isinstance(each, Tensor))
        first = next(given_first, (kwargs or {}).get("input"))
        if not isinstance(first, Tensor):
            return result
        if self.poolings and ("attention" in name or (name == "linear" and first.ndim == 3)):
            self.poolings[-1].tokens_since = True
        given = result[0] if isinstance(result, tuple) and result else result
        if first.ndim == 4 and isinstance(given, Tensor) and given.ndim:
            positions = _pooled(name, first, given, args, kwargs or {})
            several = positions and first.shape[positions[0]] * first.shape[positions[1]] > 1
            # Of the input, as far as that has a gradient.
            if positions and several and (given.requires_grad or not first.requires_grad):
                self.poolings.append(_Pooling(first, positions, given))
        return result


def _pooled(
    name: str, x: Tensor, result: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Return the axes of the positions that a call pooled, or None where it did not pool.

    Named poolings leave some positions, any other call none: its result has fewer axes, or one
    position.
    """
    if _POOLS.fullmatch(name):
        return (2, 3)
    batch, channels, height, width = x.shape
    if channels * height == 1:  # one position, and channels last
        return None
    given = kwargs.get("dim", args[1] if len(args) > 1 and name not in _NO_AXES else None)
    given = given if isinstance(given, (tuple, list)) else [given]
    axes = {axis % 4 for axis in given if isinstance(axis, int)}
    # Channels are last in timm's Swin.
    last = axes == {1, 2} and result.shape[-1] == width
    last = last or result.shape[1:] == (channels * height, width) != (channels, height * width)
    if result.ndim < 4:  # a mean over channels keeps the positions
        gone = result.shape[1:] != (height, width) or not axes.isdisjoint({2, 3})
    else:
        gone = last or result.shape[2:].numel() == 1
    return ((1, 2) if last else (2, 3)) if gone and len(result) == batch else None


class FeatureMap(NamedTuple):
    """The feature map that GradCAM weighs, and the output computed from it."""

    #: What the model returned.
    output: Any
    #: Four-dimensional, part of the output's graph.
    values: Tensor
    #: Axes of the positions: (2, 3), or (1, 2) where channels are last.
    positions: tuple[int, int] = (2, 3)


def find_feature_map(
    model: nn.Module, x: Tensor, score: Callable[[Any], Tensor] | None = None
) -> FeatureMap:
    """Run the model and find its last feature map before pooling.

    The calls of the forward pass that pool a four-dimensional tensor of more than one position
    are watched: a pooling, or any other call that leaves none of its positions (a mean, a
    flattening, a convolution that covers it). The last one's argument is the feature map, or, where
    another pooling gave that argument (VGG's last max pool), the argument of that one.
    Squeeze-and-excite poolings come before the last and do not matter.

    Parameters
    ----------
    model
        Classifier in evaluation mode.
    x
        Images (B, C, H, W).
    score
        From the model's output to the number that is explained, where ``x`` has a gradient: the
        last pooling that it depends on counts, whatever other heads the model has.

    Returns
    -------
    FeatureMap
        The model's output and the feature map.

    Raises
    ------
    NotApplicableError
        If nothing was pooled, or the model went on with tokens after the last pooling (a vision
        transformer with a convolutional stem).

    Examples
    --------
    >>> from torchvision.models import squeezenet1_1
    >>> find_feature_map(squeezenet1_1().eval(), torch.rand(1, 3, 64, 64)).values.shape
    torch.Size([1, 1000, 3, 3])
    """
    watch = _Watch()
    with watch:
        output = model(x)
    poolings = [pooling for pooling in watch.poolings if pooling.taken is not x]
    if not poolings:
        _check_watchable(model)
        raise NotApplicableError(_NOT_POOLED)
    last = len(poolings) - 1
    if score is not None and (value := score(output)).requires_grad:
        depends = (i for i in range(last, -1, -1) if _depends(value, poolings[i].given))
        last = next(depends, last)  # without any, the gradient says what is wrong
    *earlier, found = poolings[: last + 1]
    if found.tokens_since:
        # What only made tokens of a map, as a transformer's first layer does, pooled nothing.
        pooled = any(each.given.numel() < each.taken.numel() for each in poolings)
        tokens = "the model works on tokens after its last feature map"
        raise NotApplicableError(tokens if pooled else _NOT_POOLED)
    for before in reversed(earlier):
        if found.taken is before.given:
            found = before
    return FeatureMap(output, found.taken, found.positions)


def _depends(value: Tensor, on: Tensor) -> bool:
    if not on.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(value, on, retain_graph=True, allow_unused=True)
    return gradient is not None


def _check_watchable(model: nn.Module) -> None:
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise NotApplicableError(
            "the model is TorchScript, whose calls and layers cannot be watched",
            "give the model that it was made from",
        )


def mean_gradient(gradient: Tensor, values: Tensor, positions: tuple[int, int]) -> Tensor:
    """Return GradCAM's weights of a feature map."""
    return gradient.mean(dim=positions, keepdim=True)


def cam(
    model: nn.Module,
    x: Tensor,
    score: Callable[[Tensor], Tensor],
    layer: nn.Module | str | None = None,
    weigh: Weigh = mean_gradient,
) -> Tensor:
    """Return the class activation map of a score of the output.

    Parameters
    ----------
    model
        Classifier in evaluation mode.
    x
        Images (B, C, H, W).
    score
        From the model's output to the number that is explained; a sum over the samples.
    layer
        Module of the model, or its dotted name; default as in :func:`find_feature_map`.
    weigh
        How the feature map is weighed; default GradCAM's mean of the gradient.

    Returns
    -------
    Tensor (B, 1, H, W), >= 0.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    >>> cam(model, torch.ones(1, 1, 4, 6), lambda logits: logits[:, 0].sum()).shape
    torch.Size([1, 1, 4, 6])
    """
    if x.ndim != 4:
        raise ValueError(f"inputs: GradCAM expects images (B, C, H, W), got {tuple(x.shape)}")
    # The feature map must depend on something that has a gradient, also in a frozen model.
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        if layer is None:
            found = find_feature_map(model, leaf.clone(), score)
        else:
            found = _output_of(model, layer, leaf.clone())
        gradient = gradient_of(score(found.output), found.values)
    weights = weigh(gradient, found.values.detach(), found.positions)
    channels = 1 if found.positions == (2, 3) else 3
    maps = (weights * found.values.detach()).sum(dim=channels).clamp(min=0)[:, None]
    return F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)


def own_module(model: nn.Module, layer: nn.Module | str) -> tuple[str, nn.Module]:
    """Return the name of a module of a model, and the module, from either.

    Raises
    ------
    InputError
        If it is none of the model's; the message gives the nearest name.

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU())
    >>> own_module(model, model[0])
    ('0', ReLU())
    """
    named: dict[str, nn.Module] = dict(model.named_modules())
    for name, module in named.items():
        if layer in (name, module):
            return name, module
    if isinstance(layer, str):
        raise InputError(f"layer: the model has no module {layer!r}; {nearest(layer, named)}")
    raise InputError(f"layer: {type(layer).__name__} is not a module of the model")


def _output_of(model: nn.Module, layer: nn.Module | str, x: Tensor) -> FeatureMap:
    """Return the output of one of the model's modules as the feature map."""
    # A wrapper that selects the logits has the model's layers under their own names, too.
    inner = model.wrapped_model if isinstance(model, LogitsModel) else model
    _, module = own_module(inner, layer)
    if isinstance(module, torch.jit.ScriptModule):
        _check_watchable(model)
    outputs: list[Any] = []
    own = threading.get_ident()

    def keep(module: nn.Module, args: Any, output: Any) -> Any:
        if threading.get_ident() != own:  # another explanation by the same model
            return output
        outputs.append(output)
        # An in-place operation that follows must not change what was kept.
        return output.clone() if isinstance(output, Tensor) else output

    with module.register_forward_hook(keep):
        result = model(x)
    if not outputs or not isinstance(outputs[-1], Tensor) or outputs[-1].ndim != 4:
        got = tuple(outputs[-1].shape) if outputs and isinstance(outputs[-1], Tensor) else "none"
        raise ValueError(f"layer: expected an output of shape (B, K, h, w), got {got}")
    return FeatureMap(result, outputs[-1])
