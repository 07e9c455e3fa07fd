"""Probe sets and maps whose bytes are anything: an error of ours, or scores, and nothing run."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gae_metric import ProbeSet
from gae_metric.probe import ProbeError
from gae_metric.probe.storage import FILE_NAME, Container, open_container
from tests.gae_metric.nets import conv_net, images
from tests.hardening.fuzz import Bomb, damaged, fuzzing, nothing_runs, refusable


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder of shards, an npz, and maps for them as one array, by shards and by items."""
    net, x = conv_net(dtype=torch.float32), images(4, (3, 4, 3), np.float32)
    probe = ProbeSet.build(net, x, np.arange(4) % 2, steps=3)  # two classes, for mosaics
    root = tmp_path_factory.mktemp("saved")
    probe.save(root / "folder", shard_bytes=2_000)
    probe.save(root / "file.npz")
    maps = np.abs(np.concatenate([x for _, x, _ in probe.explain_items()]))
    np.savez(root / "whole.npz", maps=maps)
    np.savez_compressed(root / "items.npz", **dict(zip(probe.ids, maps, strict=True)))
    (root / "shards").mkdir()
    start = 0
    for i, shard in enumerate(
        json.loads((root / "folder" / "manifest.json").read_text())["shards"]
    ):
        np.save(root / "shards" / f"maps-{i:05d}.npy", maps[start : start + shard["items"]])
        start += shard["items"]
    assert probe.score(root / "shards").equals(probe.score(root / "items.npz"))
    return root


def use(path, maps=None):
    """Do all that can be done with a probe set."""
    with nothing_runs():
        read = ProbeSet.load(path)
        every = [x for _, x, _ in read.explain_items()]
        given = np.concatenate(every) if every else np.zeros((0, *read.input_shape))
        scores = read.score(given if maps is None else maps, disable_warnings=True)
    assert len(scores) == len(read.samples)


def refused_or_used(path, maps=None):
    """Whether it was as described; any other error than ours is the caller's to see."""
    with refusable(ProbeError) as outcome:
        use(path, maps)
    assert outcome.message != ""
    return outcome.message is None


@fuzzing
@given(data=st.data())
def test_any_damage_to_a_file_of_a_folder(saved, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("p") / "probe"
    shutil.copytree(saved / "folder", folder)
    for _ in range(data.draw(st.integers(1, 2))):
        file = data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir())))
        good = (folder / file).read_bytes()
        # Headers are where a reader can be misled.
        part = data.draw(st.sampled_from([128, len(good)]))
        (folder / file).write_bytes(data.draw(damaged(good[:part])) + good[part:])
    refused_or_used(folder)
    shutil.rmtree(folder.parent)


@fuzzing
@given(data=st.data())
def test_any_damage_to_an_npz(saved, tmp_path_factory, data):
    file = tmp_path_factory.mktemp("p") / "probe.npz"
    file.write_bytes(data.draw(damaged((saved / "file.npz").read_bytes())))
    refused_or_used(file)
    file.unlink()


@fuzzing
@given(data=st.data())
@pytest.mark.parametrize("name", ["whole.npz", "items.npz"])
def test_any_damage_to_maps(saved, tmp_path_factory, name, data):
    file = tmp_path_factory.mktemp("m") / "maps.npz"
    file.write_bytes(data.draw(damaged((saved / name).read_bytes())))
    refused_or_used(saved / "folder", file)
    file.unlink()


def header(descr, shape, fortran=False):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": fortran, "shape": shape}
    )
    return stream.getvalue()


DTYPES = st.sampled_from(
    [
        *("<f4", ">f4", "<f8", "<f2", "<i8", "|u1", "|b1", "|S0", "|S3", "<U0", "<U2", "|V0"),
        *("|V8", "|O", "<c8", "<M8[s]", "<m8[D]", "<f16"),
        [("a", "<f4")],
        ("<f4", (2,)),
    ]
)
SIDES = st.sampled_from([0, 1, 2, 3, 4, 24, 28, 2**31, 2**62, 2**64, 10**30, -1])


@fuzzing
@given(
    descr=DTYPES,
    shape=st.lists(SIDES, max_size=5).map(tuple),
    fortran=st.booleans(),
    size=st.integers(0, 4000),
)
def test_arrays_of_any_kind_and_shape(saved, tmp_path_factory, descr, shape, fortran, size):
    """Neither memory nor time is spent on what the file does not hold."""
    maps = tmp_path_factory.mktemp("m")
    (maps / "maps.npy").write_bytes(header(descr, shape, fortran) + b"\x01" * size)
    if refused_or_used(saved / "folder", maps):
        assert math.prod(shape) * np.dtype(descr).itemsize <= size
    shutil.rmtree(maps)


@pytest.mark.parametrize(("descr", "shape"), [("<f4", (10**15, 0)), ("|S0", (10**15, 3, 4, 3))])
def test_rows_without_bytes_are_refused_at_once(saved, tmp_path, descr, shape):
    """There could be any number of them, and each would be listed as one of no item."""
    (tmp_path / "maps.npy").write_bytes(header(descr, shape))
    with pytest.raises(ProbeError, match="expected rows with values"):
        use(saved / "folder", tmp_path)


