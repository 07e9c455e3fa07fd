"""Gradient methods, and DeepLIFT, of Captum."""

import functools
import importlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.methods.copies import DEEPLIFT, RELUS, OutOfPlace, Unrolled, refuse_unlinear
from benchmarks.methods.registry import BATCH, Explain, InapplicableError, method
from gae_metric.errors import check_integer
from gae_metric.explainers import captum
from gae_metric.functional.draws import content_generator

by_captum = functools.partial(method, source="Captum", paper=("cnn",), chunks=True)


@by_captum("Saliency", "Simonyan et al., ICLR workshop 2014", "any")
def saliency(model: nn.Module, x: Tensor) -> Explain:
    """Absolute gradient of the target's logit."""
    return attributing("Saliency", OutOfPlace(model, x))


@by_captum(
    "InputXGradient", "Shrikumar et al., arXiv:1605.01713, 2016", "any", paper_name="Input*Gradient"
)
def input_x_gradient(model: nn.Module, x: Tensor) -> Explain:
    """Input times gradient of the target's logit."""
    return attributing("InputXGradient", OutOfPlace(model, x))


@by_captum("Deconvolution", "Zeiler and Fergus, ECCV 2014", "cnn")
def deconvolution(model: nn.Module, x: Tensor) -> Explain:
    """Gradient in which a ReLU passes what is positive of the gradient it receives."""
    return attributing("Deconvolution", with_relus(model, x))


@by_captum(
    "DeepLIFT", "Shrikumar et al., ICML 2017 (rescale rule, baseline 0: Captum's defaults)", "cnn"
)
def deeplift(model: nn.Module, x: Tensor) -> Explain:
    """DeepLIFT's rescale rule from an all-zero baseline.

    ReLU6 and hardtanh, which Captum has no rule for, are written as differences of two ReLUs;
    DeepLIFT of the difference is DeepLIFT of the function.
    """
    unrolled = Unrolled(model, x, DEEPLIFT, refuse_unlinear)
    return attributing("DeepLift", unrolled, baselines=torch.zeros_like(x))


@by_captum(
    "IntegratedGradients",
    "Sundararajan et al., ICML 2017 (20 to 300 steps; 50 is Captum's default)",
    "any",
    paper_name="Integrated Gradients",
)
def integrated_gradients(
    model: nn.Module, x: Tensor, *, n_steps: int = 50, batch_size: int | None = None
) -> Explain:
    """Integrated gradients from an all-zero baseline.

    ``batch_size`` bounds the images that the model sees at a time, steps included.
    """
    check_integer("n_steps", n_steps)
    options = {"baselines": torch.zeros_like(x), "internal_batch_size": batch_size or BATCH}
    return attributing("IntegratedGradients", OutOfPlace(model, x), n_steps=n_steps, **options)


@by_captum(
    "SmoothGrad",
    "Smilkov et al., arXiv:1706.03825, 2017 (50 samples, noise 10 to 20 % of the range)",
    "any",
)
def smoothgrad(
    model: nn.Module,
    x: Tensor,
    *,
    n_samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
) -> Explain:
    """Mean absolute gradient over noisy copies of the input.

    ``noise`` is the standard deviation as a share of the sample's range. A sample's noise depends
    on its content and the seed alone.
    """
    from captum.attr import Saliency

    check_integer("n_samples", n_samples)
    plain = Saliency(OutOfPlace(model, x))

    options: dict[str, Any] = {"nt_type": "smoothgrad", "nt_samples": n_samples, "abs": True}
    options["nt_samples_batch_size"] = min(n_samples, batch_size or BATCH)

    def explain(one: Tensor, target: Tensor) -> Tensor:
        stdevs = noise * float(one.max() - one.min())
        return attributing("NoiseTunnel", plain, stdevs=stdevs, **options)(one, target)

    return one_by_one(explain, seed)


@by_captum(
    "GradientSHAP",
    "Lundberg and Lee, NeurIPS 2017 (expected gradients; zero baseline, 50 samples)",
    "any",
    paper=(),
)
def gradient_shap(
    model: nn.Module, x: Tensor, *, n_samples: int = 50, noise: float = 0.09, seed: int = 0
) -> Explain:
    """Mean gradient at random points between zero and noisy copies, times the input.

    ``noise`` is a standard deviation in the input's units; 0.09 is that of Captum's tutorial. A
    sample's draws depend on its content and the seed alone. All draws of one sample are
    evaluated at once.
    """
    check_integer("n_samples", n_samples)
    options = {"baselines": torch.zeros_like(x), "n_samples": n_samples, "stdevs": noise}
    return one_by_one(attributing("GradientShap", OutOfPlace(model, x), **options), seed)


def with_relus(model: nn.Module, x: Tensor) -> Unrolled:
    """Return the model with a module for each call of a ReLU."""
    unrolled = Unrolled(model, x, RELUS)
    if not unrolled.calls:
        raise InapplicableError("the model has no ReLU, whose gradient the method changes")
    return unrolled


def attributing(name: str, *built_from: Any, **options: Any) -> Explain:
    """Return what calls a method of Captum."""
    library = getattr(importlib.import_module("captum.attr"), name)(*built_from)
    return lambda chunk, target: captum.attributed(library, chunk, target, **options)


def one_by_one(explain: Explain, seed: int) -> Explain:
    """Explain samples each with draws of its own, so that none depends on its batch."""

    def each(chunk: Tensor, target: Tensor) -> Tensor:
        maps = []
        for one, label in zip(chunk, target, strict=True):
            with seeded(one[None], seed):
                maps.append(explain(one[None], label[None]))
        return torch.cat(maps)

    return each


def seeded(sample: Tensor, seed: int) -> AbstractContextManager[None]:
    """Seed the global generators, which Captum draws from, by a sample, and put them back."""
    return captum.seeded(int(content_generator(sample.cpu().numpy(), seed).integers(2**31)))
