"""Checks and conversions of what users pass to the public functions."""

from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from abslrp.arrays import as_tensor, integers
from abslrp.batch import Batch
from abslrp.outputs import ONE_OUTPUT, Output

AT_A_TIME = 5 * 2**17
"""Input features that a CPU explains at a time: more cost memory and save no time."""


def chunk_size(x: Tensor) -> int:
    """Return how many samples to explain at a time: all on a GPU, equal parts on a CPU.

    Examples
    --------
    >>> chunk_size(torch.empty(1, 3, 224, 224).expand(32, -1, -1, -1))
    4
    """
    if x.device.type != "cpu":
        return len(x)
    parts = min(len(x), -(-x.numel() // AT_A_TIME))
    return -(-len(x) // max(1, parts))


def step_of(batch_size: Any, otherwise: int) -> int:
    """Return how many samples to explain at a time, if it is a number of samples that is given."""
    if batch_size is None:
        return otherwise
    whole = isinstance(batch_size, Integral) and not isinstance(batch_size, bool)
    if not whole or batch_size < 1:
        raise ValueError(f"batch_size: expected a positive integer or None, got {batch_size!r}")
    return int(batch_size)


def check_choice(name: str, value: Any, *choices: Any) -> None:
    """Refuse a value that is none of those that an argument takes."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name}: expected {', '.join(others)} or {last}, got {value!r}")


def check_model(model: Any) -> None:
    """Refuse what is not a PyTorch model in evaluation mode."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    # A frozen TorchScript has no mode.
    if getattr(model, "training", False) and not is_exported(model):
        raise ValueError("model: expected evaluation mode, got training mode; call model.eval()")


def is_exported(module: nn.Module) -> bool:
    """Whether a module is a program of ``torch.export``.

    It says that it is in training mode, whichever mode it was exported in, and refuses ``eval()``.
    """
    return isinstance(module, torch.fx.GraphModule) and "eval" in vars(module)


def check_batch_axis(model: nn.Module, batch: Batch, output: Output, error: Exception) -> None:
    """Refuse what a model takes only once it has a batch axis, after an error; two evaluations."""

    def run(batch: Batch) -> Tensor:
        return batch.logits(model, output, len(batch))

    single = batch.with_tensors([one[None] for one in batch.tensors])
    if single.works(run) and not batch.works(run):
        shape = tuple(batch.tensors[0].shape)
        raise ValueError(
            f"inputs: expected a batch axis, got shape {shape}; x[None] has one, {(1, *shape)}"
        ) from error


def as_targets(targets: Any, samples: int, name: str = "targets") -> Tensor:
    """Return targets as (B, K) int64, or as (B,) if there is one for each sample."""
    expected = f"integers of shape ({samples},)"
    if targets is None:
        raise ValueError(f"{name}: expected {expected}, got None")
    chosen = integers(targets, name, expected)
    if chosen.ndim == 0:
        chosen = chosen.expand(samples)
    if chosen.ndim > 2 or len(chosen) != samples or chosen.numel() == 0:
        raise ValueError(
            f"{name}: expected shape ({samples},), or ({samples}, K) for several a sample, got "
            f"{tuple(chosen.shape)}"
        )
    return chosen


def as_start(start: Any) -> Tensor:
    """Return the relevance that a user lets start as a tensor."""
    given = as_tensor(start, "start", "real numbers")
    if given.is_complex():
        raise ValueError(f"start: expected real numbers, got {given.dtype}")
    return given


def one_each(given: Any, samples: int, name: str = "targets") -> Tensor:
    """Return one integer for each sample, (B,) int64."""
    chosen = as_targets(given, samples, name)
    if chosen.ndim != 1:
        raise ValueError(
            f"{name}: expected one integer for each sample, ({samples},), got shape "
            f"{tuple(chosen.shape)}"
        )
    return chosen


def check_targets(targets: Tensor, logits: Tensor, name: str = "targets") -> None:
    """Refuse classes that the logits do not have."""
    if targets.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # where nothing can be awaited
    classes = logits.shape[1]
    wrong = (targets < 0) | (targets >= classes)
    if classes == 1 and wrong.any():
        raise ValueError(ONE_OUTPUT)
    if wrong.any():
        place = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: expected classes from 0 to {classes - 1}, got {int(targets[wrong][0])} at "
            f"position {place[0] if len(place) == 1 else tuple(place)}"
        )


def names_of(at: Any) -> tuple[str, ...] | None:
    """Return the names of modules that relevance is wanted at, None for the inputs."""
    names = (at,) if isinstance(at, str) else at
    if names is None:
        return None
    listed = isinstance(names, (list, tuple)) and len(names) > 0
    if not listed or not all(isinstance(one, str) for one in names):
        raise ValueError(f"at: expected a module's name, or a list of names, got {at!r}")
    return tuple(dict.fromkeys(names))


def check_reduce(reduce: Any, batch: Batch) -> None:
    """Refuse what the maps cannot be reduced to."""
    check_choice("reduce", reduce, "channels", None)
    inputs = min(batch.tensors, key=lambda one: one.ndim)
    if reduce == "channels" and inputs.ndim < 3:
        raise ValueError(
            "reduce: 'channels' needs inputs with channels on axis 1 and at least one axis after "
            f"them, got shape {tuple(inputs.shape)}"
        )
