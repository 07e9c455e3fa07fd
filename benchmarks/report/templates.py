"""The templates in ``page``: all that is put into them is escaped, so that data stays text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

PAGE = Path(__file__).parent / "page"


def number(value: float, digits: int = 3) -> str:
    """Write a number with a minus sign that is one.

    Examples
    --------
    >>> number(0.2718), number(-0.00001), number(-1.5, 1), number(float("nan"))
    ('0.272', '0.000', '−1.5', '–')
    """
    if not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def count_of(n: int, what: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> count_of(1, "shard"), count_of(2, "shard")
    ('1 shard', '2 shards')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


TEMPLATES = Environment(
    loader=FileSystemLoader(PAGE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
TEMPLATES.tests["finite"] = lambda value: bool(np.isfinite(value))
TEMPLATES.filters |= {
    "arrow": lambda better: {"higher": " ↑", "lower": " ↓"}.get(better or "", ""),
    "count_of": count_of,
    "json": _json,
    "number": number,
}
