"""A shard is there as a whole or not at all."""

import errno
import os
import uuid

import pandas as pd
import pytest

from benchmarks.runner.store import Store
from gae_metric.commands.folder import replace_file
from gae_metric.errors import InputError
from tests.benchmarks.disks import remount, small_disk

TABLE = pd.DataFrame({"sample": [0, 1], "score": [0.25, float("nan")]})


def test_what_is_written_is_read(tmp_path):
    store = Store(tmp_path)
    store.write("a/b", TABLE, {"seed": 1, "nested": {"x": [1.5]}})
    table, facts = store.read("a/b")
    pd.testing.assert_frame_equal(table, TABLE)
    assert facts == store.facts("a/b") == {"seed": 1, "nested": {"x": [1.5]}}


def test_the_same_shard_twice_is_one(tmp_path):
    store = Store(tmp_path)
    for _ in range(2):
        store.write("a", TABLE, {})
    assert [p.name for p in (tmp_path / "shards").iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_half_a_file_is_none(tmp_path, keep):
    store = Store(tmp_path)
    store.write("a", TABLE, {})
    content = store.path("a").read_bytes()
    store.path("a").write_bytes(content[: int(len(content) * keep) if keep == 0.5 else keep])
    assert not store.has("a")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    store.write("a", TABLE, {"old": True})

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(OSError, match=r"No space left on device\. What was finished is kept"):
            store.write("a", TABLE, {"old": False})
    assert store.facts("a") == {"old": True}
    assert [p.name for p in (tmp_path / "shards").iterdir()] == ["a.parquet"]


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as folder:
        yield folder


def test_a_disk_that_is_full_indeed(disk):
    store = Store(disk)
    store.write("a", TABLE, {})
    with pytest.raises(OSError, match=r"cannot write .*big\.parquet': No space left"):
        replace_file(store.path("big"), os.urandom(100_000))
    assert sorted(p.name for p in (disk / "shards").iterdir()) == ["a.parquet"]
    pd.testing.assert_frame_equal(store.read("a")[0], TABLE)


def test_one_run_at_a_time(tmp_path):
    store = Store(tmp_path)
    with store.writing(), pytest.raises(InputError, match="another run writes"):  # noqa: SIM117
        with Store(tmp_path).writing():
            pass
    with Store(tmp_path).writing():
        pass


def test_what_was_not_finished_is_cleared_away_and_nothing_else(tmp_path):
    part = f"{uuid.uuid4().hex}.tmp"
    ours = [tmp_path / "shards" / "m" / f".x.parquet.{part}", tmp_path / f".plan.json.{part}"]
    others = [
        *(tmp_path / ".notes.tmp", tmp_path / "shards" / ".x.parquet.0.tmp", tmp_path / part),
        tmp_path / "figures" / f".x.parquet.{part}",
    ]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with Store(tmp_path).writing():
        assert not any(path.exists() for path in ours)
    assert all(path.read_bytes() == b"half" for path in others)


@pytest.mark.parametrize("part", range(8))
def test_any_flipped_bit_is_seen(tmp_path, part):
    """Every 8th bit of a shard; `part` is the first."""
    store = Store(tmp_path)
    store.write("m/a", TABLE, {"seed": 1})
    content = store.path("m/a").read_bytes()
    unseen = []
    for bit in range(part, 8 * len(content), 64):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        store.path("m/a").write_bytes(flipped)
        if store.has("m/a") or not store.damaged("m/a"):
            unseen.append(bit)
    assert not unseen
    with pytest.raises(InputError, match=r"m/a\.parquet' is damaged"):
        store.read("m/a")


def test_a_shard_in_anothers_place_is_seen(tmp_path):
    store = Store(tmp_path)
    for key in ("m/a", "m/b"):
        store.write(key, TABLE, {"seed": 1})
    store.path("m/a").write_bytes(store.path("m/b").read_bytes())
    assert not store.has("m/a")
    assert store.put_aside("m/a").is_file()
    assert store.shards() == ["m/b"]


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="output: cannot write to"),
        Store(tmp_path / "file" / "below").writing(),
    ):
        pass


def test_a_folder_that_may_not_be_written(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(InputError, match="Permission denied"), Store(folder).writing():
        pass


@pytest.mark.parametrize("below", [".", "new/run"])
def test_a_disk_that_may_not_be_written(disk, below):
    Store(disk).write("a", TABLE, {})
    remount(disk, "ro")
    expected = r"output: cannot write to '.*disk.*': Read-only file system"
    with pytest.raises(InputError, match=expected), Store(disk / below).writing():
        pass
    assert sorted(p.name for p in disk.rglob("*")) == ["a.parquet", "shards"]
    pd.testing.assert_frame_equal(Store(disk).read("a")[0], TABLE)
