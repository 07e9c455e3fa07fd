"""Complex numbers: their arithmetic is written out by real and imaginary parts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.registry import COMMON, COMPLEX

aten = torch.ops.aten


def parts(z: Any) -> tuple[Any, Any]:
    """Return the real part and the imaginary one, None where all are real."""
    if not isinstance(z, Tensor):
        return z.real, z.imag or None
    if not z.is_complex():
        return z, None
    real, imag = torch.view_as_real(z.resolve_conj()).unbind(-1)
    return real, imag


def product(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``(a + ib)(c + id) = (ac - bd) + i(ad + bc)``."""

    def written(left: Any, right: Any, bias: Any = None, *options: Any) -> Tensor:
        (a, b), (c, d) = parts(left), parts(right)
        given = (None, *options) if options else ()

        def by(x: Any, w: Any) -> Tensor:
            return operator(x, w, *given)

        if b is None:
            made = by(a, c), by(a, d)
        elif d is None:
            made = by(a, c), by(b, c)
        else:
            made = by(a, c) - by(b, d), by(a, d) + by(b, c)
        result: Tensor = torch.complex(*made)
        return result if bias is None else result + bias.reshape(-1, *[1] * (right.ndim - 2))

    return written


CONVOLUTIONS = ["conv1d", "conv2d", "conv3d", "convolution"]
for _name in ["mul", "multiply", "matmul", "mm", "bmm", "mv", "dot", "linear", *CONVOLUTIONS]:
    COMPLEX[_name] = product(getattr(aten, _name))


def by_parts(operator: Callable[..., Tensor], count: int) -> Callable[..., Tensor]:
    """Return a call that is linear in its first arguments, of real and imaginary parts each."""

    def written(*args: Any, **kwargs: Any) -> Tensor:
        real, imag = zip(*(parts(one) for one in args[:count]), strict=True)
        zeros = [torch.zeros_like(a) if isinstance(a, Tensor) else 0 for a in real]
        imag = tuple(zero if b is None else b for b, zero in zip(imag, zeros, strict=True))
        rest = args[count:]
        return torch.complex(operator(*real, *rest, **kwargs), operator(*imag, *rest, **kwargs))

    return written


for _count, _names in (1, "neg negative sum mean cumsum"), (2, "add sub subtract rsub"):
    COMPLEX |= {one: by_parts(getattr(aten, one), _count) for one in _names.split()}


@COMMON.decomposition("_conj conj_physical")
def conjugate(z: Tensor) -> Tensor:
    """Turn the imaginary part's sign."""
    real, imag = parts(z)
    return z if imag is None else torch.complex(real, -imag)


def quotient(z: Any, divisor: Any) -> Tensor:
    """Multiply by the inverse of the divisor, which counts as constant."""
    real, imag = parts(divisor)
    if imag is None:
        return torch.complex(*(one / real for one in parts(z)))
    number = isinstance(divisor, complex)
    result: Tensor = z * (1 / (divisor if number else divisor.detach()))
    return result


def power(z: Tensor, exponent: Any = 2) -> Tensor:
    """Multiply with itself."""
    if exponent != 2:
        raise ValueError(
            f"model: a complex number to the power of {exponent}; expected that of 2, or what its "
            "real and imaginary parts are written out"
        )
    return z * z


def magnitude(z: Tensor) -> Tensor:
    """Return the root of the sum of both squares."""
    return torch.view_as_real(z.resolve_conj()).square().sum(-1).sqrt()


def exponential(z: Tensor) -> Tensor:
    """Return ``e^a (cos b + i sin b)``."""
    real, imag = parts(z)
    return torch.polar(real.exp(), imag)


COMPLEX |= {"div": quotient, "divide": quotient, "true_divide": quotient, "square": power}
COMPLEX |= {"pow": power, "abs": magnitude, "absolute": magnitude, "exp": exponential}


@COMMON.decomposition(aten.polar)
def polar(size: Tensor, angle: Tensor) -> Tensor:
    """Return ``r (cos b + i sin b)``."""
    return torch.complex(size * angle.cos(), size * angle.sin())


@COMMON.decomposition(aten.complex)
def of_parts(real: Tensor, imag: Tensor) -> Tensor:
    """Put two parts together."""
    pair = torch.broadcast_tensors(real, imag)  # type: ignore[no-untyped-call]
    return torch.view_as_complex(torch.stack(pair, -1)).clone()  # that may be written to
