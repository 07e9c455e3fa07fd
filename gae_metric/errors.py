"""Errors that are the caller's to mend: the message says what was wrong, without a traceback."""

from __future__ import annotations

from numbers import Integral
from typing import Any

__all__ = ["EvaluationError", "InputError", "UnknownNameError", "check_integer"]


class InputError(ValueError):
    """A model, file, name or number that was given is not what was expected."""


class UnknownNameError(InputError):
    """A name that nothing is registered under; the message gives the nearest one."""


class EvaluationError(RuntimeError):
    """A method or metric failed; the message names it, and the cause is the original error."""


def check_integer(
    name: str, value: Any, least: int = 1, most: int | None = None, kind: type = InputError
) -> int:
    """Return a whole number within limits, which a truth value is not; refuse any other value.

    Raises
    ------
    InputError
        Or ``kind``, if it is another one.

    Examples
    --------
    >>> check_integer("seed", -1, 0)
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: seed: expected a non-negative integer, got -1
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    expected = "a non-negative integer" if least == 0 else "a positive integer"
    if most is not None:
        expected = f"an integer from {least} to {most}"
    raise kind(f"{name}: expected {expected}, got {value!r}")
