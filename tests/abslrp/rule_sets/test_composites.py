"""Composites and the rules they are made of, against Zennit's and by hand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import abslrp
from abslrp.rule_sets import layers
from abslrp.rule_sets.composites import (
    composite,
    convolution,
    epsilon_gamma_box,
    first,
    first_convolution,
)
from tests.abslrp.rule_sets import networks

pytest.importorskip("zennit", reason="needs the extra 'zennit'")

from zennit import rules as theirs
from zennit.attribution import Gradient
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import (
    COMPOSITES,
    LayerMapComposite,
    MixedComposite,
    NameMapComposite,
    layer_map_base,
)
from zennit.torchvision import ResNetCanonizer
from zennit.types import Convolution

LOW, HIGH = -4.5, 4.0


def vgg11(batch_norm: bool) -> nn.Module:
    """Torchvision's with few channels: its own head takes longer to draw than all the rest."""
    sizes = [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 64, "M"]
    head = [nn.Linear(64, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 16), nn.ReLU(True)]
    return nn.Sequential(
        OrderedDict(
            features=torchvision.models.vgg.make_layers(sizes, batch_norm),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(*head, nn.Dropout(), nn.Linear(16, 5)),
        )
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": lambda: vgg11(batch_norm=False),
    "vgg11_bn": lambda: vgg11(batch_norm=True),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=5),
    "resnet50": lambda: torchvision.models.resnet50(num_classes=5),
}


def of(name: str) -> nn.Module:
    """With random weights; Zennit's merger leaves a batch norm's eps behind, so there is none."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.randomise(MODELS[name](), eps=1e-30)


def by_zennit(model: nn.Module, name: str, kind: Any, **options: Any) -> Tensor:
    x, _, start = networks.images(32)
    canonizer = SequentialMergeBatchNorm() if name.startswith("vgg") else ResNetCanonizer()
    composite = kind(canonizers=[canonizer], **options)
    with Gradient(networks.copy_of(model), composite) as attributor:
        found: Tensor = attributor(x.clone(), start)[1]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_zennits_composites_without_a_canonizer(name: str) -> None:
    model = of(name)
    x, y, _ = networks.images(32)
    expected = by_zennit(model, name, COMPOSITES["epsilon_plus_flat"])
    assert networks.apart(abslrp.explain(model, x, y, rules="EpsilonPlusFlat"), expected) < 1e-6
    limits = torch.full_like(x, LOW), torch.full_like(x, HIGH)
    kind = COMPOSITES["epsilon_gamma_box"]
    expected = by_zennit(model, name, kind, low=limits[0], high=limits[1])
    rules = epsilon_gamma_box(LOW, HIGH)
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-6


def test_the_published_box_has_the_limits_of_each_input() -> None:
    model = of("vgg11")
    x, y, _ = networks.images(32)
    given = abslrp.explain(model, x, y, rules="EpsilonGammaBox")
    limits = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    kind = COMPOSITES["epsilon_gamma_box"]
    expected = by_zennit(
        model, "vgg11", kind, low=limits[0].expand_as(x), high=limits[1].expand_as(x)
    )
    assert networks.apart(given, expected) < 1e-6


@pytest.mark.parametrize("affine", ["vgg", "vgg_bn", "basic", "bottleneck"])
@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (layers.gamma(0.1), theirs.Gamma(0.1)),
        (layers.flat(), theirs.Flat()),
        (layers.w_square(), theirs.WSquare()),
        (layers.z_box(LOW, HIGH), theirs.ZBox(LOW, HIGH)),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_rules_of_every_layer(affine: str, mine: Any, other: Any) -> None:
    """Inputs of both signs, weights of both, batch norms of both."""
    from zennit.types import Linear

    model = networks.make(affine, eps=1e-30)
    x, y, start = networks.images()
    canonizer = SequentialMergeBatchNorm() if affine.startswith("vgg") else ResNetCanonizer()
    kind = LayerMapComposite([*layer_map_base(1e-6), (Linear, other)], canonizers=[canonizer])
    with Gradient(networks.copy_of(model), kind) as attributor:
        expected = attributor(x.clone(), start)[1]
    assert networks.apart(abslrp.explain(model, x, y, rules=mine), expected) < 1e-6


def test_layers_by_name_as_zennits_map() -> None:
    model = of("vgg11")
    x, y, _ = networks.images(32)
    names = ("classifier.0", "classifier.3", "classifier.6")
    kind = MixedComposite(
        [
            NameMapComposite([(("features.0",), theirs.WSquare()), (names, theirs.Epsilon(0.1))]),
            LayerMapComposite([*layer_map_base(1e-6), (Convolution, theirs.Gamma(0.5))]),
        ]
    )
    with Gradient(networks.copy_of(model), kind) as attributor:
        expected = attributor(x.clone(), networks.images(32)[2])[1]
    rules = composite(
        [
            ("features.0", layers.w_square()),
            ("classifier.*", abslrp.rule_sets.epsilon.build(0.1)),
            (nn.Conv2d, layers.gamma(0.5)),
        ]
    )
    assert networks.apart(abslrp.explain(model, x, y, rules=rules), expected) < 1e-6


class Twice(nn.Module):
    """One layer by two names, called twice, and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.again = nn.Linear(4, 4)
        self.out = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.again(self.first(x).relu()))
        return logits


