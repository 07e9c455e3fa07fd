"""What is odd about a data set, each said once a call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gae_metric.study.scoring import Scorer
from gae_metric.study.study import NONE, Study


def named(names: Iterable[Any], most: int = 20) -> str:
    """Return the first few of some names, and how many more there are.

    Examples
    --------
    >>> named(range(8), 5)
    '0, 1, 2, 3, 4 and 3 more'
    """
    listed = list(map(str, names))
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def data_oddities(metric: str, study: Study) -> Iterator[str]:
    """Tell of a study what makes scores of any map unreliable.

    Parameters
    ----------
    metric
        Its name.
    study
        All of its samples have been loaded.
    """
    scored = study.predicted != NONE
    count = int(scored.sum())
    if not count:
        return
    if study.outputs_inside:
        what, remedy = "are in [0, 1], as after a sigmoid", "output=torch.logit"
        if study.outputs_sum_to_1:
            what, remedy = "are probabilities, as after a softmax", 'output="log"'
        yield (
            f"{metric}: the model's outputs {what}; scores are defined on logits. Pass {remedy}, "
            "or the model without its last layer"
        )
    if study.layout is not None:
        others = scored & (study.predicted != study.targets[study.samples].numpy())
        if others.any():
            yield (
                f"{metric}: {int(others.sum())} of {count} samples are not predicted as the class "
                "that is explained; C is unreliable there. They are marked in components; "
                'targets="predicted" explains predictions'
            )
        if (same := study.layout.identical & scored).any():
            yield (
                f"{metric}: {int(same.sum())} samples have a mosaic that shows "
                "the same image twice: relevance of one image is scored as that of another"
            )
    first = study.data.x[np.arange(min(8, len(study.data)))]
    whole = first.ndim == 4 and bool((first == first.round()).all() and first.min() >= 0)
    if whole and 16 < (largest := float(first.max())) <= 255:
        yield (
            f"{metric}: the inputs are whole numbers up to {largest:g}, as pixels are before the "
            "model's own preprocessing (divided by 255, then normalised)"
        )
    if study.blank.any():
        yield (
            f"{metric}: {int(study.blank.sum())} of {count} samples are blank, with one value in "
            "each channel; there is nothing in them to explain: samples "
            f"{named(study.samples[study.blank])}"
        )


def oddities(metric: str, study: Study, scorer: Scorer, components: pd.DataFrame) -> Iterator[str]:
    """Tell of samples without a score, of empty maps and of outputs that are not positive.

    Parameters
    ----------
    metric
        Its name.
    study, scorer
        What was evaluated.
    components
        Scores of R samples; those of the last column count.
    """
    scores = components.iloc[:, -1].to_numpy()
    if np.isnan(scores).any():
        yield (
            f"{metric}: {int(np.isnan(scores).sum())} scores are NaN. "
            f"{reasons(study, scorer, scores)}"
        )
    if scorer.empty:
        yield (
            f"{metric}: {scorer.empty} of the maps of inputs and mosaics have no positive value "
            "and stay 0"
        )
    # Of these scores alone are outputs taken relative to the initial one.
    if "lc_robustness" in components and (study.outputs[:, 0, 0] <= 0).any():
        negative = int((study.outputs[:, 0, 0] <= 0).sum())
        yield (
            f"{metric}: the explained output (logit) of {negative} samples is not positive; "
            "equation 14 is applied to them as it stands"
        )


def reasons(study: Study, scorer: Scorer, scores: NDArray[Any]) -> str:
    """Say which samples have no score, by cause."""
    left = np.isnan(scores)
    parts = []
    for what, where in (
        ("features are not finite", study.bad_input),
        ("model outputs or gradients are not finite", study.bad_output),
        ("attributions are not finite", scorer.bad_map),
        ("no sample of another class is in the mosaic", study.one_class),
        ("no other sample is left for the mosaic", np.ones_like(left)),
    ):
        rows = np.flatnonzero(left & where)
        left &= ~where
        if len(rows):
            parts.append(f"{what}: samples {named(study.samples[rows])}")
        if len(rows) and what.startswith("attributions"):
            found = scorer.first_bad(int(rows[0]))
            parts[-1] += f" (the first from {found} on)" if found else ""
            if found and "state" in found:
                parts[-1] += (
                    ". Features are masked there: a map that is divided by its own range or sum is "
                    "0 / 0 on an empty input"
                )
    return "; ".join(parts)
