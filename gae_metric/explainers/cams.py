"""GradCAM, and its relatives: other weights of the same feature map, and guided backpropagation.

Parameters, returns, errors and cost of the relatives are those of :func:`gradcam`.

>>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
>>> layercam(model.eval(), torch.ones(2, 3, 8, 8), [0, 1]).shape
torch.Size([2, 1, 8, 8])
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction

from gae_metric.explainers.chunked_gradients import Array, accepts_tensors, chunked, selected
from gae_metric.explainers.grad_cam import NotApplicableError, Weigh, cam, mean_gradient
from gae_metric.study.conversion import gradient_of


@accepts_tensors
def gradcam(
    model: nn.Module,
    inputs: Array,
    targets: Any,
    *,
    layer: nn.Module | str | None = None,
    batch_size: int | None = None,
    weigh: Weigh = mean_gradient,
    guide: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    **kwargs: Any,
) -> Array:
    """GradCAM (Selvaraju et al. 2017): gradient-weighted feature maps, upsampled bilinearly.

    Parameters
    ----------
    model, inputs, targets, batch_size, **kwargs
        As in :func:`gae_metric.explainers.saliency`; inputs are images (B, C, H, W).
    layer
        Module, or its dotted name, whose output (B, K, h, w) is used. By default the last feature
        map before pooling: it is found by following one forward pass, so that no model class needs
        to be known (see :func:`gae_metric.explainers.grad_cam.find_feature_map`).
    weigh
        How the feature map is weighed, from its gradient, its values and the axes of its positions;
        by default by the gradient's mean over the positions.
    guide
        Gives maps (B, C, H, W) by which those of the feature map are multiplied.

    Returns
    -------
    Maps >= 0 of shape (B, 1, H, W), of the kind, device and dtype of ``inputs``.

    Raises
    ------
    NotApplicableError
        If the model has no such feature map (a vision transformer) and no ``layer`` is given.
    ValueError
        As in :func:`gae_metric.explainers.saliency`, or if the layer is not part of the model or
        its output has not four dimensions.

    Notes
    -----
    Cost: one forward pass, and a backward pass down to the feature map.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> import numpy as np
    >>> gradcam(model.eval(), np.ones((2, 3, 8, 8), dtype=np.float32), [0, 1]).shape
    (2, 1, 8, 8)
    """

    def method(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
        maps = cam(model, x, lambda logits: selected(logits, target).sum(), layer, weigh)
        return maps if guide is None else maps * guide(model, x, target)

    return chunked(method, model, inputs, targets, batch_size, kwargs.get("output"))


def _plus_plus(gradient: Tensor, values: Tensor, positions: tuple[int, int]) -> Tensor:
    below = 2 * gradient**2 + values.sum(dim=positions, keepdim=True) * gradient**3
    alpha = torch.where(below != 0, gradient**2 / below.where(below != 0, 1), 0)
    return (alpha * gradient.clamp(min=0)).sum(dim=positions, keepdim=True)


def guided_backpropagation(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return gradients of which only positive ones go back through a ReLU (Springenberg 2015).

    The ReLUs are found in the graph of the forward pass, so that functions count as modules do.

    Parameters
    ----------
    model, x, target
        The model, inputs (B, ...), and classes (B,), as tensors.

    Returns
    -------
    Tensor
        Signed maps (B, ...). Cost: one forward and one backward pass.

    Raises
    ------
    NotApplicableError
        If the model has no ReLU, or a part of it may have some that cannot be seen.
    """
    for name, one in model.named_modules():
        if isinstance(one, torch.jit.ScriptModule):  # whose steps are seen in its first runs only
            raise _hidden(name or "the model")
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = selected(model(leaf.clone()), target).sum()
        found = relus_before(score)
        for node in found:
            node.register_prehook(lambda given: tuple(one.clamp(min=0) for one in given))
        if not found:
            raise NotApplicableError("no ReLU of the model guides gradients", "try GradCAM")
        return gradient_of(score, leaf)


def _hidden(name: str) -> NotApplicableError:
    what = "a compiled, scripted or checkpointed part, or a torch.autograd.Function"
    reason = f"ReLUs inside {name} cannot be seen ({what})"
    return NotApplicableError(reason, "give the original model")


def relus_before(score: Tensor) -> set[Any]:
    """Return the steps of a backward pass that are those of a ReLU or ReLU6.

    Raises
    ------
    NotApplicableError
        If a step may have ReLUs inside.
    """
    nodes: list[Any] = [score.grad_fn]
    seen: set[Any] = {None}
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        if isinstance(node, BackwardCFunction) or "jit" in node.name():
            raise _hidden(node.name())
    return {one for one in seen if one and one.name().startswith(("Relu", "Hardtanh"))}


hirescam = partial(gradcam, weigh=lambda gradient, values, positions: gradient)
"""HiResCAM (Draelos and Carin 2020): the feature map times its gradient."""

layercam = partial(gradcam, weigh=lambda gradient, values, positions: gradient.clamp(min=0))
"""LayerCAM (Jiang et al. 2021): the feature map times the positive part of its gradient."""

gradcam_plus_plus = partial(gradcam, weigh=_plus_plus)
"""GradCAM++ (Chattopadhay et al. 2018): weights from powers of the gradient."""

guided_gradcam = partial(gradcam, guide=guided_backpropagation)
"""Guided GradCAM (Selvaraju et al. 2017): GradCAM's map times :func:`guided_backpropagation`."""
