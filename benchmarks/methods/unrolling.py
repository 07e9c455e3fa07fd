"""What each call of a function becomes where hooks need modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.copies import Build
from benchmarks.methods.registry import InapplicableError

__all__ = ["DEEPLIFT", "RELUS", "refuse_unlinear"]


class _ReLU6(nn.ReLU):
    """A ReLU6 that is a ReLU to those who change the gradient of ReLUs."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)


class _Clipped(nn.Module):
    """``hardtanh`` as ``low + relu(x - low) - relu(x - high)``."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.rising, self.clipped = nn.ReLU(), nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        difference: Tensor = self.rising(input - self.low) - self.clipped(input - self.high)
        return difference + self.low


def _make(module: Callable[..., nn.Module], *names: str) -> Build:
    """Build a module from a call's arguments of these names, given by position or by name."""

    def build(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
        given = dict(zip(names, args, strict=False))
        given.update((name, kwargs[name]) for name in names if name in kwargs)
        return module(**given)

    return build


def _pool(module: Callable[..., nn.Module]) -> Build:
    return _make(
        module, "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"
    )


def _bounds(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[float, float]:
    low = args[0] if args else kwargs.get("min_val", -1.0)
    high = args[1] if len(args) > 1 else kwargs.get("max_val", 1.0)
    return float(low), float(high)


def _clipped(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    return _Clipped(*_bounds(args, kwargs))


def _hardtanh_as_relu(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    low, high = _bounds(args, kwargs)
    if (low, high) != (0.0, 6.0):
        raise InapplicableError(f"hardtanh from {low} to {high} is no ReLU")
    return _ReLU6()


def _softmax(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
    return nn.Softmax(dim=args[0] if args else kwargs["dim"])


RELUS: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": _make(_ReLU6),
    "hardtanh": _hardtanh_as_relu,
}
"""For deconvolution and guided backpropagation."""

DEEPLIFT: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": lambda args, kwargs: _Clipped(0.0, 6.0),
    "hardtanh": _clipped,
    "elu": _make(nn.ELU, "alpha"),
    "leaky_relu": _make(nn.LeakyReLU, "negative_slope"),
    "sigmoid": _make(nn.Sigmoid),
    "tanh": _make(nn.Tanh),
    "softplus": _make(nn.Softplus, "beta", "threshold"),
    "softmax": _softmax,
    "max_pool1d": _pool(nn.MaxPool1d),
    "max_pool2d": _pool(nn.MaxPool2d),
    "max_pool3d": _pool(nn.MaxPool3d),
}
"""The functions that Captum's DeepLIFT has a rule for."""

_PRODUCTS = frozenset({"mul", "matmul", "bmm", "mm", "einsum", "div"})
_UNLINEAR = frozenset(
    {
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "selu",
        "celu",
        "exp",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "rms_norm",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
    }
)


def refuse_unlinear(name: str, args: tuple[Any, ...]) -> None:
    """Refuse what Captum would silently propagate a gradient through."""
    active = [one for one in args if isinstance(one, Tensor) and one.requires_grad]
    if name in _UNLINEAR:
        raise InapplicableError(f"DeepLIFT has no rule for {name} in Captum")
    if name in _PRODUCTS and len(active) > 1:
        raise InapplicableError("DeepLIFT has no rule for products of two activations in Captum")
