"""A network as a list of nodes in the order of execution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Node:
    """One operation: its name (a key of tests.naive.operations.OPERATIONS), inputs, parameters."""

    op: str
    inputs: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """Nodes; node 0 is the input (shape without the batch axis), the last one the output."""

    input_shape: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.nodes:
            self.nodes.append(Node("input"))

    def add(self, op: str, *inputs: int, **params: Any) -> int:
        """Append a node and return its number."""
        assert all(0 <= i < len(self.nodes) for i in inputs), (op, inputs)
        self.nodes.append(Node(op, inputs, params))
        return len(self.nodes) - 1

    def chain(self, start: int, *steps: tuple[str, Mapping[str, Any]]) -> int:
        """Append single-input nodes one after the other and return the last one's number."""
        for op, params in steps:
            start = self.add(op, start, **params)
        return start

    def active(self) -> list[bool]:
        """Whether each node depends on the input (constants do not)."""
        flags: list[bool] = []
        for node in self.nodes:
            flags.append(node.op == "input" or any(flags[i] for i in node.inputs))
        return flags

    def uses(self) -> Counter[int]:
        """How often each node is an input of another."""
        return Counter(i for node in self.nodes for i in node.inputs)

    def ops(self) -> Sequence[str]:
        """The operations' names, in order."""
        return [node.op for node in self.nodes]

    def __str__(self) -> str:
        lines = []
        for number, node in enumerate(self.nodes):
            shown = {
                k: f"array{v.shape}" if hasattr(v, "shape") and v.shape else v
                for k, v in node.params.items()
            }
            lines.append(f"{number}: {node.op}{node.inputs} {shown}")
        return "\n".join(lines)
