"""One warning a call for each thing that is odd about a data set."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gae_metric.study.scoring import Scorer
from gae_metric.study.study import Study

#: How many samples a warning names one by one.
_NAMED = 20


def warn_of(
    metric: str, study: Study, scorer: Scorer, scores: NDArray[Any], relative: bool
) -> None:
    """Warn of samples without a score, of empty maps and of outputs that are not positive.

    Parameters
    ----------
    metric
        Its name.
    study, scorer
        What was evaluated.
    scores
        (R,) scores.
    relative
        Whether outputs are taken relative to the initial one.
    """
    if np.isnan(scores).any():
        _warn(
            f"{metric}: {int(np.isnan(scores).sum())} scores are NaN. "
            f"{reasons(study, scorer, scores)}"
        )
    if scorer.empty:
        _warn(
            f"{metric}: {scorer.empty} of the maps of inputs and mosaics have no positive value "
            "and stay 0"
        )
    if relative:
        negative = int((study.outputs[:, 0, 0] <= 0).sum())
        if negative:
            _warn(
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
        ("no other sample is left for the mosaic", np.ones_like(left)),
    ):
        rows = np.flatnonzero(left & where)
        left &= ~where
        if len(rows):
            samples = study.samples[rows]
            named = ", ".join(map(str, samples[:_NAMED]))
            more = f" and {len(samples) - _NAMED} more" if len(samples) > _NAMED else ""
            parts.append(f"{what}: samples {named}{more}")
    return "; ".join(parts)


def _warn(message: str) -> None:
    # Where the metric was called: above this, warn_of and the metric's __call__.
    warnings.warn(message, RuntimeWarning, stacklevel=4)
