"""What the tests of the methods share: few draws, the digits networks, a model's whole state."""

import copy
import functools
import random

import numpy as np
import torch

from gae_metric.demo import digits, networks

QUICK = {
    "RISE": {"n_masks": 9},
    "IntegratedGradients": {"n_steps": 3},
    "SmoothGrad": {"n_samples": 3},
    "GradientSHAP": {"n_samples": 3},
}


@functools.cache
def canvases(n=3):
    return digits.load("test", n=n)


@functools.cache
def network(name, dtype=torch.float32):
    return networks.load(name).to(dtype)


def state(model):
    """Everything that a method could leave behind."""
    return {
        "values": {key: value.clone() for key, value in model.state_dict().items()},
        "flags": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "identities": [id(p) for p in (*model.parameters(), *model.buffers())],
        "modules": [
            (name, id(m), m.training, sorted(vars(m))) for name, m in model.named_modules()
        ],
        "inplace": [getattr(m, "inplace", None) for m in model.modules()],
        "hooks": [
            [len(value) for key, value in sorted(vars(m).items()) if "hooks" in key]
            for m in model.modules()
        ],
        "random": (
            torch.get_rng_state().clone(),
            copy.deepcopy(np.random.get_state()[1]),  # noqa: NPY002 - the global one is meant
            random.getstate(),
        ),
        "grad": torch.is_grad_enabled(),
    }


def assert_same(one, other):
    """Compare two states, tensors by value."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, np.ndarray):
        assert (one == other).all()
    else:
        assert one == other