@fuzzing
@given(
    name=st.text(max_size=12) | st.sampled_from(["..", "../a.npy", "a.npy/", "A.npy\n", "~.npy"])
)
def test_names_of_files_are_plain_or_refused(tmp_path_factory, name):
    """Whatever the name, what is opened lies in the folder itself."""
    folder = tmp_path_factory.getbasetemp()
    if FILE_NAME.fullmatch(name):
        path = Path(os.path.normpath(folder / name))
        assert path.parent == folder
        assert path.name == name
        return
    with pytest.raises(ProbeError, match="expected a plain"):
        Container(folder).array(name)


@pytest.mark.parametrize("file", ["manifest.json", "items-00000.npy", "impact_sign-00000.npy"])
def test_links_that_lead_to_themselves(saved, tmp_path, file):
    folder = Path(shutil.copytree(saved / "folder", tmp_path / "probe"))
    (folder / file).unlink()
    (folder / file).symlink_to(folder / file)
    with pytest.raises(ProbeError, match=file):
        use(folder)


def test_pipes_are_not_waited_for(saved, tmp_path):
    folder = Path(shutil.copytree(saved / "folder", tmp_path / "probe"))
    (folder / "items-00000.npy").unlink()
    os.mkfifo(folder / "items-00000.npy")
    with pytest.raises(ProbeError, match="has no file items-00000"):
        use(folder)
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(ProbeError, match=r"has no file manifest\.json"):
        use(folder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["manifest.json", "targets.npy", "inputs.npy"])
def test_pickles_in_a_zip_are_not_loaded(saved, tmp_path, protocol, name):
    bomb = tmp_path / "bomb"
    with (
        zipfile.ZipFile(saved / "file.npz") as source,
        zipfile.ZipFile(tmp_path / "p.npz", "w") as out,
    ):
        for member in source.namelist():
            good = source.read(member)
            out.writestr(
                member, pickle.dumps(Bomb(str(bomb)), protocol) if member == name else good
            )
    with pytest.raises(ProbeError):
        use(tmp_path / "p.npz")
    assert not bomb.exists()


def test_the_watch_sees_pickles_and_programs(tmp_path):
    """So that the tests above can fail."""
    for work in (
        lambda: pickle.loads(pickle.dumps(Bomb(str(tmp_path / "a")))),
        lambda: os.system("true"),
    ):
        with pytest.raises(AssertionError), nothing_runs():
            work()
    with nothing_runs():
        json.loads("{}")


def test_members_of_a_zip_that_say_they_are_larger(saved, tmp_path):
    """A size that the data does not have is no reason to make room for it."""
    stated = 2**31 - 1
    text = header("<f4", (stated // 144 - 1, 3, 4, 3))
    with zipfile.ZipFile(tmp_path / "maps.npz", "w") as out:
        out.writestr("maps.npy", text + b"\0" * 1234)
    data = (tmp_path / "maps.npz").read_bytes()
    size = (len(text) + 1234).to_bytes(4, "little")
    assert data.count(size) == 4  # twice in the member's own header, twice in the directory
    (tmp_path / "maps.npz").write_bytes(data.replace(size, stated.to_bytes(4, "little")))
    with pytest.raises(ProbeError, match=r"1 of no item: maps\[24:14913079\]"):
        use(saved / "folder", tmp_path / "maps.npz")


@pytest.mark.parametrize("packed", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("name", ["manifest.json", "maps.npy"])
def test_members_that_no_tool_packs_so(saved, tmp_path, packed, name):
    """Python expands a few kilobytes of them at once, to gigabytes, whatever is asked for."""
    with zipfile.ZipFile(tmp_path / "p.npz", "w", packed) as out:
        out.writestr(name, b" " * 1000)
    probe, maps = (tmp_path / "p.npz", None) if name == "manifest.json" else (saved / "folder", 1)
    with pytest.raises(ProbeError, match=f"{name}: expected it stored or deflated"):
        use(probe, maps and tmp_path / "p.npz")


@pytest.mark.parametrize("version", [1, 2])
def test_headers_that_say_they_are_long(saved, tmp_path, version):
    """No memory is taken for a header that no file of ours has."""
    length = (60_000, 1 << 31)[version - 1]
    start = b"\x93NUMPY" + bytes([version, 0]) + length.to_bytes(2 * version, "little")
    with (tmp_path / "maps.npy").open("wb") as file:
        file.write(start)
        file.truncate(length + 100)  # a hole: it takes no room on the disk
    tracemalloc.start()
    with pytest.raises(ProbeError, match=rf"header of at most \d+ bytes, it says {length}"):
        use(saved / "folder", tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


@fuzzing
@given(text=st.text(max_size=20))
def test_any_path(text):
    with pytest.raises(ProbeError, match="expected a folder or an"):
        open_container(f"/no/such/place/{text}", "probe")
