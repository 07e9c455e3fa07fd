"""The files of a probe set: as documented, read with care, whatever was done to them."""

import ast
import builtins
import copy
import hashlib
import io
import json
import os
import pickle
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gae_metric import MosaicPlan, ProbeSet
from gae_metric.functional import content_hashes
from gae_metric.probe import ProbeError
from gae_metric.probe.format import Manifest
from gae_metric.probe.storage import open_container
from tests.gae_metric.nets import conv_net, images, top_classes


@pytest.fixture(scope="module")
def probe():
    net, x = conv_net(dtype=torch.float32), images(5, (3, 6, 5), np.float32)
    x[1, 0, 0, 0] = np.nan
    y = top_classes(net, np.nan_to_num(x))
    names = [f"{i}.png" for i in range(5)]
    return ProbeSet.build(net, x, y, steps=3, names=names, settings={"model": "a net"})


@pytest.fixture(scope="module")
def saved(probe, tmp_path_factory):
    """A folder of shards and an npz; not to be changed."""
    root = tmp_path_factory.mktemp("saved")
    probe.save(root / "folder", shard_bytes=3_000)
    probe.save(root / "file.npz")
    return root


@pytest.mark.parametrize("shape", [(1, 5, 6, 6), (32,), (2, 32)], ids=str)
def test_what_is_built_is_loaded(shape, tmp_path):
    """Volumes, waveforms and series, with their mosaics, too."""
    channels = shape[0] if len(shape) > 1 else 1
    conv = {4: nn.Conv3d, 2: nn.Conv1d, 1: nn.Conv1d}[len(shape)](channels, 4, 3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = conv, nn.Linear(4, 4)

        def forward(self, x):
            features = self.conv(x.reshape(len(x), channels, *shape[len(shape) > 1 :])).relu()
            return self.head(features.flatten(2).mean(2))

    net, x = Net().eval(), np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    probe = ProbeSet.build(net, x, np.arange(6) % 4, steps=3)
    probe.save(tmp_path / "probe.npz")
    loaded = ProbeSet.load(tmp_path / "probe.npz")
    maps = np.random.default_rng(1).random((len(probe), *shape))
    assert loaded.input_shape == shape
    pd.testing.assert_frame_equal(loaded.score(maps), probe.score(maps))


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(saved / "folder", tmp_path / "probe"))


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def change(folder, update):
    fields = manifest_of(folder)
    update(fields)
    (folder / "manifest.json").write_text(json.dumps(fields))


def maps_of(probe):
    return {
        name: x for ids, xs, _ in probe.explain_items() for name, x in zip(ids, xs, strict=True)
    }


def use(path):
    """Do all that can be done with a probe set."""
    read = ProbeSet.load(path)
    read.score(maps_of(read), disable_warnings=True)


