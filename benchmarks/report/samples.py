"""What the page's script needs to show samples one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report.explained import Explained
from benchmarks.report.pictures import PREFIX
from benchmarks.runner.collected import Collected

_FACTS = ("sample", "file", "label", "predicted", "target", "logit", "probability")
#: Significant digits.
_DIGITS = 7


def content(
    collected: Collected,
    model: str,
    samples: Sequence[int],
    better: Mapping[str, str],
    explained: Explained,
) -> dict[str, Any]:
    """Return a model's samples as JSON can hold them.

    Parameters
    ----------
    collected
        The run's results.
    model
        The model.
    samples
        Those to browse.
    better
        ``"higher"`` or ``"lower"`` by score, for the scores that tables show, in their order.
    explained
        Their pictures.
    """
    mine = collected.scores[collected.scores["model"] == model]
    metrics = list(dict.fromkeys(mine["metric"]))
    metrics = [m for m in better if m in metrics] + [m for m in metrics if m not in better]
    methods = list(dict.fromkeys(mine["method"]))
    every = pd.MultiIndex.from_product([metrics, methods, list(samples)])
    scores = mine.set_index(["metric", "method", "sample"])["score"].reindex(every)
    shape = (len(metrics), len(methods), len(samples))
    values = scores.to_numpy(dtype=np.float64).reshape(shape)
    targets = collected.targets[collected.targets["model"] == model].set_index("sample")
    rows = targets.loc[list(samples)].reset_index()
    return {
        "model": model,
        "prefix": PREFIX,
        "methods": methods,
        "metrics": [
            {"name": m, "better": better.get(m.partition("@")[0]), "part": m not in better}
            for m in metrics
        ],
        "samples": [{key: _plain(row[key]) for key in _FACTS} for row in rows.to_dict("records")],
        # By metric, method and sample.
        "scores": [[[_plain(v) for v in row] for row in one] for one in values],
        "images": explained.images,
        "maps": [explained.maps.get(method) for method in methods],
        "names": explained.names,
        "labels": explained.labels,
        "comparable": explained.comparable,
        "smooth": explained.smooth,
        "problems": explained.problems,
    }


def _plain(value: Any) -> Any:
    """Return what JSON has; what is no number is nothing."""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return int(value)
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
