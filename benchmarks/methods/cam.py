"""Class activation maps of pytorch-grad-cam, and Captum's Guided GradCAM.

pytorch-grad-cam scales each map to [0, 1], its least value becoming 0, before and after it is
upsampled; that is kept.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods.attention_maps import Attentions, Grid, Tokens, tokens_of
from benchmarks.methods.copies import OutOfPlace
from benchmarks.methods.gradients import attributing, by_captum, with_relus
from benchmarks.methods.registry import Explain, InapplicableError, method
from gae_metric.errors import InputError
from gae_metric.explainers.grad_cam import NotApplicableError, find_feature_map, own_module


@dataclass(frozen=True)
class CamLayer:
    """A module whose output is weighed, and what that output is."""

    #: Dotted name in the model.
    name: str
    #: ``"map"`` for (B, K, h, w), ``"last"`` for (B, h, w, K), ``"tokens"`` for (B, T, K).
    kind: Literal["map", "last", "tokens"]
    #: Of the tokens.
    tokens: Tokens | None = None

    def features(self, output: Tensor) -> Tensor:
        """Return an output as (B, K, h, w); what pytorch-grad-cam calls ``reshape_transform``."""
        if self.tokens is not None:
            return self.tokens.features(output)
        return output.permute(0, 3, 1, 2) if self.kind == "last" else output


@dataclass(frozen=True, eq=False)
class _Ended:
    """A module that has run, the first of its inputs, its output, and its shape if it has one."""

    name: str
    module: nn.Module
    given: Any
    output: Any
    shape: torch.Size


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[_Ended]]:
    """Note a model's modules in the order in which they end."""
    ended: list[_Ended] = []

    def note(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        given = next(iter((*args, *kwargs.values())), None)
        shape = output.shape if isinstance(output, Tensor) else torch.Size()
        ended.append(_Ended(name, module, given, output, shape))

    with ExitStack() as hooks, torch.enable_grad():
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(note, name), with_kwargs=True))
        yield ended


def cam_layer(
    copied: OutOfPlace, x: Tensor, layer: str | None = None, grid: Grid = None
) -> CamLayer:
    """Find the layer for class activation maps, or look at the one that is given.

    A CNN's is the module that makes the last feature map before pooling
    (:func:`gae_metric.explainers.grad_cam.find_feature_map`), or, where a function makes it, the
    module before. Where that map is of class scores whose means are the logits (SqueezeNet), what
    the last convolution reads is taken: on the scores all CAM methods are one.

    A vision transformer's is what the last attention reads (the last block's first norm in timm and
    torchvision), as pytorch-grad-cam's documentation recommends: nothing but the class token of a
    later layer reaches the logits.

    Parameters
    ----------
    copied
        A working copy of the model.
    x
        One sample.
    layer
        Name of a module of the model.
    grid
        Rows and columns of the tokens; found by default.

    Raises
    ------
    InapplicableError
        If no layer is found.
    InputError
        If the given layer's output is neither a feature map nor tokens.
    """
    if layer is None:
        found = _feature_layer(copied, x)
        if found is not None:
            return found
    before = [0]  # modules that had ended when an attention was computed
    with (
        _watched(copied.model) as ended,
        Attentions(lambda: before.append(len(ended))) as attentions,
    ):
        copied(x.detach().clone().requires_grad_())
    image = (x.shape[2], x.shape[3])
    if layer is not None:
        shape = next((one.shape for one in reversed(ended) if one.name == layer), torch.Size())
        if len(shape) == 4:
            return CamLayer(layer, "map")
        if len(shape) != 3:
            got = tuple(shape) or "none"
            raise InputError(f"layer: expected an output (B, K, h, w) or (B, T, K), got {got}")
        count = shape[1]
        if not attentions.maps:
            attentions.maps = [x.new_empty(1, 1, count, count)]
        tokens = tokens_of(attentions, image, 1, grid)
        if tokens.count != count:
            raise InputError(f"layer: its output has {count} tokens, attention {tokens.count}")
        return CamLayer(layer, "tokens", tokens)
    try:
        tokens = tokens_of(attentions, image, 1, grid)
    except InapplicableError as error:
        raise InapplicableError(
            f"no feature map of the model is pooled, and {error.reason}; give layer="
        ) from error
    name = _read_by_attention(ended[: before[-1]], ended[before[-1] :], tokens)
    return CamLayer(name, "tokens", tokens)


def _feature_layer(copied: OutOfPlace, x: Tensor) -> CamLayer | None:
    """Return the layer of a CNN, None if the model is none."""
    try:
        with _watched(copied.model) as ended:
            found = find_feature_map(copied, x.detach().clone().requires_grad_())
    except NotApplicableError:
        return None
    kind: Literal["map", "last"] = "map" if found.positions == (2, 3) else "last"
    values = found.values
    convolved = [one.given for one in ended if isinstance(one.module, nn.Conv2d)]
    if kind == "map" and convolved and _is_class_map(values, found.output):
        values = convolved[-1]
    same = [one.name for one in ended if one.output is values]
    shaped = [one.name for one in ended if one.shape == values.shape]
    if not shaped:
        raise InapplicableError("no module makes the last feature map; give layer=")
    return CamLayer((same or shaped)[-1], kind)


def _is_class_map(values: Tensor, logits: Tensor) -> bool:
    """Whether a map's means are the logits: class scores by position, the target's alone counts."""
    if logits.ndim != 2 or values.shape[1] != logits.shape[1]:
        return False
    return torch.allclose(values.mean((2, 3)), logits, rtol=1e-4, atol=1e-5)


def _read_by_attention(before: list[_Ended], after: list[_Ended], tokens: Tokens) -> str:
    """Return the module that made the tokens which the last attention read.

    Of the modules that end after it, those that it is a part of are the first, innermost first.
    """
    made = [one for one in reversed(before) if one.shape[1:-1] == (tokens.count,)]
    if not made:
        raise InapplicableError("no module makes the tokens that attention reads; give layer=")
    read = [one.name for reading in after for one in made if one.output is reading.given]
    return read[0] if read else made[0].name


def _register(name: str, library_name: str, citation: str) -> None:
    """Register a method of pytorch-grad-cam."""

    @method(name, citation, "any", source="pytorch-grad-cam", paper=("cnn", "vit"), chunks=True)
    def explain(
        model: nn.Module, x: Tensor, *, layer: nn.Module | str | None = None, grid: Grid = None
    ) -> Explain:
        """Class activation map (B, 1, H, W) of one layer.

        ``layer`` is a module or its dotted name, ``grid`` the rows and columns of a vision
        transformer's tokens; by default both are found, see
        :func:`benchmarks.methods.cam.cam_layer`.
        """
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        given = None if layer is None else own_module(model, layer)[0]
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
    given = None if layer is None else own_module(model, layer)[0]
    unrolled = with_relus(model, x)
    found = cam_layer(OutOfPlace(model, x), x, given)
    if found.kind != "map":
        raise InapplicableError("Captum's GradCAM needs a feature map with channels first")
    return attributing("GuidedGradCam", unrolled, unrolled.inner.get_submodule(found.name))