def test_the_documented_format(probe, saved):
    """Read with NumPy and the documentation alone."""
    folder = saved / "folder"
    manifest = manifest_of(folder)
    assert (manifest["format"], manifest["version"]) == ("gae-probe", 1)
    assert manifest["names"] == [f"{i}.png" for i in range(5)]
    assert manifest["settings"]["model"] == "a net"
    assert manifest["settings"]["mask_value"] == 0
    assert manifest["input_shape"] == [3, 6, 5]
    assert len(manifest["shards"]) > 2
    kinds = {
        "inputs": "<f4",
        "impact_sign": "|i1",
        "problems": "|u1",
        "outputs": "<f8",
        "quadrants": "<f8",
    }
    inputs, items, targets, problems = [], [], [], []
    for shard in manifest["shards"]:
        arrays = {
            name: np.load(folder / file, allow_pickle=False)
            for name, file in shard["arrays"].items()
        }
        for name, array in arrays.items():
            assert array.dtype.str == kinds.get(name, "<i8")
            assert array.flags.c_contiguous
        n, r = shard["items"], shard["samples"]
        assert arrays["inputs"].shape == (n, 3, 6, 5)
        assert arrays["inputs"].nbytes <= 3_000 or r == 1
        assert arrays["targets"].shape == (n,)
        assert arrays["items"].shape == (n, 4)
        assert arrays["outputs"].shape == (r, 2, 3)
        assert arrays["impact_sign"].shape == (r, 3, 6, 5)
        assert arrays["quadrants"].shape == (r, 1, 4)
        inputs.append(arrays["inputs"])
        items.append(arrays["items"])
        targets.append(arrays["targets"])
        problems.append(arrays["problems"])
    np.testing.assert_array_equal(np.concatenate(problems), [0, 1, 0, 0, 0])
    table = np.concatenate(items)
    words = {0: "lerf", 1: "morf"}
    names = [
        f"{s}-original" if t == 0 else f"{s}-mosaic-{k}" if k >= 0 else f"{s}-{words[o]}-{t}"
        for s, o, t, k in table.tolist()
    ]
    assert names == probe.ids
    np.testing.assert_array_equal(np.concatenate(targets), probe.items["target"])
    np.testing.assert_array_equal(
        np.concatenate(inputs), np.concatenate([x for _, x, _ in probe.explain_items()])
    )
    with np.load(saved / "file.npz", allow_pickle=False) as npz:
        np.testing.assert_array_equal(npz["inputs"], np.concatenate(inputs))
        np.testing.assert_array_equal(npz["items"], table)
        file = json.loads(npz["manifest.json"])
        assert file["shards"][0]["arrays"]["inputs"] == "inputs.npy"
        kept = json.loads((folder / "manifest.json").read_text())
        assert {**file, "shards": 0} == {**kept, "shards": 0}


