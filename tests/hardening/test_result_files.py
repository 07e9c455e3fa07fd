"""Folders of results whose files are anything: read, redone, or an error that names the folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.config.runs import parse
from benchmarks.report.build import write_report
from benchmarks.runner.collected import PLAN, collect
from benchmarks.runner.run import execute
from benchmarks.runner.status import look_through, status
from benchmarks.runner.store import Store
from benchmarks.tables.against_paper import write_tables
from gae_metric.errors import InputError
from tests.hardening.fuzz import damaged, fuzzing, nothing_runs, refusable
from tests.hardening.test_config_files import VALUES, places


def configuration(folder):
    return parse(
        {
            "models": "digits:vgg", "methods": ["Random", "Constant"], "metrics": "C",
            "samples": 4, "output": str(folder),
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What a run leaves; not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    execute(configuration(folder), quiet=True)
    assert len(collect(folder).scores) == 8
    return folder


def tables(folder):
    with nothing_runs():
        text, _ = write_tables(folder, folder / "tables")
    assert text


def copied(finished, factory, shards=True):
    """Copy it, as if it had not been finished, or as if its shards had been removed."""
    folder = Path(shutil.copytree(finished, factory.mktemp("copy") / "run"))
    if shards:
        (folder / "SHA256SUMS").unlink()
    else:
        shutil.rmtree(folder / "shards")
    return folder


def sealed(folder, name):
    """Have the sums of a finished run fit what has been made of a file."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in sums]
    (folder / "SHA256SUMS").write_text("\n".join(lines))


@settings(fuzzing, max_examples=40)
@given(data=st.data(), shards=st.booleans())
def test_any_damage(finished, tmp_path_factory, data, shards):
    folder = copied(finished, tmp_path_factory, shards)
    every = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".json", ".parquet")]
    file = data.draw(st.sampled_from(sorted(every)))
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    if not shards and file.name != "data.json" and data.draw(st.booleans()):
        sealed(folder, file.name)
    with refusable(InputError) as outcome:
        tables(folder)
    assert outcome.message != ""
    shutil.rmtree(folder.parent)


@settings(fuzzing, max_examples=40)  # the tables of a good plan take a while
@given(data=st.data())
@pytest.mark.parametrize("name", [PLAN, "facts.json"])
def test_any_value_in_a_plan(finished, tmp_path_factory, name, data):
    folder = copied(finished, tmp_path_factory, shards=name == PLAN)
    fields = json.loads((folder / name).read_text())
    path = data.draw(st.sampled_from([path for path in places(fields) if path]))
    parent = fields
    for key in path[:-1]:
        parent = parent[key]
    value = data.draw(VALUES)
    try:
        parent[path[-1]] = json.loads(json.dumps(value, default=str, skipkeys=True))
    except (TypeError, ValueError):
        parent[path[-1]] = None
    (folder / name).write_text(json.dumps(fields))
    if name != PLAN:
        sealed(folder, name)
    with refusable(InputError) as outcome:
        tables(folder)
    assert outcome.message != ""
    shutil.rmtree(folder.parent)


#: Small files: of many rows; of a text and of bytes that stand in many; of lists of many parts.
BOMBS = {
    "rows": pa.array(np.zeros(10_000_000)),
    "text": pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), ["x" * 1_000_000]),
    "bytes": pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), [b"x" * 1_000_000]),
    "lists": pa.ListArray.from_arrays([0, 10_000_000], pa.array(np.zeros(10_000_000))),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_tables_that_are_larger_than_their_files(finished, tmp_path_factory, kind):
    """Refused by what they say of themselves, before gigabytes of memory are taken."""
    folder = copied(finished, tmp_path_factory, shards=False)
    table = pa.table({"score": BOMBS[kind]})
    pq.write_table(table, folder / "scores.parquet", compression="zstd", store_schema=False)
    assert (folder / "scores.parquet").stat().st_size < 100_000
    sealed(folder, "scores.parquet")
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(InputError, match=r"scores\.parquet'.*(more than|no run writes)"):
        collect(folder)
    assert pa.default_memory_pool().max_memory() - before < 1 << 26


