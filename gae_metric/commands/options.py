"""What the texts of options mean, and which values are refused before torch is imported."""

import ast
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

from gae_metric._names import DIRECTIONS, METHODS, OTHER_NAMES
from gae_metric.errors import InputError, check_channels, check_range, is_held, lookup


def settings_of(request: Any) -> dict[str, Any]:
    """Return what scores depend on of a request, and what people want to know of it."""
    left = ("overwrite", "figures", "batch_size", "device", "out")
    values = {name: v for name, v in vars(request).items() if name not in left}
    return {name: str(v) if isinstance(v, Path) else v for name, v in values.items()}


#: What options take that name one of a few. The metrics know it, too, but need torch.
CHOICES = {
    "schedule": ("reranked", "uniform"),
    "interpolation": ("nearest", "bilinear", "bicubic", "area", "none"),
    "protocol": ("paper", "repository"),
}


def choice(option: str, name: str) -> str:
    """Return one of the names that an option takes."""
    return lookup(option, name, dict.fromkeys(CHOICES[option]))[0]


def metric_name(name: str) -> str:
    """Return a metric's name in tables, whichever of its names is given."""
    return lookup("metrics", name, {key: key for key in DIRECTIONS} | OTHER_NAMES)[1]


def check_method(name: str) -> str:
    """Return a method's name in tables; which of Captum's can be used is seen once it is loaded.

    Raises
    ------
    InputError
        If there is no such method, or Captum is not installed.

    Examples
    --------
    >>> METHODS[check_method("lrp-EPSILON")][0]
    'LRP with the epsilon rule (Bach et al. 2015)'
    """
    if not name.lower().startswith("captum:"):
        return lookup("methods", name, METHODS)[0]
    found = find_spec("captum")
    if found is None or found.origin is None:
        raise InputError(
            f"methods: {name} needs Captum: pip install 'gae-metric[captum]'; those without "
            f"Captum: {', '.join(METHODS)}"
        )
    # What it exports, as importing it takes seconds; those of no use here are refused later.
    source = Path(found.origin).with_name("attr").joinpath("__init__.py").read_text("utf-8")
    if exported := re.findall(r"[\"'](\w+)[\"']", source.partition("__all__ = ")[2]):
        lookup("methods (captum)", name.partition(":")[2], dict.fromkeys(exported))
    return name


def check_count(count: int, least: int) -> None:
    """Refuse fewer images than make a mosaic, or none."""
    if count < least:
        why = f"a mosaic is made of {least} images, so " if least > 1 else ""
        raise InputError(f"samples: {why}at least {least} samples are needed, got {count}")


def names_of(option: str, text: str, known: Callable[[str], str]) -> list[str]:
    """Split a list of names by commas, and return each once, as it is known."""
    names = [known(name.strip()) for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option}: expected at least one, got none")
    return list(dict.fromkeys(names))


def numbers_of(option: str, text: str | None) -> tuple[float, ...] | None:
    """Split a list of numbers by commas."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option}: expected numbers separated by commas, got {text!r}") from None
    if option == "std" and len(numbers) == 1:
        raise InputError(f"std: expected positive numbers, one for each channel, got {text!r}")
    return check_range(numbers) if option == "range" else check_channels(option, numbers)


def mask_value_of(text: str) -> float | str:
    """Read a number, ``mean`` or ``blur``."""
    if text in ("mean", "blur"):
        return text
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not is_held(value):
        raise InputError(f"mask-value: expected a number, mean or blur, got {text!r}")
    return value


def arguments_of(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Read KEY=VALUE: numbers, True, False, None and tuples of them; anything else is text."""
    arguments: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier() or key in arguments:
            twice = ", the second of that key" if key in arguments else ""
            raise InputError(f"model-arg: expected KEY=VALUE, got {pair!r}{twice}")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            arguments[key] = value
    return arguments
