"""Every method whose definition is a paper's equation, against it: float64, three small networks.

Both entrances of a name are asked: ``METHODS`` of ``benchmarks``, and ``--methods`` of the command
``gae-metric``, whose methods have code of their own. The references (tests/naive) use neither
autograd nor a library.
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("captum.attr", reason="Captum (extra 'captum') is not installed")
pytest.importorskip("pytorch_grad_cam", reason="grad-cam (extra 'benchmarks') is not installed")

from benchmarks.methods import METHODS
from gae_metric.explainers.gradients import explainer
from tests.naive import alpha_beta, cams, chain, clrp, epsilon_vit, rap, rap_eq5, tibav, vit
from tests.naive import gradients as gr
from tests.naive.epsilon import lrp_epsilon

EXACT = 1e-10
#: pytorch-grad-cam resizes in float32: about ten roundings of numbers up to 1, doubled where the
#: least of a map is subtracted, doubled where its range is 1/2 after resizing, and some more.
SINGLE = 64 * 2**-24
STEPS = 7


@dataclass
class Chain:
    """A convolutional network of tests.naive.chain, and the place of a feature map."""

    model: Any
    layer: int
    classes = (0, 1, 2, 3)

    def images(self):
        return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(11)).double()

    def gradient(self, target):
        def at(x):
            assert chain.margin(chain.record(self.model, x), dead=True) > 1e-7
            return gr.gradient(self.model, x, target)

        return at

    def guided(self, x, target):
        return gr.gradient(self.model, x, target, gr.guided)

    def features(self, x, target):
        return cams.feature_map(self.model, x, target, self.layer)


@dataclass
class Transformer:
    """A vision transformer of tests.naive.vit; its feature map are the last block's tokens."""

    model: Any
    classes = (0, 3)

    def images(self):
        size = self.model.patch_embed.img_size
        return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(11)).double()

    def gradient(self, target):
        return lambda x: vit.gradients(self.model, x, target).image

    def features(self, x, target):
        normed = vit.forward(self.model, x).blocks[-1].normed
        gradient = vit.gradients(self.model, x, target).normed[-1]
        return self.grid(normed), self.grid(gradient)

    def grid(self, tokens):
        patches = tokens[self.model.num_prefix_tokens :]
        return patches.T.reshape(-1, *self.model.patch_embed.grid_size)

    def upsampled(self, values):
        grid = values.reshape(self.model.patch_embed.grid_size)
        return cams.upsampled(grid, self.model.patch_embed.img_size)[None, None]

    def attention(self, x):
        return [block.attention.mean(0) for block in vit.forward(self.model, x).blocks]


CHAINS = {
    "plain": (partial(chain.plain_network, 4), 4, 1),
    "residual": (chain.residual_network, 7, 4),
    "smooth": (chain.smooth_network, 7, 5),
}
TRANSFORMERS = {
    "one-block": vit.one_block,
    "three-blocks": vit.three_blocks,
    "averaged": vit.averaged,
}


@cache
def case(name, given=False):
    """A network; if `given`, with a feature map that is not the one that methods choose."""
    if name in TRANSFORMERS:
        return Transformer(TRANSFORMERS[name]())
    make, layer, other = CHAINS[name]
    return Chain(chain.lively(make()), other if given else layer)


def assert_equal(ours, expected, tolerance=EXACT):
    assert ours.dtype == expected.dtype == torch.float64
    assert ours.shape == expected.shape
    assert (expected.abs().amax((1, 2, 3)) > 0).sum() > 1
    assert (ours - expected).abs().max() <= tolerance * expected.abs().max()


@cache
def samples(name):
    """Images, each as often as there are classes to explain, and these."""
    images, classes = case(name).images(), case(name).classes
    return images.repeat_interleave(len(classes), 0), torch.tensor(classes).repeat(len(images))


@cache
def expected_maps(reference, name, given):
    """One sample after the other."""
    pairs = zip(*samples(name), strict=True)
    return torch.cat([reference(case(name, given), x[None], int(target)) for x, target in pairs])


def assert_defined(explain, name, reference, tolerance=EXACT, given=False, **options):
    """Compare the maps of a network, those of all samples in one call."""
    ours = explain(case(name).model, *samples(name), **options)
    assert_equal(ours, expected_maps(reference, name, given), tolerance)


def saliency(net, x, target):
    return gr.saliency(net.gradient(target), x)


def input_x_gradient(net, x, target):
    return gr.input_x_gradient(net.gradient(target), x)