@pytest.mark.parametrize("name", ["first", "again", "*"])
@pytest.mark.parametrize("within", [False, True])
def test_a_layer_of_two_names(name: str, within: bool) -> None:
    """And a model that another module explains is called by its own names."""
    model = networks.randomise(Twice())
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    rules = composite([(name, layers.flat()), (nn.Linear, "alpha1beta0")])

    class Trainer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = abslrp.explain(model, x, 0, rules=rules)
            return found

    given = Trainer()(x) if within else abslrp.explain(model, x, 0, rules=rules)
    assert (given == given[:, :1]).all()
    assert given.any()


def test_the_first_fitting_pair_counts() -> None:
    model = networks.make("vgg")
    x, y, _ = networks.images()
    pairs = [(first, layers.flat()), (first_convolution, layers.w_square())]
    flat = abslrp.explain(model, x, y, rules=composite(pairs))
    assert torch.equal(flat, abslrp.explain(model, x, y, rules=composite(pairs[:1])))
    other = abslrp.explain(model, x, y, rules=composite(pairs[::-1]))
    assert networks.apart(flat, other) > 1e-3
    every = composite([((nn.Conv2d, nn.Linear), "alpha1beta0")])
    assert torch.equal(
        abslrp.explain(model, x, y, rules=every),
        abslrp.explain(model, x, y, rules=composite([(lambda call, given: True, "alpha1beta0")])),
    )
    assert networks.apart(
        abslrp.explain(model, x, y, rules=every),
        abslrp.explain(model, x, y, rules=composite([(convolution, "alpha1beta0")])),
    ) > 1e-3  # fmt: skip


@pytest.mark.parametrize(
    "rules", [layers.gamma(), layers.flat(), layers.w_square(), layers.z_box(LOW, HIGH)]
)
def test_a_negated_layer_is_the_layer_of_negated_weights(rules: Any) -> None:
    layer = networks.randomise(nn.Linear(6, 5))
    negated = networks.copy_of(layer)
    for weight in negated.parameters():
        weight.data.neg_()

    class Minus(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -layer(x)  # type: ignore[no-any-return]

    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)).double()
    given = abslrp.explain(Minus().eval(), x, 3, rules=rules)
    assert networks.apart(given, abslrp.explain(negated, x, 3, rules=rules)) < 1e-12


