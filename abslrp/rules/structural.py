"""Operations that only move elements: relevance follows them, as a gradient would."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from abslrp.markers import Structural
from abslrp.registry import COMMON, Function, RuleSet, spellings

MOVING = (
    "reshape view flatten unflatten permute transpose swapaxes swapdims movedim moveaxis t adjoint "
    "squeeze unsqueeze expand expand_as reshape_as view_as broadcast_to tile repeat "
    "repeat_interleave roll flip fliplr flipud rot90 unbind split split_with_sizes "
    "unsafe_split unsafe_chunk chunk tensor_split hsplit vsplit dsplit narrow select index_select "
    "gather take take_along_dim masked_select diagonal diag unfold contiguous clone to float "
    "double half bfloat16 type type_as cpu cuda broadcast_tensors atleast_1d atleast_2d "
    "atleast_3d pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle ravel "
    "requires_grad_ retain_grad as_strided alias getitem tril triu cat concat "
    "concatenate stack hstack vstack dstack column_stack _unsafe_view unsafe_split_with_sizes "
    "unfold meshgrid numpy_T pin_memory resolve_conj resolve_neg view_as_real rename "
    "zero_"
)
FILLING = (
    "pad constant_pad_nd masked_fill index_fill fill_diagonal where scatter index_put index_copy "
    "masked_scatter copy_ setitem"
)


def _constants_have_sign(args: Any, active: list[Tensor]) -> bool:
    for value in args:
        if isinstance(value, Tensor):
            if value.is_floating_point() and not any(value is one for one in active):
                return True
        elif isinstance(value, (list, tuple)) and _constants_have_sign(value, active):
            return True
    return False


def _moved(args: Any, kwargs: Any, active: list[Tensor]) -> bool:
    return not _constants_have_sign([*args, *kwargs.values()], active)


def _filled(args: Any, kwargs: Any, active: list[Tensor]) -> bool:
    # Any negative number may be the value that is filled in; an index only costs some speed.
    numbers = [one for one in [*args, *kwargs.values()] if isinstance(one, (int, float))]
    return _moved(args, kwargs, active) and all(one >= 0 for one in numbers)


def structural(rules: RuleSet, *names: str, functions: tuple[Function, ...] = ()) -> None:
    """Let the gradients of the named operations route relevance."""
    rules.rule(spellings(*names), functions)(Structural(_moved))


structural(
    COMMON,
    *dict.fromkeys(MOVING.split()),
    functions=tuple(getattr(Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "real")),
)
COMMON.rule(spellings(*FILLING.split()))(Structural(_filled))
