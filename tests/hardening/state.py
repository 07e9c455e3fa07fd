"""Torch's and Python's global state, and a model's, that a call might leave changed."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_load_state_dict_pre_hooks"),
)
_KEYS = (torch._C.DispatchKey.AutogradCPU, torch._C.DispatchKey.ADInplaceOrView)
_FUNCTIONS = [
    *(F.linear, F.conv2d, F.relu, F.softmax, F.layer_norm, F.scaled_dot_product_attention),
    *(torch.matmul, torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.backward),
    *(nn.Module.__call__, nn.Linear.forward, nn.Conv2d.forward, torch.autograd.grad),
]


def global_state() -> dict[str, Any]:
    """Return what belongs to the process or to this thread, by name."""
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": [torch.is_autocast_enabled(device) for device in ("cpu", "cuda")],
        "default dtype": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()),
        "threads": torch.get_num_threads(),
        "function modes": [id(mode) for mode in _get_current_function_mode_stack()],
        "dispatch modes": [id(mode) for mode in _get_current_dispatch_mode_stack()],
        "dispatch keys": [torch._C._dispatch_tls_is_dispatch_key_excluded(key) for key in _KEYS],
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": repr(np.random.get_state()),  # noqa: NPY002
        "python's generator": random.getstate(),
        "functions": [id(function) for function in _FUNCTIONS],
        "warnings": list(warnings.filters),
        "show warning": warnings.showwarning,
        "numpy errors": np.geterr(),
        "signals": signal.getsignal(signal.SIGINT),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "environment": dict(os.environ),
        "threads alive": threading.active_count(),
    }


def model_state(model: nn.Module) -> list[Any]:
    """Return what belongs to a model: weights with their versions, gradients, flags and hooks."""
    return [
        [
            (n, id(p), p._version, p.requires_grad, p.grad is None, p.device, sorted(vars(p)))
            for n, p in model.named_parameters()
        ],
        [(n, id(b), b._version, b.device) for n, b in model.named_buffers()],
        [
            (n, id(m), m.training, sorted(vars(m)), m.forward.__func__)
            for n, m in model.named_modules()
        ],
        [len(getattr(m, hook)) for m in model.modules() for hook in _HOOKS],
        [p.detach().clone().tolist() for p in model.parameters()],
    ]


class Unchanged:
    """Context whose end asserts that nothing is left of what happened in it.

    Parameters
    ----------
    *models
        Models that were used.
    """

    def __init__(self, *models: nn.Module) -> None:
        self.models = models

    def __enter__(self) -> Unchanged:
        self.before = global_state(), [model_state(model) for model in self.models]
        return self

    def __exit__(self, *exception: object) -> None:
        check(*self.before, *self.models)


def check(before: dict[str, Any], of_models: list[list[Any]], *models: nn.Module) -> None:
    """Assert that the state is as it was, naming what is not."""
    after = global_state()
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, {name: (before[name], after[name]) for name in changed}
    for model, old in zip(models, of_models, strict=True):
        for kind, was, now in zip(
            ("parameters", "buffers", "modules", "hooks", "values"),
            old,
            model_state(model),
            strict=True,
        ):
            assert was == now, kind
