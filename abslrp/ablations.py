"""The paper's ablations (table 10): attention without one of its paths, relevance at the patches.

Both are found on the tape, not in the model's classes: attention is a matrix product one of whose
operands came from a softmax, a patch embedding is a convolution of the input whose stride is its
kernel.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from abslrp.plan.accounts import Custom, Diagonal, Product, Split
from abslrp.plan.linear_maps import Convolution
from abslrp.tape import Call, Tape, Value

Attention: TypeAlias = 'Literal["values", "queries_keys"] | None'
RelevanceAt: TypeAlias = Literal["input", "patches"]

NEEDS = (
    "relevance_at: 'patches' needs a model whose first operation on its input is a convolution of "
    "patches that do not overlap (stride equal to the kernel, no padding, one group)"
)


def ablate(tape: Tape, attention: Attention, relevance_at: RelevanceAt) -> None:
    """Leave out of a tape's accounts what is ablated.

    Parameters
    ----------
    tape
        Of one forward pass.
    attention
        ``"values"``: attention weights count as constants, so that no relevance reaches queries
        and keys. ``"queries_keys"``: what they weigh counts as constant. None: neither.
    relevance_at
        ``"patches"``: the relevance of each patch embedding, all its channels together, is spread
        evenly over the patch's pixels and channels. ``"input"``: the input's own.

    Raises
    ------
    ValueError
        If the model used no attention, or there are several inputs, or one that reaches the logits
        by other ways than a patch embedding.
    """
    if attention is not None and not sum(_without(call, attention) for call in tape.calls):
        raise ValueError(
            f"attention: {attention!r} needs a model with attention, a matrix product of "
            "a softmax's output and an activation; this model computes none"
        )
    if relevance_at == "patches":
        if len(tape.inputs) > 1:
            raise ValueError(f"{NEEDS}; this one has {len(tape.inputs)} inputs")
        (leaf,) = tape.inputs
        embeddings = [call for call in tape.calls if _embeds(call, leaf)]
        if not embeddings:
            raise ValueError(f"{NEEDS}; this model's is another")
        if _reaches(tape, leaf, around=embeddings):
            raise ValueError(f"{NEEDS}; this model's input reaches the logits by another way, too")
        for call in embeddings:
            call.inputs = [leaf]
            call.account = _spread_evenly(call)


def _without(call: Call, attention: str) -> bool:
    """Leave one operand out of the account of an attention's product; say whether it is one."""
    if not _is_product(call):
        return False
    first, second = call.account.parts
    a, b = first.input, second.input
    weights = a if _is_softmax(a) else b if _is_softmax(b) else None
    if weights is None:
        return False
    constant = weights if attention == "values" else b if weights is a else a
    call.account.parts = [one for one in (first, second) if one.input is not constant]
    return True


def _is_product(call: Call) -> bool:
    account = call.account
    return isinstance(account, Split) and [type(one) for one in account.parts] == [Product] * 2


def _is_softmax(value: Value) -> bool:
    """Whether a value is a softmax, moved, dropped out, masked or mixed over heads."""
    for call in _history(value):
        if "softmax" in call.name:
            return True
        if _is_product(call):
            return False
    return False


def _history(value: Value) -> Iterator[Call]:
    """Yield the calls behind a value, up to one of two inputs."""
    maker = value.maker
    while maker is not None:
        yield maker
        maker = maker.inputs[0].maker if len(maker.inputs) == 1 else None


def _embeds(call: Call, leaf: Value) -> bool:
    """Whether a call is a convolution of the leaf's entries by patches that do not overlap."""
    map = None if call.account is None else call.account.linear
    if not isinstance(map, Convolution) or map.backwards or map.groups != 1:
        return False
    apart = list(map.stride) == list(map.weights.shape[2:]) and not any(map.padding)
    return apart and all(one == 1 for one in map.dilation) and _is_elementwise_of(call, leaf)


def _is_elementwise_of(call: Call, leaf: Value) -> bool:
    """Whether a call's input is the leaf's entries: copied, cast, shifted or scaled."""
    value = call.inputs[0]
    for before in _history(value):
        alike = value.shape == leaf.shape and before.inputs[0].shape == leaf.shape
        if not alike or not isinstance(before.account, Diagonal) or len(before.inputs) > 1:
            return False
        value = before.inputs[0]
    return value is leaf


def _reaches(tape: Tape, leaf: Value, around: list[Call]) -> bool:
    """Whether there is a way from the leaf to the last call that avoids some."""
    reached = {leaf}
    for call in tape.calls:
        if call not in around and any(value in reached for value in call.inputs):
            reached.update(value for value in call.outputs if value is not None)
    return any(value in reached for value in tape.calls[-1].outputs)


def _spread_evenly(call: Call) -> Custom:
    """Each patch's relevance in equal parts to its entries; beyond the last whole patch none."""
    map = call.account.linear

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        ones = torch.ones_like(map.weights[:1])
        share = relevance.sum(2, keepdim=True) / ones.numel()
        return [map.transposed(share, ones.to(share.dtype))]

    return Custom(propagate, axes=call.account.axes)
