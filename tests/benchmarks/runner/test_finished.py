"""Finished results stay what they are until newer ones are complete."""

import json
import shutil
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.runner import worker
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
from benchmarks.runner.store import Store
from benchmarks.tables.against_paper import write_tables
from gae_metric.errors import InputError


def settings(output, **changes):
    given = {
        "models": "digits:vgg", "samples": 4, "block": 2, "methods": ["Random", "Constant"],
        "metrics": "C", "output": str(output),
    }  # fmt: skip
    return parse({**given, **changes})


def run(output, *, replace=False, stop_after=None, **changes):
    """Run; be interrupted after some shards."""
    said = []
    real, left = worker.Worker.run, iter(range(10**6))

    def some(self, task):
        if next(left) == stop_after:
            raise KeyboardInterrupt
        return real(self, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.Worker, "run", some)
        options = {"replace": replace, "say": said.append}
        return execute(settings(output, **changes), quiet=True, **options), said


def command(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(map(str, arguments)))


@pytest.fixture
def finished(tmp_path):
    run(tmp_path / "run")
    write_tables(tmp_path / "run", tmp_path / "run")
    return tmp_path / "run"


def test_plans_that_could_not_be_read_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.runner.collected._LARGEST", 2000)
    with pytest.raises(InputError, match=r"block: a plan of \d+ shards .* give larger blocks"):
        run(tmp_path / "run", block=1)
    assert not (tmp_path / "run" / "plan.json").exists()


def test_a_plan_of_many_values_is_refused_before_it_is_parsed(finished):
    (finished / "SHA256SUMS").unlink()
    (finished / "plan.json").write_bytes(b"[" + b"[]," * (1 << 23) + b"[]]")
    assert command("status", finished).exit_code == 2
    with pytest.raises(InputError, match=r"results: cannot read .* expected at most"):
        collect(finished)


def content(folder):
    names = ("tables.md", "tables.csv", "tables.tex", "kendall.csv", "scores.parquet", "plan.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_tables_of_several_folders_do_not_replace_one_another(finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "other")
    result = command("tables", finished, other, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for folder in (finished, other):
        assert (tmp_path / "out" / folder.name / "tables.md").is_file()
    same = shutil.copytree(finished, tmp_path / "elsewhere" / finished.name)
    result = command("tables", finished, same, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "two are called 'run'" in result.output


@pytest.mark.parametrize("shards", [True, False])
def test_a_re_run_that_is_interrupted_hides_nothing(finished, shards):
    """As in a checkout, whose results have no shards."""
    if not shards:
        shutil.rmtree(finished / "shards")
    before = content(finished)
    with pytest.raises(InputError, match=r"holds finished results, 6 of whose 6 .*seed 0 \(now 1"):
        run(finished, seed=1)
    with pytest.raises(KeyboardInterrupt):
        run(finished, seed=1, replace=True, stop_after=3)
    result = command("tables", finished)
    assert result.exit_code == 0, result.output
    assert "a newer run is not finished" in result.output
    assert content(finished) == before
    assert collect(finished).run.seed == 0
    status = command("status", finished)
    assert status.exit_code == 1
    assert "finished results:" in status.output
    assert "a newer run: 3 there, 3 missing" in status.output
    run(finished, seed=1, replace=True)
    assert collect(finished).run.seed == 1
    assert command("status", finished).exit_code == 0
    assert not (finished / "plan.next.json").exists()


def test_tables_of_a_run_that_is_not_finished(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_after=5)
    assert command("tables", tmp_path).exit_code == 0
    text = (tmp_path / "tables-incomplete.md").read_text()
    assert "not finished: 1 of its shards are missing; of this model: Constant (1)." in text
    assert not (tmp_path / "tables.md").exists()
    status = command("status", tmp_path)
    assert status.exit_code == 1
    assert "shards: 5 there, 1 missing\n  digits:vgg, Constant: 1 there, 1 missing" in status.output
    assert "torch " in status.output
    assert "made on " in status.output


def test_more_methods_need_no_leave_and_fewer_do(finished):
    assert run(finished, methods=["Random", "Constant", "Saliency"])[0].computed == 2
    with pytest.raises(InputError, match=r"2 of whose 8 .*: this run has no Saliency of digits"):
        run(finished)


def test_finished_results_without_shards_are_not_computed_again(finished):
    shutil.rmtree(finished / "shards")
    before = content(finished)
    assert run(finished)[0].computed == 0
    assert content(finished) == before


@pytest.mark.parametrize("name", ["scores.parquet", "facts.json", "plan.json"])
def test_damaged_tables_are_named_and_made_anew(finished, name):
    before = content(finished)
    damaged = bytearray((finished / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (finished / name).write_bytes(damaged)
    with pytest.raises(InputError, match=rf"{name}' is missing or damaged"):
        collect(finished)
    assert command("status", finished).exit_code in (1, 2)
    assert run(finished)[0].computed == 0
    assert content(finished) == before


@pytest.mark.parametrize("step", range(1, 8))
def test_killed_while_finished_results_are_replaced(finished, monkeypatch, step):
    from benchmarks.runner import collected

    real, calls = collected.replace_file, []

    def dying(path, content):
        calls.append(path.name)
        if calls.count("plan.json") and len(calls) == calls.index("plan.json") + step:
            raise KeyboardInterrupt
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(collected, "replace_file", dying)
        with pytest.raises(KeyboardInterrupt):
            run(finished, seed=1, replace=True)
    # Before the first file it is the old run, and from then on the new one, all of which is there.
    assert (collect(finished).run.seed, collect(finished).missing) == (int(step > 1), 0)
    run(finished, seed=1, replace=True)
    assert collect(finished).run.seed == 1


def test_a_damaged_shard_is_named_put_aside_and_computed_anew(finished, monkeypatch):
    plan = json.loads((finished / "plan.json").read_text())
    path = Store(finished).path(plan["shards"][-1]["key"])
    whole = path.read_bytes()
    before = collect(finished).scores
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 16]) + whole[101:])
    assert "1 damaged" in command("status", finished).output
    said = []
    real = worker.Worker.run
    monkeypatch.setattr(worker.Worker, "run", lambda s, t: said.append("computes") or real(s, t))
    summary = execute(settings(finished), quiet=True, say=said.append)
    assert (summary.computed, summary.found) == (1, 5)
    assert said[0].startswith("damaged, put aside")
    assert said[0].endswith(path.name)
    assert said[1:] == ["computes"]
    pd.testing.assert_frame_equal(collect(finished).scores, before)


def test_opening_results_runs_nothing_of_them(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    plan = json.loads((finished / "plan.json").read_text())
    plan["run"]["modules"] = ["evil"]
    plan["run"]["methods"][0] |= {"name": "Theirs"}
    (finished / "plan.json").write_text(json.dumps(plan))
    (finished / "SHA256SUMS").unlink()
    for arguments in (
        ("report", finished, "--samples", 2, "--output", tmp_path / "page.html"),
        ("figures", finished, "--figure", 16, "--output", tmp_path / "figures"),
        *(("tables", finished), ("status", finished), ("cost", finished)),
    ):
        result = command(*arguments)
        assert result.exit_code == 0, (arguments, result.output)
        assert "imported" not in result.output
    assert "evil" not in sys.modules
    page = (tmp_path / "page.html").read_text()
    assert "Theirs is of the run&#39;s modules (evil)" in page or "(evil)" in page
