"""Complex numbers have the maps of the same network written with real and imaginary parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp
from tests.abslrp.single import check, draw, tensor
from tests.naive import rules

Parts = tuple[Tensor, Tensor]
WEIGHT = torch.randn(4, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(5))
EARS = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
X = torch.rand(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 0.3


class Between(nn.Module):
    """What is done to complex numbers (B, 4), between two layers; or to their parts."""

    def __init__(self, call: Callable[..., Any], *, written: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.head = nn.Linear(6, 8).double(), nn.Linear(8, 3).double()
        self.call, self.written = call, written

    def forward(self, x: Tensor) -> Tensor:
        parts = self.first(x).view(-1, 4, 2)
        if self.written:
            pair = torch.stack(self.call(parts[..., 0], parts[..., 1]), -1)
        else:
            pair = torch.view_as_real(self.call(torch.view_as_complex(parts)).resolve_conj())
        logits: Tensor = self.head(pair.flatten(1))
        return logits


def times(a: Tensor, b: Tensor, c: Any, d: Any) -> Parts:
    return a * c - b * d, a * d + b * c


def linear(a: Tensor, b: Tensor) -> Parts:
    real, imag = WEIGHT.real, WEIGHT.imag
    return F.linear(a, real) - F.linear(b, imag), F.linear(a, imag) + F.linear(b, real)


def convolved(a: Tensor, b: Tensor) -> Parts:
    kernels, bias = WEIGHT[:2, None, :3], WEIGHT[0, :2, None]
    p, q = (
        [F.conv1d(one[:, None], w, padding=1) for w in (kernels.real, kernels.imag)]
        for one in (a, b)
    )
    real, imag = p[0] - q[1] + bias.real, p[1] + q[0] + bias.imag
    return real[..., 1:3].flatten(1), imag[..., 1:3].flatten(1)


def silenced(z: Tensor) -> Tensor:
    z *= 2j
    z = z / 1j
    z[:, 2:] = 0
    return z


def turned_back(a: Tensor, b: Tensor) -> Parts:
    p, q = times(*times(a, b, 0.0, 2.0), 0.0, -1.0)
    return p * EARS, q * EARS


def by_size(a: Tensor, b: Tensor) -> Parts:
    size = (a.square() + b.square()).sqrt() + 1
    return a / size, b / size


CALLS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Parts]]] = {
    "by a number": (lambda z: z * (0.3 - 0.5j), lambda a, b: times(a, b, 0.3, -0.5)),
    "by i": (lambda z: z * 1j, lambda a, b: times(a, b, 0.0, 1.0)),
    "over a number": (lambda z: z / 2j, lambda a, b: times(a, b, 0.0, -0.5)),
    "by a constant": (
        lambda z: z * WEIGHT[0],
        lambda a, b: times(a, b, WEIGHT[0].real, WEIGHT[0].imag),
    ),
    "product": (lambda z: z * z.flip(1), lambda a, b: times(a, b, a.flip(1), b.flip(1))),
    "square": (lambda z: z**2, lambda a, b: times(a, b, a, b)),
    "sum": (lambda z: z + z.flip(1), lambda a, b: (a + a.flip(1), b + b.flip(1))),
    "difference": (lambda z: z - z.flip(1), lambda a, b: (a - a.flip(1), b - b.flip(1))),
    "mean": (
        lambda z: z.mean(1, keepdim=True).expand(-1, 4),
        lambda a, b: (a.mean(1, keepdim=True).expand(-1, 4), b.mean(1, keepdim=True).expand(-1, 4)),
    ),
    "conjugate": (lambda z: z.conj(), lambda a, b: (a, -b)),
    "negative": (lambda z: -z, lambda a, b: (-a, -b)),
    "matrix product": (lambda z: z @ WEIGHT.T, linear),
    "layer": (lambda z: F.linear(z, WEIGHT), linear),
    "einsum": (lambda z: torch.einsum("bi,oi->bo", z, WEIGHT), linear),
    "convolution": (
        lambda z: F.conv1d(z[:, None], WEIGHT[:2, None, :3], WEIGHT[0, :2], padding=1)[
            ..., 1:3
        ].flatten(1),
        convolved,
    ),
    "written to": (silenced, turned_back),
    "by absolute values": (lambda z: z / (z.abs() + 1), by_size),
    "rectified parts": (
        lambda z: torch.complex(torch.relu(z.real), torch.relu(z.imag)),
        lambda a, b: (torch.relu(a), torch.relu(b)),
    ),
    "polar": (
        lambda z: torch.polar(z.real, z.imag),
        lambda a, b: (a * b.cos(), a * b.sin()),
    ),
    "exponential": (torch.exp, lambda a, b: (a.exp() * b.cos(), a.exp() * b.sin())),
}


@pytest.mark.filterwarnings("ignore:relevance:RuntimeWarning")
@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("name", CALLS)
def test_arithmetic_is_that_of_the_parts(name: str, rules: str) -> None:
    found, wanted = (
        Between(call, written=written).eval()
        for call, written in zip(CALLS[name], (False, True), strict=True)
    )
    torch.testing.assert_close(found(X), wanted(X))
    for options in ({"contrast": "streams"}, {"contrast": "signed"}, {"conserve": None}):
        maps = [
            abslrp.explain(one, X, [0, 1, 2], rules=rules, **options) for one in (found, wanted)
        ]
        torch.testing.assert_close(*maps)
        assert maps[0].any()


def spectrum(way: Callable[[Tensor], Tensor]) -> nn.Module:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.head = nn.Linear(9, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            window = torch.hann_window(16, dtype=x.dtype)
            found: Tensor = self.head(
                way(torch.stft(x, 16, 8, 16, window, return_complex=True)).mean(-1)
            )
            return found

    return Spectrum().eval()


@pytest.mark.parametrize(
    "way",
    [lambda z: z.abs().square(), lambda z: z.real.square() + z.imag.square()],
    ids=["absolute", "parts"],
)
def test_a_power_spectrum_however_it_is_written(way: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    start = torch.eye(3, dtype=torch.float64)[:2]
    found = abslrp.relevance(spectrum(way), x, start)
    written = spectrum(lambda z: torch.view_as_real(z).square().sum(-1))
    torch.testing.assert_close(found.sum(1), start.sum(1))
    torch.testing.assert_close(found, abslrp.relevance(written, x, start))


@pytest.mark.parametrize(
    ("call", "message"),
    [(torch.tanh, "a function of complex numbers"), (lambda z: z**3, "to the power of 3")],
)
def test_other_functions_are_refused(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises((abslrp.UnknownOperationError, ValueError), match=message):
        abslrp.explain(Between(call, written=False).eval(), X, 0)


def test_writes_to_memory_of_two_types_are_refused() -> None:
    def turned(z: Tensor) -> Tensor:
        pair = torch.view_as_real(z)
        z *= 1j
        return torch.view_as_complex(pair * 2)

    with pytest.raises(ValueError, match="writes to memory that it sees as real and as complex"):
        abslrp.explain(Between(turned, written=False).eval(), X, 0)


def fourier(n: int, sign: int) -> Any:
    """Return the matrix of a Fourier transform, by its definition."""
    steps = np.outer(np.arange(n), np.arange(n))
    return np.exp(sign * -2j * np.pi * steps / n)


def of_parts(matrix: Any) -> Any:
    """Return the matrix of real and imaginary parts, in turn, of a matrix of complex numbers."""
    pairs = np.array([[matrix.real, -matrix.imag], [matrix.imag, matrix.real]])
    return pairs.transpose(2, 0, 3, 1).reshape(2 * matrix.shape[0], 2 * matrix.shape[1])


def half(n: int) -> Any:
    """Return the matrix (n, 2 (n // 2 + 1)) from half a spectrum, in parts, to real numbers."""
    whole = fourier(n, -1)[:, : n // 2 + 1] / n
    whole[:, 1 : (n + 1) // 2] *= 2  # what is left out is the conjugate
    return np.stack([whole.real, -whole.imag], -1).reshape(n, -1)


def pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())


def parts(z: Tensor) -> Tensor:
    return torch.view_as_real(z).flatten(-2)


TRANSFORMS: list[tuple[Callable[[Tensor], Tensor], int, Any]] = [
    (lambda x: parts(torch.fft.fft(pairs(x))), 10, of_parts(fourier(5, 1))),
    (lambda x: parts(torch.fft.ifft(pairs(x))), 8, of_parts(fourier(4, -1)) / 4),
    (lambda x: parts(torch.fft.fft(pairs(x), norm="ortho")), 8, of_parts(fourier(4, 1)) / 2),
    (lambda x: parts(torch.fft.rfft(x)), 5, of_parts(fourier(5, 1)[:3])[:, ::2]),
    (lambda x: parts(torch.fft.fft(x)), 5, of_parts(fourier(5, 1))[:, ::2]),
    (lambda x: torch.fft.irfft(pairs(x)), 8, half(6)),
    (lambda x: torch.fft.irfft(pairs(x), 5), 6, half(5)),
    (lambda x: torch.fft.irfft(pairs(x), norm="forward"), 8, half(6) * 6),
]


@pytest.mark.parametrize(("call", "size", "matrix"), TRANSFORMS, ids=range(len(TRANSFORMS)))
def test_a_fourier_transform_is_a_linear_layer(call: Any, size: int, matrix: Any) -> None:
    x = draw(2, 3, size)
    np.testing.assert_allclose(call(tensor(x)), x @ matrix.T, atol=1e-12)
    check(call, [x], lambda v, R: [rules.linear(v[0], matrix, None, R)])


def along(axis: int, x: Any, matrix: Any, R: Any) -> Any:
    """Eq. 12 for a matrix along an axis; the last but one has real and imaginary parts beside."""
    if axis == -1:
        return rules.linear(x, matrix, None, R)
    n = x.shape[-2]
    rows, given = (one.reshape(*one.shape[:-1], -1, 2).swapaxes(-3, -2) for one in (x, R))
    rows, given = (one.reshape(*one.shape[:-2], -1) for one in (rows, given))
    sent = rules.linear(rows, matrix, None, given).reshape(*rows.shape[:-1], n, 2)
    return sent.swapaxes(-3, -2).reshape(x.shape)


def test_several_axes_are_transformed_one_after_the_other() -> None:
    """Of real numbers the last one first; to real numbers it is last."""
    columns, rows = of_parts(fourier(3, 1)), of_parts(fourier(5, 1)[:3])[:, ::2]
    back, real = of_parts(fourier(4, -1)) / 4, half(6)

    def spectrum(v: Any, R: Any) -> Any:
        between = parts(torch.fft.rfft(tensor(v[0]))).numpy()
        return [along(-1, v[0], rows, along(-2, between, columns, R))]

    def signal(v: Any, R: Any) -> Any:
        between = parts(torch.fft.ifft(pairs(tensor(v[0])), dim=-2)).numpy()
        return [along(-2, v[0], back, along(-1, between, real, R))]

    check(lambda x: parts(torch.fft.rfft2(x)), [draw(2, 3, 5)], spectrum)
    check(lambda x: torch.fft.irfft2(pairs(x)), [draw(2, 4, 8)], signal)
