"""GradCAM with a contrast, guided or coarser: what its scores come from.

    python -m benchmarks run --config cams
    python -m benchmarks run --config cam-grain

make the tables of docs/class-activation-maps.md.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from benchmarks.methods.cam import cam_layer
from benchmarks.methods.copies import OutOfPlace
from benchmarks.methods.gradients import attributing, with_relus
from benchmarks.methods.registry import Explain, method


@method("ClassMap", "this study", "cnn", source="this repository", chunks=True)
def class_map(
    model: nn.Module,
    x: Tensor,
    *,
    contrast: Literal["mean", "scaled"] | None = None,
    guided: bool = False,
    square: int = 1,
) -> Explain:
    """GradCAM's weighted sum (B, 1, H, W) of the target's logit, positive part.

    ``contrast="mean"`` subtracts that of the logits' mean; ``"scaled"`` does so after each was
    scaled to sum 1, as absLRP's two streams are. ``guided`` multiplies by guided backpropagation.
    ``square``: the positive part of the map is averaged over squares of so many pixels a side.
    """
    copied = OutOfPlace(model, x)
    found = cam_layer(copied, x)
    layer = copied.model.get_submodule(found.name)
    back = attributing("GuidedBackprop", with_relus(model, x)) if guided else None

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        noted: list[Any] = []
        with torch.enable_grad():
            with layer.register_forward_hook(lambda *call: noted.append(call[-1])):
                logits = copied(chunk.detach().clone().requires_grad_())
            scores = logits.gather(1, target[:, None])[:, 0], logits.mean(1)
            slopes = (torch.autograd.grad(s.sum(), noted[0], retain_graph=True)[0] for s in scores)
            weights = (found.features(slope).mean((2, 3), keepdim=True) for slope in slopes)
            features = found.features(noted[0]).detach()
            own, common = ((weight * features).sum(1, keepdim=True) for weight in weights)
        if contrast == "scaled":
            own, common = (one / one.sum((1, 2, 3), keepdim=True) for one in (own, common))
        shown = (own if contrast is None else own - common).clamp(min=0)
        maps = interpolate(shown, chunk.shape[2:], mode="bilinear")
        maps = maps if back is None else maps * back(chunk, target)
        if square == 1:
            return maps
        coarse = avg_pool2d(maps.clamp(min=0), square, ceil_mode=True)
        height, width = chunk.shape[2:]
        return interpolate(coarse, scale_factor=square)[..., :height, :width]

    return explain
