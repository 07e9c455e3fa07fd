"""What stands in a rule set in place of a rule, for functions that need none of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Structural:
    """Marks a function whose own gradient routes relevance to the elements it came from.

    Parameters
    ----------
    keeps_sign
        Says, from a call's arguments and its active tensors, whether the output has no negative
        entry when no active input has one.
    """

    def __init__(self, keeps_sign: Callable[[Any, Any, list[Tensor]], bool]) -> None:
        self.keeps_sign = keeps_sign
        self.__name__ = "structural"


class Decomposed:
    """Marks a function that is replaced by others, whose rules then apply."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = f"decomposed({function.__name__})"


class Held:
    """Marks a function whose result counts as a constant (a denominator)."""

    def __init__(self) -> None:
        self.__name__ = "held constant"
