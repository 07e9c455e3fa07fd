"""Weights files: safetensors and nothing else, whatever they are called, and nothing is run."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from gae_metric.errors import InputError
from gae_metric.inputs.models import load_model
from gae_metric.inputs.weights import load_weights, read_weights
from tests.hardening.fuzz import Bomb, damaged, fuzzing, nothing_runs, refusable


def small() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


GOOD = save(small().state_dict())


def saved_by_torch(new: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"w": torch.ones(2)}, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.addfile(tarfile.TarInfo("storages"))
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, w=np.ones(2))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin", ""])
@pytest.mark.parametrize("kind", ["zip", "legacy", *range(2, pickle.HIGHEST_PROTOCOL + 1)])
def test_pickles_are_refused_with_the_reason(tmp_path, kind, suffix):
    bomb = tmp_path / "bomb"
    data = (
        saved_by_torch(kind == "zip")
        if isinstance(kind, str)
        else pickle.dumps(Bomb(str(bomb)), kind)
    )
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(data)
    with (
        nothing_runs(),
        pytest.raises(InputError, match=r"is a pickle .* can run any code .* refused; convert it"),
    ):
        read_weights(file)
    assert not bomb.exists()


@pytest.mark.parametrize("start", [b"\x80\x00", b"\x80\x02", b"PK"])
def test_a_header_whose_length_begins_as_a_pickle_does_is_read(tmp_path, start):
    length = int.from_bytes(start, "little")
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode().ljust(length)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + text + np.float32(3).tobytes())
    assert file.read_bytes().startswith(start)
    assert read_weights(file)["w"].item() == 3


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("suffix", [".pkl", ".pickle", ".pth", ".PT", ".ckpt", ".bin", ".joblib"])
def test_the_oldest_pickles_are_told_by_their_names(tmp_path, protocol, suffix):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(pickle.dumps(Bomb(str(tmp_path / "bomb")), protocol))
    with nothing_runs(), pytest.raises(InputError, match="is a pickle"):
        read_weights(file)
    file = file.rename(tmp_path / "weights.safetensors")
    with nothing_runs(), pytest.raises(InputError, match="is not a safetensors file"):
        read_weights(file)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize("make", [tar, npz, lambda: b"", lambda: b"{}", lambda: b"\x00" * 64])
def test_other_files_are_refused(tmp_path, make):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(make())
    with nothing_runs(), pytest.raises(InputError, match=r"weights: weights\.safetensors is"):
        read_weights(file)


def test_the_content_tells_and_not_the_name(tmp_path):
    for name in ("weights.pth", "weights.pkl", "weights"):
        (tmp_path / name).write_bytes(GOOD)
        assert set(read_weights(tmp_path / name)) == set(small().state_dict())


def test_places_without_a_file(tmp_path):
    for path in (tmp_path, tmp_path / "none", f"{tmp_path}/a\0b", "", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="weights: cannot read"):
            read_weights(path)


def test_archives_are_not_mistaken_for_what_they_hold(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.safetensors", "w") as out:
        out.writestr("model.safetensors", GOOD)
    with pytest.raises(InputError, match="weights"):
        read_weights(tmp_path / "weights.safetensors")


@fuzzing
@given(data=st.data())
def test_any_damage(tmp_path_factory, data):
    """An error, or weights of the shapes that the header says; the model keeps its own or fits."""
    file = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    part = data.draw(st.sampled_from([16, int.from_bytes(GOOD[:8], "little") + 8, len(GOOD)]))
    file.write_bytes(data.draw(damaged(GOOD[:part])) + GOOD[part:])
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with nothing_runs(), refusable(InputError) as outcome:
        load_weights(model, file)
        given = read_weights(file)
        for key, value in model.state_dict().items():
            if key in given:  # num_batches_tracked may be missing
                torch.testing.assert_close(
                    value, given[key].to(value.dtype), rtol=0, atol=0, equal_nan=True
                )
    if outcome.message is not None:
        assert outcome.message.startswith("weights: damaged.safetensors")
        assert all(value.equal(before[key]) for key, value in model.state_dict().items())


def made(entries: dict[str, object], body: bytes = b"\x00" * 64) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> object:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "data",
    [
        made({"w": entry(offsets=(0, 10**12))}),
        made({"w": entry(shape=(2**63, 2**63))}),
        made({"w": entry(shape=(-2,))}),
        made({"w": entry(dtype="O")}),
        made({"w": entry(dtype="F5", shape=(16,), offsets=(0, 8))}, b"\x00" * 8),
        made({"w": entry(offsets=(8, 0))}),
        made({"w": 7}),
        made({"__metadata__": {"format": 3}}),
        made({"w": entry(), "v": entry(offsets=(4, 12))}),
        (2**63).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_headers_that_say_what_is_not_there(tmp_path, data):
    file = tmp_path / "w.safetensors"
    file.write_bytes(data)
    with pytest.raises(InputError, match="is not a safetensors file"):
        read_weights(file)


def test_integers_are_not_taken_for_weights(tmp_path):
    """Quantised weights would load as if their codes were the weights."""
    model = small()
    state = model.state_dict()
    file = tmp_path / "quantised.safetensors"
    file.write_bytes(save({**state, "0.weight": (state["0.weight"] * 100).to(torch.int8)}))
    with pytest.raises(
        InputError,
        match=r"1 of another kind of number: 0\.weight torch\.int8 where the model has torch\.fl",
    ):
        load_weights(model, file)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        file.write_bytes(save({**state, "0.weight": state["0.weight"].to(dtype)}))
        with pytest.raises(InputError, match=r"0\.weight torch\.float8"):
            load_weights(model, file)
    file.write_bytes(save({**state, "1.num_batches_tracked": torch.tensor(1.5)}))
    with pytest.raises(InputError, match=r"1\.num_batches_tracked torch\.float32"):
        load_weights(model, file)
    file.write_bytes(save({key: value.double() if value.is_floating_point() else value
                           for key, value in state.items()}))  # fmt: skip
    load_weights(model, file)


@pytest.mark.parametrize(
    "option",
    [
        {"checkpoint_path": "CHECKPOINT"},
        {"pretrained": True},
        {"pretrained_cfg": {"file": "CHECKPOINT"}},
        {"pretrained_cfg_overlay": {"file": "CHECKPOINT"}},
    ],
)
def test_options_of_a_model_cannot_load_a_pickle(tmp_path, option):
    """timm's ``checkpoint_path`` would be given to ``torch.load``."""
    bomb, file = tmp_path / "bomb", tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Bomb(str(bomb)), 2))
    text = json.dumps(option).replace("CHECKPOINT", str(file))
    (name,) = option
    for spec in ("timm:resnet18", "torchvision:resnet18", "digits:vgg"):
        with nothing_runs(), pytest.raises(InputError, match=f"{name}: an option that names"):
            load_model(spec, None, json.loads(text))
    assert not bomb.exists()


