"""The document of the results, Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.sanity import meta
from benchmarks.sanity.figure import draw
from benchmarks.sanity.maps import DEGRADATIONS
from benchmarks.sanity.results import Found


def write(found: Sequence[Found], path: Path, out: Path) -> None:
    """Write the document, its figure in the folder ``figures`` beside it, and all tables."""
    figures = path.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    picture = figures / f"{path.stem}.png"
    draw(found, picture)
    path.write_text(markdown(found, f"figures/{picture.name}"), encoding="utf-8")
    (out / "tables.md").write_text(markdown(found, "", "tables.md"), encoding="utf-8")


def markdown(found: Sequence[Found], picture: str, template: str = "document.md") -> str:
    """Return the document, or another template, with the numbers in it."""
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in one.facts["versions"].items())
        for one in found
    )
    return _TEMPLATES.get_template(template).render(
        found=found,
        picture=picture,
        versions=versions,
        degradations=DEGRADATIONS,
        summary=meta.summary,
    )


def _number(value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}" if value < 0.001 else f"{value:.3f}"


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"number": _number, "p": _p}
