"""Class activation maps from their papers: a feature map A weighted by its gradient G, in float64.

With A and G of shape (channels, rows, columns):

- GradCAM (Selvaraju et al. 2017): ReLU of sum_k w_k A_k, w_k the mean of G_k.
- HiResCAM (Draelos and Carin 2020): sum_k G_k * A_k, entry by entry; ReLU as for the others.
- LayerCAM (Jiang et al. 2021): ReLU of sum_k ReLU(G_k) * A_k.
- GradCAM++ (Chattopadhay et al. 2018, eq. 19): GradCAM with w_k = sum of alpha_k * ReLU(G_k),
  alpha_k = G^2 / (2 G^2 + sum(A_k) G^3), where G^2, G^3 stand for derivatives of exp(logit).
- GuidedGradCAM (Selvaraju et al. 2017): guided backpropagation times GradCAM, upsampled.

Maps are upsampled bilinearly. Libraries differ from the papers: Captum's GuidedGradCAM upsamples by
the nearest neighbour; pytorch-grad-cam's GradCAM++ adds 1e-6 to the denominator of alpha, and its
maps are moved and scaled to [0, 1] before and after upsampling, with 1e-7 added to the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tests.naive.chain import propagate, record
from tests.naive.gradients import backwards
from tests.naive.interpolation import interpolation_weights

Cam = Callable[[Tensor, Tensor], Tensor]
"""From A and G to a map (rows, columns), before upsampling."""


def gradcam(a: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros_like(a[0])
    for a_k, g_k in zip(a, g, strict=True):
        total += g_k.mean() * a_k
    return total.clamp(min=0)


def hirescam(a: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros_like(a[0])
    for a_k, g_k in zip(a, g, strict=True):
        total += g_k * a_k
    return total.clamp(min=0)


def layercam(a: Tensor, g: Tensor) -> Tensor:
    return hirescam(a, g.clamp(min=0))


def gradcam_plus_plus(a: Tensor, g: Tensor, epsilon: float = 0.0) -> Tensor:
    total = torch.zeros_like(a[0])
    for a_k, g_k in zip(a, g, strict=True):
        weight = 0.0
        for derivative in g_k[g_k > 0].tolist():
            below = 2 * derivative**2 + float(a_k.sum()) * derivative**3 + epsilon
            weight += derivative**2 / below * derivative
        total += weight * a_k
    return total.clamp(min=0)


def guided_gradcam(guided: Tensor, a: Tensor, g: Tensor, mode: str = "bilinear") -> Tensor:
    """Of a map of guided backpropagation (1, C, H, W)."""
    return guided * upsampled(gradcam(a, g), guided.shape[2:], mode)


CAMS: dict[str, Cam] = {
    "GradCAM": gradcam,
    "GradCAM++": gradcam_plus_plus,
    "HiResCAM": hirescam,
    "LayerCAM": layercam,
}


def feature_map(
    network: nn.Sequential, x: Tensor, target: int, layer: int
) -> tuple[Tensor, Tensor]:
    """A and G of the output of one layer, by its place in the network; one sample."""
    records = record(network, x)
    start = torch.zeros_like(records[-1].y)
    start[0, target] = 1
    received = propagate(records[layer + 1 :], start, backwards())
    return records[layer].y[0], received[0]


def upsampled(cam: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    rows, columns = (
        torch.from_numpy(interpolation_weights(few, many, mode))
        for few, many in zip(cam.shape, size, strict=True)
    )
    return rows @ cam @ columns.T


def scaled(cam: Tensor) -> Tensor:
    moved = cam - cam.min()
    return moved / (moved.max() + 1e-7)
