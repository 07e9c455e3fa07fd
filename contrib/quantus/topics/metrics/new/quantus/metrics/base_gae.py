"""This module contains the base class of Local Consistency, Contrastiveness and GAE."""

import warnings
from abc import abstractmethod
from importlib import util
from typing import Any, Callable, ClassVar, Dict, List, Optional, Sequence, Tuple

import numpy as np

from quantus.functions.gae_func import contrastive_mosaic_creation, positive_map
from quantus.helpers import asserts, utils, warn
from quantus.helpers.enums import ModelType, ScoreDirection
from quantus.helpers.model.model_interface import ModelInterface
from quantus.metrics.base import Metric

if util.find_spec("torch"):
    import torch

    from quantus.helpers.model.pytorch_model import PyTorchModel


class GAEMetric(Metric[List[float]]):
    """
    Base of the metrics of Global Attribution Evaluation (GAE): scores of samples, from the logits of PyTorch models.

    Attributes:
        - columns: The names of the scores that a metric computes; the last one is its own.
        - seed: The seed of the mosaics, None for a metric without mosaics.
        - components: These scores of the last call, by name, one per sample.
    """

    model_applicability = {ModelType.TORCH}
    score_direction = ScoreDirection.HIGHER
    columns: ClassVar[Sequence[str]]
    seed: Optional[int] = None

    def __init__(
        self,
        sensitive_params: str,
        abs: bool = False,
        normalise: bool = False,
        normalise_func: Optional[Callable[[np.ndarray], np.ndarray]] = None,
        normalise_func_kwargs: Optional[Dict[str, Any]] = None,
        return_aggregate: bool = False,
        aggregate_func: Optional[Callable] = None,
        default_plot_func: Optional[Callable] = None,
        disable_warnings: bool = False,
        display_progressbar: bool = False,
        **kwargs,
    ):
        """
        Parameters
        ----------
        sensitive_params: str
            The parameters that users are told of.
        abs: boolean
            Whether attributions are replaced by their absolute values, default=False.
        normalise: boolean
            Whether normalise_func is applied to attributions, default=False: each map's positive part is scaled to
            maximum 1 in any case.
        normalise_func: callable
            What normalises attributions if normalise=True, default=normalise_by_max.
        normalise_func_kwargs: dict
            Keyword arguments of normalise_func, default={}.
        return_aggregate: boolean
            Whether one aggregated score is returned instead of one per sample.
        aggregate_func: callable
            What aggregates the scores, default=np.mean.
        default_plot_func: callable
            What plots the scores.
        disable_warnings: boolean
            Whether warnings are left out, default=False.
        display_progressbar: boolean
            Whether a progress bar is shown, default=False.
        kwargs: optional
            Keyword arguments.
        """
        super().__init__(
            abs=abs,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            **kwargs,
        )
        self.components: Dict[str, List[float]] = {}
        if not self.disable_warnings:
            warn.warn_parameterisation(
                metric_name=self.__class__.__name__,
                sensitive_params=sensitive_params,
                citation=(
                    "Vukadin, Davor, et al. 'Advancing Attribution-Based Neural Network Explainability through "
                    "Relative Absolute Magnitude Layer-Wise Relevance Propagation and Multi-Component Evaluation.' "
                    "ACM TIST 15.3 (2024)"
                ),
            )

    def __call__(
        self,
        model,
        x_batch: np.ndarray,
        y_batch: np.ndarray,
        a_batch: Optional[np.ndarray] = None,
        s_batch: Optional[np.ndarray] = None,
        channel_first: Optional[bool] = None,
        explain_func: Optional[Callable] = None,
        explain_func_kwargs: Optional[Dict] = None,
        model_predict_kwargs: Optional[Dict] = None,
        softmax: Optional[bool] = False,
        device: Optional[str] = None,
        batch_size: int = 64,
        **kwargs,
    ) -> List[float]:
        """
        Score every sample.

        Parameters
        ----------
        model: torch.nn.Module
            A torch model in evaluation mode.
        x_batch: np.ndarray
            The inputs.
        y_batch: np.ndarray
            The classes that are explained.
        a_batch: np.ndarray, optional
            Attributions of x_batch, if there are any. Contrastiveness, which explains mosaics, has no use for them.
        s_batch: np.ndarray, optional
            Not used.
        channel_first: boolean, optional
            Whether channels come first in x_batch; inferred from its shape if None.
        explain_func: callable
            What generates attributions. It is needed also with a_batch, as the metric makes inputs and explains them.
        explain_func_kwargs: dict, optional
            Keyword arguments of explain_func.
        model_predict_kwargs: dict, optional
            Keyword arguments of the model.
        softmax: boolean
            Not used, as scores are defined on logits. True gives a warning.
        device: string
            The device of the model.
        batch_size: int
            The number of samples that are evaluated at a time. Scores do not depend on it.
        kwargs: optional
            Keyword arguments.

        Returns
        -------
        evaluation_scores: list
            One score per sample; NaN where a feature, output or attribution is not finite, which gives a warning.

        Examples:
        --------
            >> model = LeNet()
            >> model.load_state_dict(torch.load("tests/assets/mnist"))
            >> metric = quantus.GAE()
            >> scores = metric(model=model.eval(), x_batch=x_batch, y_batch=y_batch, explain_func=quantus.explain,
                               explain_func_kwargs={"method": "IntegratedGradients"})
            >> metric.components["contrastiveness"]
        """
        if softmax and not self._disable_warnings:
            warnings.warn(
                f"{self.name} is defined on logits, softmax=True has no effect."
            )
        return super().__call__(
            model=model,
            x_batch=x_batch,
            y_batch=y_batch,
            a_batch=a_batch,
            s_batch=s_batch,
            channel_first=channel_first,
            explain_func=explain_func,
            explain_func_kwargs=explain_func_kwargs,
            model_predict_kwargs=model_predict_kwargs,
            softmax=False,
            device=device,
            batch_size=batch_size,
            **kwargs,
        )

    def custom_preprocess(
        self, model: ModelInterface, x_batch: np.ndarray, y_batch: np.ndarray, **kwargs
    ) -> Dict[str, np.ndarray]:
        """
        Refuse what cannot be scored, and build the mosaics.

        Parameters
        ----------
        model: ModelInterface
            The model.
        x_batch: np.ndarray
            The inputs.
        y_batch: np.ndarray
            The classes that are explained.
        kwargs: optional
            Unused.

        Returns
        -------
        dict
            What gae_func.contrastiveness takes, of a metric with a seed.
        """
        if not util.find_spec("torch") or not isinstance(model, PyTorchModel):
            raise ValueError(f"{self.name} needs the gradients of a torch.nn.Module.")
        if model.get_model().training:
            raise AttributeError("Torch model needs to be in the evaluation mode.")
        asserts.assert_explain_func(explain_func=self.explain_func)
        with torch.no_grad():
            logits, x = self._logits(model, x_batch[:1])
            classes = logits(x).shape[-1]
        if np.min(y_batch) < 0 or np.max(y_batch) >= classes:
            raise ValueError(f"Expected classes from 0 to {classes - 1} in 'y_batch'.")
        self.components = {name: [] for name in self.columns}
        if self.seed is None:
            return {}
        mosaics, _, labels, places = contrastive_mosaic_creation(
            x_batch, y_batch, self.seed
        )
        return {"mosaic_batch": mosaics, "label_batch": labels, "place_batch": places}

    def evaluate_batch(
        self,
        model: ModelInterface,
        x_batch: np.ndarray,
        y_batch: np.ndarray,
        a_batch: np.ndarray,
        s_batch: Optional[np.ndarray] = None,
        **kwargs,
    ) -> List[float]:
        """
        Score a batch.

        Parameters
        ----------
        model: ModelInterface
            The model.
        x_batch: np.ndarray
            The inputs.
        y_batch: np.ndarray
            The classes that are explained.
        a_batch: np.ndarray
            The attributions.
        s_batch: np.ndarray, optional
            Not used.
        kwargs: optional
            The mosaics.

        Returns
        -------
        scores_batch: list
            One score per sample.
        """
        logits, x = self._logits(model, x_batch)
        y = torch.as_tensor(np.asarray(y_batch), device=x.device).long()

        def explain(inputs: np.ndarray) -> "torch.Tensor":
            # As explain_batch, but maps may be constant, as of an input that is all masked.
            a = self.explain_func(
                model=model.get_model(),
                inputs=inputs,
                targets=y_batch,
                **self.explain_func_kwargs,
            )
            a = utils.expand_attribution_channel(np.asarray(a), inputs)
            a = self.normalise_func(a) if self.normalise else a
            return positive_map(np.abs(a) if self.abs else a, inputs.shape)

        a = positive_map(a_batch, x_batch.shape)
        scores = self._score(logits, explain, x, y, a, **kwargs)
        for name in self.columns:
            self.components[name].extend(scores[name].tolist())
        return scores[self.columns[-1]].tolist()

    @abstractmethod
    def _score(self, logits, explain, x, y, a, **mosaics) -> Dict[str, "torch.Tensor"]:
        """Compute the columns of a batch, by the functions of gae_func."""

    @staticmethod
    def _logits(
        model: "PyTorchModel", x_batch: np.ndarray
    ) -> Tuple[Callable, "torch.Tensor"]:
        """Return the function to the logits, and inputs as it takes them."""
        network = model.get_softmax_arg_model()
        like = next(model.get_model().parameters(), torch.empty(0, device=model.device))
        x = torch.as_tensor(np.ascontiguousarray(x_batch)).to(like)
        return lambda inputs: network(inputs, **model.model_predict_kwargs), x

    def custom_postprocess(self, **kwargs) -> None:
        """
        Warn of samples without a score.

        Parameters
        ----------
        kwargs: optional
            Unused.
        """
        samples = np.flatnonzero(np.isnan(self.evaluation_scores))
        if len(samples) and not self._disable_warnings:
            warnings.warn(
                f"{self.name}: the scores of samples {', '.join(map(str, samples))} are NaN, as features, model "
                "outputs or attributions are not finite, or the mosaic shows one class only."
            )
