"""Tensors from whatever is given, the devices that they go to, and chunks that fit these."""

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from abslrp import batch
from abslrp.arrays import as_tensor
from gae_metric.errors import refusing
from gae_metric.functional.masking import check_targets, gradient_of
from gae_metric.functional.precision import at_least_single, wide_dtype

__all__ = ["as_input", "as_maps", "as_targets", "as_tensor", "gradient_of", "like"]


def as_input(model: nn.Module, inputs: Any) -> Tensor:
    """Return inputs (B, ...) on the model's device, in its floating-point type.

    Raises
    ------
    ValueError
        If they are not real numbers with a batch axis and at least one sample.
    """
    x = as_tensor(inputs, "inputs")
    if x.ndim < 2 or len(x) == 0 or x.is_complex():
        raise ValueError(
            f"inputs: expected real values of shape (B, ...), got {x.dtype} {tuple(x.shape)}"
        )
    if (weights := weights_of(model)) is not None:
        return x.to(weights.dtype).to(weights.device)
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def weights_of(model: nn.Module) -> Tensor | None:
    """Return a parameter or buffer of the type that a model computes in, if it has any."""
    values = (*model.parameters(), *model.buffers())
    return next((value for value in values if value.is_floating_point()), None)


def as_targets(targets: Any, samples: int) -> Tensor:
    """Return targets as int64 (B,): one for each sample, or one for all.

    Raises
    ------
    ValueError
        If they are not integers of that shape.
    """
    chosen = as_tensor(targets, "targets")
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    check_targets(chosen, samples)
    return chosen.long()


def own_memory(values: Any) -> Any:
    """Return a copy of an array or tensor that is in memory, all else as it is.

    Examples
    --------
    >>> held = np.zeros(2)
    >>> copied = own_memory(held)
    >>> held += 1
    >>> copied.tolist()
    [0.0, 0.0]
    """
    if isinstance(values, Tensor):
        return values.detach().clone()
    in_memory = isinstance(values, np.ndarray) and not isinstance(values, np.memmap)
    return values.copy() if in_memory else values


def like(maps: Tensor, inputs: Any) -> Any:
    """Return maps as the inputs were; arrays in the byte order that torch takes."""
    found = batch.like(maps, inputs)
    return found if isinstance(found, Tensor) else found.astype(found.dtype.newbyteorder("="))


