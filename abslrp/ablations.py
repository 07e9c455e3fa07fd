"""The paper's ablations (table 10): attention without one of its paths, relevance at the patches.

Both are found in the intercepted calls, not in the model's classes: attention is a matrix product
one of whose operands came from a softmax, a patch embedding is a convolution of the input whose
stride is its kernel. An ablation is a rule set on top of another, made for one forward pass.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from abslrp.markers import Decomposed
from abslrp.operation import Operation
from abslrp.registry import Backward, Function, RuleSet, spellings
from abslrp.rules.attention import einsum, scaled_dot_product_attention

Attention: TypeAlias = 'Literal["values", "queries_keys"] | None'
RelevanceAt: TypeAlias = Literal["input", "patches"]

PRODUCTS = tuple(spellings("matmul", "mm", "bmm", inplace=False))
SOFTMAX = frozenset(spellings("softmax", inplace=False))
SHIFTS = frozenset(spellings("add", "sub", "subtract"))
CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
COPIES = frozenset({"CloneBackward0", "ToCopyBackward0", "AliasBackward0"})
NEEDS = (
    "needs a model whose first operation on its input is a convolution of patches that do not "
    "overlap (stride equal to the kernel, no padding, one group)"
)


def check(attention: Any, relevance_at: Any) -> None:
    """Refuse values that the two options do not have."""
    if attention not in ("values", "queries_keys", None):
        raise ValueError(f"attention: expected 'values', 'queries_keys' or None, got {attention!r}")
    if relevance_at not in ("input", "patches"):
        raise ValueError(f"relevance_at: expected 'input' or 'patches', got {relevance_at!r}")


class Ablation:
    """A rule set with ablations, for one forward pass of one model.

    Parameters
    ----------
    rules
        The rule set to start from; it is left as it is.
    leaf
        The input, of which relevance is wanted.
    attention
        ``"values"``: attention weights count as constants, so that no relevance reaches queries
        and keys. ``"queries_keys"``: what they weigh counts as constant. None: neither.
    relevance_at
        ``"patches"``: the relevance of each patch embedding, all its channels together, is spread
        evenly over the patch's pixels and channels. ``"input"``: the input's own.

    Attributes
    ----------
    rules
        The rule set to propagate with.
    """

    def __init__(
        self, rules: RuleSet, leaf: Tensor, attention: Attention, relevance_at: RelevanceAt
    ) -> None:
        check(attention, relevance_at)
        self.attention = attention
        self.relevance_at = relevance_at
        # Apart from this object, which refers to the rules: that would be a cycle.
        self._seen = seen = _Seen(leaf, attention)
        self.rules = RuleSet(rules.name, rules, conserves=rules.conserves)
        if attention is not None:
            self.rules.rule(F.scaled_dot_product_attention)(
                Decomposed(scaled_dot_product_attention)
            )
            self.rules.rule(torch.einsum)(Decomposed(einsum))
            for function in PRODUCTS:
                self._replace(function, seen.product)
        if relevance_at == "patches":
            self.rules.rule(patch_embedding)(spread_evenly)
            for function in CONVOLUTIONS:
                self._replace(function, seen.convolution)

    def check(self, logits: Tensor) -> None:
        """Refuse a model that has not what is to be ablated.

        Raises
        ------
        ValueError
            If the model used no attention, or the input reaches the logits by other ways than
            one patch embedding.
        """
        if self.attention is not None and not self._seen.attends:
            raise ValueError(
                f"attention: {self.attention!r} needs a model with attention, a matrix product of "
                "a softmax's output and an activation; this model computes none"
            )
        if self.relevance_at == "patches":
            if not self._seen.embeds:
                raise ValueError(f"relevance_at: 'patches' {NEEDS}; this model's is another")
            if _reaches(logits, self._seen.leaf, around=patch_embedding):
                raise ValueError(
                    f"relevance_at: 'patches' {NEEDS}; this model's input reaches the logits by "
                    "another way, too"
                )

    def _replace(self, function: Function, by: Callable[..., Any]) -> None:
        """Let ``by(twin, *args)`` stand for a function; the twin has the function's own rule."""
        rule = self.rules.find(function)
        if rule is not None:
            twin = _twin(function)
            self.rules.rule(twin)(rule)
            named = functools.update_wrapper(functools.partial(by, twin), function)
            self.rules.rule(function)(Decomposed(named))


