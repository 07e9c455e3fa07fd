"""Variants of a vision transformer that compute the same, and their relevance."""

import copy

import pandas as pd
import pytest
import timm
import torch

import abslrp
from benchmarks.studies import dinov2


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    size = {"img_size": 28, "embed_dim": 12, "num_heads": 2, "num_classes": dinov2.CLASSES}
    model = timm.create_model("vit_small_patch14_dinov2", **size).double().eval()
    for block in model.blocks:
        for scale in (block.ls1, block.ls2):
            scale.gamma.data.normal_()
    x = torch.randn(5, 3, 28, 28, dtype=torch.float64)
    return model.requires_grad_(False), x, torch.tensor([0, 1, 2, 3, 0])


def test_variants_compute_the_same(case):
    model, x, _ = case
    wanted = model(x)
    models = {name: one for name, one, _ in dinov2.variants(model)}
    assert len(models) == 7
    for name, one in models.items():
        torch.testing.assert_close(one(x), wanted, msg=name)


def changes(model, name, x, y):
    """How much of the largest value a variant changes the map."""
    variant = {title: one for title, one, _ in dinov2.variants(model)}[name]
    maps = [abslrp.explain(one, x, y, contrast=None) for one in (model, variant)]
    return float((maps[0] - maps[1]).abs().max() / maps[0].abs().max())


def test_the_network_has_no_negation(case):
    model, x, _ = case
    assert not {"neg", "sub", "rsub"} & {*abslrp.plan(model, x)["call"].str.split(".").str[-1]}


def test_layer_scale_leaves_relevance_unchanged_whatever_its_sign(case):
    """So a layer with negative weights is another than a layer and negative scales."""
    model, x, y = case
    assert changes(model, "layer scale merged", x, y) > 0.01
    positive = copy.deepcopy(model)
    for block in positive.blocks:
        for scale in (block.ls1, block.ls2):
            scale.gamma.abs_()
    # Eq. 12 adds 1e-9 to |h|, before or behind the scale.
    assert changes(positive, "layer scale merged", x, y) < 1e-4


def test_streams_are_those_of_the_contrast(case):
    model, x, y = case
    table = dinov2.streams(model, x, y)
    assert [*table.index] == ["blocks.11", "blocks.10", "blocks.7", "blocks.3", "input"]
    difference = abslrp.explain(model, x, y).flatten(1).abs().sum(1).mean()
    assert table.loc["input", "difference"] == pytest.approx(float(difference), rel=1e-6)
    assert table["correlation"].between(-1, 1).all()


def test_tables_of_maps(case):
    model, x, y = case
    quartets = dinov2.four_groups(model.float(), x.float(), y)
    assert (quartets["mosaics"] == 4).all()  # the fifth image has no partners
    assert quartets["C"].between(0, 1).all()
    apart = dinov2.taken_apart(model, x.float(), y)
    assert apart.shape == (7, 2)
    assert isinstance(apart, pd.DataFrame)
    assert (apart.loc["absLRP"] - apart.loc["layer scale merged"]).abs().max() < 1.0
    assert apart.loc["absLRP", "LC_F"] != apart.loc["absLRP", "LC_F of -map"]
