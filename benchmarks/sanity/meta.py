"""The fifth check: noise resilience and reactivity of GAE and of the metrics beside it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.methods import METHODS
from benchmarks.metrics.lipschitz import LocalLipschitz
from benchmarks.sanity.case import Case, gae
from benchmarks.sanity.consistency import inter_consistency, intra_consistency, meta_consistency
from benchmarks.sanity.perturbation import PERTURBATIONS, Perturbation
from gae_metric.commands.quantus_evaluation import Settings as Defaults
from gae_metric.companions import ROAD, Focus
from gae_metric.comparison.results import Better
from gae_metric.explainers.gradients import ExplainFunc

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
    mirrored = np.concatenate([case.x, case.x[..., ::-1]])
    both = replace(case, x=mirrored, y=np.concatenate([case.y, case.y]))
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
        place, kind = perturbation.place, perturbation.kind
        for repeat in range(case.settings.perturbations):
            perturbed = perturbation(case, repeat)
            stays = perturbed.predicted() == case.y
            usable = stays if kind == "resilience" else ~stays
            after = _scores(perturbed, estimators, chosen)
            for name, way in better.items():
                pairs = zip(before[name], after[name], strict=True)
                intra = [intra_consistency(one, other, usable, kind) for one, other in pairs]
                rows.append(
                    {"metric": name, "place": place, "kind": kind, "repeat": repeat}
                    | {"usable": int(usable.sum()), "intra": float(np.mean(intra))}
                    | {"inter": inter_consistency(before[name], after[name], usable, kind, way)}
                    | {"change": _change(before[name], after[name], usable)}
                )
    return pd.DataFrame(rows)


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
    keys = ["metric", "place"]
    wide = rows.set_index([*keys, "repeat", "kind"]).unstack("kind")  # noqa: PD010 - nothing to average
    each: pd.DataFrame = pd.DataFrame({name: wide[column] for name, column in _SUMMARY.items()})
    each["MC"] = [meta_consistency(list(row)) for row in each.iloc[:, :4].to_numpy()]
    groups = each.groupby(keys, sort=False)
    table = groups.mean().assign(
        MC=groups["MC"].agg(lambda one: one.mean(skipna=False)), MC_deviation=groups["MC"].std()
    )
    return rows[keys].drop_duplicates().merge(table.reset_index(), on=keys)


#: Columns of a summary, and what they are means of.
_SUMMARY = {
    "IAC_NR": ("intra", "resilience"),
    "IAC_AR": ("intra", "reactivity"),
    "IEC_NR": ("inter", "resilience"),
    "IEC_AR": ("inter", "reactivity"),
    "change_NR": ("change", "resilience"),
    "usable_NR": ("usable", "resilience"),
    "usable_AR": ("usable", "reactivity"),
}


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
