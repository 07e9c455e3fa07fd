"""Models by name, with their own preprocessing; those of the shared folder where it is."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import models
from benchmarks.methods.attention_maps import token_grid
from gae_metric.errors import InputError, UnknownNameError
from gae_metric.inputs.images import load_images
from gae_metric.inputs.models import load_model
from gae_metric.inputs.weights import read_weights


def shared():
    try:
        return models.shared_folder()
    except InputError as error:
        return pytest.skip(str(error))


@pytest.mark.parametrize("name", ["digits:vgg", "digits:resnet", "digits:vit"])
def test_digits(name):
    loaded = models.load(name)
    x = torch.zeros(1, 3, 48, 48)
    assert loaded.name == name
    assert loaded.model(x).shape == (1, 10)
    assert (token_grid(loaded.model, x) is not None) == ("vit" in name)
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert not loaded.model.training


def test_local_weights_with_the_model_s_own_preprocessing(tmp_path):
    built = timm.create_model("resnet10t", num_classes=3)
    save_file(built.state_dict(), tmp_path / "weights.safetensors")
    loaded = models.load(
        "timm:resnet10t", tmp_path / "weights.safetensors", {"num_classes": 3}, size=32
    )
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(x), built.eval()(x))
    own = load_model("timm:resnet10t", tmp_path / "weights.safetensors", {"num_classes": 3})
    assert loaded.preprocessing.size == 32
    assert loaded.preprocessing.mean == own.preprocessing.mean
    assert loaded.preprocessing.std == own.preprocessing.std


def test_the_paper_s_models_are_timm_s(tmp_path):
    assert len(models.PAPER) == 5
    for spec in models.PAPER.values():
        name = spec.removeprefix("timm:")
        assert timm.is_model_pretrained(name)
    sizes = {
        name: timm.get_pretrained_cfg(spec.removeprefix("timm:")).input_size[-1]
        for name, spec in models.PAPER.items()
    }
    assert sizes["vit_base_patch16_384"] == 384
    assert {sizes[name] for name in sizes if "384" not in name} == {224}
    patches = {name: spec for name, spec in models.PAPER.items() if "patch32" in name}
    assert list(patches) == ["vit_base_patch32_224"]


@pytest.mark.parametrize(("size", "cut"), [(224, 16), (384, 27.5)])
def test_images_are_squashed_and_the_middle_is_cut_out(size, cut):
    """A bright edge of less than 16 of 256 parts of either side is cut off, a wider one is seen."""
    side = round(size * 256 / 224)
    for share, seen in ((0.8 * cut / side, False), (1.2 * cut / side, True)):
        pixels = np.zeros((480, 640, 3), np.uint8)
        pixels[: round(480 * share)] = pixels[:, : round(640 * share)] = 255
        crop = models.squashed_crop(size)(Image.fromarray(pixels))
        assert crop.shape == (3, size, size)
        assert bool((crop[:, :, 0] > 0.5).all() and (crop[:, 0] > 0.5).all()) == seen
        assert crop[:, size // 2, size // 2].max() == 0


def test_a_paper_model_with_local_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(models.PAPER, "tiny", "timm:vit_tiny_patch16_224")
    options = {"num_classes": 2, "img_size": 32, "depth": 1}
    built = timm.create_model("vit_tiny_patch16_224", **options)
    save_file(built.state_dict(), tmp_path / "w.safetensors")
    loaded = models.load("paper:TINY", tmp_path / "w.safetensors", options)
    assert loaded.name == "paper:tiny"
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded.model(x), built.eval()(x))
    assert loaded.preprocessing.crop_to is models.squashed_crop
    assert loaded.preprocessing.mean == (0.5, 0.5, 0.5)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match=r"model \(paper\).*did you mean 'vgg16'"):
        models.load("paper:vg16")
    with pytest.raises(UnknownNameError, match="did you mean 'resnet50'"):
        models.load("timm:resnt50")
    with pytest.raises(InputError, match="expected SOURCE:NAME"):
        models.load("resnet50")
    with pytest.raises(UnknownNameError, match="source"):
        models.load("keras:resnet50")


def test_the_shared_folder_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.setenv("GAE_SHARED", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"there is no folder .*nowhere.*GAE_SHARED"):
        models.load("shared:squeezenet")
    monkeypatch.setenv("GAE_SHARED", str(tmp_path))
    with pytest.raises(InputError, match="weights: cannot read"):
        models.load("shared:squeezenet")
    with pytest.raises(UnknownNameError, match="did you mean 'mobilenet'"):
        models.load("shared:mobilnet")
    with pytest.raises(InputError, match="has its own"):
        models.load("shared:mobilenet", "weights.safetensors")


@pytest.mark.parametrize(("name", "least"), [("squeezenet", 8), ("mobilenet", 14)])
def test_shared_classifiers_recognise_photographs(name, least):
    """16 photographs: a wrong range, mean or kernel would leave next to none."""
    folder = shared() / "images" / "imagenet"
    table = pd.read_csv(folder / "labels.csv").iloc[::6]
    labels = dict(zip(table["file"], table["class_index"], strict=True))
    state = torch.get_rng_state()
    loaded = models.load(f"shared:{name}")
    assert torch.equal(state, torch.get_rng_state())
    images = load_images(folder, loaded.preprocessing, files=list(labels), labels=labels)
    with torch.no_grad():
        predicted = loaded.model(torch.from_numpy(images.x)).argmax(1).numpy()
    assert len(predicted) == 16
    assert int((predicted == images.labels).sum()) >= least


def test_shared_vit():
    shared()
    loaded = models.load("shared:vit_small_dinov2")
    assert loaded.name == "shared:vit_small_dinov2"
    assert loaded.preprocessing.size == 224
    x = torch.zeros(1, 3, 224, 224)
    assert token_grid(loaded.model, x) == (16, 16)
    file = shared() / "models" / "vit_small_patch14_dinov2_saliency224.fp16.safetensors"
    stored = read_weights(file)
    assert np.array_equal(loaded.model.state_dict()["head.weight"], stored["head.weight"])
