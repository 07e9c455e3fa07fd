"""Gradient-based attribution methods as small, batched explanation functions.

They are the methods that absLRP is measured against in ``gae-metric demo``; for any other method
use its own library: every function of the signature
``explain_func(model, inputs, targets, **kwargs)`` can be evaluated.

>>> import torch
>>> from gae_metric.explainers.gradients import EXPLAINERS
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> images = torch.rand(2, 3, 2, 2)
>>> EXPLAINERS["InputXGradient"](model, images, [0, 1]).shape
torch.Size([2, 3, 2, 2])
>>> sorted(EXPLAINERS)
['GradCAM', 'InputXGradient', 'IntegratedGradients', 'Random', 'Saliency', 'absLRP']
"""

from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gae_metric._names import DEFAULT_METHODS, METHODS
from gae_metric.errors import check_integer, lookup
from gae_metric.explainers.chunked_gradients import Array, accepts_tensors, chunked, gradient
from gae_metric.explainers.grad_cam import NotApplicableError, find_feature_map
from gae_metric.functional.draws import content_generator
from gae_metric.study.conversion import as_input, as_tensor, like


class ExplainFunc(Protocol):
    """What Quantus calls an ``explain_func``."""

    def __call__(self, model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        """Return one map per input."""


@accepts_tensors
def saliency(
    model: nn.Module, inputs: Array, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Array:
    """Absolute gradient of the target's logit (Simonyan et al. 2014).

    Parameters
    ----------
    model
        Classifier in evaluation mode: images (B, C, H, W), or inputs (B, ...), to logits (B, N), or
        to an output with ``logits``.
    inputs
        Array, tensor or sequence (B, ...) of real numbers.
    targets
        Class of each sample, (B,) integers, or one integer for all.
    batch_size
        Samples per model evaluation, default 64; bounds memory, does not change the maps.
    **kwargs
        ``output``, which selects the logits from what the model returns, as for
        :func:`abslrp.explain`; others, such as Quantus's ``method`` and ``device``, are ignored.

    Returns
    -------
    Maps >= 0 of the kind, shape, device and dtype of ``inputs``, in the model's floating-point type
    where those are integers.

    Raises
    ------
    ValueError
        If the model is in training mode, or inputs or targets are not as described.

    Notes
    -----
    Cost: one forward and one backward pass.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
    >>> saliency(model, torch.ones(1, 2), 0)
    tensor([[3., 4.]])
    """
    return abs(chunked(gradient, model, inputs, targets, batch_size, kwargs.get("output")))


@accepts_tensors
def input_x_gradient(
    model: nn.Module, inputs: Array, targets: Any, *, batch_size: int | None = None, **kwargs: Any
) -> Array:
    """Input times gradient of the target's logit (Shrikumar et al. 2016).

    Parameters, returns (here signed) and errors are those of :func:`saliency`, and so is the cost.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
    >>> input_x_gradient(model, torch.tensor([[1.0, 2.0]]), 0)
    tensor([[ 3., -8.]])
    """

    def product(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        return gradient(model, x, target) * x

    return chunked(product, model, inputs, targets, batch_size, kwargs.get("output"))


@accepts_tensors
def integrated_gradients(
    model: nn.Module,
    inputs: Array,
    targets: Any,
    *,
    n_steps: int = 20,
    batch_size: int | None = None,
    **kwargs: Any,
) -> Array:
    """Integrated gradients from an all-zero baseline (Sundararajan et al. 2017).

    The path integral is computed with Gauss-Legendre quadrature, as in Captum.

    Parameters
    ----------
    model, inputs, targets, batch_size, **kwargs
        As in :func:`saliency`.
    n_steps
        Number of gradients along the straight path from zero to the input.

    Returns
    -------
    Signed maps of the kind, shape, device and dtype of ``inputs``; a map's sum approximates the
    target's logit minus that of the baseline.

    Raises
    ------
    ValueError
        As in :func:`saliency`, or if ``n_steps`` is not positive.

    Notes
    -----
    Cost: ``n_steps`` forward and backward passes; memory that of one of them.

    Examples
    --------
    >>> model = nn.Linear(2, 1).eval()
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> drop = (model(x) - model(torch.zeros(1, 2))).item()
    >>> abs(integrated_gradients(model, x, 0).sum().item() - drop) < 1e-6
    True
    """
    check_integer("n_steps", n_steps)
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    path = list(zip(((1 + nodes) / 2).tolist(), (weights / 2).tolist(), strict=True))

    def integral(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for alpha, weight in path:
            total += weight * gradient(model, alpha * x, target)
        return total * x

    return chunked(integral, model, inputs, targets, batch_size, kwargs.get("output"))


@accepts_tensors
def random_map(
    model: nn.Module, inputs: Array, targets: Any, *, seed: int = 0, **kwargs: Any
) -> Array:
    """Draw standard normal noise: the baseline that knows nothing.

    A sample's noise depends on its content (as float32) and the seed alone: it is the same in any
    batch, at any place of it and on any device, and another one for any other image.

    Parameters
    ----------
    model, targets, **kwargs
        Ignored.
    inputs
        Array or tensor (B, ...).
    seed
        Non-negative seed.

    Returns
    -------
    Noise of the kind, shape, device and dtype of ``inputs``.

    Examples
    --------
    >>> x = np.random.default_rng(0).random((3, 4))
    >>> bool((random_map(None, x, 0)[2] == random_map(None, x[2:], 0)[0]).all())
    True
    """
    x = like(as_tensor(inputs, "inputs"), None)
    draws = [content_generator(sample, seed).standard_normal(sample.shape) for sample in x]
    maps = np.stack(draws) if draws else np.empty(x.shape)
    result: Array = like(torch.from_numpy(maps), inputs)
    return result


def explainer(name: str) -> tuple[str, ExplainFunc]:
    """Look up a method: one that ``gae-metric methods`` lists, or ``captum:NAME`` for Captum's.

    Parameters
    ----------
    name
        Method, in any case of letters.

    Returns
    -------
    The name as tables show it, and the explanation function.

    Raises
    ------
    ValueError
        If there is no such method (the message gives the nearest name), or Captum is not installed.

    Examples
    --------
    >>> explainer("hirescam")[0]
    'HiResCAM'
    """
    if name.lower().startswith("captum:"):
        from gae_metric.explainers.captum import captum_explainer

        return captum_explainer(name.split(":", 1)[1])
    known, (_, place, options) = lookup("methods", name, METHODS)
    module, _, attribute = place.partition(":")
    home = module if module == "abslrp" else f"gae_metric.explainers.{module}"
    function: ExplainFunc = getattr(import_module(home), attribute)
    return known, partial(function, **options) if options else function


EXPLAINERS: dict[str, ExplainFunc] = dict(map(explainer, DEFAULT_METHODS.split(", ")))
"""The methods that are compared by default: explanation functions by their names in tables."""


def not_applicable(name: str, model: nn.Module, inputs: Tensor) -> str | None:
    """Say why a method cannot explain a model, or None where it can.

    Parameters
    ----------
    name
        Key of :data:`EXPLAINERS`, or any other name (about which nothing is known: None).
    model, inputs
        The model and one image (1, C, H, W) or more.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    >>> not_applicable("GradCAM", model, torch.ones(1, 3, 2, 2))
    'no feature map of the model is pooled'
    """
    if name != "GradCAM":
        return None
    try:
        find_feature_map(model, as_input(model, inputs))
    except NotApplicableError as error:
        return error.reason
    return None
