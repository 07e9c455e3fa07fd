"""Local Consistency and its two parts."""

from typing import Any, ClassVar

from quantus.helpers.enums import DataType, EvaluationCategory
from typing_extensions import Unpack

from abslrp.outputs import Output
from gae_metric.functional import Features, MaskValue, Schedule
from gae_metric.metrics.attribution_metric import AttributionMetric, Targets
from gae_metric.metrics.plot import plot_curves
from gae_metric.metrics.quantus_metric import QuantusOptions


class _Local(AttributionMetric):
    """A metric on the masking trajectory alone."""

    data_applicability = AttributionMetric.data_applicability | {DataType.TABULAR}
    contrasts: ClassVar[bool] = False

    def __init__(
        self,
        steps: int = 10,
        schedule: Schedule = "reranked",
        explain_batch_size: int | None = None,
        mask_value: MaskValue = 0.0,
        targets: Targets = "y_batch",
        output: Output = None,
        cache: bool = True,
        features: Features = "entries",
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())

    def _plot_last(self, **kwargs: Any) -> None:
        if self.makes_inputs:
            plot_curves(self.curves, self.components, **kwargs)
        else:  # no similarities to draw
            super()._plot_last(**kwargs)


class LocalConsistency(_Local):
    """Local Consistency (LC): whether the map follows the model as features are masked.

    The mean of :class:`LocalRobustness` and :class:`LocalFaithfulness`; a negative mean counts as 0
    (eq. 16). Higher is better. A random map scores about 0.

    Parameters
    ----------
    steps
        Number of states T of the masking trajectory, 2 to 255.
    schedule
        ``"reranked"`` (default): all features are ranked again at each state t, also those that are
        masked already, and the first t/T of them are masked, as in the authors' code.
        ``"uniform"``: at each state 1/T of all features is masked, of those that are not masked
        yet.
    explain_batch_size
        Inputs that explain_func gets at a time, across samples; by default ``batch_size``. Does not
        change scores.
    mask_value
        Value of masked features: a number (default 0) in the model's input tensor, ``"mean"`` (the
        sample's mean in that channel), ``"blur"`` (the blurred sample) or an array that broadcasts
        to one sample.
    targets
        Which classes are explained: ``"y_batch"`` (default) or the model's predictions,
        ``"predicted"``, which is the paper's protocol.
    output
        Where the logits are in what the model returns: a function, a key or attribute, or a
        position. ``"log"``: the model returns probabilities. ``"log_softmax"``: it returns their
        logarithms. ``"binary"``: it returns one logit z, and the logits of the classes 0 and 1 are
        -z and z. By default a returned tensor holds the logits, and an object has them as
        ``logits``. explain_func gets a model that returns the logits.
    cache
        Whether outputs and gradients of the model may be kept for later calls, and taken from
        earlier ones; see :func:`gae_metric.clear_cache`.
    features
        What counts as a feature: ``"entries"`` of the input (default, as in the paper: a channel of
        a pixel), or ``"positions"``: all channels of a pixel, time step or token, which then have
        one impact. Positions that have the ``mask_value`` already, such as padding, do not count.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. They are as in Quantus, but each map is
        normalised by itself, and only the positive part of the result counts. Any other keyword is
        refused.

    Attributes
    ----------
    components : pandas.DataFrame
        ``lc_robustness`` (in [-1, 1]), ``lc_faithfulness`` ([-1, 1]) and ``local_consistency``
        ([0, 1]) of the last call, one row per sample. The first columns are
        ``predicted``, the class that the model predicts (-1: none), and ``probability``, that of
        the explained class.
    curves : dict of ndarray
        Curves of the last call along the trajectory, (N, T) each: ``output_lerf``,
        ``output_morf``, ``output_difference``, ``similarity_lerf``, ``similarity_morf``,
        ``similarity_difference``.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Notes
    -----
    Cost per sample: at most 2T-1 input gradients of the model, which metrics share through a cache
    (:func:`gae_metric.clear_cache`), and at most 2T-1 explanations, one less with ``a_batch`` (see
    :class:`gae_metric.GAE`).

    References
    ----------
    Vukadin, Afrić, Šilić, Delač, ACM TIST 15(3), 2024, doi 10.1145/3649458, eq. 13-16.

    Examples
    --------
    >>> import torch
    >>> from gae_metric import LocalConsistency, tensor_explainer
    >>> model = torch.nn.Linear(4, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> @tensor_explainer
    ... def contribution(model, inputs, targets, **kwargs):
    ...     return inputs * model.weight
    >>> metric = LocalConsistency(steps=4)
    >>> scores = metric(model, torch.ones(1, 4), [0], explain_func=contribution)
    >>> metric.components[list(metric.columns)].round(3).to_dict("records")
    [{'lc_robustness': 0.808, 'lc_faithfulness': -0.2, 'local_consistency': 0.304}]
    """

    name: ClassVar[str] = "Local Consistency"
    columns: ClassVar[tuple[str, ...]] = ("lc_robustness", "lc_faithfulness", "local_consistency")


class LocalRobustness(_Local):
    """Local Robustness (LC_R): whether the map changes as the model's output does.

    Features are masked in two orders, least relevant first and most relevant first. The difference
    of the two output curves is compared with that of the two curves of the maps' similarity
    (eq. 14). Scores are in [-1, 1]. Higher is better.

    Parameters, attributes, errors and cost are those of :class:`LocalConsistency`; the only column
    of ``components`` is ``lc_robustness``.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gae_metric import LocalRobustness
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    >>> def constant(model, inputs, targets, **kwargs):
    ...     return np.ones_like(inputs)
    >>> scores = LocalRobustness()(model, np.ones((2, 3, 2, 2)), [0, 1], explain_func=constant)
    >>> [round(score, 6) for score in scores]
    [-1.0, -1.0]
    """

    name: ClassVar[str] = "Local Robustness"
    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.ROBUSTNESS
    columns: ClassVar[tuple[str, ...]] = ("lc_robustness",)


class LocalFaithfulness(_Local):
    """Local Faithfulness (LC_F): whether the map is on features whose masking changes the output.

    The mean of the sign of the impact map I_c, weighted by the map (eq. 15). Scores are in [-1, 1],
    and higher is better. This is the only part of GAE that needs only maps of the inputs: with
    ``a_batch`` no ``explain_func`` is needed.

    Parameters, attributes and errors are those of :class:`LocalConsistency`; the only column of
    ``components`` is ``lc_faithfulness``, and ``curves`` holds NaN for the similarities. Cost per
    sample: the trajectory's gradients, and one explanation without ``a_batch``.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gae_metric import LocalFaithfulness
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
    >>> x, maps = np.ones((2, 3, 2, 2)), np.ones((2, 1, 2, 2))
    >>> scores = LocalFaithfulness()(model, x, [0, 1], a_batch=maps)
    >>> len(scores)
    2
    """

    name: ClassVar[str] = "Local Faithfulness"
    columns: ClassVar[tuple[str, ...]] = ("lc_faithfulness",)
    makes_inputs: ClassVar[bool] = False
