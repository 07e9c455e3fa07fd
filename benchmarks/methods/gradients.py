"""Gradient methods, and DeepLIFT, of Captum."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods.copies import OutOfPlace, Unrolled
from benchmarks.methods.registry import InapplicableError, explain_chunks, method
from benchmarks.methods.unrolling import DEEPLIFT, RELUS, refuse_unlinear
from gae_metric.companions.noise import content_generator

SOURCE = "Captum"


@method(
    "Saliency",
    family="any",
    source=SOURCE,
    citation="Simonyan et al., ICLR workshop 2014",
    paper=("cnn",),
)
def saliency(
    model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Any:
    """Absolute gradient of the target's logit."""
    from captum.attr import Saliency

    return _captum(model, inputs, targets, batch_size, Saliency)


@method(
    "InputXGradient",
    family="any",
    source=SOURCE,
    citation="Shrikumar et al., arXiv:1605.01713, 2016",
    paper=("cnn",),
    paper_name="Input*Gradient",
)
def input_x_gradient(
    model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Any:
    """Input times gradient of the target's logit."""
    from captum.attr import InputXGradient

    return _captum(model, inputs, targets, batch_size, InputXGradient)


@method(
    "Deconvolution",
    family="cnn",
    source=SOURCE,
    citation="Zeiler and Fergus, ECCV 2014",
    paper=("cnn",),
)
def deconvolution(
    model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Any:
    """Gradient in which a ReLU passes what is positive of the gradient it receives."""
    from captum.attr import Deconvolution

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        unrolled = with_relus(model, x)
        return lambda chunk, target: attribute(Deconvolution(unrolled), chunk, target)

    return explain_chunks(model, inputs, targets, batch_size, prepare)


@method(
    "DeepLIFT",
    family="cnn",
    source=SOURCE,
    citation="Shrikumar et al., ICML 2017 (rescale rule, baseline 0: Captum's defaults)",
    paper=("cnn",),
)
def deeplift(
    model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Any:
    """DeepLIFT's rescale rule from an all-zero baseline.

    ReLU6 and hardtanh, which Captum has no rule for, are written as differences of two ReLUs;
    DeepLIFT of the difference is DeepLIFT of the function.
    """
    from captum.attr import DeepLift

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        unrolled = Unrolled(model, x, DEEPLIFT, refuse_unlinear)

        def explain(chunk: Tensor, target: Tensor) -> Tensor:
            zero = torch.zeros_like(chunk)
            return attribute(DeepLift(unrolled), chunk, target, baselines=zero)

        return explain

    return explain_chunks(model, inputs, targets, batch_size, prepare)


@method(
    "IntegratedGradients",
    family="any",
    source=SOURCE,
    citation="Sundararajan et al., ICML 2017 (20 to 300 steps; 50 is Captum's default)",
    paper=("cnn",),
    paper_name="Integrated Gradients",
)
def integrated_gradients(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    n_steps: int = 50,
    batch_size: int | None = None,
    **kwargs: Any,
) -> Any:
    """Integrated gradients from an all-zero baseline.

    ``batch_size`` bounds the images that the model sees at a time, steps included.
    """
    from captum.attr import IntegratedGradients

    _positive("n_steps", n_steps)

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        method = IntegratedGradients(OutOfPlace(model, x))

        def explain(chunk: Tensor, target: Tensor) -> Tensor:
            return attribute(
                method,
                chunk,
                target,
                baselines=torch.zeros_like(chunk[:1]),
                n_steps=n_steps,
                internal_batch_size=max(len(chunk), batch_size or 16),
            )

        return explain

    return explain_chunks(model, inputs, targets, batch_size, prepare)


@method(
    "SmoothGrad",
    family="any",
    source=SOURCE,
    citation="Smilkov et al., arXiv:1706.03825, 2017 (50 samples, noise 10 to 20 % of the range)",
    paper=("cnn",),
)
def smoothgrad(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    n_samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
    **kwargs: Any,
) -> Any:
    """Mean absolute gradient over noisy copies of the input.

    ``noise`` is the standard deviation as a share of the sample's range. A sample's noise depends
    on its content and the seed alone.
    """
    from captum.attr import NoiseTunnel, Saliency

    _positive("n_samples", n_samples)

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        method = NoiseTunnel(Saliency(OutOfPlace(model, x)))

        def explain(one: Tensor, target: Tensor) -> Tensor:
            return attribute(
                method,
                one,
                target,
                nt_type="smoothgrad",
                nt_samples=n_samples,
                nt_samples_batch_size=min(n_samples, batch_size or 16),
                stdevs=noise * float(one.max() - one.min()),
                abs=True,
            )

        return lambda chunk, target: one_by_one(explain, chunk, target, seed)

    return explain_chunks(model, inputs, targets, batch_size, prepare)


@method(
    "GradientSHAP",
    family="any",
    source=SOURCE,
    citation="Lundberg and Lee, NeurIPS 2017 (expected gradients; zero baseline, 50 samples)",
)
def gradient_shap(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    n_samples: int = 50,
    noise: float = 0.09,
    seed: int = 0,
    batch_size: int | None = None,
    **kwargs: Any,
) -> Any:
    """Mean gradient at random points between zero and noisy copies, times the input.

    ``noise`` is a standard deviation in the input's units; 0.09 is that of Captum's tutorial. A
    sample's draws depend on its content and the seed alone. All draws of one sample are
    evaluated at once.
    """
    from captum.attr import GradientShap

    _positive("n_samples", n_samples)

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        method = GradientShap(OutOfPlace(model, x))

        def explain(one: Tensor, target: Tensor) -> Tensor:
            return attribute(
                method,
                one,
                target,
                baselines=torch.zeros_like(one),
                n_samples=n_samples,
                stdevs=noise,
            )

        return lambda chunk, target: one_by_one(explain, chunk, target, seed)

    return explain_chunks(model, inputs, targets, batch_size, prepare)


def with_relus(model: nn.Module, x: Tensor) -> Unrolled:
    """Return the model with a module for each call of a ReLU."""
    unrolled = Unrolled(model, x, RELUS)
    if not unrolled.calls:
        raise InapplicableError("the model has no ReLU, whose gradient the method changes")
    return unrolled


def attribute(method: Any, x: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Call a Captum method, silent about what it does and undoes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor|Setting (forward|backward)", UserWarning)
        maps: Tensor = method.attribute(x.clone(), target=target, **options)
    return maps.detach()


def one_by_one(
    explain: Callable[[Tensor, Tensor], Tensor], chunk: Tensor, target: Tensor, seed: int
) -> Tensor:
    """Explain samples each with draws of its own, so that none depends on its batch."""
    maps = []
    for i in range(len(chunk)):
        one, label = chunk[i : i + 1], target[i : i + 1]
        with seeded(one, seed):
            maps.append(explain(one, label))
    return torch.cat(maps)


@contextmanager
def seeded(sample: Tensor, seed: int) -> Iterator[None]:
    """Seed the global generators, which Captum draws from, by a sample, and put them back."""
    drawn = int(content_generator(sample.cpu().numpy(), seed).integers(2**31))
    state = np.random.get_state()  # noqa: NPY002
    devices = [sample.device] if sample.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        np.random.seed(drawn)  # noqa: NPY002
        torch.manual_seed(drawn)
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def _captum(
    model: nn.Module, inputs: Any, targets: Any, batch_size: int | None, method: Any
) -> Any:
    """Explain with a Captum method that needs nothing but a model."""

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        made = method(OutOfPlace(model, x))
        return lambda chunk, target: attribute(made, chunk, target)

    return explain_chunks(model, inputs, targets, batch_size, prepare)


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: expected a positive integer, got {value!r}")