def test_masked_from_is_what_the_items_show(probe):
    """LeRF masks a third of the features at state 1, MoRF too, and mosaics hold the quarters."""
    found = maps_of(probe)
    for name in ("lerf", "morf"):
        state = found[f"0-{name}-1"]
        kept = state == found["0-original"]
        assert (~kept).sum() <= 30
        assert (state[~kept] == 0).all()
    assert (found["0-lerf-1"] != found["0-morf-1"]).any()
    originals = [found[f"{i}-original"] for i in (0, 2, 3, 4)]  # sample 1 is not finite
    plan = MosaicPlan.draw(content_hashes(np.stack(originals)))
    k = int(plan.positive[0])
    rows, columns = (slice(0, 3), slice(3, 6))[k // 2], (slice(0, 3), slice(3, 5))[k % 2]
    half = found["0-original"][:, ::2][:, :, [0, 1, 3] if k % 2 == 0 else [0, 2]]
    np.testing.assert_array_equal(found["0-mosaic-0"][:, rows, columns], half)


def test_equal_probe_sets_are_equal_files(probe, saved, tmp_path):
    probe.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (saved / "file.npz").read_bytes()
    ProbeSet.load(saved / "folder").save(tmp_path / "converted.npz")
    assert (tmp_path / "converted.npz").read_bytes() == (saved / "file.npz").read_bytes()
    ProbeSet.load(saved / "file.npz").save(tmp_path / "folder", shard_bytes=3_000)
    for file in (saved / "folder").iterdir():
        assert (tmp_path / "folder" / file.name).read_bytes() == file.read_bytes()
    own = ProbeSet.load(tmp_path / "again.npz")
    own.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (saved / "file.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.npz", "converted.npz", "folder"]


def test_folders_with_files_are_left_alone(probe, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ProbeError, match="new or empty folder, got a folder with files"):
        probe.save(tmp_path)
    with pytest.raises(ProbeError, match="got a file"):
        probe.save(tmp_path / "note.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_shards_are_written_as_they_are_made(monkeypatch, tmp_path):
    """No more than a part of the inputs is asked for at a time."""
    net, x = conv_net(dtype=torch.float32), images(8, (3, 6, 5), np.float32)
    fresh = ProbeSet.build(net, x, top_classes(net, x), steps=4)
    sizes, written = [], []
    make = fresh._source.rows

    def rows(array, start, stop):
        if array == "inputs":
            sizes.append(stop - start)
            written.append(len(list(tmp_path.rglob("inputs-*.npy"))))
        return make(array, start, stop)

    monkeypatch.setattr(fresh._source, "rows", rows)
    monkeypatch.setattr("gae_metric.probe.writing._PART", 4 * 90 * 3)
    fresh.save(tmp_path / "p", shard_bytes=4 * 90 * 8)
    assert max(sizes) == 3
    assert written == sorted(written)
    assert written[-1] == 8


def test_inputs_are_read_in_pieces(saved, monkeypatch):
    read = ProbeSet.load(saved / "file.npz")
    sizes = []
    array = type(open_container(saved / "file.npz", "probe").array("inputs.npy"))
    read_rows = array.__getitem__

    def rows(self, part):
        sizes.append((part.stop - part.start, self.shape))
        return read_rows(self, part)

    monkeypatch.setattr(array, "__getitem__", rows)
    assert sum(len(ids) for ids, _, _ in read.explain_items(4)) == len(read)
    assert max(size for size, _ in sizes) == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", "zip", r'format: expected "gae-probe", got \'zip\''),
        ("version", 2, "version: expected 1, got 2"),
        ("version", True, "version: expected 1, got True"),
        ("metric", "GEA", "metric: expected one of GAE, .*, got 'GEA'"),
        ("metric", "Contrastiveness", "steps: expected null for Contrastiveness, got 3"),
        ("steps", 256, "steps: expected an integer from 2 to 255, got 256"),
        ("steps", None, "steps: expected .*, got None"),
        ("n_mosaics", 0, "n_mosaics: expected a positive integer, got 0"),
        ("input_shape", [3, -6, 5], "input_shape: expected one to four positive"),
        ("input_shape", [3, 6, 6], r"inputs|impact_sign.*expected int8 \(2, 3, 6, 6\), got int8"),
        ("protocol", "other", "protocol: expected one of paper, repository, got 'other'"),
        ("dataset_size", 4, "names: expected 4 texts or null"),
        ("names", [1, 2, 3, 4, 5], "names: expected 5 texts or null"),
        ("settings", [], "settings: expected an object"),
        ("shards", {}, "shards: expected a list"),
        ("shards", [3], r"shards\[0\]: expected an object, got 3"),
    ],
)
def test_fields_are_named(folder, field, value, message):
    change(folder, lambda fields: fields.update({field: value}))
    with pytest.raises(ProbeError, match=message):
        use(folder)
    change(folder, lambda fields: fields.pop(field))
    with pytest.raises(ProbeError, match=f"{field}: expected .*, found no such field"):
        use(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.npy",
        "/etc/secret.npy",
        "sub/secret.npy",
        "..\\secret.npy",
        ".hidden.npy",
        "C:secret.npy",
        "secret\0.npy",
        "secret.npz",
        "",
        "..",
        7,
        None,
        ["a.npy"],
    ],
)
def test_names_of_files_stay_in_the_folder(folder, name):
    change(folder, lambda fields: fields["shards"][0]["arrays"].update(targets=name))
    with pytest.raises(ProbeError, match=r"shards\[0\]\.arrays\.targets: expected the plain name"):
        ProbeSet.load(folder)


@pytest.mark.parametrize("file", ["targets-00000.npy", "inputs-00001.npy", "manifest.json"])
def test_links_out_of_the_folder_are_refused(folder, tmp_path, file):
    outside = tmp_path / "outside"
    shutil.move(folder / file, outside)
    (folder / file).symlink_to(outside)
    with pytest.raises(ProbeError, match=f"{file}: leads out of the folder"):
        use(folder)
    (folder / file).unlink()
    with pytest.raises(ProbeError, match=f"has no file {file}"):
        use(folder)
    (folder / file).mkdir()
    with pytest.raises(ProbeError, match=f"has no file {file}"):
        use(folder)


