"""What all our metrics share: Quantus's interface around one score per sample."""

import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np
import pandas as pd
import quantus
import torch
from numpy.typing import ArrayLike, NDArray
from quantus.helpers.enums import DataType, EvaluationCategory, ModelType
from quantus.helpers.warn import check_kwargs
from quantus.metrics.base import Metric
from torch import Tensor, nn
from torch.utils.data import Dataset

from abslrp.outputs import check_output
from gae_metric.errors import check_integer, check_spelling
from gae_metric.metrics.plot import plot_scores
from gae_metric.study import supplied_maps
from gae_metric.study.arguments import Data, check_data, check_maps, takes_series
from gae_metric.study.conversion import ChunkSize, at_work, own_memory
from gae_metric.study.explaining import Explainer
from gae_metric.study.guard import ModelGuard
from gae_metric.study.logits import LogitsModel


class QuantusOptions(TypedDict, total=False):
    """Arguments that all of Quantus's metrics have, off by default."""

    abs: bool
    normalise: bool
    normalise_func: Callable[[NDArray[Any]], NDArray[Any]] | None
    normalise_func_kwargs: dict[str, Any] | None
    return_aggregate: bool
    aggregate_func: Callable[..., Any] | None
    default_plot_func: Callable[..., Any] | None
    disable_warnings: bool
    display_progressbar: bool


_QUANTUS = {
    name: option.replace(
        kind=option.KEYWORD_ONLY, default=False if option.annotation in (bool, "bool") else None
    )
    for name, option in inspect.signature(Metric.__init__).parameters.items()
    if name in QuantusOptions.__annotations__
}


