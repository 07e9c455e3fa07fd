"""The checked arguments of a metric's call."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from abslrp.outputs import Output
from gae_metric.errors import check_integer, warn
from gae_metric.functional import content_hashes, mosaics
from gae_metric.study.conversion import ChunkSize, as_maps, at_work, sent, usable_device, weights_of
from gae_metric.study.fingerprint import of_tensors
from gae_metric.study.logits import LogitsModel, check_model
from gae_metric.study.samples import Labels, Samples, as_labels


@dataclass(frozen=True, eq=False)
class Data:
    """A model and the samples that it is evaluated on."""

    model: LogitsModel
    #: (N, C, ...) or (N, F), as given: any real dtype, wherever it lies.
    x: Samples
    #: None where classes are the model's predictions.
    y: Labels | None
    #: Whether all features of a sample are finite, (N,), and whether each channel has one value.
    finite: NDArray[np.bool_]
    blank: NDArray[np.bool_]
    #: Hashes of the samples, (N,); see :func:`gae_metric.functional.content_hashes`.
    contents: NDArray[np.uint64]
    #: Fingerprints of the samples as the model takes them.
    digests: list[bytes]
    device: torch.device
    #: What the model computes in.
    dtype: torch.dtype
    batch_size: int
    #: Whether the caller does not want to be warned.
    quiet: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def warn(self, message: str) -> None:
        """Warn the caller of the package, who may not want it."""
        if not self.quiet:
            warn(message)

    def chunks(self, what: str, size: int | None = None) -> ChunkSize:
        """Return how many items are done at a time, by default as many as the model evaluates."""
        return ChunkSize(size or self.batch_size, what, self.warn)

    def rows(self, samples: NDArray[np.int64], *, given: bool = False) -> Tensor:
        """Return samples where they lie, in the model's type or in that which they have."""
        found = self.x[samples]
        if self.x.made:
            changed = content_hashes(found) != self.contents[samples]
            if changed.any():
                raise ValueError(
                    "x_batch: expected the same sample each time that it is read, got two "
                    f"different ones at index {samples[changed][0]}; leave random transformations "
                    "out, and do not change it while it is in use"
                )
        return found if given else found.to(self.dtype)

    def inputs(self, samples: NDArray[np.int64]) -> Tensor:
        """Return samples as the model takes them, on its device."""
        return sent(self.rows(samples), self.device)

    def logits(self, x: Tensor) -> Tensor:
        """Return the model's outputs for inputs, (n, K), on the CPU and without a gradient."""
        with torch.no_grad():
            found: Tensor = self.model(x.clone())  # some models overwrite their input
        return found.cpu()

    def maps(self, given: Samples, samples: NDArray[np.int64]) -> Tensor:
        """Return given maps of samples, on the model's device, with a channel axis."""
        shape = torch.Size([len(samples), *self.x.shape[1:]])
        return as_maps(given[samples], shape, "a_batch", self.device)


def check_data(
    model: Any,
    x_batch: Any,
    y_batch: Any,
    *,
    channel_first: bool | None = None,
    device: str | torch.device | None = None,
    batch_size: int = 64,
    output: Output = None,
    model_predict_kwargs: Mapping[str, Any] | None = None,
    predicted: bool = False,
    quiet: bool = False,
) -> Data:
    """Check what is evaluated; see :class:`GAE` for the arguments.

    Raises
    ------
    ValueError
        If an argument is not as described there.
    """
    check_model(model)
    if model_predict_kwargs is not None and not is_keywords(model_predict_kwargs):
        raise ValueError(
            f"model_predict_kwargs: expected a mapping from names, got {model_predict_kwargs!r}"
        )
    where = next((value.device for value in model.parameters()), torch.device("cpu"))
    if device is not None and usable_device(device) != torch.device(where.type):
        where = torch.device(device)
    if where.type == "meta":
        raise ValueError("model: expected one with values, got one on the device meta")
    x = Samples(x_batch, "x_batch").channels_first(channel_first)
    if x.dtype.is_complex or x.ndim not in (2, 3, 4, 5) or 0 in x.shape:
        raise ValueError(
            "x_batch: expected images (N, C, H, W), volumes (N, C, D, H, W), time series (N, C, L) "
            "or tabular data (N, F) with at least one sample, got "
            f"{x.dtype} {tuple(x.shape)}"
        )
    if channel_first is None and x.ndim > 3 and x.shape[-1] in (1, 3) and min(x.shape[1:-1]) > 4:
        raise ValueError(
            f"x_batch: shape {tuple(x.shape)} looks channel-last; pass channel_first=False "
            "(or True if it is not)"
        )
    if y_batch is None and not predicted:
        y_batch = x.classes
    y = None if predicted and y_batch is None else as_labels(y_batch, len(x))
    kinds = [one.dtype for one in (weights_of(model), x, torch.empty(0)) if one is not None]
    data = Data(
        model=LogitsModel(model, output, model_predict_kwargs),
        x=x,
        y=y,
        finite=np.ones(len(x), dtype=bool),
        blank=np.zeros(len(x), dtype=bool),
        contents=np.zeros(len(x), dtype=np.uint64),
        digests=[],
        device=where,
        # The parameters' floating-point type, or that of the inputs.
        dtype=next(kind for kind in kinds if kind.is_floating_point),
        batch_size=check_integer("batch_size", batch_size),
        quiet=quiet,
    )
    for samples in np.split(np.arange(len(x)), range(data.batch_size, len(x), data.batch_size)):
        given = x[samples]
        data.contents[samples] = content_hashes(given)
        taken = given.to(data.dtype)
        data.digests.extend(of_tensors([*taken]))
        rows = taken.reshape(*given.shape[:2], -1)
        data.finite[samples] = rows.isfinite().flatten(1).all(1).cpu().numpy()
        if x.ndim > 2:
            data.blank[samples] = (rows == rows[..., :1]).flatten(1).all(1).cpu().numpy()
    return data


def is_keywords(given: Any) -> bool:
    """Whether something can be given as keyword arguments."""
    return isinstance(given, Mapping) and all(isinstance(name, str) for name in given)


def takes_series(data: Data) -> bool:
    """Whether samples (N, L) are series: the model treats their places alike.

    It has convolutions or recurrent layers, or takes a shorter one. The columns of a table are
    fixed.
    """
    if any(isinstance(each, (_ConvNd, nn.RNNBase)) for each in data.model.modules()):
        return True
    return refusal(data, data.rows(np.array([0]))[:, : data.x.shape[1] // 2]) is None


def refusal(data: Data, x: Tensor) -> Exception | None:
    """Return the error with which a model refuses inputs, or None where it takes them."""
    try:
        with at_work(data.model.wrapped_model, data.device):
            data.logits(sent(x, data.device))
    except Exception as error:
        return error
    return None


def check_larger(option: str, data: Data) -> None:
    """Refuse mosaics that are larger than samples, where a model takes samples alone.

    Raises
    ------
    ValueError
        If it does.
    """
    first = data.rows(np.array([0]))
    error = refusal(data, mosaics(first, [[0] * 4], "none"))
    if error is not None and refusal(data, first) is None:
        raise ValueError(f"{option}: the model takes samples, but no larger inputs: {error}")


def check_maps(a_batch: Any, data: Data, channel_first: bool | None) -> Samples:
    """Check given maps, which may be read as samples are."""
    maps = Samples(a_batch, "a_batch")
    if maps.ndim == data.x.ndim:
        maps.channels_first(channel_first)
    as_maps(torch.empty(maps.shape, dtype=maps.dtype, device="meta"), data.x.shape, "a_batch")
    return maps
