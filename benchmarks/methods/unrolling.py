"""What each call of a function becomes where hooks need modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.copies import Build, is_active
from benchmarks.methods.registry import InapplicableError


class _ReLU6(nn.ReLU):
    """A ReLU6 that is a ReLU to those who change the gradient of ReLUs."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu6(input)


class _Clipped(nn.Module):
    """``hardtanh`` as ``low + relu(x - low) - relu(x - high)``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        self.low, self.high = min_val, max_val
        self.rising, self.clipped = nn.ReLU(), nn.ReLU()

    def forward(self, input: Tensor) -> Tensor:
        difference: Tensor = self.rising(input - self.low) - self.clipped(input - self.high)
        return difference + self.low


def _make(module: Callable[..., nn.Module], *names: str) -> Build:
    """Build a module from a call's arguments of these names, given by position or by name."""

    def build(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module:
        given = dict(zip(names, args[1:], strict=False))
        given.update((name, kwargs[name]) for name in names if name in kwargs)
        return module(**given)

    return build


def _pool(module: Callable[..., nn.Module]) -> Build:
    return _make(
        module, "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"
    )


def _clipped_relu(min_val: float = -1.0, max_val: float = 1.0) -> nn.Module:
    if (min_val, max_val) != (0, 6):
        raise InapplicableError(f"hardtanh from {min_val:.1f} to {max_val:.1f} is no ReLU")
    return _ReLU6()


RELUS: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": _make(_ReLU6),
    "hardtanh": _make(_clipped_relu, "min_val", "max_val"),
}
"""For deconvolution and guided backpropagation."""

DEEPLIFT: dict[str, Build] = {
    "relu": _make(nn.ReLU),
    "relu6": lambda args, kwargs: _Clipped(0.0, 6.0),
    "hardtanh": _make(_Clipped, "min_val", "max_val"),
    "elu": _make(nn.ELU, "alpha"),
    "leaky_relu": _make(nn.LeakyReLU, "negative_slope"),
    "sigmoid": _make(nn.Sigmoid),
    "tanh": _make(nn.Tanh),
    "softplus": _make(nn.Softplus, "beta", "threshold"),
    "softmax": _make(nn.Softmax, "dim"),
    "max_pool1d": _pool(nn.MaxPool1d),
    "max_pool2d": _pool(nn.MaxPool2d),
    "max_pool3d": _pool(nn.MaxPool3d),
}
"""The functions that Captum's DeepLIFT has a rule for."""

_PRODUCTS = frozenset({"mul", "matmul", "bmm", "mm", "einsum", "div"})
_UNLINEAR = frozenset(
    {"gelu", "silu", "mish", "hardswish", "hardsigmoid", "selu", "celu", "exp"}
    | {"layer_norm", "group_norm", "instance_norm", "rms_norm"}
    | {"scaled_dot_product_attention", "multi_head_attention_forward"}
)


def refuse_unlinear(name: str, args: tuple[Any, ...]) -> None:
    """Refuse what Captum would silently propagate a gradient through."""
    if name in _UNLINEAR:
        raise InapplicableError(f"DeepLIFT has no rule for {name} in Captum")
    if name in _PRODUCTS and sum(map(is_active, args)) > 1:
        raise InapplicableError("DeepLIFT has no rule for products of two activations in Captum")
