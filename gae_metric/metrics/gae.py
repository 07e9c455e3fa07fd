"""Global Attribution Evaluation and Contrastiveness."""

from collections.abc import Sequence
from typing import Any, ClassVar

from quantus.helpers.enums import EvaluationCategory
from typing_extensions import Unpack

from abslrp.outputs import Output
from gae_metric.functional import Features, Interpolation, MaskValue, MosaicPlan, Schedule
from gae_metric.metrics.attribution_metric import AttributionMetric, Targets
from gae_metric.metrics.local_consistency import LocalConsistency
from gae_metric.metrics.plot import plot_parts
from gae_metric.metrics.quantus_metric import QuantusOptions
from gae_metric.study.mosaicking import Protocol


class GAE(AttributionMetric):
    """Global Attribution Evaluation (GAE): whether a map is faithful, robust and contrastive.

    The product of :class:`LocalConsistency` and :class:`Contrastiveness` of each sample (eq. 18).
    Scores are in [0, 1]. Higher is better. Random, constant and plain gradient maps score
    about 0.

    Parameters
    ----------
    steps
        Number of states T of the masking trajectory, 2 to 255.
    schedule
        ``"reranked"`` (default) or ``"uniform"``, see :class:`LocalConsistency`.
    seed
        Non-negative seed of the mosaics. Which samples a sample's mosaic shows depends on the seed
        and their contents, not on their order.
    mosaics
        A :class:`gae_metric.MosaicPlan` to use instead of drawing one, or several.
    explain_batch_size
        Inputs that explain_func gets at a time, across samples; by default ``batch_size``. Does not
        change scores.
    mask_value
        Value of masked features: a number (default 0), ``"mean"``, ``"blur"`` or an array, see
        :class:`LocalConsistency`.
    n_mosaics
        Mosaics of each sample; their scores are averaged.
    interpolation
        How samples are made smaller for mosaics: ``"nearest"`` (default), ``"bilinear"``,
        ``"bicubic"`` or ``"area"``. With ``"none"`` they keep their size: the model gets mosaics of
        twice the height and width, or of four times the length (sentences).
    protocol
        ``"paper"`` (default) or ``"repository"``, see :class:`Contrastiveness`. The second
        gives one score for each four samples.
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
        What counts as a feature, ``"entries"`` (default) or ``"positions"``, see
        :class:`LocalConsistency`.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. They are as in Quantus, but each map is
        normalised by itself, and only the positive part of the result counts. Any other keyword is
        refused.

    Attributes
    ----------
    components : pandas.DataFrame
        ``lc_robustness``, ``lc_faithfulness`` (in [-1, 1]), ``local_consistency``,
        ``contrastiveness`` and ``gae`` (in [0, 1]) of the last call, one row per sample. The first
        columns are ``predicted``, the class that the model predicts (-1: none), and
        ``probability``, that of the explained class.
    curves : dict of ndarray
        Curves of the last call along the trajectory, (N, T) each: ``output_lerf``,
        ``output_morf``, ``output_difference``, ``similarity_lerf``, ``similarity_morf``,
        ``similarity_difference``.
    mosaic_indices, mosaic_positive : ndarray
        Mosaics of the last call: data-set indices in their quadrants, (N, n_mosaics, 4), and
        quadrants of the positives, (N, n_mosaics).

    Raises
    ------
    ValueError
        If an argument is not as described. On a call, also if there are fewer than 4 samples, or if
        there are maps (``a_batch``) but no ``explain_func``.

    Notes
    -----
    Cost per sample: at most 2T-1 input gradients of the model, which metrics share through a cache
    (:func:`gae_metric.clear_cache`), and at most 2T explanations (T = 10: 20), one less with
    ``a_batch``. Where masking changes nothing from a state to the next, as once all is masked, the
    next is not explained; unless ``explain_func`` gave other maps in such states of an earlier
    sample, as a random one does. On photographs about 16 are left of 20.

    References
    ----------
    Vukadin, Afrić, Šilić, Delač, "Advancing Attribution-Based Neural Network Explainability through
    Relative Absolute Magnitude Layer-Wise Relevance Propagation and Multi-Component Evaluation",
    ACM TIST 15(3), 2024, doi 10.1145/3649458, eq. 13-18.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import abslrp
    >>> from gae_metric import GAE
    >>> _ = torch.manual_seed(0)
    >>> layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten()]
    >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(8 * 6 * 6, 5)).eval()
    >>> x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    >>> metric = GAE(disable_warnings=True)
    >>> scores = metric(model, x, [0, 1, 2, 3], explain_func=abslrp.explain)
    >>> len(scores), list(metric.components.columns)[-3:]
    (4, ['local_consistency', 'contrastiveness', 'gae'])
    """

    name: ClassVar[str] = "GAE"
    columns: ClassVar[tuple[str, ...]] = (*LocalConsistency.columns, "contrastiveness", "gae")

    def _plot_last(self, **kwargs: Any) -> None:
        plot_parts(self.components, **kwargs)

    def __init__(
        self,
        steps: int = 10,
        schedule: Schedule = "reranked",
        seed: int = 0,
        mosaics: MosaicPlan | Sequence[MosaicPlan] | None = None,
        explain_batch_size: int | None = None,
        mask_value: MaskValue = 0.0,
        n_mosaics: int = 1,
        interpolation: Interpolation = "nearest",
        protocol: Protocol = "paper",
        targets: Targets = "y_batch",
        output: Output = None,
        cache: bool = True,
        features: Features = "entries",
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())