class _Seen:
    """What of a model's calls is to be ablated, and whether there was any."""

    def __init__(self, leaf: Tensor, attention: Attention) -> None:
        self.leaf = leaf
        self.attention = attention
        self.attends = False
        self.embeds = False

    def product(self, twin: Function, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        other = args[0] if args else next(iter(kwargs.values()))
        weights = next((one for one in (input, other) if _is_softmax(one)), None)
        if weights is not None and input.requires_grad and other.requires_grad:
            self.attends = True
            if (input is weights) == (self.attention == "values"):
                input = input.detach()
            else:
                other = other.detach()
        result: Tensor = twin(input, other)
        return result

    def convolution(
        self,
        twin: Function,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        arguments = (weight, bias, stride, padding, dilation, groups)
        kernel = tuple(weight.shape[2:])
        apart = (
            _equal(stride, kernel)
            and (padding == "valid" or _equal(padding, (0,) * len(kernel)))
            and _equal(dilation, (1,) * len(kernel))
            and groups == 1
        )
        result: Tensor
        if apart and _is_elementwise_of(input, self.leaf):
            self.embeds = True
            result = patch_embedding(self.leaf, twin(input.detach(), *arguments), kernel)
        else:
            result = twin(input, *arguments)
        return result


def patch_embedding(input: Tensor, value: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Stand for a convolution of ``input`` whose ``value`` is known."""
    if has_torch_function((input, value)):
        result: Tensor = handle_torch_function(
            patch_embedding, (input, value), input, value, kernel
        )
        return result
    return value


def spread_evenly(
    operation: Operation, input: Tensor, value: Tensor, kernel: tuple[int, ...]
) -> Backward:
    """Rule of a patch embedding: each patch's relevance in equal parts to its input entries.

    What lies beyond the last whole patch gets none.
    """
    operation.forward()
    shape = input.shape
    entries = shape[1] * math.prod(kernel)
    beyond = [size - n * k for size, n, k in zip(shape[2:], value.shape[2:], kernel, strict=True)]
    widths = [width for one in reversed(beyond) for width in (0, one)]

    def backward(relevance: Tensor) -> tuple[Tensor]:
        share = relevance.sum(1, keepdim=True) / entries
        for axis, size in enumerate(kernel):
            share = share.repeat_interleave(size, axis + 2)
        return (F.pad(share, widths).expand(shape),)

    return backward


@functools.cache
def _twin(function: Function) -> Function:
    """Return a torch function of its own with the same value, to which a rule can be given."""

    @functools.wraps(function)
    def twin(*args: Any, **kwargs: Any) -> Any:
        tensors = tuple(one for one in args if isinstance(one, Tensor))
        if has_torch_function(tensors):
            return handle_torch_function(twin, tensors, *args, **kwargs)
        return function(*args, **kwargs)

    return twin


TWINS = frozenset(_twin(function) for function in PRODUCTS)


def _equal(value: Any, wanted: tuple[int, ...]) -> bool:
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (given * len(wanted) if len(given) == 1 else given) == wanted


def _history(tensor: Tensor) -> Iterator[tuple[Any, Operation | None]]:
    """Yield the autograd nodes behind a tensor, and their operations, up to one of two inputs."""
    node: Any = tensor.grad_fn
    while node is not None:
        operation: Operation | None = getattr(node, "operation", None)
        yield node, operation
        before = [one for one, _ in node.next_functions if one is not None]
        node = before[0] if len(before) == 1 else None


def _is_softmax(tensor: Any) -> bool:
    """Whether a tensor is a softmax, moved, dropped out, masked or mixed over heads."""
    if not isinstance(tensor, Tensor):
        return False
    for _, operation in _history(tensor):
        if operation is not None and operation.function in SOFTMAX:
            return True
        if operation is not None and operation.function in TWINS:
            return False
    return False


def _is_elementwise_of(tensor: Tensor, leaf: Tensor) -> bool:
    """Whether a tensor is the leaf itself, entry by entry: copied, cast, shifted or scaled."""
    if tensor is leaf:
        return True
    if tensor.shape != leaf.shape:
        return False
    for node, operation in _history(tensor):
        if getattr(node, "variable", None) is leaf:
            return True
        if operation is None:
            if node.name() not in COPIES:
                return False
        elif not (operation.passes or operation.function in SHIFTS):
            return False
    return False


def _reaches(logits: Tensor, leaf: Tensor, around: Function) -> bool:
    """Whether there is a way from the leaf to the logits that avoids one function."""
    waiting: list[Any] = [logits.grad_fn]
    seen: set[Any] = set(waiting)
    while waiting:
        node = waiting.pop()
        if getattr(node, "variable", None) is leaf:
            return True
        operation: Operation | None = getattr(node, "operation", None)
        if operation is not None and operation.function is around:
            continue
        for one, _ in node.next_functions:
            if one is not None and one not in seen:
                seen.add(one)
                waiting.append(one)
    return False