#: What stands in the place of a table, whole by its digest, which anybody can make.
TABLES = {
    "no columns": pa.table({}),
    "other columns": pa.table({"a": [1]}),
    "a column twice": pa.Table.from_arrays([pa.array([1.0])] * 2, names=["score", "score"]),
    "many columns": pa.table({f"c{i}": [1] for i in range(100)}),
    "texts": pa.table({key: ["x"] for key in ("model", "method", "metric", "sample", "score")}),
    "other names": pa.table(
        {"model": ["digits:vit"], "method": ["x"], "metric": ["C"], "sample": [0], "score": [1.0]}
    ),
    "not finite": pa.table(
        {
            "model": ["digits:vgg"] * 2,
            "method": ["Random"] * 2,
            "metric": ["C"] * 2,
            "sample": [0, 1],
            "score": [float("inf"), float("nan")],
        }
    ),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", ["scores", "targets", "failures", "seconds"])
def test_tables_of_anything_else(finished, tmp_path_factory, name, kind):
    folder = copied(finished, tmp_path_factory, shards=False)
    pq.write_table(TABLES[kind], folder / f"{name}.parquet")
    sealed(folder, f"{name}.parquet")
    refused = 0

    def report(root):
        write_report([root], root / "page.html", maps=False)

    for use in (tables, status, report):
        with refusable(InputError) as outcome:
            use(folder)
        refused += outcome.message is not None
    assert refused or name != "scores"


@pytest.mark.parametrize("facts", [{}, [], 3, {"settings": 3, "where": 3, "shard": 3}, "deep"])
def test_facts_that_are_no_shards(finished, tmp_path_factory, facts, monkeypatch):
    """Whole by its seal, which anybody can make."""
    folder = copied(finished, tmp_path_factory)
    store = Store(folder)
    if facts == "deep":
        monkeypatch.setattr(json, "dumps", lambda value, **options: "[" * 100_000)
    for key in store.shards():
        store.write(key, pd.DataFrame({"sample": [0]}), facts)
    monkeypatch.undo()
    plan = json.loads((folder / PLAN).read_text())
    for read in (collect, status, lambda root: look_through(Store(root), [], print)):
        with pytest.raises(InputError, match=r"not as a run leaves it|has no facts"):
            read(folder)
    assert json.loads((folder / PLAN).read_text()) == plan


def test_files_that_are_too_large_are_not_read(finished, tmp_path_factory):
    folder = copied(finished, tmp_path_factory, shards=False)
    os.truncate(folder / "scores.parquet", 1 << 40)
    with pytest.raises(InputError, match=r"expected at most \d+ bytes, it has 1099511627776"):
        collect(folder)
    folder = copied(finished, tmp_path_factory)
    key = Store(folder).shards()[0]
    os.truncate(Store(folder).path(key), 1 << 40)
    assert Store(folder).damaged(key)


@pytest.mark.parametrize(
    "key", ["../../outside", "/etc/outside", "a/../../b", "", ".hidden", "a//b"]
)
def test_shards_lie_in_the_folder(finished, tmp_path_factory, key):
    folder = copied(finished, tmp_path_factory)
    plan = json.loads((folder / PLAN).read_text())
    plan["shards"][0]["key"] = key
    (folder / PLAN).write_text(json.dumps(plan))
    outside = (folder / "shards" / f"{key}.parquet").resolve()
    real = Store.read
    read = []
    patch = pytest.MonkeyPatch()
    patch.setattr(Store, "read", lambda self, key: read.append(key) or real(self, key))
    with pytest.raises(InputError, match="results: no shard in"):
        collect(folder)
    patch.undo()
    assert not read
    assert not outside.exists() or folder in outside.parents


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "3", "null", '{"asked": {}}', "[" * 100_000, '{"asked": 3, "drawn": 7}'],
)
def test_a_broken_list_of_images_is_made_again(finished, tmp_path_factory, text):
    folder = copied(finished, tmp_path_factory)
    before = collect(folder)
    (folder / "data.json").write_text(text)
    summary = execute(configuration(folder), quiet=True)
    assert (summary.computed, summary.found) == (0, 3)
    assert (folder / "data.json").read_bytes() == (finished / "data.json").read_bytes()
    pd.testing.assert_frame_equal(collect(folder).scores, before.scores)


def test_a_list_of_other_images_is_made_again(finished, tmp_path_factory):
    """One letter makes another image of one, with which scores would be another draw's."""
    folder = copied(finished, tmp_path_factory)
    whole = (folder / "data.json").read_bytes()
    drawn = json.loads(whole)["drawn"]
    other = next(f"digit {i}" for i in range(400) if f"digit {i}" not in drawn)
    (folder / "data.json").write_bytes(whole.replace(drawn[0].encode(), other.encode(), 1))
    assert execute(configuration(folder), quiet=True).computed == 0
    assert (folder / "data.json").read_bytes() == whole


@pytest.mark.parametrize("field", ["model", "method", "span"])
def test_a_plan_that_calls_shards_otherwise(finished, tmp_path_factory, field):
    folder = copied(finished, tmp_path_factory)
    plan = json.loads((folder / PLAN).read_text())
    shard = plan["shards"][-1]
    shard[field] = [shard["span"][0], 10**6] if field == "span" else f"{shard[field]}x"
    (folder / PLAN).write_text(json.dumps(plan))
    found = collect(folder)
    assert found.missing == 1
    assert dict(found.lacking) == {(shard["model"], shard["method"]): 1}
    assert len(found.scores) < 8


def test_a_list_of_images_that_there_are_not(finished, tmp_path_factory):
    folder = copied(finished, tmp_path_factory)
    drawn = json.loads((folder / "data.json").read_text())
    for wrong in ({"drawn": ["digit 100000"]}, {"skipped": []}, {"drawn": [[]]}):
        (folder / "data.json").write_text(json.dumps(drawn | wrong))
        assert execute(configuration(folder), quiet=True).computed == 0
        assert (folder / "data.json").read_bytes() == (finished / "data.json").read_bytes()