class Contrastiveness(AttributionMetric):
    """Contrastiveness (C): whether the map is on the explained class, and on no other.

    Each sample is put into a mosaic with three others, and the map of the mosaic explains the
    sample's class. The score is the mean of a score map S, weighted by this map (eq. 17). S is 1 in
    the quadrant of the sample. In another quadrant it is the higher, the more probable the class of
    that quadrant is in the sample. Scores are in [0, 1]. Higher is better.

    Parameters
    ----------
    seed
        Non-negative seed of the mosaics. Which samples a sample's mosaic shows depends on the seed
        and their contents, not on their order.
    mosaics
        A :class:`gae_metric.MosaicPlan` to use instead of drawing one, or several.
    explain_batch_size
        Mosaics that explain_func gets at a time; by default ``batch_size``. Does not change scores.
    n_mosaics
        Mosaics of each sample; their scores are averaged.
    interpolation
        How samples are made smaller: ``"nearest"`` (default), ``"bilinear"``, ``"bicubic"`` or
        ``"area"``. With ``"none"`` they keep their size: the model gets mosaics of twice the height
        and width, or of four times the length.
    protocol
        ``"paper"`` (default): every sample is the positive of its own mosaic. ``"repository"``: as
        the authors' code at batch size 4. Four consecutive samples are one mosaic, its positive is
        drawn by the softmax of its outputs, predicted classes are explained, quadrants are scored
        by ``y_batch``, and the 2x2 block in the centre counts as the positive's. So there is one
        score for each four samples.
    targets
        Which classes are explained, and which classes negatives have: ``"y_batch"`` (default) or
        the model's predictions, ``"predicted"``, which is the paper's protocol.
    output
        Where the logits are in what the model returns: a function, a key or attribute, or a
        position. ``"log"``: the model returns probabilities. ``"log_softmax"``: it returns their
        logarithms. ``"binary"``: it returns one logit z, and the logits of the classes 0 and 1 are
        -z and z. By default a returned tensor holds the logits, and an object has them as
        ``logits``. explain_func gets a model that returns the logits.
    cache
        Whether outputs and gradients of the model may be kept for later calls, and taken from
        earlier ones; see :func:`gae_metric.clear_cache`.
    **kwargs
        Options of Quantus: ``abs``, ``normalise``, ``normalise_func``, ``normalise_func_kwargs``,
        ``return_aggregate``, ``aggregate_func``, ``default_plot_func``, ``disable_warnings`` and
        ``display_progressbar``, all off by default. They are as in Quantus, but each map is
        normalised by itself, and only the positive part of the result counts. Any other keyword is
        refused.

    Attributes
    ----------
    components : pandas.DataFrame
        ``contrastiveness`` of the last call, one row per sample. The first columns are
        ``predicted``, the class that the model predicts (-1: none), and ``probability``, that of
        the explained class.
    mosaic_indices, mosaic_positive : ndarray
        Mosaics of the last call: data-set indices in their quadrants, (N, n_mosaics, 4), and
        quadrants of the positives, (N, n_mosaics).

    Raises
    ------
    ValueError
        If an argument is not as described; on a call, also if there are fewer than 4 samples.

    Notes
    -----
    Cost per sample: one forward pass of the model and ``n_mosaics`` explanations. A sample with a
    value that is not finite is replaced in other samples' mosaics by the next one.

    Time series are put into mosaics as four segments in a row; volumes and video slice by slice
    and frame by frame, in quadrants.

    If the sample in a quadrant has several classes (``y_batch``), the one counts for which the
    model gives the positive the highest output. S is 1 if the explained class is among them.

    References
    ----------
    Vukadin, Afrić, Šilić, Delač, ACM TIST 15(3), 2024, doi 10.1145/3649458, eq. 17.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from gae_metric import Contrastiveness
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
    >>> x = np.repeat([1.0, 0.0, 0.0, 0.0], 16).reshape(4, 1, 4, 4)
    >>> def bright(model, inputs, targets, **kwargs):
    ...     return inputs
    >>> metric = Contrastiveness(disable_warnings=True)
    >>> scores = metric(model, x, [1, 0, 0, 0], explain_func=bright)
    >>> round(scores[0], 6)
    1.0
    """

    name: ClassVar[str] = "Contrastiveness"
    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.LOCALISATION
    columns: ClassVar[tuple[str, ...]] = ("contrastiveness",)
    masks: ClassVar[bool] = False
    needs_originals: ClassVar[bool] = False

    def __init__(
        self,
        seed: int = 0,
        mosaics: MosaicPlan | Sequence[MosaicPlan] | None = None,
        explain_batch_size: int | None = None,
        n_mosaics: int = 1,
        interpolation: Interpolation = "nearest",
        protocol: Protocol = "paper",
        targets: Targets = "y_batch",
        output: Output = None,
        cache: bool = True,
        **kwargs: Unpack[QuantusOptions],
    ) -> None:
        super().__init__(locals())
