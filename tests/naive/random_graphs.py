"""Random valid networks: an image stage, then tokens or a flat vector, then logits."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tests.naive.contributions import Array
from tests.naive.graph import Graph
from tests.naive.interpreter import evaluate

PROBE = 2
WIDTH = 8
"""Of a token. With much less, most samples lose all relevance in an operation (SPEC 1.3)."""


def random_graph(
    rng: np.random.Generator,
    blocks: int = 3,
    classes: int = 4,
    tokens: bool | None = None,
    without: Collection[str] = (),
) -> Graph:
    """A random network on small images, with logits (B, classes).

    Parameters
    ----------
    rng
        Decides everything.
    blocks
        Blocks in the image stage; the token stage has one or two.
    tokens
        Whether a token stage follows; None leaves it to chance.
    without
        Names of blocks to leave out: keys of :data:`IMAGE_BLOCKS` and :data:`TOKEN_BLOCKS`, and
        "class_token" (with it or "pad", relevance may leak into constants, SPEC 1.3).
    """
    build = Builder(rng, without)
    head = build.conv(0, channels=int(rng.integers(4, 7)))
    names = [name for name in IMAGE_BLOCKS if name not in without]
    for _ in range(blocks):
        head = IMAGE_BLOCKS[rng.choice(names)](build, head)
    if build.coin() if tokens is None else tokens:
        head = token_stage(build, head)
    else:
        head = flat_stage(build, head)
    width = build.shape(head)[1]
    build.node("linear", head, **build.affine((classes, width)))
    return build.graph


class Builder:
    """A graph under construction with the values of a probe batch, which give the shapes."""

    def __init__(self, rng: np.random.Generator, without: Collection[str]) -> None:
        self.rng, self.without = rng, without
        shape = (int(rng.integers(1, 4)), int(rng.integers(5, 9)), int(rng.integers(5, 9)))
        self.graph = Graph(shape)
        self.probe: Array = rng.standard_normal((PROBE, *shape))
        self.values: list[Array] = [self.probe]

    def node(self, op: str, *inputs: int, **params: Any) -> int:
        number = self.graph.add(op, *inputs, **params)
        self.values.append(
            evaluate(self.graph.nodes[-1], [self.values[i] for i in inputs], self.probe)
        )
        return number

    def shape(self, number: int) -> tuple[int, ...]:
        return self.values[number].shape

    def coin(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def draw(self, *shape: int, scale: float = 1.0) -> Array:
        values: Array = scale * self.rng.standard_normal(shape)
        return values

    def affine(self, shape: tuple[int, ...], outputs: int | None = None) -> dict[str, Array]:
        """A weight, scaled by its fan-in, and perhaps a bias."""
        fan_in = int(np.prod(shape[1:]))
        params = {"weight": self.draw(*shape, scale=fan_in**-0.5)}
        if self.coin(0.7):
            params["bias"] = self.draw(outputs or shape[0], scale=0.5)
        return params

    def activation(self, head: int) -> int:
        kinds = ["relu", "relu", "relu", "gelu", "silu", "tanh", "leaky_relu", "hardswish", "elu"]
        return self.node(str(self.rng.choice(kinds)), head)

    def norm(self, head: int) -> int:
        channels = self.shape(head)[1]
        weight, bias = self.draw(channels), self.draw(channels, scale=0.5)
        if self.coin(0.7):
            return self.node(
                "batch_norm", head, weight=weight, bias=bias,
                mean=self.draw(channels, scale=0.5), var=self.rng.uniform(0.5, 1.5, channels),
            )  # fmt: skip
        groups = int(self.rng.choice([g for g in (1, 2, 3) if channels % g == 0]))
        return self.node("group_norm", head, groups=groups, weight=weight, bias=bias)

    def conv(self, head: int, channels: int, keep: bool = False, **said: Any) -> int:
        """A convolution; with ``keep``, one that keeps the size."""
        inputs, *size = self.shape(head)[1:]
        if keep:
            k = int(self.rng.choice([1, 3]))
            params = {**self.affine((channels, inputs, k, k)), "padding": k // 2, **said}
            return self.node("conv", head, **params)
        groups = int(self.rng.choice([g for g in (1, 2, 3) if inputs % g == channels % g == 0]))
        kernel = [int(self.rng.integers(1, 4)) for _ in size]
        dilation = [int(self.rng.integers(1, 3)) for _ in size]
        padding = [int(self.rng.integers(0, 3)) for _ in size]
        stride = [int(self.rng.integers(1, 3)) if n >= 5 else 1 for n in size]
        for a, n in enumerate(size):
            if n + 2 * padding[a] - dilation[a] * (kernel[a] - 1) < 2:
                kernel[a] = 1
        return self.node(
            "conv", head, **self.affine((channels, inputs // groups, *kernel)),
            stride=tuple(stride), padding=tuple(padding), dilation=tuple(dilation), groups=groups,
        )  # fmt: skip

    def constant(self, *shape: int, expand: bool = False) -> int:
        return self.node("constant", value=self.draw(1, *shape, scale=0.5), expand=expand)


def plain(b: Builder, head: int) -> int:
    head = b.conv(head, int(b.rng.integers(4, 9)))
    if b.coin():
        head = b.norm(head)
    return b.activation(head)


def residual(b: Builder, head: int) -> int:
    channels = b.shape(head)[1]
    main = b.norm(b.conv(head, channels, keep=True))
    main = b.norm(b.conv(b.activation(main), channels, keep=True))
    shortcut = head if b.coin(0.7) else b.conv(head, channels, keep=True)
    return b.node("relu", b.node("add", main, shortcut))


def shared(b: Builder, head: int) -> int:
    """One convolution used twice, and a tensor added to itself."""
    channels = b.shape(head)[1]
    head = b.conv(head, channels, keep=True)
    again = b.node("relu", head)
    first = next(i for i in range(head, -1, -1) if b.graph.nodes[i].op == "conv")
    again = b.node("conv", again, **b.graph.nodes[first].params)
    return b.node("add", again, again) if b.coin() else b.node("add", again, head)


def difference(b: Builder, head: int) -> int:
    channels = b.shape(head)[1]
    if b.coin():
        # a - Wx is a + (-W)x: torch subtracts a convolution of opposite weights.
        other = b.conv(head, channels, keep=True, opposite=True)
        return b.node("add", head, other, subtracts=True)
    return subtracted(b, b.conv(head, channels, keep=True), head)


def subtracted(b: Builder, one: int, other: int) -> int:
    """Behind an activation, whose negative gets relevance as eq. 12 has it."""
    return b.node("sub", one, b.node("tanh", other))


def gated(b: Builder, head: int) -> int:
    """Squeeze and excite, or a gated linear unit."""
    channels = b.shape(head)[1]
    if b.coin():
        gate = b.node("mean", head, axes=(2, 3), keepdims=True)
        gate = b.node("relu", b.conv(gate, 3, keep=True))
        gate = b.node("sigmoid", b.conv(gate, channels, keep=True))
        return b.node("mul", head, gate)
    both = b.conv(head, 2 * channels, keep=True)
    value, gate = (b.node("chunk", both, chunks=2, axis=1, part=i) for i in range(2))
    return b.node("mul", value, b.node("silu", gate))


def concatenated(b: Builder, head: int) -> int:
    left = b.activation(b.conv(head, 2, keep=True))
    right = head if b.coin() else b.node("max_pool", head, kernel=3, stride=1, padding=1)
    return b.node("cat", left, right, axis=1)


def pooled(b: Builder, head: int) -> int:
    if min(b.shape(head)[2:]) < 3:
        return b.activation(head)
    geometry = {"kernel": 2 + int(b.coin()), "stride": 2, "padding": int(b.coin())}
    geometry["ceil_mode"] = b.coin()
    if b.coin():
        return b.node("max_pool", head, **geometry)
    return b.node("avg_pool", head, **geometry, count_include_pad=b.coin())


def channels_last(b: Builder, head: int) -> int:
    channels = b.shape(head)[1]
    head = b.node("permute", head, axes=(0, 2, 3, 1))
    head = b.node("layer_norm", head, weight=b.draw(channels), bias=b.draw(channels, scale=0.5))
    head = b.node("linear", head, **b.affine((channels + 1, channels)))
    return b.node("permute", b.activation(head), axes=(0, 3, 1, 2))


def padded(b: Builder, head: int) -> int:
    widths = ((0, 0), tuple(int(w) for w in b.rng.integers(0, 2, 2)), (1, 0))
    return b.node("pad", head, widths=widths, value=float(b.coin()))


def rearranged(b: Builder, head: int) -> int:
    if b.coin():
        return b.node("roll", head, shifts=(1, -2), axes=(2, 3))
    if max(b.shape(head)[2:]) <= 6 and b.coin():
        mode = str(b.rng.choice(["nearest", "bilinear"]))
        return b.node("interpolate", head, mode=mode, size=tuple(n + 2 for n in b.shape(head)[2:]))
    if max(b.shape(head)[2:]) <= 5 and b.coin():
        weight, bias = b.draw(b.shape(head)[1], 5, 2, 2, scale=0.3), b.draw(5, scale=0.5)
        padding = int(min(b.shape(head)[2:]) > 1)
        return b.node("conv_transpose", head, weight=weight, bias=bias, stride=2, padding=padding)
    if min(b.shape(head)[2:]) >= 4 and b.coin():
        return b.node("slice", head, axis=2, start=1, stop=-1)
    return b.node("mul_constant", b.node("dropout", head), value=b.draw(1, b.shape(head)[1], 1, 1))


def shifted(b: Builder, head: int) -> int:
    constant = b.constant(*b.shape(head)[1:])
    return b.node("add", head, constant) if b.coin() else subtracted(b, constant, head)


IMAGE_BLOCKS: dict[str, Callable[[Builder, int], int]] = {
    "plain": plain,
    "residual": residual,
    "shared": shared,
    "difference": difference,
    "gated": gated,
    "concatenated": concatenated,
    "pooled": pooled,
    "channels_last": channels_last,
    "pad": padded,
    "rearranged": rearranged,
    "shifted": shifted,
}


def flat_stage(b: Builder, head: int) -> int:
    if b.coin():
        head = b.node("adaptive_avg_pool", head, output_size=(1 + int(b.coin()), 1))
    elif b.coin():
        return b.node("mean" if b.coin() else "sum", b.activation(head), axes=(2, 3))
    head = b.node("reshape", head, shape=(-1,))
    return b.activation(b.node("linear", head, **b.affine((2 * WIDTH, b.shape(head)[1]))))


def token_stage(b: Builder, head: int) -> int:
    """(B, C, H, W) to tokens (B, L, WIDTH), one or two blocks, one vector."""
    if min(b.shape(head)[2:]) > 3:
        head = b.node("adaptive_avg_pool", head, output_size=(3, 2))
    channels = b.shape(head)[1]
    head = b.node("reshape", head, shape=(channels, -1))
    head = b.node("permute", head, axes=(0, 2, 1))
    head = b.node("linear", head, **b.affine((WIDTH, channels)))
    if "class_token" not in b.without and b.coin():
        head = b.node("cat", b.constant(1, WIDTH, expand=True), head, axis=1)
    head = b.node("add", head, b.constant(b.shape(head)[1], WIDTH))
    names = [name for name in TOKEN_BLOCKS if name not in b.without]
    for _ in range(int(b.rng.integers(1, 3))):
        norm = b.node("layer_norm", head, weight=b.draw(WIDTH), bias=b.draw(WIDTH, scale=0.5))
        branch = TOKEN_BLOCKS[b.rng.choice(names)](b, norm)
        head = b.node("add", branch, head) if b.coin() else b.node("add", head, branch)
    if b.coin():
        return b.node("index", head, axis=1, at=0)
    return b.node("mean", head, axes=(1,))


def mlp(b: Builder, head: int) -> int:
    head = b.node("gelu", b.node("linear", head, **b.affine((2 * WIDTH, WIDTH))))
    return b.node("linear", head, **b.affine((WIDTH, 2 * WIDTH)))


def mixed(b: Builder, head: int) -> int:
    """Tokens mixed by a linear layer across them."""
    L = b.shape(head)[1]
    head = b.node("permute", head, axes=(0, 2, 1))
    head = b.node("linear", head, **b.affine((L, L)))
    return b.node("permute", head, axes=(0, 2, 1))


def self_attention(b: Builder, head: int) -> int:
    """Two heads, eager or fused, from one packed linear layer."""
    L = b.shape(head)[1]
    packed = b.node("linear", head, **b.affine((3 * WIDTH, WIDTH)))
    packed = b.node("reshape", packed, shape=(L, 3, 2, WIDTH // 2))
    packed = b.node("permute", packed, axes=(0, 3, 2, 1, 4))
    q, k, v = (b.node("index", packed, axis=2, at=i) for i in range(3))
    if b.coin():
        mask = b.draw(1, 1, L, L) if b.coin() else np.tril(np.ones((L, L), dtype=np.bool_))
        extra = {"mask": mask} if b.coin(0.7) else {}
        out = b.node("attention", q, k, v, **extra)
    else:
        q = b.node("mul_constant", q, value=(WIDTH // 2) ** -0.5)
        k = b.node("permute", k, axes=(0, 1, 3, 2))
        out = b.node("matmul", b.node("softmax", b.node("matmul", q, k), axis=-1), v)
    out = b.node("reshape", b.node("permute", out, axes=(0, 2, 1, 3)), shape=(L, WIDTH))
    return b.node("linear", out, **b.affine((WIDTH, WIDTH)))


def module_attention(b: Builder, head: int) -> int:
    """torch.nn.MultiheadAttention's function."""
    params: dict[str, Any] = {
        "in_weight": b.draw(3 * WIDTH, WIDTH, scale=0.4),
        "out_weight": b.draw(WIDTH, WIDTH, scale=0.4),
        "heads": 2,
    }
    if b.coin(0.7):
        params |= {"in_bias": b.draw(3 * WIDTH, scale=0.5), "out_bias": b.draw(WIDTH, scale=0.5)}
    return b.node("multi_head_attention", head, head, head, **params)


TOKEN_BLOCKS: dict[str, Callable[[Builder, int], int]] = {
    "mlp": mlp,
    "mixed": mixed,
    "self_attention": self_attention,
    "module_attention": module_attention,
}
