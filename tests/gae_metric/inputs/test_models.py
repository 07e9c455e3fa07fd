"""Models by name, weights from files, and what goes wrong with either."""

import pickle

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import nn

from gae_metric.errors import InputError, UnknownNameError
from gae_metric.inputs.models import load_model
from gae_metric.inputs.weights import load_weights, read_weights


@pytest.fixture
def photograph():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 107, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((535, 400), Image.Resampling.BICUBIC)


@pytest.fixture
def squeezenet_file(tmp_path):
    """Weights of a SqueezeNet with random numbers, in half precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = torchvision.models.squeezenet1_1(num_classes=4).state_dict()
    path = tmp_path / "squeezenet.safetensors"
    save_file({key: value.half() for key, value in state.items()}, path)
    return path, state


def test_local_weights_are_loaded_and_converted(squeezenet_file):
    path, state = squeezenet_file
    loaded = load_model("torchvision:squeezenet1_1", path, {"num_classes": 4})
    assert not loaded.model.training
    for key, value in loaded.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].half().float())
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert loaded.name == "torchvision:squeezenet1_1"


@pytest.mark.parametrize("name", ["torchvision:squeezenet1_1", "timm:resnet18"])
def test_a_model_without_classes_is_refused(squeezenet_file, name):
    with pytest.raises(InputError, match="model: num_classes: expected a positive integer, got 0"):
        load_model(name, squeezenet_file[0], {"num_classes": 0})


def test_torchs_generator_is_left_alone(squeezenet_file):
    before = torch.get_rng_state()
    load_model("torchvision:squeezenet1_1", squeezenet_file[0], {"num_classes": 4})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"])
def test_timm_preprocessing_is_timms(tmp_path, photograph, name):
    model = timm.create_model(name.split(".")[0], num_classes=3)
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    loaded = load_model(f"timm:{name}", path, {"num_classes": 3})
    config = resolve_model_data_config(timm.create_model(name, num_classes=3))
    expected = create_transform(**config, is_training=False)(photograph)
    x = loaded.preprocessing(photograph)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet50.IMAGENET1K_V1", "resnet50"])
def test_torchvision_preprocessing_is_torchvisions(tmp_path, photograph, name):
    architecture, _, tag = name.partition(".")
    model = torchvision.models.get_model(architecture, num_classes=3)
    path = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), path)
    loaded = load_model(f"torchvision:{name}", path, {"num_classes": 3})
    published = torchvision.models.get_model_weights(architecture)
    weights = published[tag] if tag else published.DEFAULT
    expected = weights.transforms()(photograph)
    np.testing.assert_allclose(loaded.preprocessing(photograph), expected.numpy(), atol=1e-6)


def test_preprocessing_can_be_changed_and_undone(squeezenet_file, photograph):
    own = load_model("torchvision:squeezenet1_1", squeezenet_file[0], {"num_classes": 4})
    preprocessing = own.preprocessing
    pixels = preprocessing.changed(range=(0, 1))(photograph)
    assert 0 <= pixels.min() < pixels.max() <= 1
    symmetric = preprocessing.changed(range=(-1, 1))
    np.testing.assert_allclose(symmetric(photograph), 2 * pixels - 1, atol=1e-6)
    same = preprocessing.changed(mean=[0.5], std=[0.5, 0.5, 0.5])
    np.testing.assert_allclose(same(photograph), 2 * pixels - 1, atol=1e-6)
    bytes_ = preprocessing.changed(range=(0, 255), mean=(128, 128, 128))
    np.testing.assert_allclose(bytes_(photograph), 255 * pixels - 128, atol=1e-4)
    small = preprocessing.changed(size=64)
    assert small(photograph).shape == (3, 64, 64)
    for each in (preprocessing, symmetric, bytes_, small):
        x = each(photograph)
        shown = each.to_display(x)
        assert shown.dtype == np.float32
        expected = each.changed(range=(0, 1))(photograph)
        np.testing.assert_allclose(shown, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size: expected an integer from 1 to"),
        ({"mean": (1.0, 2.0)}, "mean: expected one finite number, or three"),
        ({"mean": (float("nan"),)}, "mean"),
        ({"std": (0.0,)}, "std: expected positive"),
        ({"range": (1.0, 0.0)}, "range: expected two ascending"),
        ({"range": (1.0,)}, "range: expected two ascending"),
    ],
)
def test_preprocessing_refuses_nonsense(squeezenet_file, change, message):
    preprocessing = load_model(
        "torchvision:squeezenet1_1", squeezenet_file[0], {"num_classes": 4}
    ).preprocessing
    with pytest.raises(InputError, match=message):
        preprocessing.changed(**change)


def test_gray_and_transparent_images_are_converted(squeezenet_file, photograph):
    preprocessing = load_model(
        "torchvision:squeezenet1_1", squeezenet_file[0], {"num_classes": 4}
    ).preprocessing
    for mode in ("L", "RGBA", "P", "CMYK", "1", "I;16"):
        image = (
            photograph.convert("L").convert(mode) if mode == "I;16" else photograph.convert(mode)
        )
        assert preprocessing(image).shape == (3, 224, 224)


@pytest.mark.parametrize("name", ["vgg", "resnet", "vit"])
def test_digits_networks(name):
    from gae_metric.demo import digits

    loaded = load_model(f"digits:{name}")
    x, y = digits.load("test", n=40)
    with torch.no_grad():
        right = (loaded.model(torch.from_numpy(x)).argmax(1).numpy() == y).mean()
    assert right > 0.9
    image = Image.fromarray(np.full((60, 50), 255, dtype=np.uint8))
    prepared = loaded.preprocessing(image)
    assert prepared.shape == (3, 48, 48)
    np.testing.assert_allclose(prepared, (1 - digits.MEAN) / digits.STD)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", "expected SOURCE:NAME"),
        ("timm:", "expected SOURCE:NAME"),
        ("tim:resnet50", "did you mean 'timm'"),
        ("timm:resnet5", "timm has no 'resnet5'; did you mean 'resnet"),
        ("torchvision:squeezenet1_2", "did you mean 'squeezenet1_1'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no"),
        ("torchvision:resnet50.IMAGENET1K_V3", "did you mean 'IMAGENET1K_V"),
        ("digits:vg", "did you mean 'vgg'"),
    ],
)
def test_unknown_models_are_named(spec, message):
    with pytest.raises(InputError, match=message):
        load_model(spec)


def test_names_that_are_near_nothing():
    with pytest.raises(UnknownNameError, match=r"none of the .* known names is near"):
        load_model("timm:" + "q" * 30)


def test_arguments_that_the_model_does_not_have(squeezenet_file):
    with pytest.raises(InputError, match=r"cannot build 'squeezenet1_1'.*colour"):
        load_model("torchvision:squeezenet1_1", squeezenet_file[0], {"colour": 1})
    with pytest.raises(InputError, match="no arguments"):
        load_model("digits:vgg", None, {"num_classes": 3})


@pytest.mark.parametrize("spec", ["timm:resnet10t", "torchvision:resnet18", "lite:0"])
def test_a_last_layer_without_weights_is_refused(spec):
    with pytest.raises(
        InputError, match="num_classes: published weights have classes of their own"
    ):
        load_model(spec, model_args={"num_classes": 3})


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", unreachable)
    with pytest.raises(
        InputError, match=r"cannot fetch .*resnet18.*(Name or service|huggingface_hub).*safetensors"
    ):
        load_model("torchvision:resnet18")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", unreachable)
    with pytest.raises(
        InputError, match=r"cannot fetch .*resnet18.*(Name or service|huggingface_hub).*safetensors"
    ):
        load_model("timm:resnet18")


def test_models_without_published_weights_need_a_file():
    with pytest.raises(InputError, match=r"no published weights for 'resnet18d\.nothing'"):
        load_model("timm:resnet18d.nothing")
    unpublished = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(InputError, match=r"no published weights.*give a weights file"):
        load_model(f"timm:{unpublished}")


class Dangerous:
    """Marks a list when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was executed",))


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_length_that_looks_like_a_pickle_or_an_archive(tmp_path, start):
    """A safetensors file begins with the length of its header, as that of timm's ResNet50 does."""
    path, tensors = tmp_path / "weights.safetensors", {"w": torch.arange(4.0)}
    wanted = int.from_bytes(start, "little")
    for letters in range(max(0, wanted - 200), wanted + 64):
        save_file(tensors, path, metadata={"note": "a" * letters})
        if path.read_bytes()[: len(start)] == start:
            break
    assert path.read_bytes()[: len(start)] == start
    assert torch.equal(read_weights(path)["w"], tensors["w"])


