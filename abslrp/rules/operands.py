"""Which part of a call is the input, the weights and the bias: no equation is here."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from abslrp.plan.accounts import Account, UncoveredError, signed
from abslrp.plan.axes import but, only
from abslrp.plan.linear_maps import Convolution, Left, LinearMap, Operand, Right, Rows
from abslrp.registry import RuleSet
from abslrp.rules.decompositions import plus
from abslrp.tape import Axes, Call, Value, WrittenOut
from abslrp.tape.values import by_name

aten = torch.ops.aten


CONVOLUTIONS = "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"
#: What is so of a convolution whose call does not say it.
_UNSAID: dict[str, Any] = {"bias": None, "stride": [1], "padding": [0], "output_padding": [0]}
_UNSAID |= {"dilation": [1], "groups": 1}


class Linear(NamedTuple):
    """A linear map of one value by constants."""

    input: Value
    map: LinearMap
    bias: Tensor | None
    axes: Axes
    convolves: bool = False


class Pair(NamedTuple):
    """A product of two values: a linear map of each with the other as weights."""

    first: Value
    of_first: LinearMap
    second: Value
    of_second: LinearMap
    axes: Axes


LinearRule = Callable[[Call, Linear], Account]
PairRule = Callable[[Call, Pair], Account]


def _with_contrary(rule: LinearRule) -> LinearRule:
    """Let the negative of a linear map be the map of opposite weights."""

    @signed
    def account(call: Call, given: Linear, *, sign: int) -> Account:
        found = rule(call, given if sign > 0 else _opposite(given))
        found.linear = given.map
        return found

    return account


def _without_bias(call: Call) -> Callable[..., Tensor]:
    """Write a layer out as one without bias, and a sum."""
    operator: Any = call.operator

    def written(input: Tensor, weight: Tensor, bias: Tensor, *options: Any) -> Tensor:
        made: Tensor = operator(input, weight, None, *options)
        return made + bias.reshape(-1, *[1] * (weight.ndim - 2))

    return written


def _opposite(given: Linear) -> Linear:
    bias = None if given.bias is None else -given.bias
    return given._replace(map=replace(given.map, weight=-given.map.weights), bias=bias)


def register_linear(rules: RuleSet, rule: LinearRule, pair: PairRule) -> None:
    """Give all linear layers and convolutions a rule; ``pair`` where weights are made of values."""
    rule = _with_contrary(rule)

    def account(call: Call, given: Linear, weight: Any, of_weight: LinearMap) -> Account:
        input, map, bias, axes, _ = given
        if isinstance(bias, Value):
            raise WrittenOut(_without_bias(call))
        if not isinstance(weight, Value):
            return rule(call, given)
        if not isinstance(input, Value):
            return rule(call, Linear(weight, of_weight, bias, only()))

        def both(call: Call, value: Value) -> Any:
            return (axes if value is input else only())(call, value)

        return pair(call, Pair(input, map, weight, of_weight, both))

    @rules.rule(aten.linear)
    def linear(call: Call, input: Any, weight: Any, bias: Any = None) -> Account:
        of_weight = Operand(input, lambda w, x: aten.linear(x, w), weight.shape)
        if weight.ndim == 1:  # of one unit, without a bias
            raise WrittenOut(lambda x, row, *bias: aten.linear(x, row[None]).squeeze(-1))
        return account(call, Linear(input, Rows(dense(weight)), bias, but(-1)), weight, of_weight)

    @rules.rule(aten.addmm, aten._sparse_addmm)
    def addmm(
        call: Call, bias: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1
    ) -> Account:
        if isinstance(bias, Value) or isinstance(left, Value) == isinstance(right, Value):
            raise WrittenOut(plus(torch.mm))
        bias = bias * beta if beta else None  # 0 leaves out even NaN
        left, right = dense(left), dense(right)
        if isinstance(left, Value):
            return rule(call, Linear(left, Right(right * alpha), bias, but(1)))
        return rule(call, Linear(right, Left(left * alpha), bias, but(0)))

    @rules.rule("convolution", CONVOLUTIONS)
    def convolution(call: Call, input: Any, weight: Any, *args: Any, **kwargs: Any) -> Account:
        said = _UNSAID | {"transposed": "transpose" in call.short}
        said |= by_name(call.operator, call.args, call.kwargs)
        dims, bias, operator = weight.ndim - 2, said["bias"], call.operator
        if input.ndim == dims + 1:
            raise WrittenOut(lambda x, *args, **named: operator(x[None], *args, **named)[0])

        def each(name: str) -> list[int]:
            return [*said[name]] * (dims if len(said[name]) == 1 else 1)

        map = Convolution(
            weight, tuple(input.shape), each("stride"), each("padding"), each("dilation"),
            said["transposed"], each("output_padding"), said["groups"],
        )  # fmt: skip
        of_weight = Operand(input, lambda w, x: map.forward(x, w), weight.shape)
        if bias is not None and not isinstance(bias, Value):
            # A view would have what the model writes to it later.
            bias = bias.clone().reshape(-1, *[1] * dims)
        return account(call, Linear(input, map, bias, only(0), True), weight, of_weight)


def dense(weight: Any) -> Any:
    """Return constants of a sparse layout as a plain tensor: they are told apart by their sign."""
    sparse = isinstance(weight, Tensor) and weight.layout != torch.strided
    return weight.to_dense() if sparse else weight


def register_products(rules: RuleSet, linear: LinearRule, pair: PairRule) -> None:
    """Give all matrix products a rule: with constants, and of two values."""
    linear = _with_contrary(linear)

    @rules.rule("matmul mm bmm mv dot", aten._sparse_mm.default)
    def matmul(call: Call, left: Any, right: Any, *args: Any) -> Account:
        left, right = dense(left), dense(right)
        vector = left.ndim == 1 or right.ndim == 1
        if isinstance(left, Value) and isinstance(right, Value):
            if vector:
                raise UncoveredError(
                    f"a product of two activations needs two axes each, got shapes "
                    f"{tuple(left.shape)} and {tuple(right.shape)}"
                )
            return pair(call, Pair(left, Right(right), right, Left(left), _axes(left, right)))
        if vector:
            raise WrittenOut(_by_matrices)
        if isinstance(left, Value):
            return linear(call, Linear(left, Right(right), None, _axes(left, right)))
        return linear(call, Linear(right, Left(left), None, _axes(left, right)))


def _by_matrices(left: Tensor, right: Tensor) -> Tensor:
    """Take a vector for a matrix of one row, or of one column."""
    row, column = left.ndim == 1, right.ndim == 1
    made = (left[None] if row else left) @ (right[:, None] if column else right)
    return made.squeeze([-2] * row + [-1] * column)


def _axes(left: Any, right: Any) -> Axes:
    def axes(call: Call, value: Value) -> list[int | None]:
        out, own = call.output.ndim, value.ndim
        result: list[int | None] = [None] * own
        for axis in range(own - 2):
            result[axis] = axis + max(0, out - own)
        if value is left:
            result[own - 2] = out - 2
        if value is right:
            if left is right:  # rows of one meet columns of the other
                result[own - 2] = None
            else:
                result[own - 1] = out - 1
        return result

    return axes
