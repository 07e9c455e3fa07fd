"""The demo's digits and its trained networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from gae_metric.demo import digits, networks
from tests.hardening.test_release_scripts import load

train = load("train_digits")


def test_the_split_is_fixed_and_disjoint() -> None:
    ink, labels = digits.scans("train")
    held_out, held_out_labels = digits.scans("test")
    assert len(ink) + len(held_out) == 1797
    digits.scans.cache_clear() if hasattr(digits.scans, "cache_clear") else None
    again, again_labels = digits.scans("train")
    np.testing.assert_array_equal(ink, again)
    np.testing.assert_array_equal(labels, again_labels)
    share = np.bincount(held_out_labels) / np.bincount(np.concatenate([labels, held_out_labels]))
    assert np.all(np.abs(share - share.mean()) < 0.02)


def test_a_subset_is_balanced_and_repeats() -> None:
    x, y = digits.load("test", n=30, seed=3)
    again, classes = digits.load("test", n=30, seed=3)
    assert x.shape == (30, 3, 48, 48)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert np.bincount(y, minlength=10).tolist() == [3] * 10
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(y, classes)
    assert not np.array_equal(x, digits.load("test", n=30, seed=4)[0])


def test_digits_do_not_depend_on_the_default_device() -> None:
    x, _ = digits.load("test", n=4)
    with torch.device("meta"):
        np.testing.assert_array_equal(digits.load("test", n=4)[0], x)


def test_display_undoes_the_normalisation() -> None:
    x, _ = digits.load("test", n=10)
    shown = digits.to_display(x)
    assert shown.min() >= 0
    assert shown.max() <= 1


@pytest.mark.parametrize("name", networks.NAMES)
def test_trained_networks_know_digits_and_mosaics(name: str) -> None:
    measured = train.measure(networks.load(name))
    info = networks.info(name)
    assert measured["accuracy"] >= 0.97
    assert measured["recall"] >= 0.85
    assert measured["positive"] >= 0.99
    assert info.accuracy == pytest.approx(measured["accuracy"], abs=5e-3)
    assert info.recall == pytest.approx(measured["recall"], abs=5e-3)


@pytest.mark.parametrize("name", networks.NAMES)
def test_cam_layers_exist(name: str) -> None:
    layer = networks.info(name).cam_layer
    modules = dict(networks.build(name).named_modules())
    assert (layer in modules) == (name != "vit")


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="expected one of vgg, resnet, vit, got 'alexnet'"):
        networks.load("alexnet")


def test_training_learns_and_repeats() -> None:
    ink, labels = map(torch.from_numpy, digits.scans("train"))
    recipe = train.Recipe(steps=100, learning_rate=4e-3, batch_size=16)
    before = torch.random.get_rng_state()
    losses, states = [], []
    for _ in range(2):
        model = networks.build("resnet", seed=1)
        losses.append(train.fit(model, ink[:64], labels[:64], recipe, seed=1))
        states.append(model.state_dict())
    assert np.mean(losses[0][-10:]) < np.mean(losses[0][:5]) - 0.05
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(*(s.values() for s in states), strict=True))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training


@pytest.mark.parametrize("name", networks.NAMES)
def test_the_packaged_weights_are_told_from_others(name: str) -> None:
    state = {
        key: value.half()
        for key, value in networks.load(name).state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert train.difference(name, state) == "bit for bit those of the package"
    next(iter(state.values())).view(-1)[0] += 0.5
    assert train.difference(name, state) == "up to 0.5 from those of the package"


def test_the_script_writes_weights(tmp_path, monkeypatch) -> None:
    import typer

    recipe = train.Recipe(steps=2, learning_rate=1e-3, batch_size=8)
    monkeypatch.setitem(train.RECIPES, "vgg", recipe)
    threads = torch.get_num_threads()
    app = typer.Typer()
    app.command()(train.main)
    try:
        result = CliRunner().invoke(app, ["--network", "vgg", "--out", str(tmp_path)])
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    assert "from those of the package" in result.output
    saved = load_file(tmp_path / "vgg.safetensors")
    assert all(value.dtype == torch.float16 for value in saved.values())
    assert set(saved) == set(networks.build("vgg").state_dict())