def integrated_gradients(net, x, target):
    return gr.integrated_gradients(net.gradient(target), x, STEPS)


def deconvolution(net, x, target):
    return gr.gradient(net.model, x, target, gr.deconvolved)


def deeplift(net, x, target):
    return gr.deeplift(net.model, x, target)


def guided_gradcam(net, x, target, mode="bilinear"):
    return cams.guided_gradcam(net.guided(x, target), *net.features(x, target), mode)


def cam(function, net, x, target):
    return cams.upsampled(function(*net.features(x, target)), x.shape[2:])[None, None]


def scaled_cam(function, net, x, target):
    """As pytorch-grad-cam has it."""
    small = cams.scaled(function(*net.features(x, target)))
    return cams.scaled(cams.upsampled(small, x.shape[2:]))[None, None]


def of_model(function, *options):
    return lambda net, x, target: function(net.model, x, target, *options)


def alpha_beta_of(alpha, beta):
    by_kind = {Chain: alpha_beta.lrp_alpha_beta, Transformer: epsilon_vit.lrp_alpha_beta_vit}
    return lambda net, x, target: by_kind[type(net)](net.model, x, target, alpha, beta)


def epsilon_of(value):
    by_kind = {Chain: lrp_epsilon, Transformer: epsilon_vit.lrp_epsilon_vit}
    return lambda net, x, target: by_kind[type(net)](net.model, x, target, value)


def last_layer_attention(net, x, target):
    last = net.attention(x)[-1]
    row = last[vit.read_rows(net.model, len(last))].mean(0)
    return net.upsampled(row[net.model.num_prefix_tokens :])


def rollout(net, x, target):
    return net.upsampled(vit.rollout(net.model, net.attention(x)))


def tibav_of(function, *options):
    return lambda net, x, target: net.upsampled(function(net.model, x, target, *options))


#: Name to what defines it, on any network.
ANY = {
    "Saliency": saliency,
    "InputXGradient": input_x_gradient,
    "LRP-epsilon": epsilon_of(1e-6),
    "LRP-epsilon-0.1": epsilon_of(0.1),
    "LRP-alpha1beta0": alpha_beta_of(1, 0),
    "LRP-alpha2beta1": alpha_beta_of(2, 1),
}
CONVOLUTIONAL = {
    "Deconvolution": deconvolution,
    "GuidedGradCAM": partial(guided_gradcam, mode="nearest"),  # Captum's
    "RAP": of_model(rap.rap),
    "cRAP": of_model(rap.crap),
    "RAP-eq5": of_model(rap_eq5.rap_eq5),
    "cLRP": of_model(clrp.clrp),
}
ATTENTION = {
    "LLAttention": last_layer_attention,
    "Rollout": rollout,
    "TIBAV": tibav_of(tibav.tibav, tibav.HERE),
    "TIBAV-epsilon": tibav_of(epsilon_vit.tibav_epsilon),
}
#: pytorch-grad-cam's GradCAM++ has an epsilon.
SCALED = {**cams.CAMS, "GradCAM++": partial(cams.gradcam_plus_plus, epsilon=1e-6)}

#: Names of the command line.
COMMAND = ("Saliency", "InputXGradient", "LRP-epsilon", "LRP-alpha1beta0", "LRP-alpha2beta1")
COMMAND_CONVOLUTIONAL = {
    **{name: CONVOLUTIONAL[name] for name in ("RAP", "cRAP", "cLRP")},
    "GuidedGradCAM": guided_gradcam,
    "captum:Deconvolution": deconvolution,
    "captum:GuidedBackprop": lambda net, x, target: net.guided(x, target),
}


@pytest.mark.parametrize("net", CHAINS)
def test_the_networks_are_far_from_kinks_and_ties(net):
    for one in case(net).images():
        assert chain.margin(chain.record(case(net).model, one[None])) > 1e-4


@pytest.mark.parametrize("net", TRANSFORMERS)
@pytest.mark.parametrize("name", [*ANY, *ATTENTION])
def test_transformers(name, net):
    assert_defined(METHODS[name], net, {**ANY, **ATTENTION}[name])


@pytest.mark.parametrize("net", CHAINS)
@pytest.mark.parametrize("name", [*ANY, *CONVOLUTIONAL])
def test_convolutional_networks(name, net):
    assert_defined(METHODS[name], net, {**ANY, **CONVOLUTIONAL}[name])


