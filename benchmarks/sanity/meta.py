"""The fifth check: noise resilience and reactivity of GAE and of the metrics beside it."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from quantus.helpers.model.pytorch_model import PyTorchModel

from benchmarks.methods import METHODS
from benchmarks.metrics.quantus_scores import key_seed
from benchmarks.sanity.case import Case, gae
from benchmarks.sanity.statistics import Kind, inter_consistency, intra_consistency
from gae_metric._names import DIRECTIONS
from gae_metric.commands.named_metrics import METRICS, scored
from gae_metric.commands.named_metrics import Settings as Options
from gae_metric.comparison.results import Better
from gae_metric.explainers.captum import seeded
from gae_metric.explainers.gradients import ExplainFunc


class Perturbation(NamedTuple):
    """Noise on the images or on the parameters of a network.

    Attributes
    ----------
    place
        ``"input"``: uniform noise in [-strength, strength], the result cut off at the images' own
        range. ``"model"``: every parameter is multiplied by normal noise of mean 1 and standard
        deviation strength (``sample`` of Quantus's model).
    kind
        Whether it is meant to be minor or disruptive.
    strength
        See ``place``.
    """

    place: Literal["input", "model"]
    kind: Kind
    strength: float

    def __call__(self, case: Case, number: int) -> Case:
        """Return the case perturbed; the targets stay.

        Parameters
        ----------
        case
            It is left as it is.
        number
            Number of the perturbation, which with the case's seed decides the noise.
        """
        if self.place == "input":
            rng = np.random.default_rng([case.settings.seed, number])
            noise = rng.uniform(-self.strength, self.strength, case.x.shape)
            x = np.clip(case.x + noise, case.x.min(), case.x.max())
            return replace(case, x=x.astype(case.x.dtype))
        wrapped = PyTorchModel(case.model, channel_first=True, softmax=False)
        # Quantus draws from the global generator.
        with seeded(key_seed(case.settings.seed, number)):
            model = wrapped.sample(mean=1.0, std=self.strength, noise_type="multiplicative")
        return replace(case, model=model.eval())


PERTURBATIONS = (
    Perturbation("input", "resilience", 0.001),
    Perturbation("input", "reactivity", 5.0),
    Perturbation("model", "resilience", 0.001),
    Perturbation("model", "reactivity", 2.0),
)
"""The four tests of the paper, with the strengths of its experiments."""


Scores: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = Mapping[str, Scores]
"""Scores (N,) of a case's images by each metric."""
Score: TypeAlias = Callable[[Case, ExplainFunc], Columns]

_PARTS = {"GAE": "gae", "LC": "local_consistency", "C": "contrastiveness"}
_BESIDE = ("ROAD", "LocalLipschitz", "Focus")


def scores_of(case: Case, explain: ExplainFunc) -> Columns:
    """Score by GAE, its two parts, and the metrics beside it.

    Focus needs two images of a class, which few photographs have: every image's mirror image is a
    second one of its class.
    """
    parts = gae(case, explain)
    found = {name: parts[column].to_numpy(np.float64) for name, column in _PARTS.items()}
    mirrored = np.concatenate([case.x, case.x[..., ::-1]]), np.concatenate([case.y, case.y])
    options = Options(case.settings.seed, case.settings.lipschitz_samples)
    for name in _BESIDE:
        x, y = mirrored if name == "Focus" else (case.x, case.y)
        with warnings.catch_warnings():
            # Quantus warns of every sample that noise leaves as it is.
            warnings.simplefilter("ignore")
            metric, size = METRICS[name](options), case.settings.batch_size
            scores = scored(metric, case.model, x, y, explain, None, size)
        found[name] = scores[: len(case.x)]
    return found


def evaluate(
    case: Case,
    score: Score = scores_of,
    better: Mapping[str, Better] = DIRECTIONS,
    methods: Mapping[str, ExplainFunc] | None = None,
) -> pd.DataFrame:
    """Score methods before and after perturbations.

    Parameters
    ----------
    case
        The network and its images.
    score
        Of an explanation function by some metrics.
    better
        Which way these are read.
    methods
        Explanation functions by name; by default those of the settings.

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
    before = _scores(case, score, chosen)
    rows = []
    for perturbation in PERTURBATIONS:
        place, kind = perturbation.place, perturbation.kind
        for repeat in range(case.settings.perturbations):
            perturbed = perturbation(case, repeat)
            stays = perturbed.predicted() == case.y
            usable = stays if kind == "resilience" else ~stays
            after = _scores(perturbed, score, chosen)
            for name, old in before.items():
                pairs = zip(old, after[name], strict=True)
                intra = [intra_consistency(one, other, usable, kind) for one, other in pairs]
                inter = inter_consistency(old, after[name], usable, kind, better[name])
                rows.append(
                    {"metric": name, "place": place, "kind": kind, "repeat": repeat}
                    | {"usable": int(usable.sum()), "intra": float(np.mean(intra))}
                    | {"inter": inter, "change": _change(old, after[name], usable)}
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
    each["MC"] = each.iloc[:, :4].mean(axis=1, skipna=False)
    groups = each.groupby(keys, sort=False)
    whole = groups["MC"].agg(lambda one: one.mean(skipna=False))
    table = groups.mean().assign(MC=whole, MC_deviation=groups["MC"].std())
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


def _change(before: Scores, after: Scores, usable: NDArray[np.bool_]) -> float:
    """Return the mean absolute change of (L, N) scores; NaN where none is left or all are equal."""
    change = np.abs(after - before)[:, usable]
    change, spread = change[np.isfinite(change)], float(np.nanstd(before))
    return float(change.mean()) / spread if change.size and spread > 0 else float("nan")


def _scores(case: Case, score: Score, methods: Mapping[str, ExplainFunc]) -> dict[str, Scores]:
    """Return scores (L, N) by name."""
    found = [score(case, explain) for explain in methods.values()]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}
