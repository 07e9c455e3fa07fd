"""The same network with plain PyTorch operations, as a user would write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tests.naive.graph import Graph, Node
from tests.naive.operations import AVERAGE, CONV, MAXIMUM, TRANSPOSE, chosen

SAFE_PRODUCERS = frozenset(
    {"linear", "conv", "conv_transpose", "batch_norm", "group_norm", "layer_norm", "add", "sub"}
)
"""Operations whose result PyTorch does not keep for the backward pass, so in-place may follow."""

BUFFERS = frozenset({"mean", "var", "mask"})

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "softplus": F.softplus,
}


def to_torch(graph: Graph, inplace_relu: bool = False, inplace_add: bool = False) -> TorchGraph:
    """The graph as a float64 module in eval mode; parameters shared by nodes stay shared.

    ``inplace_relu`` (``F.relu(x, inplace=True)``) and ``inplace_add`` (``x += y``) apply wherever
    plain autograd allows it: see :data:`SAFE_PRODUCERS`.
    """
    return TorchGraph(graph, inplace_relu, inplace_add).eval()


class TorchGraph(torch.nn.Module):
    """A graph's operations as torch calls, in the order of the nodes."""

    def __init__(self, graph: Graph, inplace_relu: bool, inplace_add: bool) -> None:
        super().__init__()
        self.graph = graph
        self.inplace_relu, self.inplace_add = inplace_relu, inplace_add
        self.names: list[dict[str, str]] = []
        known: dict[int, str] = {}
        for number, node in enumerate(graph.nodes):
            names = {}
            for key, value in node.params.items():
                if not isinstance(value, np.ndarray):
                    continue
                if id(value) not in known:
                    name = f"node{number}_{key}"
                    tensor = torch.from_numpy(np.array(value))
                    if key in BUFFERS:
                        self.register_buffer(name, tensor)
                    else:
                        self.register_parameter(name, torch.nn.Parameter(tensor))
                    known[id(value)] = name
                names[key] = known[id(value)]
            self.names.append(names)
        uses = graph.uses()
        self.may_overwrite = [
            bool(node.inputs)
            and uses[node.inputs[0]] == 1
            and graph.nodes[node.inputs[0]].op in SAFE_PRODUCERS
            for node in graph.nodes
        ]

    def overwritten(self) -> list[int]:
        """The nodes that run in place."""
        return [
            number
            for number, node in enumerate(self.graph.nodes)
            if self.may_overwrite[number]
            and (
                (node.op == "relu" and self.inplace_relu) or (node.op == "add" and self.inplace_add)
            )
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        values: list[torch.Tensor] = []
        for number, node in enumerate(self.graph.nodes):
            inputs = [values[i] for i in node.inputs]
            p = {**node.params, **{k: getattr(self, n) for k, n in self.names[number].items()}}
            values.append(self._run(number, node, inputs, p, x))
        return values[-1]

    def _run(
        self, number: int, node: Node, v: Sequence[torch.Tensor], p: dict[str, Any], x: torch.Tensor
    ) -> torch.Tensor:
        if node.op == "input":
            return x
        if node.op == "constant":
            value: torch.Tensor = p["value"]
            return value.expand(len(x), *value.shape[1:]) if p.get("expand") else value
        if node.op == "relu" and self.inplace_relu and self.may_overwrite[number]:
            return F.relu(v[0], inplace=True)
        if node.op in ACTIVATIONS:
            return ACTIVATIONS[node.op](v[0])
        if node.op == "add":
            a, b = v
            if p.get("subtracts"):
                return a - b
            fits = a.ndim >= b.ndim and all(
                m in (1, n) for n, m in zip(reversed(a.shape), reversed(b.shape), strict=False)
            )
            if self.inplace_add and self.may_overwrite[number] and fits:
                a += b
                return a
            return a + b
        for table in (_linear_maps, _arithmetic, _structure, _attention):
            result: torch.Tensor | None = table(node.op, v, p)
            if result is not None:
                return result
        raise NotImplementedError(node.op)


def _linear_maps(op: str, v: Sequence[torch.Tensor], p: dict[str, Any]) -> Any:
    weight, bias = p.get("weight"), p.get("bias")
    if op == "linear":
        return F.linear(v[0], p["weight"], bias)
    n = v[0].ndim - 2
    if op == "conv":
        conv = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
        weight = p["weight"]
        if p.get("opposite"):
            weight, bias = -weight, None if bias is None else -bias
        return conv(v[0], weight, bias, **_some(p, CONV))
    if op == "conv_transpose":
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return transpose(v[0], p["weight"], bias, **_some(p, TRANSPOSE))
    if op == "batch_norm":
        return F.batch_norm(v[0], p["mean"], p["var"], weight, bias, False, 0.1, p.get("eps", 1e-5))
    if op == "layer_norm":
        return F.layer_norm(v[0], _last(v[0], p), weight, bias, p.get("eps", 1e-5))
    if op == "rms_norm":
        return F.rms_norm(v[0], list(_last(v[0], p)), weight, p.get("eps", 1e-5))
    if op == "group_norm":
        return F.group_norm(v[0], p["groups"], weight, bias, p.get("eps", 1e-5))
    if op == "max_pool":
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
        return pool(v[0], **_renamed(p, MAXIMUM))
    if op == "avg_pool":
        average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
        return average(v[0], **_renamed(p, AVERAGE))
    if op == "adaptive_avg_pool":
        adaptive = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[n - 1]
        return adaptive(v[0], p["output_size"])
    if op == "adaptive_max_pool":
        winner = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[n - 1]
        return winner(v[0], p["output_size"])
    if op == "interpolate":
        corners = {"align_corners": True} if p.get("align_corners") else {}
        mode = ("linear", "bilinear", "trilinear")[n - 1] if p["mode"] == "linear" else p["mode"]
        return F.interpolate(v[0], **_some(p, ("size", "scale_factor")), mode=mode, **corners)
    return None


def _arithmetic(op: str, v: Sequence[torch.Tensor], p: dict[str, Any]) -> Any:
    if op == "sub":
        return v[0] - v[1]
    if op == "mul":
        return v[0] * v[1]
    if op == "mul_constant":
        return v[0] * p["value"]
    if op == "div_constant":
        return v[0] / p["value"]
    if op == "dropout":
        return F.dropout(v[0], 0.5, training=False)
    if op == "matmul":
        return v[0] @ v[1]
    if op == "einsum":
        return torch.einsum(p["equation"], v[0], v[1])
    if op == "softmax":
        return v[0].softmax(dim=p["axis"])
    if op == "mean":
        return v[0].mean(dim=tuple(p["axes"]), keepdim=p.get("keepdims", False))
    if op == "sum":
        return v[0].sum(dim=tuple(p["axes"]), keepdim=p.get("keepdims", False))
    return None


def _structure(op: str, v: Sequence[torch.Tensor], p: dict[str, Any]) -> Any:
    if op == "reshape":
        return v[0].reshape(p.get("rows", v[0].shape[0]), *p["shape"])
    if op == "permute":
        return v[0].permute(*p["axes"])
    if op == "cat":
        return torch.cat(list(v), dim=p["axis"])
    if op == "chunk":
        return v[0].chunk(p["chunks"], dim=p["axis"])[p["part"]]
    if op in ("slice", "index"):
        return v[0][chosen(v[0], p)]
    if op == "pad":
        widths = [width for pair in reversed(p["widths"]) for width in pair]
        return F.pad(v[0], widths, value=p.get("value", 0.0))
    if op == "roll":
        return torch.roll(v[0], tuple(p["shifts"]), tuple(p["axes"]))
    if op == "expand":
        return v[0].expand(len(v[0]), *p["shape"])
    return None


def _attention(op: str, v: Sequence[torch.Tensor], p: dict[str, Any]) -> Any:
    if op == "attention":
        return F.scaled_dot_product_attention(
            v[0], v[1], v[2], attn_mask=p.get("mask"), scale=p.get("scale")
        )
    if op == "multi_head_attention":
        mask = p.get("mask")
        if mask is not None:
            heads = mask.expand(len(v[0]), p["heads"], *mask.shape[-2:])
            mask = heads.reshape(-1, *mask.shape[-2:])
            mask = ~mask if mask.dtype == torch.bool else mask
        # The function tells self-attention by identity, so one node stays one tensor.
        first = [x.transpose(0, 1) for x in dict.fromkeys(v)]
        order = list(dict.fromkeys(v))
        q, k, w = (first[next(i for i, o in enumerate(order) if o is x)] for x in v)
        out, _ = F.multi_head_attention_forward(
            q, k, w, q.shape[-1], p["heads"], p["in_weight"], p.get("in_bias"), None, None, False,
            0.0, p["out_weight"], p.get("out_bias"), training=False, need_weights=False,
            attn_mask=mask,
        )  # fmt: skip
        return out.transpose(0, 1)
    return None


def _some(p: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: p[name] for name in names if name in p}


def _renamed(p: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {"kernel_size" if k == "kernel" else k: value for k, value in _some(p, names).items()}


def _last(x: torch.Tensor, p: dict[str, Any]) -> tuple[int, ...]:
    return tuple(x.shape[x.ndim - p.get("axes", 1) :])
