"""Errors that are the caller's to mend: the message says what was wrong, without a traceback."""

import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, TypeVar

T = TypeVar("T")

#: A side of an image in pixels: more than any model takes, and few enough for the memory there is.
LARGEST_SIDE = 1 << 14
#: What float32, which models compute in, holds: the largest number, and the least that is not 0.
_MOST, _LEAST = 3.4e38, 1.2e-38
#: Names that an error lists one by one.
_FEW = 40


class InputError(ValueError):
    """A model, file, name or number that was given is not what was expected."""


class UnknownNameError(InputError):
    """A name that nothing is registered under; the message gives the nearest one."""


class EvaluationError(RuntimeError):
    """A method or metric failed; the message names it, and the cause is the original error."""


def warn(message: str) -> None:
    """Give a ``RuntimeWarning`` that names the line by which this package was called.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as told:
    ...     warnings.simplefilter("always")
    ...     warn("few samples")
    >>> str(told[0].message)
    'few samples'
    """
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("gae_metric."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def first_line(error: BaseException) -> str:
    r"""Return what an error says, in one line.

    Examples
    --------
    >>> first_line(ValueError("of no use\nat all")), first_line(MemoryError())
    ('of no use', 'MemoryError')
    """
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def refusing(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn errors of some kinds into one that says what could not be done, and why.

    Raises
    ------
    InputError
        In their place.

    Examples
    --------
    >>> with refusing("labels: cannot read 'a.csv'", OSError):
    ...     open("there/is/no/a.csv")
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: labels: cannot read 'a.csv': No such file or directory
    """
    try:
        yield
    except kinds as error:
        raise InputError(f"{what}: {first_line(error)}") from error


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


def short(value: Any) -> str:
    """Return what came, as errors show it: no longer than 60 characters.

    Examples
    --------
    >>> len(short("a" * 1000))
    60
    """
    try:
        text = repr(value)
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_held(value: float) -> bool:
    """Whether float32 holds a number: it is finite, and not too large.

    Examples
    --------
    >>> is_held(1e38), is_held(1e39), is_held(float("nan"))
    (True, False, False)
    """
    return abs(value) <= _MOST


def check_channels(name: str, values: Sequence[float]) -> tuple[float, ...]:
    """Return a finite value for each of three channels, from three or from one.

    Raises
    ------
    InputError
        If there are others, or a ``std`` is not positive.

    Examples
    --------
    >>> check_channels("mean", [0.5])
    (0.5, 0.5, 0.5)
    """
    if len(values) not in (1, 3) or not all(map(is_held, values)):
        raise InputError(f"{name}: expected one finite number, or three, got {list(values)}")
    if name == "std" and not min(values) >= _LEAST:
        raise InputError(f"std: expected positive numbers, got {list(values)}")
    return tuple(float(value) for value in values) * (3 // len(values))


def check_range(values: Sequence[float]) -> tuple[float, float]:
    """Return two finite ascending numbers: what black and white become.

    Raises
    ------
    InputError
        If they are others.

    Examples
    --------
    >>> check_range((-1, 1))
    (-1.0, 1.0)
    """
    if len(values) != 2 or not (values[0] < values[1] and all(map(is_held, values))):
        raise InputError(f"range: expected two ascending numbers, got {list(values)}")
    return float(values[0]), float(values[1])


def check_spelling(names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a parameter's name that is nearly a known one.

    Raises
    ------
    InputError
        If one is.

    Examples
    --------
    >>> check_spelling(["anything"], ["n_steps"])
    >>> check_spelling(["n_step"], ["n_steps"])
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: n_step: no such parameter; did you mean n_steps?
    """
    for name in names:
        if close := difflib.get_close_matches(name, known, 1, 0.8):
            raise InputError(f"{name}: no such parameter; did you mean {close[0]}?")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return what follows "unknown name": the nearest choice and, where they are few, all of them.

    Examples
    --------
    >>> nearest("Salency", ["Saliency", "Random"])
    "did you mean 'Saliency'? Known: Saliency, Random"
    """
    known = list(choices)
    folded = {choice.lower(): choice for choice in known}
    close = difflib.get_close_matches(name.lower(), folded, 1, 0.5)
    guess = f"did you mean {folded[close[0]]!r}? " if close else ""
    if len(known) > _FEW:
        return guess.strip() or f"none of the {len(known)} known names is near"
    return f"{guess}Known: {', '.join(known)}"


def lookup(argument: str, name: str, table: Mapping[str, T]) -> tuple[str, T]:
    """Find an entry by its name, whatever the case of its letters.

    Returns
    -------
    The name as it is registered, and the entry.

    Raises
    ------
    UnknownNameError
        If there is none; the message names the argument and the nearest name.

    Examples
    --------
    >>> lookup("methods", "SALIENCY", {"Saliency": 1})
    ('Saliency', 1)
    """
    for key, value in table.items():
        if key.lower() == str(name).strip().lower():
            return key, value
    raise UnknownNameError(f"{argument}: unknown name {name!r}; {nearest(str(name), table)}")