def test_maps_that_are_links_are_refused(probe, tmp_path):
    np.save(tmp_path / "elsewhere.npy", np.zeros((len(probe), 3, 6, 5)))
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "maps.npy").symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(ProbeError, match="leads out of the folder"):
        probe.score(tmp_path / "maps")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("bomb",))


@pytest.mark.parametrize("wrong", ["pickle", "objects", "cut", "header", "text", "shape", "type"])
def test_broken_arrays_are_refused(folder, tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    path = folder / "outputs-00000.npy"
    good = path.read_bytes()
    stream = io.BytesIO()
    match wrong:
        case "pickle":
            data = pickle.dumps(Bomb())
        case "objects":
            np.save(stream, np.array([[Bomb()]], dtype=object), allow_pickle=True)
            data = stream.getvalue()
        case "cut":
            data = good[:-1]
        case "header":
            data = good.replace(b"(2, 2, 3)", b"(1, 2, ((")
        case "text":
            data = b"not an array"
        case "shape":
            data = good.replace(b"(2, 2, 3), }" + b" " * 9, b"(2" + b"0" * 9 + b", 2, 3), }")
        case _:
            data = good.replace(b"<f8", b">f8")
    assert data != good
    path.write_bytes(data)
    with pytest.raises(ProbeError, match="outputs-00000"):
        ProbeSet.load(folder)
    assert not (tmp_path / "bomb").exists()
    path.write_bytes(good)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "maps.npy").write_bytes(data)
    with pytest.raises(ProbeError, match="maps"):
        ProbeSet.load(folder).score(tmp_path / "maps")
    assert not (tmp_path / "bomb").exists()


def test_tables_that_name_other_items_are_refused(folder):
    path = folder / "items-00000.npy"
    good = np.load(path)
    for row, column, value in ((0, 0, 3), (1, 1, 2), (1, 2, 9), (-1, 3, 1), (0, 2, 1)):
        table = good.copy()
        table[row, column] = value
        np.save(path, table)
        with pytest.raises(ProbeError, match="items of shard 0"):
            ProbeSet.load(folder)
    for table in (good[[1, 0, *range(2, len(good))]], good[[0, 0, *range(2, len(good))]]):
        np.save(path, table)
        with pytest.raises(ProbeError, match=r"each item once, and a sample's original before"):
            ProbeSet.load(folder)
    np.save(path, good)
    np.save(folder / "samples-00002.npy", np.array([0]))
    with pytest.raises(ProbeError, match="samples of shard 2, row 0: expected ascending indices"):
        ProbeSet.load(folder)


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("targets", 0, -1, "targets of shard 0, row 0: expected class indices"),
        ("sample_targets", 0, -5, "sample_targets of shard 0, row 0: expected class indices"),
        ("targets", 1, 3, "row 1: expected the class of the item's sample|is damaged"),
        ("problems", 0, 7, "problems of shard 0, row 0: expected 0 to 3"),
        ("outputs", (0, 1, 2), np.inf, "outputs of shard 0, row 0: expected finite numbers"),
        ("quadrants", (0, 0, 1), np.nan, "quadrants of shard 0, row 0: expected finite numbers"),
        ("outputs", (0, 1, 2), 0.5, "outputs-00000.npy .* is damaged"),
        ("impact_sign", (0, 0, 1, 1), 2, "impact_sign of shard 0, row 0: expected -1, 0 or 1"),
        ("inputs", (0, 0, 1, 1), np.nan, "inputs of shard 0, row 0: expected finite numbers"),
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_values_are_checked_and_digested(folder, name, place, value, expected, sealed):
    path = folder / f"{name}-00000.npy"
    values = np.load(path)
    values[place] = value if values[place] != value else value + 1
    np.save(path, values)

    def seal(fields):
        fields["shards"][0]["sha256"][name] = hashlib.sha256(path.read_bytes()).hexdigest()

    if sealed:
        if "is damaged" in expected and "|" not in expected:
            return
        change(folder, seal)
    with pytest.raises(ProbeError, match=expected if sealed else f"{expected}|is damaged"):
        use(folder)


