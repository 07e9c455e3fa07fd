"""The Zennit composite against the engine, by itself and through Quantus."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import abslrp
from tests.abslrp.rule_sets import networks

pytest.importorskip("zennit", reason="needs the extra 'zennit'")

import quantus
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import COMPOSITES, LayerMapComposite
from zennit.torchvision import ResNetCanonizer

from abslrp.zennit import AbsLRP, Contrastive, EngineRule

NETWORKS = ("vgg", "vgg_bn", "basic", "bottleneck")


@pytest.mark.parametrize("conserve", ["operation", None, "argument"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_engine(name, conserve):
    model = networks.make(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, y, start = networks.images()
    with Gradient(model, AbsLRP(conserve)) as attributor:
        logits, given = attributor(x.clone(), start)
    torch.testing.assert_close(logits.detach(), model(x).detach())
    expected = abslrp.explain(model, x, y, conserve=conserve, contrast=None)
    assert networks.apart(given, expected) < 1e-10
    with Contrastive(model, AbsLRP(conserve)) as attributor:
        given = attributor(x.clone(), start)[1]
    assert networks.apart(given, abslrp.explain(model, x, y, conserve=conserve)) < 1e-10
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert networks.apart(abslrp.explain(model, x, y, conserve=conserve), given) < 1e-10


@pytest.mark.parametrize("contrast", ["signed", "logits", None])
def test_contrasts(contrast):
    model = networks.make("basic")
    x, y, start = networks.images()
    with Contrastive(model, AbsLRP(), contrast=contrast) as attributor:
        given = attributor(x.clone(), start)[1]
    assert networks.apart(given, abslrp.explain(model, x, y, contrast=contrast)) < 1e-10


@pytest.mark.parametrize("rules", ["epsilon", "alpha2beta1"])
def test_other_rule_sets_with_merged_norms(rules):
    model = networks.make("basic", eps=1e-30)
    x, y, start = networks.images()
    composite = AbsLRP(rules=rules, canonizers=[SequentialMergeBatchNorm()])
    with Contrastive(model, composite) as attributor:
        given = attributor(x.clone(), start)[1]
    assert networks.apart(given, abslrp.explain(model, x, y, rules=rules)) < 1e-9


def test_merged_norms_are_those_of_the_merged_network():
    model = networks.make("bottleneck", eps=1e-30)
    x, y, start = networks.images()
    with Gradient(model, AbsLRP(canonizers=[ResNetCanonizer()])) as attributor:
        given = attributor(x.clone(), start)[1]
    merged = networks.copy_of(model)
    SequentialMergeBatchNorm().apply(merged)
    for parent in list(merged.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
    expected = abslrp.explain(merged, x, y, contrast=None)
    assert networks.apart(given, expected) < 1e-10
    assert networks.apart(given, abslrp.explain(model, x, y, contrast=None)) > 1e-2


class Computed(SequentialMergeBatchNorm):
    """Leaves weights that are computed, as Zennit's own does from its version 1.0 on."""

    def apply(self, root_module):
        for module in root_module.modules():
            if isinstance(module, nn.Conv2d):
                vars(module)["weight"] = module.weight * 1
        return []


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_weights_that_are_no_parameters_are_constants(rules):
    """They require a gradient, as inputs do."""
    model = networks.make("basic")
    x, y, start = networks.images()
    expected = abslrp.explain(model, x, y, rules=rules)
    with Contrastive(model, AbsLRP(rules=rules, canonizers=[Computed()])) as attributor:
        given = attributor(x.clone(), start)[1]
    assert networks.apart(given, expected) < 1e-9


@pytest.mark.parametrize("name", NETWORKS)
def test_through_quantus(name):
    model = networks.make(name).float()
    x, y, _ = networks.images()
    x, y = x.float().numpy(), y.numpy()
    common = {"xai_lib": "zennit", "method": "absLRP", "device": "cpu", "reduce_axes": ()}
    given = quantus.explain(
        model, x, y, attributor=Contrastive, composite=AbsLRP, canonizer=None, **common
    )
    # The difference of two streams is as exact as a stream is, in which a share sums to 1.
    stream = abslrp.explain(model, x, y, contrast=None)
    np.testing.assert_allclose(given, abslrp.explain(model, x, y), rtol=0, atol=1e-5 * stream.max())
    given = quantus.explain(
        model,
        x,
        y,
        attributor=Gradient,
        composite="abslrp",
        composite_kwargs={"conserve": None},
        **common,
    )
    expected = abslrp.explain(model, x, y, conserve=None, contrast=None)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("rules", ["absLRP", "epsilon", "EpsilonPlusFlat"])
