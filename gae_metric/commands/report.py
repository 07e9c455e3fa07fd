"""The page that shows an evaluation: a table that sorts, figures, every image's scores."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from gae_metric.commands.escaping import visible
from gae_metric.commands.tables import ARROWS, Evaluation, caption, messages
from gae_metric.comparison.intervals import summary


def write_report(
    path: Path, evaluations: Sequence[Evaluation], pictures: Mapping[str, Sequence[Path]]
) -> None:
    """Write the page, which needs nothing but itself.

    Parameters
    ----------
    path
        The file; one that is there is replaced.
    evaluations
        One for each model.
    pictures
        Figures to show, by the evaluation's name.
    """
    template = files("gae_metric.commands").joinpath("report.html").read_text(encoding="utf-8")
    models = [_model(one, pictures.get(one.name, ())) for one in evaluations]
    page = Environment(autoescape=True).from_string(template).render(models=models)
    path.write_text(visible(page), encoding="utf-8")


def _model(evaluation: Evaluation, pictures: Sequence[Path]) -> dict[str, Any]:
    results = evaluation.results
    cells = {(row["method"], row["metric"]): row for row in summary(results).to_dict("records")}
    lead, better = next(iter(results.metrics.items()))

    def place(method: str) -> float:
        mean = cells.get((method, lead), {}).get("mean", np.nan)
        return np.inf if np.isnan(mean) else mean if better == "lower" else -mean

    return {
        "evaluation": evaluation,
        "caption": caption(results).replace("[bold]", "").replace("[/]", ""),
        "metrics": [(name, ARROWS[way], way) for name, way in results.metrics.items()],
        "methods": sorted(results.methods, key=place),
        "cells": cells,
        "messages": messages(results),
        "lead": lead,
        "pictures": {p.stem: base64.b64encode(p.read_bytes()).decode() for p in pictures},
    }
