"""The rules, one module per family of operations; importing this package registers them."""

from abslrp.rules import (
    absolute,
    activation,
    addition,
    attention,
    multiplication,
    normalization,
    pooling,
    softmax,
    structural,
)

__all__ = [
    "absolute",
    "activation",
    "addition",
    "attention",
    "multiplication",
    "normalization",
    "pooling",
    "softmax",
    "structural",
]
