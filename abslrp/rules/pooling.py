"""Pooling, reductions, interpolation: eq. 12 with constant weights; max pooling to the winner."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from abslrp.plan import entrywise
from abslrp.plan.accounts import Account, Custom, Product, Routing, UncoveredError, signed
from abslrp.plan.axes import aligned, but, only, probe, reduced
from abslrp.plan.factors import Factor, above, inverse, negative, positive, turned
from abslrp.plan.linear_maps import Adjoint
from abslrp.plan.routes import at_once, by_gradient
from abslrp.registry import ABSLRP, COMMON, RuleSet
from abslrp.rules import structural
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Axes, Call, Value
from abslrp.tape.values import by_name

aten = torch.ops.aten

POOLS = (
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
    "_adaptive_avg_pool2d _adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d "
    "upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d "
    "_upsample_bilinear2d_aa col2im"
)
SIGNED = "upsample_bicubic2d _upsample_bicubic2d_aa"
REDUCTIONS = "mean sum cumsum"
WINNERS = (
    "max_pool1d max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d "
    "adaptive_max_pool3d amax amin max min maximum minimum topk sort kthvalue median mode "
    "aminmax cummax cummin fmax fmin"
)


def axes_of(call: Call, value: Value) -> Any:
    """Axes of a pooling or reduction: what is summed over is mixed."""
    if call.short in REDUCTIONS.split():
        return reduced(_dims(call))(call, value)
    space = 2 if call.short == "col2im" else int(re.findall(r"(\d)d", call.short)[0])
    return but(*range(-space, 0))(call, value)


def _dims(call: Call, default: Any = None) -> Any:
    return by_name(call.operator, call.args, call.kwargs).get("dim", default)


def transposed(
    call: Call, input: Value, before: Factor, *after: Factor, axes: Axes = axes_of,
    curved: bool = False, negates: bool = False,
) -> Product:  # fmt: skip
    """``R = after * W^T (before * R)`` of a call that is linear in its input."""
    map = Adjoint(torch.empty(0), by_gradient(call, curved=curved))
    sure = input.nonnegative and call.short not in SIGNED.split()
    return Product(input, map, [before], after=after, axes=axes, nonnegative=sure, negates=negates)


def register(
    rules: RuleSet,
    before: Callable[[Value], Factor],
    after: Callable[[Value], Factor],
    contrary: Callable[[Value], Factor],
) -> Callable[..., Account]:
    """Give what adds entries up, with weights that are not negative, a rule.

    Parameters
    ----------
    rules
        Where it is registered.
    before
        What R is multiplied by, made of the output.
    after
        What its way back is multiplied by, made of the input.
    contrary
        The same for the relevance of its negative, which is made of the input's negative.

    Returns
    -------
    The rule of pooling and reductions.
    """
    share = {1: after, -1: contrary}

    @signed
    def shared(call: Call, input: Value, *, sign: int, **said: Any) -> Product:
        factors = before(call.output), share[sign](input)
        return transposed(call, input, *factors, negates=sign < 0, **said)

    @rules.rule(POOLS, REDUCTIONS)
    def pool(call: Call, input: Value, *args: Any, **kwargs: Any) -> Account:
        return shared(call, input)

    @rules.rule("grid_sampler_2d grid_sampler_3d")
    @structural.of_the_first
    def sampled(call: Call, input: Value, grid: Any, interpolation: int, *options: Any) -> Account:
        # The places that values are taken between count as constants, as indices do.
        if interpolation == 2:
            raise UncoveredError("bicubic weights, which have two signs")
        return shared(call, input, axes=only(0), curved=True)

    @rules.rule("torchvision::roi_align")
    @structural.of_the_first
    def regions(call: Call, input: Value, boxes: Any, *options: Any) -> Account:
        # Means over boxes, which count as constants, too.
        return shared(call, input, axes=only(), curved=True)

    @rules.rule("index_add index_reduce scatter_add scatter_reduce index_put _unsafe_index_put put")
    def added(call: Call, input: Any, *args: Any, **kwargs: Any) -> Account:
        # Where an index says.
        name, sure = call.short, structural.kept_sign(call, indexed=True)
        if "put" in name and not structural.accumulates(call):
            return structural.filled(call, input, *args, **kwargs)
        if name.endswith("_reduce") and args[3] not in ("sum", "mean"):
            if args[3] == "prod":
                raise UncoveredError("products of what an index names")
            moved = by_gradient(call, curved=True)  # to the extremes
            return Routing(moved, axes=probe, nonnegative=sure)
        if kwargs.get("alpha", 1) < 0:
            raise UncoveredError("a negative alpha")
        adjoint, s = by_gradient(call), [before(call.output)]

        @signed
        def account(*, sign: int) -> Custom:
            made = share[sign]

            def propagate(relevance: Tensor) -> list[Tensor | None]:
                sent = adjoint([entrywise.multiplied(relevance, s, owned=False)])
                return [
                    None if one is None else entrywise.multiplied(one, [made(value)], owned=False)
                    for one, value in zip(sent, call.inputs, strict=True)
                ]

            return Custom(propagate, axes=probe, nonnegative=sure, negates=sign < 0)

        return account()

    return pool


#: Eq. 12 for a linear map without negative weights: ``R = x+ W^T s``.
register(ABSLRP, lambda h: inverse(h, EPSILON), positive, negative)


@ABSLRP.rule("prod cumprod")
@signed
def multiplied(call: Call, input: Value, *args: Any, sign: int, **kwargs: Any) -> Account:
    """Eq. 12 for each factor with the others as its weight: R where the product is positive."""
    if call.output.dtype != input.dtype:
        raise UncoveredError("a product in another type")
    name = "cumsum" if "cumprod" in call.name else "sum"
    alike = dataclasses.replace(call, operator=getattr(aten, name))
    return transposed(alike, input, above(turned(call.output, sign)), axes=reduced(_dims(call)))


@ABSLRP.rule(SIGNED)
@signed
def bicubic(call: Call, input: Value, *options: Any, sign: int) -> Account:
    """Eq. 12 where weights have two signs: ``R = (x W^T s + |x| |W|^T s) / 2``.

    Bicubic weights are a product of one matrix for each axis, and so is their absolute value.
    """
    output, plain = call.output, by_gradient(call)

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        x = input.tensor
        s = relevance / (output.tensor.abs() + EPSILON)
        rows, columns = (_weights(call, axis).abs().to(s.dtype) for axis in (0, 1))
        spread = rows.T @ s @ columns
        (sent,) = plain([s])
        assert sent is not None
        return [(sign * sent * x + spread * x.abs()) / 2]

    return Custom(propagate, axes=axes_of, negates=sign < 0)


def _weights(call: Call, axis: int) -> Tensor:
    """Return the matrix (out, in) of an interpolation along one axis."""
    input, output = call.inputs[0], call.output
    eye = torch.eye(input.shape[2 + axis], dtype=input.dtype, device=input.device)
    # Two columns: of one, torch's antialiased kernel returns the first row for all.
    eye = eye[:, None, :, None].expand(-1, -1, -1, 2).contiguous()
    # Scales come as a list of both, or one by one.
    scales = call.args[3] if len(call.args) == 4 else call.args[3:]
    scale = scales[axis] if scales else None
    operator: Any = getattr(aten, call.short).default
    line: Tensor = operator(eye, [output.shape[2 + axis], 2], call.args[2], scale, None)
    return line[:, 0, :, 0].T


@COMMON.rule(aten.max_pool2d_with_indices)
def max_pool2d(call: Call, input: Value, *options: Any) -> Account:
    """To the winner."""
    given = [*options, *[[], 0, 1, False][len(options) - 1 :]]
    indices = call.results[1]

    def whole(received: Tensor) -> Tensor:
        like = received.new_empty(1).expand(input.shape)
        result = received.new_empty(len(received), *input.shape)
        for one, into in zip(received, result, strict=True):
            aten.max_pool2d_with_indices_backward.grad_input(
                one.contiguous(), like, *given, indices, grad_input=into
            )
        return result

    return Routing(at_once(whole), lossless=True, axes=axes_of, nonnegative=input.nonnegative)


def _winner_axes(call: Call, value: Value) -> Any:
    name = call.short
    if "pool" in name:
        return axes_of(call, value)
    if "other" in by_name(call.operator, call.args, call.kwargs):
        return aligned(call, value)
    every = call.output.ndim == 0 or name in ("amax", "amin", "max", "min", "aminmax")
    return reduced(_dims(call, None if every else -1))(call, value)


@COMMON.rule(WINNERS)
def winner(call: Call, *args: Any, **kwargs: Any) -> Account:
    """To the winner."""
    to_winner, sure = by_gradient(call, curved=True), structural.kept_sign(call)
    return Routing(to_winner, axes=_winner_axes, nonnegative=sure)
