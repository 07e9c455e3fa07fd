"""The templates in ``page``: all that is put into them is escaped, so that data stays text."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report.explained import MAP_SIDE
from benchmarks.result_files import number, templates

PAGE = Path(__file__).parent / "page"


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


TEMPLATES = templates(PAGE, autoescape=True, lstrip_blocks=True)
TEMPLATES.globals["map_side"] = MAP_SIDE
TEMPLATES.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
TEMPLATES.tests["finite"] = lambda value: bool(np.isfinite(value))
TEMPLATES.filters |= {
    "arrow": lambda better: {"higher": " ↑", "lower": " ↓"}.get(better or "", ""),
    "count_of": count_of,
    "json": _json,
    "number": number,
}
