"""The figures of a model, as pictures in the page."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks.figures.plan import LackingError
from benchmarks.figures.sheets import extremes
from benchmarks.figures.subject import Subject
from benchmarks.report.explained import figure_picture
from benchmarks.runner.collected import Collected
from benchmarks.tables.formats import Table
from gae_metric import plotting

#: Methods in one scatter plot: as many as there are marks that can be told apart.
_MARKS = 12
_PARTS = {"LC": "local_consistency", "C": "contrastiveness"}


class Picture(NamedTuple):
    """A figure in the page, whose template has the words for each kind."""

    kind: Literal["bars", "scatter", "extremes", "distribution"]
    source: str
    width: int
    height: int
    about: Mapping[str, Any]


def summary(tables: Sequence[Table]) -> pd.DataFrame:
    """Return a model's tables as one, in the form that :func:`gae_metric.plotting.bars` takes."""
    cells = pd.concat([table.cells for table in tables], ignore_index=True)
    once = cells.drop_duplicates(["method", "score"]).rename(columns={"score": "metric"})
    known = once[np.isfinite(once["mean"].astype(float))]
    # GAE first, of which the others are parts or beside which they stand.
    return known.sort_values(
        "metric", key=lambda names: names != "GAE", kind="stable", ignore_index=True
    )


def figures(
    collected: Collected, model: str, tables: Sequence[Table], subject: Subject | None
) -> Iterator[Picture]:
    """Draw what the run has scores for.

    Parameters
    ----------
    collected
        The run's results.
    model
        The model.
    tables
        Its tables.
    subject
        The model with its images, where maps are wanted.
    """
    means = summary(tables)
    if means.empty:
        return
    names = means["metric"].unique().tolist()
    count = min(4, len(names))
    yield _picture("bars", plotting.bars(means, columns=count), names=names, wide=count > 2)
    mine = collected.scores[collected.scores["model"] == model]
    lead = "GAE" if "GAE" in names else names[0]
    rows = means[means["metric"] == lead]
    higher = rows["better"].iloc[0] == "higher"
    ranked = rows.sort_values("mean", ascending=not higher, kind="stable")["method"].tolist()
    about = {"lead": lead, "best": ranked[0], "most": _MARKS, "methods": len(ranked)}
    if parts := _parts(mine, ranked):
        yield _picture("scatter", plotting.scatter(parts), **about)
    if subject is not None:
        with suppress(LackingError):  # the page says so where it shows samples
            yield _picture("extremes", extremes(subject, lead, ranked[0]), **about)
    leading = mine[mine["metric"] == lead]
    scores = {m: leading.loc[leading["method"] == m, "score"].to_numpy(float) for m in ranked}
    yield _picture("distribution", plotting.distribution(scores), **about)


def _parts(mine: pd.DataFrame, ranked: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return LC and C of each image, for the first methods."""
    some = mine[mine["metric"].isin(_PARTS) & np.isfinite(mine["score"].astype(float))]
    wide = some.pivot_table("score", ["method", "sample"], "metric").reindex(columns=list(_PARTS))
    both = wide.rename(columns=_PARTS).dropna()
    parts = {str(method): part for method, part in both.groupby(level=0)}
    return {m: parts[m] for m in ranked[:_MARKS] if m in parts}


def _picture(kind: Any, figure: Figure, **about: Any) -> Picture:
    # Only photographs may lose something.
    return Picture(kind, *figure_picture(figure, lossless=kind != "extremes"), about)
