"""What ``metric.plot()`` draws unless told otherwise: on pyplot's current figure, as in Quantus."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def plot_scores(results: Mapping[str, Sequence[float]] | pd.DataFrame, **kwargs: Any) -> None:
    """Draw the distribution of scores, one box for each entry.

    Parameters
    ----------
    results
        Scores by name: of several methods, or a metric's ``components``.
    **kwargs
        Passed to :func:`gae_metric.plotting.distribution`, and by it to
        ``matplotlib.axes.Axes.boxplot``.

    Raises
    ------
    ValueError
        If there are no scores.

    Examples
    --------
    >>> plot_scores({"Saliency": [0.1, 0.2], "absLRP": [0.3, 0.5]})
    """
    from gae_metric.plotting import distribution

    _drawn(distribution, results, **kwargs)


def plot_curves(
    curves: Mapping[str, NDArray[Any]],
    components: pd.DataFrame,
    sample: int | None = None,
    title: str | None = None,
) -> None:
    """Draw figure 2 of the paper: the curves that Local Robustness compares.

    Parameters
    ----------
    curves, components
        Of a metric after a call.
    sample
        Its place in ``x_batch``; by default the typical one, whose score is the middle one.
    title
        Title of the figure; by default sample and scores.

    Raises
    ------
    ValueError
        If the metric was not called or has no such sample.
    """
    from gae_metric.plotting import curves as draw

    if not curves or components.empty:
        raise ValueError("curves: expected those of a call, got none; call the metric first")
    if sample is None:
        sample = int(components.index[typical(components.iloc[:, -1].to_numpy())])
    if sample not in components.index:
        raise ValueError(
            f"sample: expected one of the {len(components)} samples that were scored, got {sample}"
        )
    row = components.index.tolist().index(sample)
    if title is None:
        names = {"lc_robustness": "LC_R", "lc_faithfulness": "LC_F", "local_consistency": "LC"}
        scores = components.iloc[row]
        parts = [f"{names[n]} {scores[n]:.3f}" for n in names if n in scores]
        title = f"sample {sample}: " + ", ".join(parts)
    _drawn(draw, curves, row, title)


def plot_parts(components: pd.DataFrame | Mapping[str, pd.DataFrame], **kwargs: Any) -> None:
    """Draw Local Consistency against Contrastiveness, with lines of equal GAE.

    Parameters
    ----------
    components
        Of a GAE metric after a call, or several by method.
    **kwargs
        Passed to :func:`gae_metric.plotting.scatter`.

    Raises
    ------
    ValueError
        If there are no scores.
    """
    from gae_metric.plotting import scatter

    _drawn(scatter, components, **kwargs)


def typical(scores: NDArray[Any]) -> int:
    """Return the place of the score in the middle; the first where none is finite.

    Examples
    --------
    >>> typical(np.array([0.9, float("nan"), 0.1, 0.5]))
    3
    """
    finite = np.isfinite(scores)
    return int(np.argsort(np.where(finite, scores, np.nan), kind="stable")[finite.sum() // 2])


def _drawn(draw: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Draw on a figure that pyplot knows: Quantus shows and saves the current one."""
    import matplotlib.pyplot as plt

    # Once to see that it can be drawn, so that an error leaves no empty figure behind.
    draw(*args, **kwargs)
    draw(*args, figure=plt.figure(dpi=200), **kwargs)