@pytest.mark.parametrize("net", [*CHAINS, *TRANSFORMERS])
@pytest.mark.parametrize("name", COMMAND)
def test_names_of_the_command_line(name, net):
    assert_defined(explainer(name)[1], net, ANY[name])


@pytest.mark.parametrize("net", CHAINS)
@pytest.mark.parametrize("name", COMMAND_CONVOLUTIONAL)
def test_names_of_the_command_line_for_convolutional_networks(name, net):
    assert_defined(explainer(name)[1], net, COMMAND_CONVOLUTIONAL[name])


@pytest.mark.parametrize("net", CHAINS)
def test_deeplift(net):
    assert_defined(METHODS["DeepLIFT"], net, deeplift)


@pytest.mark.parametrize("net", ["plain", "residual"])
def test_deeplift_of_captum(net):
    """Where no max pooling is right before an activation function, as in the third network."""
    assert_defined(explainer("captum:DeepLift")[1], net, deeplift)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Tanh(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
        (nn.MaxPool2d(3, 1), nn.Flatten(), nn.Linear(64, 3)),
    ],
    ids=["two activations in a row", "windows that share a winner"],
)
def test_deeplift_where_captum_s_own_code_has_another_result(layers):
    model = chain.filled(nn.Sequential(nn.Conv2d(3, 4, 3), *layers), seed=1)
    x = Chain(model, 0).images()
    expected = torch.cat([gr.deeplift(model, one[None], 1) for one in x])
    assert_equal(METHODS["DeepLIFT"](model, x, 1), expected)


@pytest.mark.parametrize("net", [*CHAINS, *TRANSFORMERS])
@pytest.mark.parametrize("name", cams.CAMS)
def test_class_activation_maps(name, net):
    assert_defined(METHODS[name], net, partial(scaled_cam, SCALED[name]), SINGLE)


@pytest.mark.parametrize("net", CHAINS)
@pytest.mark.parametrize("name", cams.CAMS)
def test_class_activation_maps_of_the_command_line(name, net):
    reference = partial(cam, cams.CAMS[name])
    assert_defined(explainer(name)[1], net, reference)


@pytest.mark.parametrize("net", CHAINS)
@pytest.mark.parametrize("name", cams.CAMS)
def test_class_activation_maps_of_a_given_layer(name, net):
    given = {"given": True, "layer": str(case(net, given=True).layer)}
    assert_defined(explainer(name)[1], net, partial(cam, cams.CAMS[name]), **given)
    assert_defined(METHODS[name], net, partial(scaled_cam, SCALED[name]), SINGLE, **given)


@pytest.mark.parametrize("net", [*CHAINS, *TRANSFORMERS])
def test_integrated_gradients(net):
    explain = explainer("IntegratedGradients")[1]
    assert_defined(explain, net, integrated_gradients, n_steps=STEPS)
    x = case(net).images()
    for target in case(net).classes:
        at = case(net).gradient(target)
        ours = METHODS["IntegratedGradients"](case(net).model, x, target, n_steps=STEPS)
        for one, map_ in zip(x, ours, strict=True):
            expected = gr.integrated_gradients(at, one[None], STEPS)[0]
            # Captum rounds the weights of its steps to float32.
            size = gr.integrated_gradients(lambda p, at=at: at(p).abs(), one[None], STEPS)[0]
            assert ((map_ - expected).abs() <= 2**-24 * size.abs() + 1e-12).all()


@pytest.mark.parametrize("net", [*CHAINS, *TRANSFORMERS])
def test_smoothgrad(net):
    """Of the copies that the model sees: the noise of 15 % of the range is added to the image."""
    model, images = case(net).model, case(net).images()
    seen = []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    try:
        for one in images:
            seen.clear()
            target = case(net).classes[-1]
            options = {"n_samples": 20, "seed": 3}
            ours = METHODS["SmoothGrad"](model, one[None], target, **options)
            copies = torch.cat(seen)[-20:]
            noise = (copies - one) / (one.max() - one.min())
            # Twenty times 192 or 288 draws: about five standard errors.
            assert abs(float(noise.mean())) < 0.15 * 0.08
            assert float(noise.std()) == pytest.approx(0.15, rel=0.06)
            assert all((noise[i] - noise[i + 1]).abs().max() > 0.1 for i in range(19))
            at = case(net).gradient(target)
            expected = gr.smoothgrad(at, [copy[None] for copy in copies])
            assert (ours - expected).abs().max() <= EXACT * expected.abs().max()
    finally:
        handle.remove()
