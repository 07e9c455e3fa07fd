"""Where rule sets start, what publishing one takes, and that they run on real architectures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import abslrp
from abslrp.plan import Product, Term
from abslrp.plan.factors import itself
from abslrp.registry import RULE_SETS, RuleSet
from abslrp.rule_sets import own_contrast, proportional, publish
from abslrp.rule_sets.starts import withdraw
from tests.abslrp.rule_sets import networks

NAMES = ("epsilon", "alpha1beta0", "alpha2beta1", "cLRP", "RAP", "RAP-eq5", "cRAP", "Chefer")
NAMES += ("EpsilonPlusFlat", "EpsilonGammaBox")


@pytest.mark.parametrize("rules", ["cLRP", "cRAP"])
def test_contrastive_sets_are_the_difference_of_two_maps_from_the_logits(rules):
    model = networks.make("vgg")
    x, y, start = networks.images()
    logits = model(x).detach().abs()
    maps = [abslrp.relevance(model, x, hot * logits, rules=rules) for hot in (start, 1 - start)]
    target, others = (one / one.sum((1, 2, 3), keepdim=True) for one in maps)
    given = abslrp.explain(model, x, y, rules=rules)
    torch.testing.assert_close(given, target - others, rtol=1e-10, atol=1e-14)
    assert torch.equal(given, abslrp.explain(model, x, y, rules=rules, contrast="logits"))


def test_clrp_by_hand():
    layer = nn.Linear(2, 3, bias=False).double().eval()
    layer.weight.data = torch.tensor([[1.0, 1.0], [1.0, 0.0], [-1.0, -3.0]]).double()
    # Logits 2, 1, -4. Target (1/2, 1/2); the others 1 (1, 0) and 4 (0, 0).
    given = abslrp.explain(layer, np.ones((1, 2)), 0, rules="cLRP")
    np.testing.assert_allclose(given, [[-0.5, 0.5]], rtol=1e-5)
    layer.weight.data[2].neg_()
    # The others 1 (1, 0) and 4 (1/4, 3/4), of 5.
    given = abslrp.explain(layer, np.ones((1, 2)), 0, rules="cLRP")
    np.testing.assert_allclose(given, [[0.1, -0.1]], rtol=1e-5)


@pytest.mark.parametrize("rules", ["epsilon", "alpha1beta0", "alpha2beta1", "RAP", "RAP-eq5"])
def test_the_others_start_at_the_target(rules):
    model = networks.make("vgg")
    x, y, start = networks.images()
    given = abslrp.explain(model, x, y, rules=rules)
    assert torch.equal(given, abslrp.explain(model, x, y, rules=rules, contrast=None))
    assert torch.equal(given, abslrp.relevance(model, x, start, rules=rules))


def test_abslrp_still_starts_two_streams():
    model = networks.make("vgg")
    x, y, _ = networks.images()
    given = abslrp.explain(model, x, y)
    assert torch.equal(given, abslrp.explain(model, x, y, contrast="streams"))
    # The map of the others, which the default subtracts, is positive in places and sums to 1.
    assert networks.apart(given, abslrp.explain(model, x, y, contrast=None)) > 1e-2


def test_own_contrast_of_derived_sets():
    assert own_contrast(RuleSet("mine", RULE_SETS["absLRP"])) == "streams"
    assert own_contrast(RuleSet("mine", RULE_SETS["cRAP"], conserves=False)) == "logits"
    assert own_contrast(RuleSet("mine")) == "streams"
    assert own_contrast(RuleSet("mine", conserves=False)) is None
    with pytest.raises(ValueError, match="rules: expected a name or a RuleSet, got NoneType"):
        own_contrast(None)
    with pytest.raises(ValueError, match=r"rules: expected one of absLRP, .*got 'lrp'"):
        own_contrast("lrp")


def test_wrong_contrast():
    model = networks.make("vgg")
    x, y, _ = networks.images()
    with pytest.raises(ValueError, match=r"contrast: expected .*'logits'.* got 'plain'"):
        abslrp.explain(model, x, y, rules="epsilon", contrast="plain")
    single = nn.Linear(3, 1).eval()
    with pytest.raises(ValueError, match="model: it has one output"):
        abslrp.explain(single, torch.ones(1, 3), 0, rules="cLRP")


def test_duplicates_are_refused():
    with pytest.raises(ValueError, match="there is a rule set named 'epsilon' already"):
        publish(RuleSet("epsilon"))
    with pytest.raises(ValueError, match=r"already has a rule for torch\.nn\.functional\.linear"):
        RULE_SETS["epsilon"].rule(nn.functional.linear)(lambda call: None)


def test_a_new_rule_set_is_one_rule():
    def gradient_times_input(call, given):
        whole = Term(lambda weight: weight)
        return Product(given.input, given.map, terms=[whole], after=[itself(given.input)])

    publish(proportional.make("mine", gradient_times_input), contrast="signed")
    try:
        layer = nn.Linear(2, 2, bias=False).double().eval()
        layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
        given = abslrp.explain(layer, np.array([[1.0, 1.0]]), 0, rules="mine")
        np.testing.assert_allclose(given, [[1 - 3 / 2, 2 - 4 / 2]])
    finally:
        withdraw("mine")
    assert "mine" not in RULE_SETS


@pytest.mark.parametrize("rules", NAMES)
def test_maps_do_not_depend_on_the_batch_or_on_conserve(rules):
    model = networks.make("basic")
    x, y, _ = networks.images()
    given = abslrp.explain(model, x, y, rules=rules)
    one = abslrp.explain(model, x, y, rules=rules, batch_size=1)
    assert networks.apart(one, given) < 1e-9
    assert torch.equal(given, abslrp.explain(model, x, y, rules=rules, conserve=None))


@pytest.mark.parametrize("rules", NAMES)
@pytest.mark.parametrize("signed", [False, True])
def test_the_engine_s_sign_option_changes_nothing(rules, signed):
    model = networks.make("vgg_bn")
    x, _, start = networks.images()
    leaf = x.clone().requires_grad_()
    with abslrp.propagation(rules, signed=signed):
        logits = model(leaf)
    (given,) = torch.autograd.grad(logits, leaf, start)
    assert networks.apart(given, abslrp.relevance(model, x, start, rules=rules)) < 1e-12


def _architectures():
    models = torchvision.models
    return {
        "densenet": lambda: models.DenseNet(8, (2, 2), 8, num_classes=5),
        "mobilenet": lambda: models.mobilenet_v3_small(num_classes=5),
        "vit": lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
        "swin": lambda: models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=5),
    }


@pytest.mark.parametrize("rules", NAMES)
@pytest.mark.parametrize("name", ["vgg", "basic", *_architectures()])
def test_finite_in_float32(name, rules):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = _architectures()
        model = made[name]().eval() if name in made else networks.make(name).float()
    if name == "vit":
        nn.init.normal_(model.heads.head.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    given = abslrp.explain(model, x, [0, 3], rules=rules)
    assert given.isfinite().all()
    assert (given != 0).any()


@pytest.mark.parametrize("rules", ["epsilon", "alpha2beta1", "EpsilonPlusFlat", "EpsilonGammaBox"])
def test_half_precision_stays_finite(rules):
    model = networks.make("vgg_bn").to(torch.float16)
    x, y, _ = networks.images()
    given = abslrp.explain(model, x.half(), y, rules=rules)
    assert given.isfinite().all()


@pytest.mark.parametrize("rules", NAMES)
def test_half_precision_keeps_the_map(rules):
    model = networks.make("vgg").half()
    x, y, _ = networks.images()
    given = abslrp.explain(model, x.half(), y, rules=rules).double().flatten()
    expected = abslrp.explain(model.double(), x.half().double(), y, rules=rules).flatten()
    assert nn.functional.cosine_similarity(given, expected, 0) > 0.99


class _Casting(nn.Module):
    """A model that turns autocast on itself, and does not leave it on for whoever calls it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.model(x).float()


@pytest.mark.parametrize("rules", NAMES)
def test_autocast_inside_a_model_keeps_the_map(rules):
    model = networks.make("vgg").float()
    x, y, _ = networks.images()
    expected = abslrp.explain(model, x.float(), y, rules=rules).flatten()
    given = abslrp.explain(_Casting(model).eval(), x.float(), y, rules=rules).flatten()
    assert nn.functional.cosine_similarity(given, expected, 0) > 0.9


@pytest.mark.parametrize("rules", ["alpha2beta1", "cLRP", "Chefer", "EpsilonGammaBox"])
@pytest.mark.parametrize("name", ["vgg_bn", "basic"])
def test_autocast_keeps_the_map(name, rules):
    """Where a batch norm is of another type than the convolution that it is one layer with."""
    model = networks.make(name).float()
    x, y, _ = networks.images()
    expected = abslrp.explain(model, x.float(), y, rules=rules).flatten()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = abslrp.explain(model, x.float(), y, rules=rules).flatten()
    assert nn.functional.cosine_similarity(given, expected, 0) > 0.9
