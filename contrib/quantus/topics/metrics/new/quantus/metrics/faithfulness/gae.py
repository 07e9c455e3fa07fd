"""This module contains the implementation of the GAE metric."""

from typing import Dict, final

from quantus.functions.gae_func import contrastiveness, local_consistency
from quantus.helpers.enums import DataType, EvaluationCategory
from quantus.metrics.base_gae import GAEMetric


@final
class GAE(GAEMetric):
    """
    Implementation of Global Attribution Evaluation (GAE) by Davor Vukadin et al., 2024.

    The product (eq. 18) of Local Consistency, whether the map follows the model under masking, and Contrastiveness,
    whether it points at the explained class only; see these metrics. Random and constant maps score about 0.

    Assumptions:
        - A feature of value 0 is a masked one, and the model recognises a sample at a quarter of its size.
        - Cost per sample: 2 * steps gradients and one evaluation of the model, and 2 * steps explanations.

    References:
        1) Davor Vukadin et al.: "Advancing Attribution-Based Neural Network Explainability through Relative Absolute
        Magnitude Layer-Wise Relevance Propagation and Multi-Component Evaluation." ACM TIST 15(3) (2024),
        doi 10.1145/3649458.

    Attributes:
        - components: lc_robustness, lc_faithfulness, local_consistency, contrastiveness and gae of the last call, one
        number per sample each.
    """

    name = "GAE"
    data_applicability = {DataType.IMAGE, DataType.TIMESERIES}
    evaluation_category = EvaluationCategory.FAITHFULNESS
    columns = (
        "lc_robustness",
        "lc_faithfulness",
        "local_consistency",
        "contrastiveness",
        "gae",
    )

    def __init__(
        self, steps: int = 10, schedule: str = "reranked", seed: int = 0, **kwargs
    ):
        """
        GAE. High scores, of at most 1, mean that the explanation follows the model and tells classes apart.

        Parameters
        ----------
        steps: int
            The number of states of the masking trajectory, default=10.
        schedule: str
            What is masked, see quantus.functions.gae_func.local_consistency, default="reranked".
        seed: int
            The seed of the mosaics, default=0.
        kwargs: optional
            Keyword arguments of GAEMetric.
        """
        super().__init__(
            "the number of masking 'steps', the masking 'schedule' and the 'seed' of the mosaics",
            **kwargs,
        )
        self.steps = steps
        self.schedule = schedule
        self.seed = seed

    def _score(self, logits, explain, x, y, a, **mosaics) -> Dict:
        """Compute Local Consistency, Contrastiveness and their product (eq. 18)."""
        scores = local_consistency(logits, explain, x, y, a, self.steps, self.schedule)
        scores["contrastiveness"] = contrastiveness(logits, explain, x, **mosaics)
        scores["gae"] = scores["local_consistency"] * scores["contrastiveness"]
        return scores