class QuantusMetric(Metric):  # type: ignore[misc]
    """Base of our metrics: inputs and an explainer in, one score per sample out."""

    model_applicability: ClassVar[set[ModelType]] = {ModelType.TORCH}

    evaluation_category: ClassVar[EvaluationCategory] = EvaluationCategory.FAITHFULNESS
    #: Whether maps of the inputs themselves are needed, and of inputs that the metric makes.
    needs_originals: ClassVar[bool] = True
    makes_inputs: ClassVar[bool] = True
    #: Whether other classes than the explained one count, so that a model needs several outputs.
    contrasts: ClassVar[bool] = True
    #: Attributes that hold results, not parameters, and what they are without any.
    results: ClassVar[Mapping[str, Any]]
    #: Options that are integers, and what they are at least.
    integers: ClassVar[Mapping[str, int]] = {}
    #: Which column of ``components`` is the score.
    score_column: ClassVar[int] = -1
    #: Whether trajectories may be shared with other calls.
    cache: bool = False
    #: Which classes are explained.
    targets: Literal["y_batch", "predicted"] = "y_batch"

    #: Scores of the last call, one row per sample, indexed by the sample's place in ``x_batch``.
    components: pd.DataFrame

    def __init_subclass__(cls) -> None:
        """Have the signature of the constructor name Quantus's options."""
        own = inspect.signature(cls.__init__)
        *first, rest = own.parameters.values()
        if rest.kind is rest.VAR_KEYWORD:
            added = [option for name, option in _QUANTUS.items() if name not in own.parameters]
            signature = own.replace(parameters=[*first, *added, rest])
            cls.__init__.__signature__ = signature  # type: ignore[attr-defined]

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Take what a subclass's constructor was called with, by name: its ``locals()``."""
        options = {name: option.default for name, option in _QUANTUS.items()} | given["kwargs"]
        own = {name: given[name] for name in given if name not in ("self", "kwargs", "__class__")}
        known = inspect.signature(type(self)).parameters
        check_spelling(set(options) - set(known), known)
        for name in ("normalise_func", "aggregate_func", "default_plot_func"):
            if not (options[name] is None or callable(options[name])):
                raise ValueError(f"{name}: expected a function, got {options[name]!r}")
        options["default_plot_func"] = options["default_plot_func"] or self._plot
        super().__init__(**options)
        # Plain attributes, as in Quantus: they can be read, and set between calls.
        self.__dict__.update(own)
        self._check()
        self._forget()

    def _check(self) -> None:
        """Refuse options that are not as described: those of the constructor, and those set later.

        Raises
        ------
        ValueError
            If one is not.
        """
        # NumPy's integers of 8 or 16 bits cannot be counted with.
        small = {name: int(v) for name, v in vars(self).items() if isinstance(v, np.integer)}
        self.__dict__.update(small)
        if self.explain_batch_size is not None:
            check_integer("explain_batch_size", self.explain_batch_size)
        check_output(self.output)
        for name, option in inspect.signature(type(self)).parameters.items():
            value = getattr(self, f"_{name}", getattr(self, name, None))
            if isinstance(option.default, bool) and not isinstance(value, (bool, np.bool_)):
                raise ValueError(f"{name}: expected True or False, got {value!r}")
        for name, least in self.integers.items():
            check_integer(name, getattr(self, name), least)

    def __call__(
        self,
        model: nn.Module,
        x_batch: ArrayLike | Tensor | Dataset[Any],
        y_batch: ArrayLike | Tensor | Dataset[Any] | None = None,
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
            PyTorch model in evaluation mode. It is used where it is and left as it was.
        x_batch
            (N, C, H, W) images, (N, C, D, H, W) volumes or video, (N, C, L) or (N, L) time series,
            or (N, F) tabular data, where the metric applies to them. An array or tensor, or what is
            read a batch at a time: a memory map, a ``torch.utils.data.Dataset`` of samples, of
            tuples of a sample and its class, or of dictionaries of one array and a ``label`` or
            ``labels`` (Hugging Face), or anything with a length that gives items or slices.
            Converted to the floating-point type of the model's parameters.
        y_batch
            The classes that are explained: (N,) integers. For models with several classes of a
            sample, 0 or 1 for each output, (N, K), or N lists of integers: the one that the model
            gives the highest output is explained. May be None with ``targets="predicted"``, or
            where ``x_batch`` has them.
        a_batch
            Maps of ``x_batch`` for ``y_batch``, if there are any; those of ``explain_func`` are
            computed otherwise, or where other classes are explained. Shaped like the results of
            ``explain_func``, and the same but for the scale of each: those of the first and the
            last sample are explained again. Contrastiveness and Focus have no use for them.
        s_batch
            Not used.
        channel_first
            False for (N, ..., C) arrays, which are turned; ``explain_func`` and the model always
            get channels first. Default True.
        explain_func, explain_func_kwargs
            ``explain_func(model=, inputs=, targets=, **explain_func_kwargs)`` returns maps
            (n, C, ...), (n, 1, ...) or (n, ...) for inputs (n, C, ...), each sample's on its own.
            It gets and returns arrays, or tensors on the model's device if it is marked by
            :func:`gae_metric.tensor_explainer`. It leaves the model as it found it: hooks, modes
            and values that it leaves are warned of.
        model_predict_kwargs
            Keyword arguments of the model's own calls.
        softmax
            Not used: scores are defined on logits. True gives a warning.
        device
            Where to move the model for the time of the call; by default it stays where it is. If
            given, ``explain_func`` gets it too, as in Quantus.
        batch_size
            Rows that the model evaluates at a time, and inputs that ``explain_func`` gets at a time
            unless ``explain_batch_size`` says otherwise. Does not change scores.
        **kwargs
            Refused, as in Quantus.

        Returns
        -------
        list of float
            One score per sample, NaN for one that cannot be scored, such as for a feature, output
            or attribution that is not finite (one warning names them). One number with
            ``return_aggregate``.

        Raises
        ------
        ValueError
            If an argument is not as described, or ``explain_func`` returns something else. All
            that can be told without evaluating the model is checked first.
        """
        check_spelling(kwargs, inspect.signature(self.__call__).parameters)
        check_kwargs(kwargs)
        data = self.checked_data(
            model,
            x_batch,
            y_batch,
            channel_first=channel_first,
            device=device,
            batch_size=batch_size,
            model_predict_kwargs=model_predict_kwargs,
        )
        if explain_func is not None:  # which may return all its maps in one memory
            a_batch = own_memory(a_batch)
        given = None if a_batch is None else check_maps(a_batch, data, channel_first)
        options = supplied_maps.explain_options(explain_func, explain_func_kwargs, data, device)
        self._forget()
        guard = ModelGuard(data, self.cache)
        # Not the one that is evaluated: it may put hooks on what it gets, and leave them there.
        own = LogitsModel(model, self.output, model_predict_kwargs)
        own.takes_one_output = data.model.takes_one_output
        explainer = Explainer(explain_func, options, own, self._post_process, guard, given)
        enough = not self.makes_inputs
        explainer = supplied_maps.check_explain_func(self.name, explainer, enough=enough)
        with at_work(model, data.device), guard:
            # Where quantus.explain has the name of another tool's method, of any use or not.
            used = self.needs_originals
            if not explainer.alone and (used or explain_func is quantus.explain):
                explainer = supplied_maps.check_given_maps(
                    self.name, explainer, data, enough=enough, used=used
                )
            results = self._evaluate(data, explainer)
        scores: list[float] = results["components"].iloc[:, self.score_column].tolist()
        if softmax:
            data.warn(f"softmax: True has no effect, as {self.name} is defined on logits")
        aggregated = [self.aggregate_func(scores)] if self.return_aggregate else scores
        # At once, and read from here alone, for the object may be used by several threads.
        self.__dict__.update(results, evaluation_scores=aggregated)
        self.all_evaluation_scores.extend(aggregated)
        return list(aggregated)

    def checked_data(self, model: Any, x_batch: Any, y_batch: Any, **given: Any) -> Data:
        """Return what is evaluated, checked; see :func:`gae_metric.study.arguments.check_data`."""
        self._check()
        asked = {"output": self.output, "predicted": self.targets == "predicted"}
        data = check_data(model, x_batch, y_batch, **asked, quiet=self._disable_warnings, **given)
        one_class = data.y is None or not data.y.values.any()
        data.model.takes_one_output = one_class and not self.contrasts
        self._check_applicability(data)
        return data

    def _evaluate(self, data: Data, explainer: Explainer) -> dict[str, Any]:
        """Return what becomes attributes of the metric: ``components`` and other results."""
        raise NotImplementedError

    def _check_applicability(self, data: Data) -> None:
        kind = {2: DataType.TABULAR, 3: DataType.TIMESERIES}.get(data.x.ndim, DataType.IMAGE)
        if kind in self.data_applicability or (data.x.ndim == 2 and takes_series(data)):
            return
        expected = ", ".join(sorted(each.value for each in self.data_applicability))
        raise ValueError(
            f"x_batch: {self.name} applies to {expected} data, got {kind.value} data of shape "
            f"{tuple(data.x.shape)}; of waveforms (N, L) it applies to models that have "
            "convolutions or recurrent layers, or take other lengths"
        )

    def _chunks(self, data: Data) -> ChunkSize:
        """Return the inputs that are explained at a time."""
        return data.chunks("explain_func", self.explain_batch_size)

    def _forget(self) -> None:
        """Forget the results of the call before."""
        empty = deepcopy(dict(self.results))
        self.__dict__.update(empty, components=pd.DataFrame(), evaluation_scores=[])

    def _post_process(self, maps: Tensor) -> Tensor:
        """Apply Quantus's ``normalise`` and ``abs``, each map on its own."""
        if self.normalise and self.normalise_func is not None:
            maps = supplied_maps.normalised(maps, self.normalise_func)
        return maps.abs() if self.abs else maps

    @property
    def get_params(self) -> dict[str, Any]:
        """Parameters of the metric, by name."""
        left = {"components", *self.results}
        return {name: value for name, value in super().get_params.items() if name not in left}

    def interpret_scores(self) -> None:
        """Print how scores are to be read."""
        print((type(self).__doc__ or "").partition("Parameters\n")[0].strip())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Have a copy draw its own scores: the function is bound to what it is a copy of."""
        self.__dict__.update(state)
        if getattr(state["default_plot_func"], "__func__", None) is QuantusMetric._plot:
            self.__dict__["default_plot_func"] = self._plot

    def _plot(self, *args: Any, **kwargs: Any) -> None:
        """Draw ``results`` as :func:`plot_scores` does, or else the last call's own figure."""
        if args or "results" in kwargs:
            plot_scores(*args, **kwargs)
        else:
            self._plot_last(**kwargs)

    def _plot_last(self, **kwargs: Any) -> None:
        plot_scores(self.components, **kwargs)