def test_a_manifest_that_would_take_the_memory(folder, tmp_path):
    text = (folder / "manifest.json").read_text().rstrip()[:-1]
    (folder / "manifest.json").write_text(text + ', "more": [' + "{}," * 5_000_000 + "{}]}")
    with pytest.raises(ProbeError, match="expected at most 8388608 bytes"):
        ProbeSet.load(folder)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.write(folder / "manifest.json", "manifest.json")
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 16
    with pytest.raises(ProbeError, match="expected at most 8388608 bytes"):
        ProbeSet.load(tmp_path / "bomb.npz")


def test_names_that_no_file_of_scores_can_hold(folder):
    change(folder, lambda fields: fields["names"].__setitem__(0, "\ud800"))
    with pytest.raises(ProbeError, match="names: expected 5 texts or null"):
        ProbeSet.load(folder)


def test_one_npy_file_is_not_what_maps_come_in(folder, tmp_path):
    np.save(tmp_path / "x.npy", np.ones((5, 3, 6, 5)))
    with pytest.raises(
        ProbeError, match=r"^maps: expected a folder or an \.npz file, found a file"
    ):
        ProbeSet.load(folder).score(tmp_path / "x.npy")


def test_maps_are_taken_one_by_one_where_they_are_large(probe, monkeypatch):
    from gae_metric.probe import probe_set, returned_maps

    sizes = []
    real = returned_maps._tensor
    monkeypatch.setattr(
        returned_maps, "_tensor", lambda parts, e: sizes.append(len(parts)) or real(parts, e)
    )
    maps = np.ones((len(probe), 6, 5), dtype=np.float32)
    whole = probe.score(maps, disable_warnings=True)
    monkeypatch.setattr(probe_set, "_CHUNK", 4 * 3 * 6 * 5 * 2)
    sizes.clear()
    pd.testing.assert_frame_equal(probe.score(maps, disable_warnings=True), whole)
    assert len(sizes) == -(-len(probe) // 2)


def test_what_is_no_probe_set(tmp_path, saved):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ProbeError, match=r"has no file manifest\.json"):
        ProbeSet.load(tmp_path / "empty")
    (tmp_path / "bad.npz").write_bytes(b"PK not a zip")
    with pytest.raises(ProbeError, match="cannot be read"):
        ProbeSet.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ProbeError, match=r"has no file manifest\.json"):
        ProbeSet.load(tmp_path / "other.npz")
    with pytest.raises(ProbeError, match="found nothing at"):
        ProbeSet.load(tmp_path / "nothing")
    data = bytearray((saved / "file.npz").read_bytes())
    at = bytes(data).index(b"inputs.npy") + 2000
    data[at] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(data)
    with pytest.raises(ProbeError, match=r"inputs\.npy: cannot be read: Bad CRC-32"):
        use(tmp_path / "flipped.npz")