@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle", "renamed"])
def test_pickles_are_refused_and_never_executed(tmp_path, kind):
    path = tmp_path / ("weights.safetensors" if kind == "renamed" else "weights.pth")
    content = {"weight": Dangerous()}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    with pytest.raises(InputError, match=r"is a pickle .* can run any code .* refused"):
        load_model("torchvision:squeezenet1_1", path)


@pytest.mark.parametrize("content", [b"", b"abc", b"\x08" + b"\0" * 7 + b"{'a': 1}", b"\xff" * 64])
def test_broken_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights.safetensors is not a safetensors file"):
        read_weights(path)


def test_truncated_files_are_refused(squeezenet_file):
    path, _ = squeezenet_file
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_weights(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        load_model("torchvision:squeezenet1_1", tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"cannot read .*directory"):
        load_model("torchvision:squeezenet1_1", tmp_path)


def test_keys_and_shapes_that_do_not_fit_are_named(tmp_path, squeezenet_file):
    path, state = squeezenet_file
    with pytest.raises(InputError, match=r"2 of another shape: classifier.1.weight.*num_classes"):
        load_model("torchvision:squeezenet1_1", path)
    other = tmp_path / "other.safetensors"
    save_file({f"module.{key}": value for key, value in state.items()}, other)
    message = r"52 missing from the file: features.0.weight.*, \.\.\.; 52 not in the model: module"
    with pytest.raises(InputError, match=message):
        load_model("torchvision:squeezenet1_1", other, {"num_classes": 4})


def test_a_model_that_does_not_fit_is_left_as_it_was(tmp_path):
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, path)
    with pytest.raises(InputError, match="1 missing from the file: bias"):
        load_weights(model, path)
    assert torch.equal(model.weight, before)


def test_num_batches_tracked_may_be_missing(tmp_path):
    model = nn.BatchNorm2d(2)
    path = tmp_path / "w.safetensors"
    state = {
        key: torch.full((2,), 3.0) for key in ("weight", "bias", "running_mean", "running_var")
    }
    save_file(state, path)
    load_weights(model, path)
    assert model.running_mean.tolist() == [3.0, 3.0]
