"""This module contains the implementation of the Contrastiveness metric."""

from typing import Dict, final

from quantus.functions.gae_func import contrastiveness
from quantus.helpers.enums import DataType, EvaluationCategory
from quantus.metrics.base_gae import GAEMetric


@final
class Contrastiveness(GAEMetric):
    """
    Implementation of Contrastiveness by Davor Vukadin et al., 2024: whether the map points at the explained class only.

    Each sample stands in a mosaic with three others, which has the size of a sample and is explained for its class. The
    score is the mean, weighted by the map, of a score map (eq. 17): 1 in the sample's quadrant, and in another one the
    closer to 1 the likelier its class is for the sample, down to -1; at least 0.

    Assumptions:
        - The model recognises a sample at a quarter of its size.
        - Cost per sample: one evaluation of the model and one explanation.

    References:
        1) Davor Vukadin et al.: "Advancing Attribution-Based Neural Network Explainability through Relative Absolute
        Magnitude Layer-Wise Relevance Propagation and Multi-Component Evaluation." ACM TIST 15(3) (2024),
        doi 10.1145/3649458.

    Attributes:
        - components: contrastiveness of the last call, one number per sample.
    """

    name = "Contrastiveness"
    data_applicability = {DataType.IMAGE, DataType.TIMESERIES}
    evaluation_category = EvaluationCategory.LOCALISATION
    columns = ("contrastiveness",)

    def __init__(self, seed: int = 0, **kwargs):
        """
        Contrastiveness. High scores, of at most 1, mean that the explanation tells classes apart.

        Parameters
        ----------
        seed: int
            The seed of the mosaics, default=0.
        kwargs: optional
            Keyword arguments of GAEMetric.
        """
        super().__init__("the 'seed' of the mosaics", **kwargs)
        self.seed = seed

    def custom_preprocess(self, model, x_batch, y_batch, **kwargs) -> Dict:
        """Build the mosaics; the samples need no attributions, and stand in for them."""
        made = super().custom_preprocess(model, x_batch, y_batch)
        return {"a_batch": x_batch, **made}

    def _score(self, logits, explain, x, y, a, **mosaics) -> Dict:
        """Compute Contrastiveness."""
        return {"contrastiveness": contrastiveness(logits, explain, x, **mosaics)}
