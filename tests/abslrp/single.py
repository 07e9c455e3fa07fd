"""One torch operation as a network, explained by absLRP, beside its naive reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import abslrp
from tests.naive.contributions import Array

Call = Callable[..., Tensor]
Naive = Callable[[list[Array], Array], Sequence[Array]]


def draw(*shape: int, seed: int = 0) -> Any:
    """Standard normal values, float64."""
    return np.random.default_rng([seed, 2, *shape]).standard_normal(shape)


def tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


class Single(nn.Module):
    """``call`` on the parts of one flat input (B, D), its result flattened to (B, N)."""

    def __init__(self, call: Call, shapes: Sequence[tuple[int, ...]], rectify: bool) -> None:
        super().__init__()
        self.call, self.shapes, self.rectify = call, shapes, rectify

    def parts(self, x: Tensor) -> list[Tensor]:
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        parts = [
            part.reshape(len(x), *shape)
            for part, shape in zip(x.split(sizes, 1), self.shapes, strict=True)
        ]
        return [part.relu() for part in parts] if self.rectify else parts

    def forward(self, x: Tensor) -> Tensor:
        return self.call(*self.parts(x)).flatten(1)


def check(
    call: Call,
    inputs: Sequence[Array],
    naive: Naive,
    *,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    rectify: Sequence[bool] = (False, True),
    samples: Literal["rows", "whole"] = "rows",
) -> None:
    """Compare with the reference: signed and non-negative inputs, signed and other relevance.

    The relevance is eq. 12 to the letter; inputs known to be non-negative take another path.
    """
    for rectified in rectify:
        values = [np.maximum(x, 0.0) for x in inputs] if rectified else list(inputs)
        flat = np.concatenate([x.reshape(len(x), -1) for x in inputs], axis=1)
        model = Single(call, [x.shape[1:] for x in inputs], rectified).eval()
        with torch.no_grad():
            h = call(*[tensor(x) for x in values])
        R = draw(*h.shape, seed=7)
        for start in (R, np.abs(R)):
            given = start.reshape(len(flat), -1)
            got = abslrp.relevance(model, flat, given, conserve=None, samples=samples)
            expected = naive(values, start)
            wanted = np.concatenate([r.reshape(len(flat), -1) for r in expected], axis=1)
            assert np.abs(wanted).max() > 0
            np.testing.assert_allclose(got, wanted, rtol=rtol, atol=atol)
