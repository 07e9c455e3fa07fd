"""GradCAM's relatives: other weights of the same feature map, and guided backpropagation.

Parameters, returns, errors and cost are those of :func:`gae_metric.explainers.gradcam`.

>>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
>>> layercam(model.eval(), torch.ones(2, 3, 8, 8), [0, 1]).shape
torch.Size([2, 1, 8, 8])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gae_metric.explainers.chunked_gradients import Array, chunked, selected
from gae_metric.explainers.grad_cam import NotApplicableError, Weigh, cam

if TYPE_CHECKING:
    from gae_metric.explainers.gradients import ExplainFunc


def _method(weigh: Weigh | None, guided: bool = False) -> ExplainFunc:
    chosen = {} if weigh is None else {"weigh": weigh}

    def explain(
        model: nn.Module,
        inputs: Array,
        targets: Any,
        *,
        layer: nn.Module | str | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Array:
        def method(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
            maps = cam(model, x, lambda logits: selected(logits, target).sum(), layer, **chosen)
            return maps * guided_backpropagation(model, x, target) if guided else maps

        return chunked(method, model, inputs, targets, batch_size, lambda maps, x: maps)

    explain.accepts_tensors = True  # type: ignore[attr-defined]
    return explain


def _plus_plus(gradient: Tensor, values: Tensor, positions: tuple[int, int]) -> Tensor:
    total = values.sum(dim=positions, keepdim=True)
    below = 2 * gradient**2 + total * gradient**3
    alpha = torch.where(below != 0, gradient**2 / below.where(below != 0, 1), 0)
    return (alpha * gradient.clamp(min=0)).sum(dim=positions, keepdim=True)


hirescam = _method(lambda gradient, values, positions: gradient)
"""HiResCAM (Draelos and Carin 2020): the feature map times its gradient."""

layercam = _method(lambda gradient, values, positions: gradient.clamp(min=0))
"""LayerCAM (Jiang et al. 2021): the feature map times the positive part of its gradient."""

gradcam_plus_plus = _method(_plus_plus)
"""GradCAM++ (Chattopadhay et al. 2018): weights from powers of the gradient."""

guided_gradcam = _method(None, guided=True)
"""Guided GradCAM (Selvaraju et al. 2017): GradCAM's map times :func:`guided_backpropagation`."""


def guided_backpropagation(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Return gradients of which only positive ones go back through a ReLU (Springenberg 2015).

    The ReLUs are found in the graph of the forward pass, so that functions count as modules do.

    Raises
    ------
    NotApplicableError
        If the model has no ReLU.
    """
    leaf = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = selected(model(leaf.clone()), target).sum()
        nodes: list[Any] = [score.grad_fn]
        seen: set[Any] = set()
        found = False
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
            if node.name().startswith(("ReluBackward", "HardtanhBackward")):  # ReLU, ReLU6
                found = True
                node.register_prehook(lambda given: tuple(one.clamp(min=0) for one in given))
        if not found:
            raise NotApplicableError("no ReLU of the model guides gradients", "try GradCAM")
        (gradient,) = torch.autograd.grad(score, leaf)
    return gradient
