"""Class activation maps of pytorch-grad-cam, and Captum's Guided GradCAM.

pytorch-grad-cam scales each map to [0, 1], its least value becoming 0, before and after it is
upsampled; that is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods.copies import OutOfPlace
from benchmarks.methods.gradients import attributing, by_captum, with_relus
from benchmarks.methods.layers import cam_layer, name_of_layer
from benchmarks.methods.registry import Explain, InapplicableError, method


def _register(name: str, library_name: str, citation: str) -> None:
    """Register a method of pytorch-grad-cam."""

    @method(name, citation, "any", source="pytorch-grad-cam", paper=("cnn", "vit"), chunks=True)
    def explain(
        model: nn.Module,
        x: Tensor,
        *,
        layer: nn.Module | str | None = None,
        grid: tuple[int, int] | None = None,
    ) -> Explain:
        """Class activation map (B, 1, H, W) of one layer.

        ``layer`` is a module or its dotted name, ``grid`` the rows and columns of a vision
        transformer's tokens; by default both are found, see
        :func:`benchmarks.methods.layers.cam_layer`.
        """
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        given = name_of_layer(model, layer)
        copied = OutOfPlace(model, x)
        found = cam_layer(copied, x, given, grid)
        module = copied.model.get_submodule(found.name)
        kind: Any = getattr(pytorch_grad_cam, library_name)

        def cam(chunk: Tensor, target: Tensor) -> Tensor:
            with kind(copied, [module], found.features) as library, torch.enable_grad():
                library.compute_input_gradient = True  # or a frozen model has no gradient at all
                wanted = [ClassifierOutputTarget(int(label)) for label in target]
                maps: np.ndarray[Any, Any] = library(chunk, wanted)
            return torch.from_numpy(maps).to(chunk)[:, None]

        return cam


_register("GradCAM", "GradCAM", "Selvaraju et al., ICCV 2017")
_register("HiResCAM", "HiResCAM", "Draelos and Carin, arXiv:2011.08891, 2020")
_register("LayerCAM", "LayerCAM", "Jiang et al., IEEE TIP 30, 2021")
_register("GradCAM++", "GradCAMPlusPlus", "Chattopadhay et al., WACV 2018")


@by_captum("GuidedGradCAM", "Selvaraju et al., ICCV 2017 (Captum's nearest upsampling)", "cnn")
def guided_gradcam(model: nn.Module, x: Tensor, *, layer: nn.Module | str | None = None) -> Explain:
    """GradCAM times guided backpropagation; ``layer`` as for GradCAM."""
    given = name_of_layer(model, layer)
    unrolled = with_relus(model, x)
    found = cam_layer(OutOfPlace(model, x), x, given)
    if found.kind != "map":
        raise InapplicableError("Captum's GradCAM needs a feature map with channels first")
    return attributing("GuidedGradCam", unrolled, unrolled.inner.get_submodule(found.name))
