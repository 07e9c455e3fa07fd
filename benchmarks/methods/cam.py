"""Class activation maps of pytorch-grad-cam, and Captum's Guided GradCAM.

pytorch-grad-cam scales each map to [0, 1], its least value becoming 0, before and after it is
upsampled; that is kept.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.methods.attention_maps import Attentions, Tokens, tokens_of
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


@dataclass
class _Run:
    """What one forward pass showed: modules in the order they ended, and the last attention."""

    outputs: list[tuple[str, Tensor]] = field(default_factory=list)
    #: First inputs of the modules that are running, innermost last, and of convolutions that ran.
    running: list[Any] = field(default_factory=list)
    convolved: list[Tensor] = field(default_factory=list)
    attentions: Attentions = field(default_factory=Attentions)
    #: What was running when the last attention was computed, and the number of outputs by then.
    inputs: list[Any] = field(default_factory=list)
    before: int = 0

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note what the model does."""
        self.attentions.called = self._attended
        with ExitStack() as hooks, torch.enable_grad():
            for name, module in model.named_modules():
                hooks.enter_context(module.register_forward_pre_hook(self._begun, with_kwargs=True))
                hooks.enter_context(module.register_forward_hook(partial(self._ended, name)))
            yield

    def _begun(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.running.append(args[0] if args else next(iter(kwargs.values()), None))

    def _ended(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        given = self.running.pop()
        if isinstance(module, nn.Conv2d):
            self.convolved.append(given)
        if name and isinstance(output, Tensor):
            self.outputs.append((name, output))

    def _attended(self) -> None:
        self.inputs, self.before = list(self.running), len(self.outputs)


def cam_layer(
    copied: OutOfPlace,
    x: Tensor,
    layer: str | None = None,
    grid: tuple[int, int] | None = None,
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
    model = copied.model
    if layer is None:
        found = _feature_layer(copied, x)
        if found is not None:
            return found
    run = _Run()
    with run.watching(model), run.attentions:
        copied(x.detach().clone().requires_grad_())
    image = (x.shape[2], x.shape[3])
    if layer is not None:
        outputs = [output for name, output in run.outputs if name == layer]
        if outputs and outputs[-1].ndim == 4:
            return CamLayer(layer, "map")
        if not outputs or outputs[-1].ndim != 3:
            got = tuple(outputs[-1].shape) if outputs else "none"
            raise InputError(f"layer: expected an output (B, K, h, w) or (B, T, K), got {got}")
        count = outputs[-1].shape[1]
        if not run.attentions.maps:
            run.attentions.maps = [x.new_empty(1, 1, count, count)]
        tokens = tokens_of(run.attentions, image, 1, grid)
        if tokens.count != count:
            raise InputError(f"layer: its output has {count} tokens, attention {tokens.count}")
        return CamLayer(layer, "tokens", tokens)
    try:
        tokens = tokens_of(run.attentions, image, 1, grid)
    except InapplicableError as error:
        raise InapplicableError(
            f"no feature map of the model is pooled, and {error.reason}; give layer="
        ) from error
    name = _read_by_attention(model, run, tokens)
    return CamLayer(name, "tokens", tokens)


def _feature_layer(copied: OutOfPlace, x: Tensor) -> CamLayer | None:
    """Return the layer of a CNN, None if the model is none."""
    run = _Run()
    try:
        with run.watching(copied.model):
            found = find_feature_map(copied, x.detach().clone().requires_grad_())
    except NotApplicableError:
        return None
    kind: Literal["map", "last"] = "map" if found.positions == (2, 3) else "last"
    values = found.values
    if kind == "map" and run.convolved and _is_class_map(values, found.output):
        values = run.convolved[-1]
    same = [name for name, output in run.outputs if output is values]
    if same:
        return CamLayer(same[-1], kind)
    shaped = [name for name, output in run.outputs if output.shape == values.shape]
    if not shaped:
        raise InapplicableError("no module makes the last feature map; give layer=")
    return CamLayer(shaped[-1], kind)


def _is_class_map(values: Tensor, logits: Tensor) -> bool:
    """Whether a map's means are the logits: class scores by position, the target's alone counts."""
    if logits.ndim != 2 or values.shape[1] != logits.shape[1]:
        return False
    return torch.allclose(values.mean((2, 3)), logits, rtol=1e-4, atol=1e-5)


def _read_by_attention(model: nn.Module, run: _Run, tokens: Tokens) -> str:
    """Return the module that made the tokens which the last attention read."""
    made = [
        (name, output)
        for name, output in reversed(run.outputs[: run.before])
        if output.ndim == 3 and output.shape[1] == tokens.count
    ]
    for read in reversed(run.inputs):
        for name, output in made:
            if output is read:
                return name
    if made:
        return made[0][0]
    raise InapplicableError("no module makes the tokens that attention reads; give layer=")


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
