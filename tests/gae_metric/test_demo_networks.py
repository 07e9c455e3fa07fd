"""The demo's digits and its trained networks."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from gae_metric.demo import digits, networks, train
from gae_metric.functional.mosaic import mosaics


def test_the_split_is_stratified_and_keeps_every_digit_on_one_side():
    sizes = {}
    for split in ("train", "test"):
        sizes[split] = np.bincount(digits.scans(split)[1], minlength=10)
    total = sizes["train"] + sizes["test"]
    assert total.sum() == 1797
    assert np.abs(sizes["test"] - total / 4).max() <= 0.5
    train_scans = {scan.tobytes() for scan in digits.scans("train")[0]}
    test_scans = [scan.tobytes() for scan in digits.scans("test")[0]]
    assert len(train_scans) == 1347
    assert not train_scans.intersection(test_scans)


def test_the_split_is_the_one_that_the_weights_were_trained_on():
    # The held-out digits, pinned: a changed split would explain digits that were trained on.
    ink, labels = digits.scans("test")
    counts = np.rint(ink * 16).astype(np.uint8)
    digest = hashlib.sha256(counts.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    assert digest == "df3ae54a2fcc9658df4809358b728d7fca6e75dfc8b53a0c593af4a43e92e4cf"


def test_a_subset_is_balanced_repeats_and_is_a_prefix_of_a_larger_one():
    x, y = digits.load("test", n=34, seed=3)
    again, classes = digits.load("test", n=34, seed=3)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(y, classes)
    assert (x.shape, x.dtype, y.dtype) == ((34, 3, 48, 48), np.float32, np.int64)
    counts = np.bincount(y, minlength=10)
    assert counts.min() == 3
    assert counts.max() == 4
    larger, _ = digits.load("test", n=100, seed=3)
    np.testing.assert_array_equal(x, larger[:34])
    assert not np.array_equal(x, digits.load("test", n=34, seed=4)[0])
    assert len({image.tobytes() for image in larger}) == 100


def test_all_digits_can_be_drawn():
    x, y = digits.load("test")
    drawn, _ = digits.load("test", n=len(y), seed=1)
    assert sorted(map(bytes, x)) == sorted(map(bytes, drawn))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split: expected 'train' or 'test', got 'val'"),
        ({"n": 0}, "n: expected 1 to 450 digits of 'test', got 0"),
        ({"n": 451}, "n: expected 1 to 450 digits of 'test', got 451"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        digits.load(**arguments)


def test_digits_are_drawn_whole_where_they_are_asked_for():
    ink = torch.ones(2, 8, 8)
    canvas = digits.to_display(digits.render(ink, 0.6, torch.tensor([[12.0, -6.0], [0.0, 0.0]])))
    for image, (x, y) in zip(canvas[:, 0], [(36, 18), (24, 24)], strict=True):
        rows, columns = torch.nonzero(image > 0.5, as_tuple=True)
        assert (rows.min(), rows.max() + 1) == (y - 12, y + 12)
        assert (columns.min(), columns.max() + 1) == (x - 12, x + 12)
    scans = torch.from_numpy(digits.scans("test")[0])
    # Every scanned pixel is 5 x 5 pixels of the canvas; bicubic interpolation keeps the mean.
    shown = digits.to_display(digits.render(scans))[:, :, 4:44, 4:44]
    cells = nn.functional.avg_pool2d(shown[:, 0], 5)
    assert (cells - scans).abs().mean() < 0.04
    assert torch.equal(shown[:, 0], shown[:, 2])


def test_display_undoes_the_normalisation():
    ink = torch.linspace(0, 1, 5)
    np.testing.assert_allclose(digits.to_display((ink - digits.MEAN) / digits.STD), ink, atol=1e-6)
    beyond = np.array([-3.0, 3.0])
    np.testing.assert_array_equal(digits.to_display(beyond), [0, 1])
    assert isinstance(digits.to_display(beyond), np.ndarray)


@pytest.mark.parametrize("name", networks.NAMES)
def test_trained_networks_know_digits_and_mosaics(name):
    model = networks.load(name)
    assert not model.training
    measured = train.measure(model)
    assert measured["accuracy"] >= 0.97
    assert measured["recall"] >= 0.9
    assert measured["positive"] >= 0.99
    # One digit of 450 may fall the other way on another machine.
    info = networks.info(name)
    assert info.accuracy == pytest.approx(measured["accuracy"], abs=2.5e-3)
    assert info.recall == pytest.approx(measured["recall"], abs=2.5e-3)


@pytest.mark.parametrize("name", networks.NAMES)
def test_weights_are_small_finite_and_say_how_they_were_made(name):
    path = networks.weights_path(name)
    assert path.stat().st_size < 1e6
    state = load_file(path)
    assert all(value.isfinite().all() and value.dtype == torch.float16 for value in state.values())
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["command"] == f"python -m gae_metric.demo.train --network {name} --seed 0"
    # The recipe in the source is the one that made the weights.
    assert metadata["recipe"] == train.describe(train.RECIPES[name], seed=0)


@pytest.mark.parametrize("name", networks.NAMES)
def test_each_load_is_a_model_of_its_own_and_leaves_the_random_state(name):
    before = torch.random.get_rng_state()
    first, second = networks.load(name), networks.load(name)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert any(parameter.abs().sum() > 0 for parameter in second.parameters())


def test_the_networks_are_of_the_papers_families():
    kinds = {
        name: {type(module).__name__ for module in networks.build(name).modules()}
        for name in networks.NAMES
    }
    assert {"Conv2d", "MaxPool2d", "ReLU"} <= kinds["vgg"]
    assert {"BatchNorm2d", "BasicBlock"} <= kinds["resnet"]
    assert {"LayerNorm", "Attention"} <= kinds["vit"]
    assert not any("Norm" in kind for kind in kinds["vgg"])


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_cam_layers_give_a_feature_map_of_several_positions(name):
    model = networks.load(name)
    layer = networks.info(name).cam_layer
    assert layer is not None
    shapes = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda module, args, output: shapes.append(output.shape)
    )
    model(torch.zeros(1, 3, 48, 48))
    handle.remove()
    ((_, _, height, width),) = shapes
    assert height == width >= 2
    assert networks.info("vit").cam_layer is None


@pytest.mark.parametrize("function", [networks.build, networks.load, networks.info])
def test_an_unknown_network_is_named(function):
    with pytest.raises(ValueError, match="expected one of vgg, resnet, vit, got 'alexnet'"):
        function("alexnet")


def test_training_sees_the_mosaics_that_contrastiveness_draws():
    x = torch.from_numpy(digits.load("test", n=8)[0])
    built = mosaics(x, np.arange(8).reshape(2, 4))
    assert torch.equal(train.assemble(x), built)


def test_batches_are_half_mosaics_with_mixed_labels():
    ink, labels = map(torch.from_numpy, digits.scans("train"))
    recipe = train.Recipe(steps=1, learning_rate=1e-3, batch_size=16)
    stream = train.batches(ink, labels, recipe, torch.Generator().manual_seed(0))
    x, soft = next(stream)
    assert x.shape == (16, 3, 48, 48)
    torch.testing.assert_close(soft.sum(1), torch.ones(16))
    assert (soft.amax(1)[:8] == 1).all()
    assert set((soft[8:] * 4).flatten().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert (soft.amax(1)[8:] < 1).any()
    ink_at = digits.to_display(x)[:8, 0] > 0.1
    heights = ink_at.any(2).sum(1)
    assert heights.min() < 24 < heights.max()  # sizes differ
    assert not torch.equal(x, next(stream)[0])


def test_training_learns_and_repeats():
    ink, labels = map(torch.from_numpy, digits.scans("train"))
    recipe = train.Recipe(steps=30, learning_rate=4e-3, batch_size=16)
    before = torch.random.get_rng_state()
    losses, states = [], []
    for seed in (1, 1, 2):
        model = networks.build("resnet", seed=seed)
        steps = 30 if not losses else 5
        losses.append(train.fit(model, ink[:200], labels[:200], recipe, seed=seed, steps=steps))
        states.append(losses[-1][:5])
    assert np.mean(losses[0][-8:]) < np.mean(losses[0][:4]) - 0.1
    assert states[0] == states[1] != states[2]
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training


def test_the_same_seed_gives_the_same_weights():
    ink, labels = map(torch.from_numpy, digits.scans("train"))
    recipe = train.Recipe(steps=3, learning_rate=1e-3, batch_size=8)
    states = []
    for _ in range(2):
        model = networks.build("vit", seed=5)
        train.fit(model, ink, labels, recipe, seed=5)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not torch.equal(states[0]["head.weight"], networks.build("vit", seed=5).head.weight)


def script(*arguments):
    app = typer.Typer()
    app.command()(train.main)
    threads = torch.get_num_threads()
    try:
        return CliRunner().invoke(app, list(arguments))
    finally:
        torch.set_num_threads(threads)


def test_the_script_writes_weights_that_load(tmp_path, monkeypatch):
    recipe = train.Recipe(steps=2, learning_rate=1e-3, batch_size=8)
    monkeypatch.setitem(train.RECIPES, "resnet", recipe)
    result = script("--network", "resnet", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    monkeypatch.setattr(networks, "weights_path", lambda name: tmp_path / f"{name}.safetensors")
    model = networks.load("resnet")
    assert train.measure(model)["accuracy"] == networks.info("resnet").accuracy


def test_the_script_refuses_an_unknown_network(tmp_path):
    result = script("--network", "alexnet", "--out", str(tmp_path))
    assert result.exit_code == 2
    assert "alexnet" in result.output
