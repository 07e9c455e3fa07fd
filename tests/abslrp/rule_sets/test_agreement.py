"""LRP-epsilon and LRP-alpha-beta against Zennit, on VGG and on torchvision's ResNet."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

import abslrp
from tests.abslrp.rule_sets import networks

zennit = pytest.importorskip("zennit", reason="needs the extra 'zennit'")

from zennit.attribution import Gradient  # noqa: E402
from zennit.canonizers import SequentialMergeBatchNorm  # noqa: E402
from zennit.composites import LayerMapComposite, layer_map_base  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon  # noqa: E402
from zennit.torchvision import ResNetCanonizer  # noqa: E402
from zennit.types import Linear  # noqa: E402

RULES = {
    "epsilon": lambda: Epsilon(1e-6),
    "alpha1beta0": lambda: AlphaBeta(1.0, 0.0),
    "alpha2beta1": lambda: AlphaBeta(2.0, 1.0),
}
NETWORKS = ("vgg", "vgg_bn", "basic", "bottleneck")


def by_zennit(model, rules, name, x, start):
    canonizer = SequentialMergeBatchNorm() if name.startswith("vgg") else ResNetCanonizer()
    composite = LayerMapComposite(
        [*layer_map_base(1e-6), (Linear, RULES[rules]())], canonizers=[canonizer]
    )
    with Gradient(networks.copy_of(model), composite) as attributor:
        return attributor(x.clone(), start)[1]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_zennit(name, rules):
    # Next to 0: before 1.0, Zennit's merged norm divides by sqrt(1 + eps): another network.
    model = networks.make(name, eps=1e-30)
    x, y, start = networks.images()
    expected = by_zennit(model, rules, name, x, start)
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-9


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", ["vgg_bn", "basic", "bottleneck"])
def test_agrees_with_zennit_on_the_network_that_zennit_explains(name, rules):
    model = networks.make(name)
    x, y, start = networks.images()
    expected = by_zennit(model, rules, name, x, start)
    merged = networks.copy_of(model)
    SequentialMergeBatchNorm().apply(merged)
    with torch.no_grad():
        apart = networks.apart(merged(x), model(x))
    if int(version("zennit").partition(".")[0]) < 1:
        assert apart > 1e-8  # not the network that was given
    else:  # whose norm no longer divides by sqrt(1 + eps)
        assert apart < 1e-12
        assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-5
    assert networks.apart(abslrp.explain(merged, x, y, rules=rules), expected) < 1e-5


@pytest.mark.parametrize("rules", RULES)
def test_agrees_with_zennit_in_float32(rules):
    model = networks.make("vgg").float()
    x, y, start = (one.float() if one.is_floating_point() else one for one in networks.images())
    expected = by_zennit(model, rules, "vgg", x, start)
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-5


@pytest.mark.parametrize("rules", RULES)
def test_a_norm_that_follows_no_linear_map_passes_as_in_zennit(rules):
    model = networks.randomise(
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3),
            torch.nn.ReLU(),
            torch.nn.BatchNorm2d(6),
            torch.nn.AvgPool2d(2),
            torch.nn.Conv2d(6, 4, 3),
            torch.nn.Flatten(),
            torch.nn.Linear(4 * 5 * 5, networks.CLASSES),
        ),
        eps=1e-30,
    )
    x, y, start = networks.images()
    expected = by_zennit(model, rules, "vgg", x, start)
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-9


SHARED = Path(os.environ.get("GAE_SHARED", Path(__file__).resolve().parents[4] / "shared"))
WEIGHTS = SHARED / "models" / "squeezenet1_1_imagenet.fp16.safetensors"


@pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the reference material in shared/")
@pytest.mark.parametrize("rules", RULES)
def test_agrees_with_zennit_on_trained_weights_in_float32(rules):
    model = torchvision.models.squeezenet1_1()
    model.load_state_dict({key: value.float() for key, value in load_file(WEIGHTS).items()})
    model.eval()
    photograph = Image.open(min((SHARED / "images" / "imagenet").glob("*.j*"))).convert("RGB")
    x = torch.tensor(np.asarray(photograph.resize((128, 128)))).permute(2, 0, 1)[None] / 255
    x = (x - 0.45) / 0.225
    y = model(x).argmax(1)
    expected = by_zennit(model, rules, "vgg", x, torch.eye(1000)[y])
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-5
