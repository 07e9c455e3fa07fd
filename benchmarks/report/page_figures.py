"""The figures of a model, as pictures in the page."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Picture:
    """A figure in the page."""

    source: str
    width: int
    height: int
    caption: str
    alternative: str
    wide: bool


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
    names = means["metric"].unique()
    count = min(4, len(names))
    yield _picture(
        plotting.bars(means, columns=count),
        "Means with their 95 % bootstrap intervals; orange: the best; *: not told apart from it.",
        f"Bars of {', '.join(names)} for each method; the tables have the numbers.",
        wide=count > 2,
    )
    mine = collected.scores[collected.scores["model"] == model]
    lead = "GAE" if "GAE" in set(means["metric"]) else str(means["metric"].iloc[0])
    rows = means[means["metric"] == lead]
    higher = rows["better"].iloc[0] == "higher"
    ranked = rows.sort_values("mean", ascending=not higher, kind="stable")["method"].tolist()
    parts = _parts(mine, ranked)
    if parts:
        which = f" of the {_MARKS} methods of highest {lead}" if len(ranked) > _MARKS else ""
        yield _picture(
            plotting.scatter(parts),
            f"Local Consistency against Contrastiveness{which}: small marks are images, large ones "
            "a method's means; along a line GAE = LC · C is equal.",
            "Scatter plot of LC against C for each image and method; the tables have the means.",
        )
    if subject is not None and len(ranked):
        with suppress(LackingError):  # the page says so where it shows samples
            yield _picture(
                extremes(subject, lead, ranked[0]),
                f"The images of highest and lowest {lead} of {ranked[0]}, with their maps (red: "
                "positive, blue: negative) and scores.",
                f"Images and maps of highest and lowest {lead} of {ranked[0]}.",
                photographs=True,
            )
    leading = mine[mine["metric"] == lead]
    scores = {m: leading.loc[leading["method"] == m, "score"].to_numpy(float) for m in ranked}
    yield _picture(
        plotting.distribution(scores),
        f"{lead} of every image, with a box of quartiles and the mean (◆); best method first.",
        f"Distribution of {lead} for each method, best first.",
    )


def _parts(mine: pd.DataFrame, ranked: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return LC and C of each image, for the first methods."""
    some = mine[mine["metric"].isin(_PARTS) & np.isfinite(mine["score"].astype(float))]
    wide = some.pivot_table("score", ["method", "sample"], "metric").reindex(columns=list(_PARTS))
    both = wide.rename(columns=_PARTS).dropna()
    parts = {str(method): part for method, part in both.groupby(level=0)}
    return {m: parts[m] for m in ranked[:_MARKS] if m in parts}


def _picture(
    figure: Figure, caption: str, alternative: str, *, wide: bool = False, photographs: bool = False
) -> Picture:
    drawn = figure_picture(figure, lossless=not photographs)
    return Picture(*drawn, caption, alternative, wide)
