"""Every node operation of the naive networks: its forward value and its raw relevance rule.

Parameters are those of the rules, in ``p``. Axis 0 of every tensor is the batch, or several rows
per sample one after the other (``reshape`` with ``rows``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tests.naive import contributions as lin
from tests.naive import elementwise as elem
from tests.naive import interpolation
from tests.naive import pooling as pool
from tests.naive import products as prod
from tests.naive.contributions import Array, Share
from tests.naive.products import Step

Params: TypeAlias = Mapping[str, Any]
Values: TypeAlias = Sequence[Array]


class Operation(NamedTuple):
    """``forward(values, p)`` and ``relevance(values, p, R, share)``, one array per input."""

    forward: Callable[[Values, Params], Array]
    relevance: Callable[[Values, Params, Array, Share], list[Array]]


def _only(p: Params, *names: str) -> dict[str, Any]:
    return {name: p[name] for name in names if name in p}


CONV = ("stride", "padding", "dilation", "groups")
TRANSPOSE = ("stride", "padding", "output_padding", "groups", "dilation")
AVERAGE = ("kernel", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
MAXIMUM = ("kernel", "stride", "padding", "dilation", "ceil_mode")
RESIZE = ("mode", "size", "scale_factor", "align_corners")


def _erf(x: Array) -> Array:
    values: Array = np.vectorize(math.erf, otypes=[np.float64])(x)
    return values


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "relu6": lambda x: np.clip(x, 0.0, 6.0),
    "leaky_relu": lambda x: np.where(x > 0.0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
    "gelu": lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))),
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def _norm(name: str, x: Array, p: Params) -> tuple[Array, Array, Array | None, Array | None]:
    weight, bias, eps = p.get("weight"), p.get("bias"), p.get("eps", 1e-5)
    if name == "batch_norm":
        return elem.batch_norm_statistics(x, p["mean"], p["var"], weight, bias, eps)
    if name == "layer_norm":
        return elem.layer_norm_statistics(x, p.get("axes", 1), weight, bias, eps)
    if name == "group_norm":
        return elem.group_norm_statistics(x, p["groups"], weight, bias, eps)
    return elem.rms_norm_statistics(x, p.get("axes", 1), weight, eps)


def _normalisation(name: str) -> Operation:
    return Operation(
        lambda v, p: elem.two_layers_forward(v[0], *_norm(name, v[0], p)),
        lambda v, p, R, _: [elem.two_layers(v[0], *_norm(name, v[0], p), R)],
    )


def _pooled(name: str, sizes: Sequence[int], p: Params) -> tuple[Array, tuple[int, ...]]:
    if name == "avg_pool":
        return pool.avg_pool_matrix(sizes, **_only(p, *AVERAGE))
    if name == "adaptive_avg_pool":
        return pool.adaptive_avg_pool_matrix(sizes, p["output_size"])
    return interpolation.interpolation_matrix(sizes, **_only(p, *RESIZE))


def _spatial(name: str) -> Operation:
    return Operation(
        lambda v, p: pool.spatial_map_forward(v[0], *_pooled(name, v[0].shape[2:], p)),
        lambda v, p, R, share: [
            pool.spatial_map(v[0], _pooled(name, v[0].shape[2:], p)[0], R, share)
        ],
    )


def _activation(function: Callable[[Array], Array]) -> Operation:
    return Operation(lambda v, _: function(v[0]), lambda v, p, R, _: [elem.activation(R)])


def _by_constant(divide: bool) -> Operation:
    return Operation(
        lambda v, p: v[0] / p["value"] if divide else v[0] * p["value"],
        lambda v, p, R, _: [elem.multiply_constant(v[0], R)],
    )


# --- structural operations: relevance follows the elements -------------------------------------


def _cat(v: Values, p: Params, R: Array, _: Share) -> list[Array]:
    ends = np.cumsum([x.shape[p["axis"]] for x in v])
    return list(np.split(R, ends[:-1], axis=p["axis"]))


def chosen(x: Any, p: Params) -> tuple[slice | int, ...]:
    """The index of ``slice`` (axis, start, stop, step), ``index`` (axis, at), ``chunk``."""
    axis = p["axis"] % x.ndim
    if "at" in p:
        where: slice | int = p["at"]
    elif "chunks" in p:
        size = -(-x.shape[axis] // p["chunks"])
        where = slice(p["part"] * size, (p["part"] + 1) * size)
    else:
        where = slice(p.get("start"), p.get("stop"), p.get("step"))
    return (*[slice(None)] * axis, where)


def _back_to_chosen(v: Values, p: Params, R: Array, _: Share) -> list[Array]:
    relevance = np.zeros_like(v[0])
    relevance[chosen(v[0], p)] = R
    return [relevance]


CHOICE = Operation(lambda v, p: v[0][chosen(v[0], p)].copy(), _back_to_chosen)


def _reshape(v: Values, p: Params) -> Array:
    """``shape`` (one entry may be -1) follows the batch axis, or batch * rows."""
    rows = p.get("rows", v[0].shape[0])
    return v[0].reshape(rows, *p["shape"])


def _pad(v: Values, p: Params) -> Array:
    return np.pad(v[0], [(0, 0), *p["widths"]], constant_values=p.get("value", 0.0))


def _crop(v: Values, p: Params, R: Array, _: Share) -> list[Array]:
    keep = [
        slice(lo, lo + n) for (lo, _), n in zip([(0, 0), *p["widths"]], v[0].shape, strict=True)
    ]
    return [R[tuple(keep)]]


STRUCTURAL: dict[str, Operation] = {
    "reshape": Operation(_reshape, lambda v, p, R, _: [R.reshape(v[0].shape)]),
    "permute": Operation(
        lambda v, p: v[0].transpose(p["axes"]),
        lambda v, p, R, _: [R.transpose(np.argsort(p["axes"]))],
    ),
    "cat": Operation(lambda v, p: np.concatenate(list(v), axis=p["axis"]), _cat),
    "slice": CHOICE,
    "index": CHOICE,
    "chunk": CHOICE,
    "pad": Operation(_pad, _crop),
    "roll": Operation(
        lambda v, p: np.roll(v[0], p["shifts"], p["axes"]),
        lambda v, p, R, _: [np.roll(R, [-s for s in p["shifts"]], p["axes"])],
    ),
    "expand": Operation(
        lambda v, p: np.broadcast_to(v[0], (len(v[0]), *p["shape"])).copy(),
        lambda v, p, R, _: [elem.unbroadcast(R, v[0].shape)],
    ),
}

# --- operations that pass or route relevance one to one, without a sum of contributions ---------

PASSING: dict[str, Operation] = {
    **{name: _activation(function) for name, function in ACTIVATIONS.items()},
    "mul_constant": _by_constant(divide=False),
    "div_constant": _by_constant(divide=True),
    "dropout": _activation(lambda x: x.copy()),
    "max_pool": Operation(
        lambda v, p: pool.max_pool(v[0], None, **_only(p, *MAXIMUM)),
        lambda v, p, R, _: [pool.max_pool(v[0], R, **_only(p, *MAXIMUM))],
    ),
    "adaptive_max_pool": Operation(
        lambda v, p: pool.adaptive_max_pool(v[0], None, p["output_size"]),
        lambda v, p, R, _: [pool.adaptive_max_pool(v[0], R, p["output_size"])],
    ),
}

# --- linear maps: eq. 12, or another share ------------------------------------------------------

LINEAR: dict[str, Operation] = {
    "linear": Operation(
        lambda v, p: lin.linear_forward(v[0], p["weight"], p.get("bias")),
        lambda v, p, R, share: [lin.linear(v[0], p["weight"], p.get("bias"), R, share)],
    ),
    "conv": Operation(
        lambda v, p: lin.conv_forward(v[0], p["weight"], p.get("bias"), **_only(p, *CONV)),
        lambda v, p, R, share: [
            lin.conv(v[0], p["weight"], p.get("bias"), R, **_only(p, *CONV), share=share)
        ],
    ),
    "conv_transpose": Operation(
        lambda v, p: lin.conv_transpose_forward(
            v[0], p["weight"], p.get("bias"), **_only(p, *TRANSPOSE)
        ),
        lambda v, p, R, share: [
            lin.conv_transpose(
                v[0], p["weight"], p.get("bias"), R, **_only(p, *TRANSPOSE), share=share
            )
        ],
    ),
    "add": Operation(
        lambda v, p: v[0] + v[1], lambda v, p, R, share: list(elem.add(v[0], v[1], R, share))
    ),
    "sub": Operation(
        lambda v, p: v[0] - v[1], lambda v, p, R, share: list(elem.subtract(v[0], v[1], R, share))
    ),
    "avg_pool": _spatial("avg_pool"),
    "adaptive_avg_pool": _spatial("adaptive_avg_pool"),
    "interpolate": _spatial("interpolate"),
    "mean": Operation(
        lambda v, p: v[0].mean(axis=tuple(p["axes"]), keepdims=p.get("keepdims", False)),
        lambda v, p, R, share: [pool.mean(v[0], R, **_only(p, "axes", "keepdims"), share=share)],
    ),
    "sum": Operation(
        lambda v, p: v[0].sum(axis=tuple(p["axes"]), keepdims=p.get("keepdims", False)),
        lambda v, p, R, share: [pool.total(v[0], R, **_only(p, "axes", "keepdims"), share=share)],
    ),
}

# --- the rest: eq. 12 only ----------------------------------------------------------------------

OTHER: dict[str, Operation] = {
    **{n: _normalisation(n) for n in ("batch_norm", "layer_norm", "group_norm", "rms_norm")},
    "mul": Operation(lambda v, p: v[0] * v[1], lambda v, p, R, _: list(elem.gate(v[0], v[1], R))),
    "matmul": Operation(
        lambda v, p: v[0] @ v[1], lambda v, p, R, _: list(prod.matmul(v[0], v[1], R))
    ),
    "einsum": Operation(
        lambda v, p: np.einsum(p["equation"], v[0], v[1]),
        lambda v, p, R, _: list(prod.einsum(p["equation"], v[0], v[1], R)),
    ),
    "softmax": Operation(
        lambda v, p: elem.softmax_forward(v[0], p["axis"]),
        lambda v, p, R, _: [elem.softmax(v[0], R)],
    ),
}

OPERATIONS: dict[str, Operation] = {**STRUCTURAL, **PASSING, **LINEAR, **OTHER}
COMPOSITES = ("attention", "multi_head_attention")


def composite_forward(op: str, v: Values, p: Params) -> Array:
    """The forward value of scaled dot product or multi-head attention."""
    if op == "attention":
        return prod.attention_forward(v[0], v[1], v[2], p.get("scale"), p.get("mask"))
    return prod.multi_head_attention_forward(
        v[0], v[1], v[2], p["in_weight"], p.get("in_bias"), p["out_weight"], p.get("out_bias"),
        p["heads"], p.get("mask"),
    )  # fmt: skip


def composite_relevance(
    op: str, v: Values, p: Params, R: Array, packed: str | None, step: Step
) -> list[Array]:
    """Decomposed attention: each inner operation sends relevance through ``step``."""
    if op == "attention":
        return list(prod.attention(v[0], v[1], v[2], R, p.get("scale"), p.get("mask"), step))
    return list(
        prod.multi_head_attention(
            v[0], v[1], v[2], p["in_weight"], p.get("in_bias"), p["out_weight"],
            p.get("out_bias"), p["heads"], R, p.get("mask"), packed, step,
        )
    )  # fmt: skip
