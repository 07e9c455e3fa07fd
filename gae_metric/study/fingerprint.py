"""Fingerprints of models, inputs and settings, which say whether a trajectory may be used again."""

from __future__ import annotations

import hashlib
import itertools
import os
import weakref
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from inspect import getattr_static
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

#: Row length of the check sums of a parameter, in 8-byte words.
_ROW = 1024

#: Bytes of samples from which on several threads read them.
_LARGE = 2**24

#: Where a module keeps hooks and, with "_global" before the name, torch those of all modules.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

#: Numbers of the functions that have been met. An id would not do: Python gives that of a hook that
#: was removed to the next one. Weak, as a function may hold a model, which must not be kept alive.
_NUMBERS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_NEXT = itertools.count()


def of_model(model: nn.Module, device: torch.device) -> str | None:
    """Fingerprint of all that decides a model's outputs.

    Values are read, not version counters: assignment through ``.data`` leaves those unchanged.
    Costs one pass over the parameters (30 ms for a ResNet50 on one core).

    Returns
    -------
    str or None
        Covers parameters, buffers, layers as their ``repr`` shows them, hooks, device and autocast;
        None where the parameters cannot be read, or hooks not be told apart, so that nothing may be
        used again.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr(model).encode())
    digest.update(repr((str(device), _autocast(device))).encode())
    try:
        for name, module in model.named_modules(remove_duplicate=False):
            # Not looked up on the class, where TorchScript answers for what it has not.
            own = getattr_static(type(module), "forward", None)
            forward = module.__dict__.get("forward", own)
            hooks = [_numbers(getattr(module, kind)) for kind in _HOOKS]
            digest.update(repr((name, _number(forward), hooks)).encode())
        hooks = [_numbers(getattr(torch_module, f"_global{kind}", {})) for kind in _HOOKS]
        digest.update(repr(hooks).encode())
        sums: list[Tensor] = []
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            digest.update(repr((name, value.dtype, tuple(value.shape))).encode())
            sums += _check_sums(value.detach())
        if sums:  # in one piece, as a GPU is waited for once
            whole = torch.cat([one.to(sums[0].device) for one in sums])
            digest.update(whole.cpu().numpy().tobytes())
    except (RuntimeError, NotImplementedError, TypeError):
        return None
    return digest.hexdigest()


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


def _numbers(hooks: Mapping[int, Any]) -> list[Hashable]:
    return [_number(hook) for hook in hooks.values()]


def _autocast(device: torch.device) -> tuple[bool, str]:
    enabled = torch.is_autocast_enabled(device.type)
    return enabled, str(torch.get_autocast_dtype(device.type)) if enabled else ""


def _check_sums(value: Tensor) -> list[Tensor]:
    """Return sums along rows and columns of the bits, as integers, in bytes (uint8).

    A changed value changes both; integer sums do not depend on their order, so they are the same on
    every run.
    """
    bits = value.contiguous().reshape(-1).view(torch.uint8)
    whole = bits.numel() // (8 * _ROW) * 8 * _ROW
    # A copy where the words would not be aligned.
    start = bits[:whole] if bits.storage_offset() % 8 == 0 else bits[:whole].clone()
    words = start.view(torch.int64).reshape(-1, _ROW)
    return [words.sum(0).view(torch.uint8), words.sum(1).view(torch.uint8), bits[whole:]]


def of_samples(samples: Sequence[Tensor]) -> list[bytes]:
    """Fingerprint of each sample, (...), by its values, dtype and shape."""

    def of(sample: Tensor) -> bytes:
        kind = repr((sample.dtype, tuple(sample.shape))).encode()
        digest = hashlib.blake2b(kind, digest_size=16)
        bits: Any = sample.contiguous().view(torch.uint8).cpu().numpy()
        digest.update(bits)
        return digest.digest()

    if sum(sample.nbytes for sample in samples) < _LARGE:
        return [of(sample) for sample in samples]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:  # hashlib lets others run
        return list(threads.map(of, samples))


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
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return (value.dtype.str, value.shape, value.tobytes())
    parts: list[Any]
    if isinstance(value, Mapping):
        parts = [part for item in value.items() for part in item]
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    elif callable(value):
        try:
            return ("callable", _number(value))
        except TypeError:
            return None
    else:
        return None
    frozen = [of_setting(part) for part in parts]
    return None if any(part is None for part in frozen) else (type(value).__name__, *frozen)