def test_functions_are_followed(rules):
    """A vision transformer, whose additions and attention are no modules."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=5)
        nn.init.normal_(model.heads.head.weight)
    model = model.double().eval()
    x, y, start = networks.images()
    with Contrastive(model, AbsLRP(rules=rules)) as attributor:
        given = attributor(x.clone(), start)[1]
    assert networks.apart(given, abslrp.explain(model, x, y, rules=rules)) < 1e-9


def test_one_layer_among_zennits_rules():
    """Which may be given twice, and writes to what it is given."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 5))
    model = networks.randomise(model)
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).double()
    rule = EngineRule("alpha1beta0")
    composite = LayerMapComposite([(nn.Linear, rule), (nn.ReLU, rule)])
    with Gradient(model, composite) as attributor:
        given = attributor(x.clone(), torch.eye(5).double()[[0, 3]])[1]
    assert networks.apart(given, abslrp.explain(model, x, [0, 3], rules="alpha1beta0")) < 1e-10


class Own(nn.Linear):
    """With a forward of its own, and one that may fail."""

    def __init__(self):
        super().__init__(3, 2)
        self.forward = self.checked

    def checked(self, x):
        if len(x) > 1:
            raise KeyError("one at a time")
        return nn.functional.linear(x, self.weight, self.bias)


@pytest.mark.parametrize("model", [nn.Linear(3, 2), Own()])
def test_leaves_the_model_as_it_was(model):
    before = dict(vars(model))
    x, composite = torch.ones(1, 3), AbsLRP()
    with composite.context(model):
        assert vars(model)["forward"] != before.get("forward")
        leaf = x.clone().requires_grad_()
        with composite.inactive():
            (plain,) = torch.autograd.grad(model(leaf).sum(), leaf)
        assert torch.equal(plain, model.weight.sum(0)[None])
        if isinstance(model, Own):
            with pytest.raises(KeyError, match="one at a time"):
                model(leaf.expand(2, 3))
        (relevance,) = torch.autograd.grad(model(leaf).sum(), leaf)
        assert not torch.allclose(plain, relevance)
    assert vars(model).keys() == before.keys()
    assert vars(model).get("forward") == before.get("forward")
    assert torch.equal(torch.autograd.grad(model(leaf).sum(), leaf)[0], plain)


def test_registered_by_name():
    assert COMPOSITES["abslrp"] is AbsLRP


def test_bad_arguments():
    with pytest.raises(ValueError, match="conserve: expected"):
        AbsLRP("sum")
    with pytest.raises(ValueError, match="rules: expected one of"):
        AbsLRP(rules="lrp")
    with pytest.raises(ValueError, match="contrast: expected"):
        Contrastive(nn.Identity(), AbsLRP(), contrast="plain")


def test_composites_come_and_go_in_any_order():
    """The first to go took away what the last had put on the model, which then stayed for ever."""
    model = networks.make("basic")
    x, y, start = networks.images()
    expected = {
        rules: abslrp.explain(model, x, y, rules=rules, contrast=None)
        for rules in ("absLRP", "alpha1beta0")
    }
    one, other = (Gradient(model, AbsLRP(rules=rules)) for rules in expected)
    for first, last in ((one, other), (other, one)):
        one.__enter__()
        other.__enter__()
        first.__exit__(None, None, None)
        rules = last.composite.rules.name
        assert networks.apart(last(x.clone(), start)[1], expected[rules]) < 1e-10
        last.__exit__(None, None, None)
        assert "forward" not in vars(model)


def test_each_thread_has_its_own_composite():
    model = networks.make("basic")
    x, y, start = networks.images()
    found, entered = {}, threading.Barrier(2)

    def explain(rules):
        with Gradient(model, AbsLRP(rules=rules)) as attributor:
            entered.wait(60)
            found[rules] = attributor(x.clone(), start)[1]
            entered.wait(60)

    threads = [threading.Thread(target=explain, args=(one,)) for one in ("absLRP", "alpha1beta0")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rules, given in found.items():
        expected = abslrp.explain(model, x, y, rules=rules, contrast=None)
        assert networks.apart(given, expected) < 1e-10
    assert len(found) == 2
    assert "forward" not in vars(model)