def test_numbers_of_maps_by_shard_are_checked(folder):
    read = ProbeSet.load(folder)
    counts = [len(np.load(file)) for file in sorted(folder.glob("inputs-*.npy"))]
    for k, count in enumerate(counts):
        np.save(folder / f"maps-{k:05d}.npy", np.ones((count, 6, 5)))
    read.score(folder, disable_warnings=True)
    np.save(folder / "maps-00002.npy", np.ones((counts[2] - 1, 6, 5)))
    np.save(folder / "maps-00003.npy", np.ones((counts[3] + 1, 6, 5)))
    np.save(folder / "maps-00099.npy", np.ones((2, 6, 5)))
    message = r"1 missing: 3-mosaic-0; 2 of no item: maps-00003\[6\], maps-00099$"
    with pytest.raises(ProbeError, match=message):
        read.score(folder)
    np.save(folder / "0-original.npy", np.ones((6, 5)))
    with pytest.raises(ProbeError, match=r"one form of maps .* beside arrays named after items"):
        read.score(folder)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x.npy", "/etc/passwd", "inputs-00000.npy", 2**70, -1, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if type(value) is list
        else ()
    )
    for key, each in parts:
        yield from places(each, (*path, key))


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_changed_manifests_give_no_other_error_and_read_nothing_else(saved, data):
    fields = manifest_of(saved / "folder")
    for _ in range(data.draw(st.integers(1, 3))):
        every = [path for path in places(fields) if path]
        path = data.draw(st.sampled_from(every))
        parent = fields
        for key in path[:-1]:
            parent = parent[key]
        if data.draw(st.booleans()):
            parent[path[-1]] = data.draw(JSON)
        elif isinstance(parent, dict):
            del parent[path[-1]]
        else:
            parent.append(copy.deepcopy(parent[path[-1]]))
    text = json.dumps(fields).encode()
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text)))
        text = text[:cut] + data.draw(st.binary(max_size=3)) + text[cut:]
    root = (saved / "folder").resolve()
    opened = []

    def noted(file, *args, **kwargs):
        opened.append(Path(str(file)).resolve())
        return real(file, *args, **kwargs)

    container = open_container(root, "probe")
    container.manifest = lambda: text
    real, io_open = builtins.open, io.open
    patch = pytest.MonkeyPatch()
    patch.setattr(io, "open", noted)
    patch.setattr(builtins, "open", noted)
    patch.setattr("gae_metric.probe.probe_set.open_container", lambda path, what: container)
    try:
        use(root)
    except ValueError:  # ProbeError is one
        pass
    finally:
        patch.undo()
    assert io.open is io_open
    assert all(path.parent == root for path in opened), opened


