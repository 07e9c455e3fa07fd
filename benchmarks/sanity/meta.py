"""The fifth check: noise resilience and reactivity of GAE and of the metrics beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.methods import METHODS
from benchmarks.metrics.lipschitz import LocalLipschitz
from benchmarks.sanity.case import Case, gae
from benchmarks.sanity.consistency import (
    Kind,
    inter_consistency,
    intra_consistency,
    meta_consistency,
)
from benchmarks.sanity.perturbation import PERTURBATIONS, Perturbation
from gae_metric.commands.quantus_evaluation import Settings as Defaults
from gae_metric.companions import ROAD, Focus
from gae_metric.comparison.results import Better
from gae_metric.explainers.gradients import ExplainFunc

__all__ = ["ESTIMATORS", "Estimator", "consistencies", "evaluate", "summary"]

Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Estimator:
    """A metric that is evaluated.

    Attributes
    ----------
    score
        Function of a case and an explanation function: scores (N,) by name.
    better
        Which way each of them is read.
    """

    score: Callable[[Case, ExplainFunc], Columns]
    better: Mapping[str, Better]


def _call(metric: Any, case: Case, explain: ExplainFunc) -> NDArray[np.float64]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Quantus warns of every sample that noise leaves as it is
        scores = metric(
            model=case.model,
            x_batch=case.x,
            y_batch=case.y,
            explain_func=explain,
            explain_func_kwargs={},
            channel_first=True,
            batch_size=case.settings.batch_size,
        )
    return np.asarray(scores, dtype=np.float64)


def _gae(case: Case, explain: ExplainFunc) -> Columns:
    parts = gae(case, explain)
    names = {"GAE": "gae", "LC": "local_consistency", "C": "contrastiveness"}
    return {name: parts[column].to_numpy(dtype=np.float64) for name, column in names.items()}


def _road(case: Case, explain: ExplainFunc) -> Columns:
    seed, percentages = case.settings.seed, Defaults().road_percentages
    metric = ROAD(order="morf", percentages=percentages, seed=seed, disable_warnings=True)
    return {"ROAD": _call(metric, case, explain)}


def _lipschitz(case: Case, explain: ExplainFunc) -> Columns:
    metric = LocalLipschitz(case.settings.seed, case.settings.lipschitz_samples)
    return {"LocalLipschitz": _call(metric, case, explain)}


def _focus(case: Case, explain: ExplainFunc) -> Columns:
    """Score by Focus, with every image's mirror image as a second one of its class.

    It needs two images of a class, which few photographs do not have.
    """
    mirrored = np.ascontiguousarray(case.x[..., ::-1])
    both = Case(
        case.network,
        case.model,
        np.concatenate([case.x, mirrored]),
        np.concatenate([case.y, case.y]),
        case.accuracy,
        case.settings,
    )
    metric = Focus(seed=case.settings.seed, disable_warnings=True)
    return {"Focus": _call(metric, both, explain)[: len(case.x)]}


ESTIMATORS: tuple[Estimator, ...] = (
    Estimator(_gae, {"GAE": "higher", "LC": "higher", "C": "higher"}),
    Estimator(_road, {"ROAD": "lower"}),
    Estimator(_lipschitz, {"LocalLipschitz": "lower"}),
    Estimator(_focus, {"Focus": "higher"}),
)
"""GAE, its two parts, and the metrics beside it."""


def evaluate(
    case: Case,
    estimators: Sequence[Estimator] = ESTIMATORS,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    methods: Mapping[str, ExplainFunc] | None = None,
) -> pd.DataFrame:
    """Score methods before and after perturbations.

    Parameters
    ----------
    case
        The network and its images.
    estimators, perturbations, methods
        By default all; the methods are those of the settings.

    Returns
    -------
    DataFrame
        A row per metric, perturbation and repeat: ``place``, ``kind``, ``repeat``, ``usable``
        (samples that count), ``intra`` (mean over the methods), ``inter``, and ``change``: mean
        absolute change of a score, in standard deviations of all scores before.

    Notes
    -----
    A perturbed case is explained and scored as a whole: images, maps and network are the perturbed
    ones, and the target stays the class that was predicted before.
    """
    chosen = methods or {name: METHODS[name].bind() for name in case.settings.methods}
    before = _scores(case, estimators, chosen)
    better = {name: way for each in estimators for name, way in each.better.items()}
    rows = []
    for perturbation in perturbations:
        for repeat in range(case.settings.perturbations):
            perturbed = perturbation(case, repeat)
            stays = perturbed.predicted() == case.y
            usable = stays if perturbation.kind == "resilience" else ~stays
            after = _scores(perturbed, estimators, chosen)
            for name, way in better.items():
                intra, inter = consistencies(
                    before[name], after[name], usable, perturbation.kind, way
                )
                rows.append(
                    {
                        "metric": name,
                        "place": perturbation.place,
                        "kind": perturbation.kind,
                        "repeat": repeat,
                        "usable": int(usable.sum()),
                        "intra": intra,
                        "inter": inter,
                        "change": _change(before[name], after[name], usable),
                    }
                )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def consistencies(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    usable: NDArray[np.bool_],
    kind: Kind,
    better: Better,
) -> tuple[float, float]:
    """Return the intra-consistency, a mean over methods, and the inter-consistency of (L, N)."""
    intra = [
        intra_consistency(one, other, usable, kind)
        for one, other in zip(before, after, strict=True)
    ]
    return float(np.mean(intra)), inter_consistency(before, after, usable, kind, better)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per metric and place: the four consistencies, their mean, and its deviation.

    Parameters
    ----------
    rows
        As :func:`evaluate` returns them.

    Returns
    -------
    DataFrame
        ``metric``, ``place``, ``IAC_NR``, ``IAC_AR``, ``IEC_NR``, ``IEC_AR`` (means over the
        repeats), ``change_NR`` (mean ``change`` under the minor perturbation), ``MC``,
        ``MC_deviation`` (over the repeats; NaN for a single one), ``usable_NR`` and ``usable_AR``
        (mean number of samples that count).
    """
    found = []
    for (metric, place), part in rows.groupby(["metric", "place"], sort=False):
        numbers = part.pivot_table(
            index="repeat", columns="kind", values=["intra", "inter"], dropna=False
        )
        columns = {
            "IAC_NR": numbers["intra", "resilience"],
            "IAC_AR": numbers["intra", "reactivity"],
            "IEC_NR": numbers["inter", "resilience"],
            "IEC_AR": numbers["inter", "reactivity"],
        }
        each = [
            meta_consistency([float(column.loc[k]) for column in columns.values()])
            for k in numbers.index
        ]
        usable = part.groupby("kind")["usable"].mean()
        found.append(
            {
                "metric": metric,
                "place": place,
                **{name: float(column.mean()) for name, column in columns.items()},
                "change_NR": float(part.loc[part["kind"] == "resilience", "change"].mean()),
                "MC": float(np.mean(each)),
                "MC_deviation": float(np.std(each, ddof=1)) if len(each) > 1 else np.nan,
                "usable_NR": float(usable["resilience"]),
                "usable_AR": float(usable["reactivity"]),
            }
        )
    table: pd.DataFrame = pd.DataFrame(found)
    return table


def _change(
    before: NDArray[np.float64], after: NDArray[np.float64], usable: NDArray[np.bool_]
) -> float:
    """Return the mean absolute change of (L, N) scores; NaN where none is left or all are equal."""
    change = np.abs(after - before)[:, usable]
    change, spread = change[np.isfinite(change)], float(np.nanstd(before))
    return float(change.mean()) / spread if change.size and spread > 0 else float("nan")


def _scores(
    case: Case, estimators: Sequence[Estimator], methods: Mapping[str, ExplainFunc]
) -> dict[str, NDArray[np.float64]]:
    """Return scores (L, N) by name."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for explain in methods.values():
        for estimator in estimators:
            for name, scores in estimator.score(case, explain).items():
                found.setdefault(name, []).append(scores)
    return {name: np.stack(scores) for name, scores in found.items()}