@pytest.mark.parametrize(
    "name",
    ["local-dir:/tmp/model", "hf_hub:some/model", "hf-hub:some/model", "resnet18.local-dir:/tmp/x"],
)
def test_names_of_models_lead_to_no_file_and_no_address(name):
    with nothing_runs(), pytest.raises(InputError, match="model: "):
        load_model(f"timm:{name}")


def test_a_pickle_in_torchs_cache_is_refused(tmp_path, monkeypatch):
    """torchvision unpickles its published weights, and looks at no hash of what is cached."""
    from torchvision.models import SqueezeNet1_1_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    made = tmp_path / "made"
    torch.save({"w": Bomb(str(made))}, cached)
    with pytest.raises(InputError, match="got a file that is damaged or holds more than weights"):
        load_model("torchvision:squeezenet1_1")
    assert not made.exists()
    cached.write_bytes(b"no weights")
    with pytest.raises(InputError, match="squeezenet1_1"):
        load_model("torchvision:squeezenet1_1")


def test_weights_in_torchs_cache_are_loaded(tmp_path, monkeypatch):
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = models.SqueezeNet1_1_Weights.DEFAULT
    cached = tmp_path / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    state = models.squeezenet1_1(weights=None).state_dict()
    torch.save(state, cached)
    loaded = load_model("torchvision:squeezenet1_1").model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