@settings(max_examples=100, deadline=None)
@given(text=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_as_a_manifest(text):
    with pytest.raises(ProbeError):
        Manifest.from_json(text, "manifest.json")


def test_deep_manifests():
    for text in (b"[" * 100_000, b'{"format":' * 100_000, b"9" * 10_000):
        with pytest.raises(ProbeError):
            Manifest.from_json(text, "manifest.json")


def test_the_manifest_comes_back(saved):
    text = (saved / "folder" / "manifest.json").read_bytes()
    assert Manifest.from_json(text, "it").to_json().encode() == text


def test_nothing_unpickles():
    """np.load, the only reader that could, is not used, and format.read_array neither."""
    folder = Path(__import__("gae_metric.probe").probe.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("load_module", "read_array", "extractall", "extract")
                if node.attr == "load":
                    assert ast.unparse(node.value) in ("ProbeSet", "study"), file


def test_zips_keep_to_their_members(saved, tmp_path):
    """A name that leads out of a zip cannot be asked for, and nothing is extracted."""
    with (
        zipfile.ZipFile(saved / "file.npz") as source,
        zipfile.ZipFile(tmp_path / "p.npz", "w") as out,
    ):
        for name in source.namelist():
            data = source.read(name)
            if name == "manifest.json":
                data = data.replace(b'"targets.npy"', b'"../targets.npy"')
            out.writestr("../targets.npy" if name == "targets.npy" else name, data)
    with pytest.raises(ProbeError, match=r"arrays\.targets: expected the plain name"):
        ProbeSet.load(tmp_path / "p.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def sealed(folder, name, values):
    """Write an array of the first shard anew, with its SHA-256."""
    fields = manifest_of(folder)
    shard = fields["shards"][0]
    np.save(folder / shard["arrays"][name], values)
    content = (folder / shard["arrays"][name]).read_bytes()
    shard["sha256"][name] = hashlib.sha256(content).hexdigest()
    change(folder, lambda old: old.update(fields))


def test_items_come_sample_by_sample(saved, tmp_path):
    """Maps are let go of once those of the next sample come."""
    ProbeSet.load(saved / "folder").save(tmp_path / "probe", shard_bytes=10**6)
    folder, first = tmp_path / "probe", np.load(tmp_path / "probe" / "items-00000.npy")
    order = np.argsort(first[:, 2] != 0, kind="stable")  # all originals first
    for name in ("items", "targets", "inputs"):
        sealed(folder, name, np.load(folder / f"{name}-00000.npy")[order])
    with pytest.raises(ProbeError, match=r"items of shard 0, row \d+: expected .*, by sample"):
        ProbeSet.load(folder)


def test_a_set_that_lacks_an_item_is_not_whole(folder):
    change(folder, lambda fields: fields["shards"][0].update(items=5))
    for name in ("items", "targets", "inputs"):
        sealed(folder, name, np.load(folder / f"{name}-00000.npy")[:5])
    with pytest.raises(ProbeError, match=r"samples of shard 0, row 0: expected 6 items .*, got 5"):
        ProbeSet.load(folder)


@pytest.mark.parametrize("metric", ["GAE", "Contrastiveness"])
def test_a_sample_beside_which_no_other_can_stand_is_saved_and_loaded(metric, tmp_path):
    net, x = conv_net(dtype=torch.float32), images(5, (3, 6, 5), np.float32)
    x[1:, 0, 0, 0] = np.nan
    probe = ProbeSet.build(net, x, [0, 1, 2, 3, 4], metric=metric)
    probe.save(tmp_path / "probe.npz")
    loaded, maps = ProbeSet.load(tmp_path / "probe.npz"), maps_of(probe)
    found = loaded.score(maps, disable_warnings=True)
    assert found.iloc[:, -1].isna().all()
    pd.testing.assert_frame_equal(found, probe.score(maps, disable_warnings=True))


def test_a_stream_of_maps_without_names_is_told_what_it_lacks(probe):
    for maps in (iter(np.zeros((len(probe), 2, 6, 5))), pd.Series(list(np.zeros((9, 2, 3))))):
        with pytest.raises(ProbeError, match="maps: expected an iterable of pairs"):
            probe.score(maps)


def test_names_are_no_text():
    net, x = conv_net(dtype=torch.float32), images(5, (3, 6, 5), np.float32)
    with pytest.raises(ValueError, match="names: expected 5, one of each sample, got 'abcde'"):
        ProbeSet.build(net, x, np.arange(5), steps=2, names="abcde")


def test_maps_of_another_byte_order_keep_their_precision(probe):
    maps = np.random.default_rng(0).random((len(probe), 3, 6, 5))
    found = probe.score(maps, disable_warnings=True)
    single = probe.score(maps.astype(np.float32), disable_warnings=True)
    assert not single.equals(found)
    assert probe.score(maps.astype(">f8"), disable_warnings=True).equals(found)


@pytest.mark.parametrize("form", ["folder", "file.npz"])
def test_a_probe_set_that_cannot_be_made_leaves_no_files(form, tmp_path):
    net, x = conv_net(), images(5, (3, 6, 5))
    x[4] *= 1e60
    probe = ProbeSet.build(net, x, np.arange(5) % 2, steps=2)
    for _ in range(2):
        with pytest.raises(ProbeError, match=r"features of sample . do not fit float32"):
            probe.save(tmp_path / form, shard_bytes=3_000)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", ["folder", "file.npz"])
def test_threads_read_a_probe_set_at_the_same_time(saved, form, monkeypatch):
    """A file has one place that is read next: that which was looked up last, by any thread."""
    probe = ProbeSet.load(saved / form)
    expected = [inputs for _, inputs, _ in probe.explain_items(2)]
    meeting: list[threading.Barrier] = []

    class Met:
        """A file that is read once each of two threads has looked up its place."""

        def __init__(self, file):
            self.file = file

        def seek(self, place):
            self.file.seek(place)
            for both in meeting:
                both.wait(60)

        def __enter__(self):
            return self.file

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

    kind = type(open_container(saved / form, "probe"))
    opened = kind._open
    monkeypatch.setattr(kind, "_open", lambda *a: (Met(opened(*a)[0]), *opened(*a)[1:]))
    first, second = probe.explain_items(2), probe.explain_items(2)
    next(second)
    meeting.append(threading.Barrier(2))
    with ThreadPoolExecutor(2) as pool:
        (_, here, _), (_, there, _) = pool.map(next, (first, second))
    np.testing.assert_array_equal(here, expected[0])
    np.testing.assert_array_equal(there, expected[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process has its parent's files")
@pytest.mark.parametrize("form", ["folder", "file.npz"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_read_a_probe_set_at_the_same_time(saved, form):
    """A fork's files are its parent's, with one place that is read next."""
    probe = ProbeSet.load(saved / form)
    expected = [inputs for _, inputs, _ in ProbeSet.load(saved / form).explain_items(2)]
    items = probe.explain_items(2)
    for inputs in expected:
        np.testing.assert_array_equal(next(items)[1], inputs)
        if not (child := os.fork()):
            try:
                found = [inputs for _, inputs, _ in probe.explain_items(2)]
                os._exit(all(map(np.array_equal, found, expected)) - 1)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_probe_sets_are_copied_and_sent_to_other_processes(probe, saved, copied, monkeypatch):
    monkeypatch.chdir(saved)
    maps = np.random.default_rng(0).random((len(probe), 3, 6, 5))
    for one in (ProbeSet.load("folder"), ProbeSet.load("file.npz")):
        next(one.explain_items(2))
        other = copied(one)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            assert other.score(maps, disable_warnings=True).equals(
                probe.score(maps, disable_warnings=True)
            )


@pytest.mark.parametrize("form", ["folder", "file.npz"])
def test_a_loaded_probe_set_is_found_from_another_folder(probe, saved, form, tmp_path, monkeypatch):
    """Where there may be another of that name: neither it nor a copy reads that one."""
    other = ProbeSet.build(conv_net(), images(4), [0, 1, 0, 1], steps=2)
    other.save(tmp_path / form)
    monkeypatch.chdir(saved)
    loaded = ProbeSet.load(form)
    monkeypatch.chdir(tmp_path)
    for one in (loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert one.ids == probe.ids
        wanted = np.concatenate([inputs for _, inputs, _ in probe.explain_items()])
        np.testing.assert_array_equal(
            np.concatenate([inputs for _, inputs, _ in one.explain_items()]), wanted
        )


def test_names_that_are_not_utf_8_are_saved_and_loaded(tmp_path):
    net, x = conv_net(), images(4)
    names = [f"{i}\udcff \u00e9.png" for i in range(4)]
    ProbeSet.build(net, x, [0, 1, 0, 1], steps=2, names=names).save(tmp_path / "p.npz")
    loaded = ProbeSet.load(tmp_path / "p.npz")
    assert loaded.names == tuple(f"{i}\\udcff \u00e9.png" for i in range(4))


def test_files_of_another_kind_say_what_is_wanted(probe, tmp_path):
    (tmp_path / "0-original.png").touch()
    with pytest.raises(ProbeError, match=r"missing.*of files: maps\.npy, 0-original\.npy"):
        probe.score(tmp_path)
    np.save(tmp_path / "maps.npy", np.zeros((3, 4)))
    with pytest.raises(ProbeError, match=r"cannot be read as one at .*; numpy\.savez makes one"):
        probe.score(tmp_path / "maps.npy")
