"""What the companions share: Quantus's interface around one score per sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from quantus.helpers.enums import DataType, ModelType
from quantus.helpers.warn import check_kwargs
from quantus.metrics.base import Metric
from torch import Tensor, nn
from tqdm.auto import tqdm

from gae_metric.functional.masking import check_classes
from gae_metric.metrics.plot import plot_scores
from gae_metric.study.arguments import Data, check_data, check_maps
from gae_metric.study.chunks import ChunkSize
from gae_metric.study.devices import on_device
from gae_metric.study.explaining import Explainer
from gae_metric.study.logits import Output
from gae_metric.study.supplied_maps import check_given_maps, explain_options, normalised

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["CompanionMetric"]

#: How many samples a warning names one by one.
_NAMED = 20


class CompanionMetric(Metric):  # type: ignore[misc]
    """Base of ROAD and Focus: images in, one score per sample out, whatever the batch size."""

    data_applicability: ClassVar[set[DataType]] = {DataType.IMAGE}
    model_applicability: ClassVar[set[ModelType]] = {ModelType.TORCH}

    #: Whether maps are needed of inputs that the metric makes itself.
    needs_explainer: ClassVar[bool]
    #: Attributes that hold results, not parameters.
    results: ClassVar[frozenset[str]]

    #: Scores of the last call, one row per sample, indexed by the sample's place in ``x_batch``;
    #: the first column is the score.
    components: pd.DataFrame

    def __init__(
        self,
        *,
        seed: int,
        explain_batch_size: int | None,
        output: Output | None,
        abs: bool,
        normalise: bool,
        normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None,
        normalise_func_kwargs: dict[str, Any] | None,
        return_aggregate: bool,
        aggregate_func: Callable[..., Any] | None,
        default_plot_func: Callable[..., Any] | None,
        disable_warnings: bool,
        display_progressbar: bool,
        **kwargs: Any,
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed: expected a non-negative integer, got {seed!r}")
        size = explain_batch_size
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if size is not None and (not whole or size < 1):
            raise ValueError(
                f"explain_batch_size: expected a positive integer or None, got {size!r}"
            )
        super().__init__(
            abs=abs,
            normalise=normalise,
            normalise_func=normalise_func,
            normalise_func_kwargs=normalise_func_kwargs,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=default_plot_func or self._plot,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
            **kwargs,
        )
        self.seed = int(seed)
        self.explain_batch_size = size
        self.output = output
        self.components = pd.DataFrame()

    def __call__(
        self,
        model: nn.Module,
        x_batch: ArrayLike | Tensor,
        y_batch: ArrayLike | Tensor,
        a_batch: ArrayLike | Tensor | None = None,
        s_batch: ArrayLike | None = None,
        channel_first: bool | None = None,
        explain_func: Callable[..., Any] | None = None,
        explain_func_kwargs: Mapping[str, Any] | None = None,
        model_predict_kwargs: Mapping[str, Any] | None = None,
        softmax: bool | None = None,
        device: str | torch.device | None = None,
        batch_size: int = 64,
        **kwargs: Any,
    ) -> list[float]:
        """Score every sample.

        Parameters
        ----------
        model
            PyTorch classifier in evaluation mode. It is left as it was.
        x_batch
            (N, C, H, W) images. Converted to the floating-point type of the model's parameters.
        y_batch
            (N,) integers: the classes of the samples.
        a_batch
            Maps of ``x_batch``, shaped like the results of ``explain_func``. ROAD takes those of
            ``explain_func`` if there are none; Focus has no use for them.
        s_batch, softmax
            Not used; Quantus passes them.
        channel_first
            False for (N, H, W, C) arrays, which are turned. Default True.
        explain_func, explain_func_kwargs
            ``explain_func(model=, inputs=, targets=, **explain_func_kwargs)`` returns maps
            (n, C, H, W), (n, 1, H, W) or (n, H, W) for inputs (n, C, H, W), each sample's on its
            own. It gets and returns arrays, or tensors on the model's device if it is marked by
            :func:`gae_metric.tensor_explainer`.
        model_predict_kwargs
            Keyword arguments of the model's own calls.
        device
            Where to move the model for the time of the call; by default it stays where it is. If
            given, ``explain_func`` gets it too, as in Quantus.
        batch_size
            Samples that the model evaluates at a time, and that ``explain_func`` gets at a time
            unless ``explain_batch_size`` says otherwise. Does not change scores.
        **kwargs
            Refused, as in Quantus.

        Returns
        -------
        list of float
            One score per sample, NaN for one that cannot be scored (one warning names them). One
            number with ``return_aggregate``.

        Raises
        ------
        ValueError
            If an argument is not as described, or ``explain_func`` returns something else.
        """
        check_kwargs(kwargs)
        data = check_data(
            model,
            x_batch,
            y_batch,
            channel_first=channel_first,
            device=device,
            batch_size=batch_size,
            output=self.output,
            model_predict_kwargs=model_predict_kwargs,
        )
        if data.x.ndim != 4:
            raise ValueError(f"x_batch: expected images (N, C, H, W), got {tuple(data.x.shape)}")
        given = None if a_batch is None else check_maps(a_batch, data, channel_first)
        options = explain_options(explain_func, explain_func_kwargs, data, device)
        self.explain_func, self.explain_func_kwargs = explain_func, options
        with (
            on_device(model, data.device),
            tqdm(
                total=len(data), desc=self.name, unit="sample", disable=not self.display_progressbar
            ) as progress,
        ):
            given, _ = check_given_maps(
                self.name,
                explain_func,
                options,
                data,
                given,
                enough=not self.needs_explainer,
                quiet=self._disable_warnings or self.needs_explainer,
            )
            self._check_model(data)
            self.components = self._evaluate(data, given, progress)
        self.components.index.name = "sample"
        self.evaluation_scores = self.components.iloc[:, 0].tolist()
        if self.return_aggregate:
            self.evaluation_scores = [self.aggregate_func(self.evaluation_scores)]
        self.all_evaluation_scores.extend(self.evaluation_scores)
        scores: list[float] = self.evaluation_scores
        return scores

    def _evaluate(self, data: Data, given: Tensor | None, progress: Any) -> pd.DataFrame:
        """Return ``components``."""
        raise NotImplementedError

    def _check_model(self, data: Data) -> None:
        """See what the model returns, once, for one sample."""
        finite = np.flatnonzero(data.finite)
        if len(finite):
            logits = self._logits(data, data.inputs(finite[:1]))
            assert data.y is not None
            check_classes(data.y, logits.shape[1], "y_batch")

    def _logits(self, data: Data, x: Tensor) -> NDArray[np.float64]:
        """Return the model's outputs, (n, K)."""
        with torch.no_grad():
            logits: NDArray[np.float64] = data.model(x).cpu().double().numpy()
        return logits

    def _maps(self, data: Data, x: Tensor, targets: Tensor) -> Tensor:
        """Attributions of inputs on the model's device, post-processed."""
        assert self.explain_func is not None
        model = data.model.model if data.model.plain else data.model
        explain = Explainer(self.explain_func, self.explain_func_kwargs, model, self._post_process)
        return explain(x, targets)

    def _post_process(self, maps: Tensor) -> Tensor:
        """Apply Quantus's ``normalise`` and ``abs``, each map on its own."""
        if self.normalise and self.normalise_func is not None:
            maps = normalised(maps, self.normalise_func)
        return maps.abs() if self.abs else maps

    def _chunks(self, data: Data) -> ChunkSize:
        """How many samples explain_func gets at a time."""
        size = self.explain_batch_size or data.batch_size
        return ChunkSize(size, "explain_func", self._disable_warnings)

    def _warn(self, message: str, samples: NDArray[np.bool_]) -> None:
        """Warn once about some samples and name them."""
        rows = np.flatnonzero(samples)
        if len(rows) == 0 or self._disable_warnings:
            return
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        named = ", ".join(map(str, rows[:_NAMED])) + more
        # To where the metric was called: past this, _evaluate and __call__.
        text = f"{self.name}: {message}: {len(rows)} samples ({named})"
        warnings.warn(text, RuntimeWarning, stacklevel=4)

    @property
    def get_params(self) -> dict[str, Any]:
        """Parameters of the metric, by name."""
        params: dict[str, Any] = super().get_params
        left = {"components", *self.results}
        return {name: value for name, value in params.items() if name not in left}

    def interpret_scores(self) -> None:
        """Print how scores are to be read."""
        print((type(self).__doc__ or "").partition("Parameters\n")[0].strip())

    def _plot(self, *args: Any, **kwargs: Any) -> None:
        if not args and "results" not in kwargs:
            args = (self.components.iloc[:, :1],)
        plot_scores(*args, **kwargs)
