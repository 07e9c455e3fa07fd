"""This module contains the implementation of the Local Consistency metric."""

from typing import Dict, final

from quantus.functions.gae_func import local_consistency
from quantus.helpers.enums import DataType, EvaluationCategory
from quantus.metrics.base_gae import GAEMetric


@final
class LocalConsistency(GAEMetric):
    """
    Implementation of Local Consistency by Davor Vukadin et al., 2024: whether the map follows the model under masking.

    Features are masked step by step, in the order in which they matter least and most to the model. Local robustness
    (eq. 14) compares how the output and the map change along the two orders, local faithfulness (eq. 15) is the map's
    mean of the sign of the impact that masking showed. The score is the mean of the two, at least 0 (eq. 16).

    Assumptions:
        - A feature of value 0 is a masked one.
        - Cost per sample: 2 * steps gradients of the model, and 2 * steps - 1 explanations.

    References:
        1) Davor Vukadin et al.: "Advancing Attribution-Based Neural Network Explainability through Relative Absolute
        Magnitude Layer-Wise Relevance Propagation and Multi-Component Evaluation." ACM TIST 15(3) (2024),
        doi 10.1145/3649458.

    Attributes:
        - components: lc_robustness, lc_faithfulness and local_consistency of the last call, one number per sample each.
    """

    name = "Local Consistency"
    data_applicability = {DataType.IMAGE, DataType.TIMESERIES, DataType.TABULAR}
    evaluation_category = EvaluationCategory.FAITHFULNESS
    columns = ("lc_robustness", "lc_faithfulness", "local_consistency")

    def __init__(self, steps: int = 10, schedule: str = "reranked", **kwargs):
        """
        Local Consistency. High scores, of at most 1, mean that the explanation follows the model.

        Parameters
        ----------
        steps: int
            The number of states of the masking trajectory, default=10.
        schedule: str
            What is masked, see quantus.functions.gae_func.local_consistency, default="reranked".
        kwargs: optional
            Keyword arguments of GAEMetric.
        """
        super().__init__(
            "the number of masking 'steps' and the masking 'schedule'", **kwargs
        )
        self.steps = steps
        self.schedule = schedule

    def _score(self, logits, explain, x, y, a, **mosaics) -> Dict:
        """Compute Local Consistency and its parts."""
        return local_consistency(logits, explain, x, y, a, self.steps, self.schedule)