def map_shapes(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the shapes that the map of a sample (C, ...), or (F,), may have."""
    more = [(1, *shape[1:]), tuple(shape[1:])] if len(shape) > 1 else []
    return list(dict.fromkeys([tuple(shape), *more]))


def as_maps(
    values: Any, shape: torch.Size, source: str, device: torch.device | None = None
) -> Tensor:
    """Check attributions of inputs of a shape and give them a channel axis.

    Parameters
    ----------
    values
        Array or tensor.
    shape
        (B, C, ...) or (B, F).
    source
        Whose result it is, for the error.
    device
        Where to put them; by default they stay.

    Returns
    -------
    Tensor
        (B, C, ...) or (B, 1, ...); (B, F) for tabular inputs. At least float32.

    Raises
    ------
    ValueError
        If it has another shape.
    """
    maps = as_tensor(values, source, "an array of maps")
    if maps.is_complex():
        raise ValueError(f"{source}: expected real maps, got {maps.dtype}")
    shapes = [(shape[0], *one) for one in map_shapes(shape[1:])]
    if maps.shape not in shapes:
        raise ValueError(
            f"{source}: expected maps of shape {' or '.join(map(str, shapes))}, got "
            f"{tuple(maps.shape)}"
        )
    if maps.ndim < len(shape):
        maps = maps.unsqueeze(1)
    maps = at_least_single(maps)
    if device is not None:
        # float64 stays float64 where the device has it.
        maps = maps.to(device, wide_dtype(device) if maps.dtype == torch.float64 else maps.dtype)
    return maps


def sent(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """Put values on a device.

    A plain copy to a GPU waits until all that was asked of it before is done. This one has a queue
    of its own, which what is asked for next waits for.

    Examples
    --------
    >>> sent(torch.arange(3), torch.device("cpu"))
    tensor([0, 1, 2])
    """
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    side, current = _queue(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(side):
        there = tensor.to(device)
    current.wait_stream(side)
    # Its memory belongs to that queue, and is in use in this one.
    there.record_stream(current)
    return there


def usable_device(name: Any) -> torch.device:
    """Return a device by its name, its number or itself.

    Raises
    ------
    InputError
        If there is none that can be used.

    Examples
    --------
    >>> usable_device("cpu")
    device(type='cpu')
    """
    wrong = (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError)
    with refusing(f"device: {str(name)!r} cannot be used", *wrong):
        device = torch.device(name)
        torch.ones(1, device=device).item()
        return device


def give_back() -> None:
    """Have memory that is free go back to the system, where the C library (glibc) keeps it."""
    with suppress(AttributeError, OSError, TypeError):  # another C library; Windows
        ctypes.CDLL(None).malloc_trim(0)


#: A device's queue beside the current one, the same each time.
_queue = lru_cache(torch.cuda.Stream)


#: Who computes without cuDNN, and whether it was on before the first of them.
_WITHOUT_CUDNN: dict[object, bool] = {}
_SWITCH = threading.RLock()


def _cudnn(user: object, *, off: bool) -> None:
    """Turn cuDNN off for a user, or on again for the last: threads share one switch."""
    with _SWITCH:
        before = next(iter(_WITHOUT_CUDNN.values()), torch.backends.cudnn.enabled)
        if off:
            _WITHOUT_CUDNN[user] = before
        else:
            _WITHOUT_CUDNN.pop(user, None)
        torch.backends.cudnn.enabled = before and not _WITHOUT_CUDNN


@contextmanager
def at_work(model: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Have a model where and as gradients can be taken of it, whatever the caller's modes.

    For the time of the context it is on the device, inference mode is off, and so is cuDNN where
    the model has recurrent layers: cuDNN refuses their gradients in evaluation mode.
    """
    home = next((value.device for value in model.parameters()), device)
    moved = device is not None and home is not None and home != device
    moved = moved and (home.type, device.index) != (device.type, None)  # type: ignore[union-attr]
    with torch.inference_mode(False), ExitStack() as undo:
        if any(isinstance(each, nn.RNNBase) for each in model.modules()):
            undo.callback(_cudnn, undo, off=False)
            _cudnn(undo, off=True)
        if moved:
            undo.callback(model.to, home)
            model.to(device)
        yield


Result = TypeVar("Result")


@dataclass
class ChunkSize:
    """A number of items that is halved when they do not fit in memory."""

    #: Items at a time.
    value: int
    #: What is done in chunks, for the warning.
    what: str
    #: Tells the caller of it.
    warn: Callable[[str], None]

    def each(self, values: Any, work: Callable[[Any], Result]) -> Iterator[tuple[Any, Result]]:
        """Do work for parts of some values; yield each part, and what came of it.

        Parameters
        ----------
        values
            Anything with a length that can be sliced.
        work
            Called with a part of them; must be repeatable.
        """
        start = 0
        while start < len(values):
            part = values[start : start + self.value]
            try:
                result = work(part)
            except Exception as error:
                if len(part) == 1 or not out_of_memory(error):
                    raise
            else:
                yield part, result
                start += len(part)
                continue
            # Outside the except block, where the error's frames no longer hold their tensors.
            self.value = len(part) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.warn(
                f"out of memory: {self.what} goes on with {self.value} instead of {len(part)} "
                "samples at a time; scores do not change"
            )


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that an allocation failed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    # The last: what cuBLAS and cuDNN say.
    signs = ("out of memory", "can't allocate memory", "status_alloc_failed")
    return isinstance(error, RuntimeError) and any(sign in text for sign in signs)
