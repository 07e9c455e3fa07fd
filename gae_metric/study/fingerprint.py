"""Fingerprints of models, inputs and settings, which say whether a trajectory may be used again."""

import hashlib
import itertools
import os
import weakref
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from inspect import getattr_static
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from gae_metric.study.logits import asks_for_mode

#: Words of 4 bytes in a row of a keyed sum, and rows that are summed at a time.
_ROW, _ROWS = 1024, 4096

#: What each word of a row is multiplied by, int64 (2, 1, _ROW): drawn anew in each process.
_KEYS = np.frombuffer(os.urandom(2 * _ROW * 8), dtype=np.int64).reshape(2, 1, _ROW).copy()

#: Bytes of tensors from which on several threads read them: models, and no batch of samples, as
#: each new thread may take memory that it does not give back.
_LARGE = 2**26

#: Where a module keeps hooks and, with "_global" before the name, torch those of all modules.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

#: How the entries of parameters and buffers begin.
VALUES = "the values of"

#: Numbers of the functions that have been met. An id would not do: Python gives that of a hook that
#: was removed to the next one. Weak, as a function may hold a model, which must not be kept alive.
_NUMBERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_NEXT = itertools.count()


def of_model(
    model: nn.Module, device: torch.device, values: bool = True
) -> dict[str, Hashable] | None:
    """Fingerprint of what can be read of a model and decides its outputs.

    Values are read, not version counters: assignment through ``.data`` leaves those unchanged.

    Parameters
    ----------
    model, device
        The model, and where it computes.
    values
        Whether to read parameters and buffers, which is nearly all of the cost.

    Returns
    -------
    dict or None
        By what is looked at, in words: layers as their ``repr`` shows them, training modes, hooks,
        parameters, buffers, device and autocast. None where the parameters cannot be read, or hooks
        not be told apart, so that nothing may be used again.
    """
    enabled = torch.is_autocast_enabled(device.type)
    found: dict[str, Hashable] = {
        "the layers": repr(model),
        "autocast": (str(device), enabled and str(torch.get_autocast_dtype(device.type))),
    }
    try:
        for name, module in model.named_modules(remove_duplicate=False):
            where = f"of the layer {name!r}" if name else "of the model"
            mode = getattr(module, "training", None)
            counts = mode and (module is model or asks_for_mode(module))  # no ReLU's, say
            found[f"the training mode {where}"] = counts
            # Not looked up on the class, where TorchScript answers for what it has not.
            own = getattr_static(type(module), "forward", None)
            found[f"the forward method {where}"] = _number(module.__dict__.get("forward", own))
            found[f"the hooks {where}"] = tuple(_numbers(getattr(module, kind)) for kind in _HOOKS)
        of_all = [getattr(torch_module, f"_global{kind}", {}) for kind in _HOOKS]
        found["the hooks of all modules"] = tuple(_numbers(hooks) for hooks in of_all)
        if values:
            tensors = dict(model.named_parameters()) | dict(model.named_buffers())
            digests = of_tensors([*tensors.values()])
            for (name, value), digest in zip(tensors.items(), digests, strict=True):
                found[f"{VALUES} {name!r}"] = (str(value.device), digest)
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    return found


def _number(function: Any) -> Hashable:
    """Return something that no other function has, before or after.

    Raises
    ------
    TypeError
        If it cannot be told apart from others.
    """
    if isinstance(function, MethodType):  # made anew each time that it is looked up
        return (_number(function.__self__), _number(function.__func__))
    return _NUMBERS.setdefault(function, next(_NEXT))


def _numbers(hooks: Mapping[int, Any]) -> Hashable:
    return tuple(_number(hook) for hook in hooks.values())


def of_tensors(tensors: Sequence[Tensor]) -> list[bytes]:
    """Fingerprint of each tensor, (...), by its values, dtype and shape: BLAKE2b of its bytes.

    On another device than the CPU the bytes are first reduced there, by :func:`keyed_sums`.
    """
    host = [t.detach().contiguous().reshape(-1).view(torch.uint8) for t in tensors]
    away = next((bits.device for bits in host if bits.device.type != "cpu"), None)
    if away is not None:  # in one piece, as a GPU is waited for once
        sums = [keyed_sums(bits.to(away)) for bits in host]
        host = list(torch.split(torch.cat(sums).cpu(), [len(part) for part in sums]))

    def of(tensor: Tensor, bits: Tensor) -> bytes:
        kind = repr((tensor.dtype, tuple(tensor.shape))).encode()
        digest = hashlib.blake2b(kind, digest_size=16)
        digest.update(bits.numpy().data)
        return digest.digest()

    if sum(tensor.nbytes for tensor in tensors) < _LARGE:
        return [*map(of, tensors, host)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:  # hashlib lets others run
        return list(threads.map(of, tensors, host))


def keyed_sums(bits: Tensor) -> Tensor:
    """Reduce bytes, uint8 (n,), to a 256th: sums of their words times secret numbers.

    Each row of 1,024 words w of 32 bits becomes two sums Σ k w modulo 2^64, k being drawn at random
    for the process. Two rows that differ by d in a word, 0 < |d| < 2^32, have the same sum only if
    k d is one certain value, which at most 2^31 of the 2^64 numbers k give: both sums agree with
    a probability of at most 2^-66, whatever the values.
    """
    whole = len(bits) // (4 * _ROW) * 4 * _ROW
    # A copy where the words would not be aligned.
    start = bits[:whole] if bits.storage_offset() % 4 == 0 else bits[:whole].clone()
    keys = torch.from_numpy(_KEYS).to(bits.device)
    sums = [
        (rows.long() * keys).sum(2).flatten().view(torch.uint8)
        for rows in torch.split(start.view(torch.int32).reshape(-1, _ROW), _ROWS)
    ]
    return torch.cat([*sums, bits[whole:]])


def of_setting(value: Any) -> Hashable | None:
    """Something hashable that is equal for equal settings.

    Returns
    -------
    Hashable or None
        None where equality cannot be told, so that nothing may be used again.
    """
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return (type(value).__name__, value)
    if isinstance(value, Tensor):
        return ("Tensor", *of_tensors([value]))
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else value
        frozen = [of_setting(part) for part in parts]
        return None if any(part is None for part in frozen) else (type(value).__name__, *frozen)
    if callable(value):
        with suppress(TypeError):
            return ("callable", _number(value))
    return None