@pytest.mark.parametrize("rules", ["alpha2beta1", "epsilon", "RAP", "RAP-eq5"])
def test_weights_with_axes_of_their_own(rules: str) -> None:
    """Three maps of one input at once send it the sum of what each does."""
    weights = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()
    leaf = x.clone().requires_grad_()
    with abslrp.propagation(rules):
        output = leaf @ weights
    (given,) = torch.autograd.grad(output, leaf, torch.ones_like(output))
    alone = []
    for one in weights:
        leaf = x.clone().requires_grad_()
        with abslrp.propagation(rules):
            output = leaf @ one
        alone += torch.autograd.grad(output, leaf, torch.ones_like(output))
    torch.testing.assert_close(given, alone[0] + alone[1] + alone[2])


def test_a_name_that_fits_nothing_is_refused() -> None:
    x, y, _ = networks.images()
    with pytest.raises(ValueError, match=r"layers: no module of Sequential has a name like '9\.9'"):
        abslrp.explain(networks.make("vgg"), x, y, rules=composite([("9.9", layers.flat())]))
    with pytest.raises(ValueError, match="rules: expected one of"):
        composite([("0", "flat")])
    with pytest.raises(ValueError, match="gamma: expected a number >= 0, got -1"):
        layers.gamma(-1)


def test_gamma_of_0_is_epsilon() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).double().eval()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)).double()
    nothing, plain = (
        abslrp.explain(model, x, 0, rules=one) for one in (layers.gamma(0), "epsilon")
    )
    torch.testing.assert_close(nothing, plain)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_batch_norm_is_one_with_a_transposed_convolution(groups: int) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6))
    model.append(nn.Flatten())
    model = networks.randomise(model)
    generator = torch.Generator().manual_seed(0)
    model[0].weight.data = torch.randn(4, 6 // groups, 3, 3, generator=generator).double()
    fused = nn.Sequential(
        torch.nn.utils.fuse_conv_bn_eval(model[0], model[1], transpose=True)
        if groups == 1
        else by_group(model[0], model[1]),
        nn.Flatten(),
    ).eval()
    x = torch.randn(2, 4, 4, 4, generator=generator).double()
    for rules in (layers.gamma(), layers.w_square(), "epsilon", "alpha2beta1"):
        given, expected = (abslrp.explain(one, x, 3, rules=rules) for one in (model, fused))
        assert networks.apart(given, expected) < 1e-10


class Times(nn.Module):
    """A product with a constant."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


@pytest.mark.parametrize("product", [False, True])
def test_a_batch_norm_is_one_with_a_linear_layer(product: bool) -> None:
    model = networks.randomise(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)))
    layer, norm, head = model
    generator = torch.Generator().manual_seed(0)
    for one in (norm.weight, norm.bias, norm.running_mean):
        one.data = torch.randn(6, generator=generator).double()
    norm.running_var = torch.rand(6, generator=generator).double() + 0.5
    fused = networks.copy_of(layer)
    scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
    before = 0 if product else layer.bias.data
    fused.weight.data = layer.weight.data * scale[:, None]
    fused.bias.data = (before - norm.running_mean) * scale + norm.bias.data
    first = Times(layer.weight.data.t()) if product else layer
    models = nn.Sequential(first, norm, head).eval(), nn.Sequential(fused, head).eval()
    x = torch.randn(2, 4, generator=generator).double()
    for rules in (layers.gamma(), layers.w_square(), "epsilon", "alpha2beta1"):
        given, expected = (abslrp.explain(one, x, 2, rules=rules) for one in models)
        assert networks.apart(given, expected) < 1e-10


def by_group(layer: Any, norm: Any) -> nn.Module:
    """The layer and the norm as one, channel by channel."""
    scale = norm.weight.data / (norm.running_var + norm.eps).sqrt()
    fused = networks.copy_of(layer)
    per = layer.out_channels // layer.groups
    for i in range(layer.in_channels):
        group = i // (layer.in_channels // layer.groups)
        for j in range(per):
            fused.weight.data[i, j] *= scale[group * per + j]  # type: ignore[operator,index,union-attr]
    fused.bias.data = (layer.bias.data - norm.running_mean) * scale + norm.bias.data  # type: ignore[union-attr]
    return fused
