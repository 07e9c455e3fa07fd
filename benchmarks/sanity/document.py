"""The document of the results, Markdown, and its figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.result_files import number, templates
from benchmarks.sanity import meta
from benchmarks.sanity.changed_maps import DEGRADATIONS
from benchmarks.sanity.results import Found
from gae_metric.plotting import _style

_LINE: dict[str, Any] = {"markersize": 3, "linewidth": 1, "elinewidth": 0.6}


def draw(found: Sequence[Found], path: Path | None = None) -> Figure:
    """Draw a panel for the randomised layers, one for each way to spoil maps, and one for metrics.

    Parameters
    ----------
    found
        Results of networks, at most six.
    path
        File to save it in too.
    """
    figure = _style.figure(2 * _style.COLUMN_WIDTH, 4.2)
    panels = figure.subplots(2, 3).ravel()
    first = panels[0]
    for one, (colour, marker) in zip(found, _style.SERIES, strict=False):
        line = {"color": colour, "marker": marker, "label": one.network, **_LINE}
        layers = one.tables["randomisation"].rename(columns={"share": "strength"})
        table = pd.concat([layers.assign(kind="layers"), one.tables["degradation"]])
        table = table[table["method"] == table["method"].iloc[0]]
        for panel, kind in zip(panels, ("layers", *DEGRADATIONS), strict=False):
            rows = table[table["kind"] == kind].set_index("strength")
            panel.errorbar(rows.index, rows["GAE"], rows["standard_error"], **line)
    _style.line_axes(first, "(a) layers randomised from the top", "share of layers", "GAE")
    for panel, letter, (kind, how) in zip(panels[1:], "bcde", DEGRADATIONS.items(), strict=False):
        _style.line_axes(panel, f"({letter}) {kind}", how.unit, "GAE")
        if kind == "noise":
            panel.set_xscale("symlog", base=2, linthresh=how.strengths[0])
    for panel in panels[:5]:
        panel.set_ylim(bottom=-0.01)
    first.legend(fontsize=_style.SMALL, frameon=False)
    _bars(panels[5], found)
    return _style.finish(figure, "", path)


def _bars(panel: Axes, found: Sequence[Found]) -> None:
    """Draw each metric's meta-consistency, a mean over networks, with the networks as points."""
    table = pd.concat([meta.summary(one.tables["meta"]) for one in found])
    metrics = list(dict.fromkeys(table["metric"]))
    for offset, (place, colour) in enumerate((("input", _style.BLUE), ("model", _style.ORANGE))):
        part = table[table["place"] == place].set_index("metric")["MC"]
        places = np.arange(len(metrics)) + 0.4 * offset - 0.2
        panel.bar(places, part.groupby(level=0).mean()[metrics], 0.36, color=colour, label=place)
        points = [places[metrics.index(name)] for name in part.index]
        panel.plot(points, part, ".", color=_style.BLACK, markersize=2)
    _style.line_axes(panel, "(f) meta-consistency, perturbed:", "", "MC")
    panel.set_xticks(
        np.arange(len(metrics)), metrics, fontsize=_style.SMALL, rotation=35, ha="right"
    )
    panel.set_ylim(0, 1.25)
    panel.legend(fontsize=_style.SMALL, frameon=False, loc="upper right", ncols=2)


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
    told = (", ".join(map(" ".join, one.facts["versions"].items())) for one in found)
    page = _TEMPLATES.get_template(template)
    return page.render(found=found, picture=picture, versions=dict.fromkeys(told))


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}" if value < 0.001 else f"{value:.3f}"


_TEMPLATES = templates(Path(__file__).parent, keep_trailing_newline=True)
_TEMPLATES.globals.update(degradations=DEGRADATIONS, summary=meta.summary)
_TEMPLATES.filters |= {"number": partial(number, minus="-", nothing="-"), "p": _p}
