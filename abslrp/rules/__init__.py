"""The rules, one module per family of operations; importing this package registers them."""

from abslrp.rules import (
    absolute,
    activation,
    addition,
    composites,
    fourier,
    multiplication,
    normalization,
    pooling,
    recurrent,
    softmax,
    structural,
)

__all__ = [
    "absolute",
    "activation",
    "addition",
    "composites",
    "fourier",
    "multiplication",
    "normalization",
    "pooling",
    "recurrent",
    "softmax",
    "structural",
]
