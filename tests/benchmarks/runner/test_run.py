"""A run's scores are those of the metrics themselves, and errors are told and kept."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.data.names import open_data
from benchmarks.methods import METHODS
from benchmarks.metrics.quantus_scores import quantus_options
from benchmarks.metrics.registry import LocalLipschitz
from benchmarks.models import load
from benchmarks.runner import worker
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
from benchmarks.runner.shards import digest
from benchmarks.runner.store import Store
from gae_metric import GAE, Contrastiveness, LocalConsistency
from gae_metric.commands import quantus_evaluation as evaluation
from gae_metric.companions import ROAD, Focus
from gae_metric.errors import InputError
from gae_metric.functional import masking_trajectory
from gae_metric.study import trajectories
from gae_metric.study.logits import predictions
from tests.benchmarks.disks import remount, small_disk

FAKES = "tests.benchmarks.fakes"
pytestmark = pytest.mark.usefixtures("fake_methods")


def settings(output, **changes):
    given = {
        "models": "digits:vgg",
        "samples": 6,
        "block": 4,
        "methods": "Quick",
        "metrics": "C",
        "modules": FAKES,
        "output": str(output),
    }
    return parse({**given, **changes})


def run(output, replace=False, say=lambda line: None, **changes):
    summary = execute(settings(output, **changes), quiet=True, replace=replace, say=say)
    return summary, collect(output)


def wide(scores, method):
    some = scores[scores["method"] == method]
    return some.pivot_table("score", "sample", "metric", dropna=False)


@pytest.mark.parametrize("block", [3, 8])
def test_scores_are_the_metrics_own_whatever_the_shards(tmp_path, block):
    metrics = ["GAE", "ROAD_MoRF", "ROAD_LeRF", "LocalLipschitz", "Focus"]
    short = [{"name": f"ROAD_{o}", "options": {"percentages": [20, 60]}} for o in ("MoRF", "LeRF")]
    asked = [metrics[0], *short, *metrics[3:]]
    changes = {"samples": 8, "block": block, "methods": "absLRP", "metrics": asked, "steps": 4}
    _, found = run(tmp_path, seed=3, **changes)
    scores = wide(found.scores, "absLRP")
    model, explain = load("digits:vgg").model, METHODS["absLRP"]
    x = open_data("digits").sample(8, seed=3).arrays
    y = predictions(model, x).argmax(1)
    assert found.targets["target"].tolist() == y.tolist()
    gae = GAE(steps=4, seed=3, disable_warnings=True)
    gae(model, x, y, explain_func=explain)
    names = ["LC_R", "LC_F", "LC", "C", "GAE"]
    np.testing.assert_allclose(
        scores[names].to_numpy(), gae.components[list(gae.columns)].to_numpy(), atol=1e-4
    )
    for name, metric in (
        ("ROAD_MoRF", ROAD(order="morf", percentages=[20, 60], seed=3)),
        ("ROAD_LeRF", ROAD(order="lerf", percentages=[20, 60], seed=3)),
        ("Focus", Focus(seed=3, disable_warnings=True)),
        ("LocalLipschitz", evaluation.METRICS["LocalLipschitz"](evaluation.Settings(seed=3))),
    ):
        alone = metric(model=model, x_batch=x, y_batch=y, a_batch=None, explain_func=explain)
        np.testing.assert_allclose(scores[name], alone, atol=1e-4, err_msg=name)
    by_percentage = scores[["ROAD_MoRF@20", "ROAD_MoRF@60"]].mean(axis=1)
    np.testing.assert_array_equal(scores["ROAD_MoRF"], by_percentage)


def test_parts_alone_are_those_of_gae(tmp_path):
    _, whole = run(tmp_path / "a", metrics="GAE", methods="Saliency")
    _, parts = run(tmp_path / "b", metrics=["LC", "C"], methods="Saliency")
    one, other = wide(whole.scores, "Saliency"), wide(parts.scores, "Saliency")
    np.testing.assert_allclose(one[list(other.columns)], other, atol=1e-4)
    assert {LocalConsistency.columns[-1], Contrastiveness.columns[-1]} == {
        "local_consistency",
        "contrastiveness",
    }


def test_a_metric_of_quantus_does_not_depend_on_the_shards(tmp_path):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is meant
    metric = {"name": "quantus:MaxSensitivity", "options": {"nr_samples": 2}}
    tables = [
        run(tmp_path / str(n), block=n, samples=2, metrics=metric, methods="Saliency")[1].scores
        for n in (1, 2)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0]["score"].between(0, 10, inclusive="neither").all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_constant_map_and_one_that_is_not_finite():
    model, x = load("digits:vgg").model, open_data("digits").part([0, 1]).arrays
    y = np.array([0, 1])

    def explain(model, inputs, targets, **kwargs):
        maps = np.ones_like(inputs)
        maps[targets == 1] = np.nan
        return maps

    scores = LocalLipschitz()(model, x, y, explain_func=explain, device="cpu")
    assert scores[0] == 0
    assert np.isnan(scores[1])


@pytest.fixture
def evaluations(monkeypatch):
    """Images that the model evaluates, while scores are computed."""
    count = []

    def counted(*arguments):
        loaded = load(*arguments)
        loaded.model.register_forward_pre_hook(lambda module, given: count.append(len(given[0])))
        return loaded

    monkeypatch.setattr(worker, "load", counted)
    return count


def test_trajectories_are_computed_once_for_all_methods(tmp_path, evaluations, monkeypatch):
    """Quick asks nothing of the model: all evaluations are the metric's."""
    found = []

    def noted(*args, **kwargs):
        found.append(masking_trajectory(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(trajectories, "masking_trajectory", noted)
    run(tmp_path / "one", metrics="GAE", samples=5, steps=4)
    one = sum(evaluations)
    evaluations.clear()
    assert sum(len(each.logits) for each in found) == 5
    states = sum(int((~each.repeated[..., 1:]).sum()) for each in found)
    assert 5 * 2 <= states < 5 * 6  # of digits, which are black for the most part
    three = [{"name": "Quick", "label": f"x{f}", "options": {"factor": f}} for f in (1, 2, 3)]
    _, found = run(tmp_path / "three", metrics="GAE", samples=5, steps=4, methods=three)
    # Predictions, and the states of two trajectories of which the first is shared. And in each of
    # two blocks the metric sees that the model's rows are their own and stay so: a row
    # alone, beside another on either side, and alone again, 1 + 2 + 2 + 1.
    assert one == 5 + (5 + states) + 2 * 6
    # Each other method that, too, and that trajectories which it takes over are the model's: 1.
    assert sum(evaluations) == one + 2 * (2 * 7)
    assert found.scores.groupby(["method", "metric"]).size().eq(5).all()


def test_what_ran_before_makes_no_difference(tmp_path):
    """Bit for bit, also where another method has computed the trajectories."""
    both = ["Saliency", "absLRP"]
    changes = {"metrics": ["GAE", "Focus"], "steps": 4, "batch_size": 3}
    _, together = run(tmp_path / "together", methods=both, **changes)
    run(tmp_path / "apart", methods="absLRP", **changes)
    summary, apart = run(tmp_path / "apart", methods=both, **changes)
    assert summary.found == 4
    pd.testing.assert_frame_equal(apart.scores, together.scores, check_exact=True)


def test_a_failing_method_is_recorded_and_the_rest_goes_on(tmp_path):
    methods = ["Fails", "FailsLater", "Elsewhere", "Quick"]
    summary, found = run(tmp_path, methods=methods, metrics=["C", "LocalLipschitz"])
    assert set(found.scores["method"]) == {"Quick"}
    assert found.missing == 0
    failures = found.failures.set_index("method")
    assert (failures.loc["Fails", "error"] == "RuntimeError: out of order").all()
    assert (failures.loc["FailsLater", "metric"] == ["C", "LocalLipschitz"] * 2).all()
    assert not failures.loc["Elsewhere", "applies"].any()
    assert summary.inapplicable == {"digits:vgg: Elsewhere: the model is not mine": 2}
    assert summary.failed["digits:vgg: Fails: RuntimeError: out of order"] == 2
    # What failed is done, too, unless it is asked for again.
    again = execute(
        settings(tmp_path, methods=methods, metrics=["C", "LocalLipschitz"]), quiet=True
    )
    assert again.computed == 0
    once_more = execute(
        settings(tmp_path, methods=methods, metrics=["C", "LocalLipschitz"]),
        retry_failed=True,
        quiet=True,
    )
    assert once_more.computed == 4


def test_other_settings_are_other_shards(tmp_path):
    run(tmp_path)
    for change, computed in (
        ({}, 0),
        ({"batch_size": 7}, 4),  # sums round differently
        ({"targets": "labels"}, 4),
        ({"methods": ["Quick", "Constant"]}, 2),
        ({"methods": {"name": "Quick", "options": {"factor": 2.0}}}, 2),
        ({"steps": 5}, 2),
        ({"metrics": "LC"}, 2),
        ({"block": 6}, 2),  # predictions, too
        ({"seed": 1}, 4),
    ):
        assert run(tmp_path, replace=True, **change)[0].computed == computed, change


def test_a_function_is_known_by_its_name(tmp_path):
    """Its place in memory is another one in every process."""
    assert digest([quantus_options("AvgSensitivity")["perturb_func"]]) == digest(
        ["quantus.functions.perturb_func.batch_uniform_noise"]
    )
    metric = {"name": "quantus:AvgSensitivity", "options": {"nr_samples": 1}}
    changes = {"metrics": metric, "methods": "Saliency", "samples": 1}
    assert run(tmp_path, **changes)[0].failed == {}


def test_finished_results_are_read_without_their_shards(tmp_path):
    _, found = run(tmp_path, methods=["Quick", "Fails"])
    shutil.rmtree(tmp_path / "shards")
    kept = collect(tmp_path)
    for name in ("scores", "targets", "failures", "seconds"):
        pd.testing.assert_frame_equal(getattr(kept, name), getattr(found, name), check_dtype=False)
    assert kept.run == found.run
    assert kept.facts[0]["versions"]["torch"]


def test_shards_know_how_they_were_made(tmp_path):
    run(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    facts = Store(tmp_path).facts(plan["shards"][-1]["key"])
    assert facts["run"]["seed"] == 0
    assert facts["versions"]["quantus"]
    assert set(facts) >= {"revision", "changed", "seconds", "failures", "where", "settings"}


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "images"
    rng = np.random.default_rng(0)
    for i in range(8):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(path)
    return folder


def test_a_corrupt_image_is_named_and_left_out(tmp_path, photographs):
    broken = photographs / "class1" / "3.png"
    broken.write_bytes(broken.read_bytes()[:80])
    summary, found = run(tmp_path / "out", data=f"imagefolder:{photographs}", samples=None)
    assert list(summary.skipped) == ["class1/3.png"]
    assert len(found.targets) == 7
    # Also where the run goes on and does not look at the files again.
    assert list(run(tmp_path / "out", data=f"imagefolder:{photographs}", samples=None)[0].skipped)


def test_an_image_that_is_damaged_later_stops_the_run(tmp_path, photographs):
    data = f"imagefolder:{photographs}"
    run(tmp_path / "out", data=data, samples=8, metrics="LC")
    (photographs / "class0" / "2.png").write_bytes(b"no image")
    both = ["Quick", "Constant"]
    with pytest.raises(InputError, match=r"4 of whose 4 shards .*: images\. --replace"):
        run(tmp_path / "out", data=data, samples=8, metrics="LC", methods=both)
    with pytest.raises(InputError, match=r"class0/2\.png' could be read when"):
        run(tmp_path / "out", data=data, samples=8, metrics="LC", methods=both, replace=True)
    assert set(collect(tmp_path / "out").scores["method"]) == {"Quick"}


def test_too_few_images(tmp_path, photographs):
    with pytest.raises(InputError, match="mosaics need at least 4 images, and there are 3"):
        run(tmp_path / "out", samples=3)
    assert len(run(tmp_path / "out", samples=3, metrics="LC")[1].targets) == 3


def test_a_missing_label(tmp_path, photographs):
    for path in photographs.glob("*/*.png"):
        path.rename(photographs / path.name)
    (photographs / "labels.csv").write_text(
        "file,class_index\n" + "".join(f"{i}.png,{i}\n" for i in range(7))
    )
    summary, found = run(tmp_path / "out", data=f"imagenet:{photographs}", samples=None)
    assert summary.skipped == {"7.png": "no label"}
    assert len(found.targets) == 7


def test_labels_that_the_model_does_not_have(tmp_path, photographs):
    for path in photographs.glob("*/*.png"):
        path.rename(photographs / path.name)
    labels = "file,class_index\n" + "".join(f"{i}.png,{i + 5}\n" for i in range(8))
    (photographs / "labels.csv").write_text(labels)
    with pytest.raises(InputError, match="labels go to 12, and digits:vgg has 10 classes"):
        run(tmp_path / "out", data=f"imagenet:{photographs}", samples=None, targets="labels")


def test_targets_are_labels_where_that_is_asked(tmp_path):
    _, found = run(tmp_path, targets="labels")
    assert (found.targets["target"] == found.targets["label"]).all()


def test_the_command_says_what_came_of_it(tmp_path):
    arguments = ["run", "--model", "digits:vgg", "--samples", "4", "--metric", "C"]
    arguments += ["--output", str(tmp_path / "out")]
    runner = CliRunner(env={"COLUMNS": "200"})
    result = runner.invoke(app, [*arguments, "--method", "Constant", "--method", "Rollout"])
    assert result.exit_code == 0, result.output
    # No terminal: a line for each model, and one every 30 seconds.
    assert result.output.count("shards: ") == 1
    assert "shards: digits:vgg, Constant, 1 of 2, 50%" in result.output
    quiet = runner.invoke(app, [*arguments, "--quiet", "--method", "Constant", "--replace"])
    assert "shards: " not in quiet.output
    assert "3 shards computed, 0 were there" in result.output
    assert "does not apply: digits:vgg: Rollout: the model has no attention" in result.output
    result = runner.invoke(app, [*arguments, "--method", "NoSuch"])
    assert result.exit_code == 2
    (tmp_path / "file").touch()
    arguments[-1] = str(tmp_path / "file" / "below")
    result = runner.invoke(app, [*arguments, "--method", "Constant"])
    assert result.exit_code == 2
    assert "output: cannot write to" in result.output


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    import errno
    import os

    calls = []
    replace = os.replace

    def filling(source, target):
        calls.append(target)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", filling)
        with pytest.raises(OSError, match="No space left on device"):
            run(tmp_path / "full", methods=["Quick", "Constant"])
    assert collect(tmp_path / "full").missing == 3  # of 6; three of the five are no shards
    assert not list(Path(tmp_path).rglob("*.tmp"))
    summary, found = run(tmp_path / "full", methods=["Quick", "Constant"])
    assert summary.found == 3
    _, whole = run(tmp_path / "whole", methods=["Quick", "Constant"])
    pd.testing.assert_frame_equal(found.scores, whole.scores)


def whole_shards(folder):
    """Shards and their content; every file that has its final name can be read."""
    store, root = Store(folder), folder / "shards"
    names = [str(p.relative_to(root))[: -len(".parquet")] for p in root.rglob("*.parquet")]
    return {name: store.path(name).read_bytes() for name in names if store.read(name)[1]["run"]}


def test_a_disk_that_fills_again_and_again(tmp_path):
    """Full at every page that a run needs; given one more, it goes on, and ends as an unbroken."""
    methods, page = ["Quick", "Constant", "Fails"], 4
    _, whole = run(tmp_path / "whole", methods=methods, block=2)
    shards = whole_shards(tmp_path / "whole")
    with small_disk(tmp_path / "disk", f"{page}k") as folder:
        size, before, stopped, computed = page, {}, [], 0
        while True:
            try:
                summary, found = run(folder, methods=methods, block=2)
                break
            except (InputError, OSError) as error:
                stopped.append(str(error))
            after = whole_shards(folder)
            assert before.items() <= after.items()  # none is lost or written once more
            computed += len(after) - len(before)
            assert not list(folder.rglob("*.tmp"))
            before = after
            size += page
            assert size < 1024, stopped[-1]
            remount(folder, f"size={size}k")
        assert summary.computed + computed == len(shards) == 12
        assert summary.found == computed
        assert whole_shards(folder).keys() == shards.keys()
        assert before.items() <= whole_shards(folder).items()
        for name in ("scores", "targets", "failures"):
            frame = getattr(found, name)
            pd.testing.assert_frame_equal(frame, getattr(whole, name), check_exact=True)
            stored = (folder / f"{name}.parquet").read_bytes()
            assert stored == (tmp_path / "whole" / f"{name}.parquet").read_bytes()
        assert found.missing == 0
    # Before the first shard, in the middle of the shards, and with the tables that come last.
    for name in ("plan.json", "shards/.*parquet", "(scores|targets|facts).*"):
        expected = (
            rf"cannot write '.*disk/{name}': No space left on device\. What was finished is kept: "
            "the same command goes on from there"
        )
        assert any(re.search(expected, text) for text in stopped), (name, stopped)
    assert all("No space left on device" in text for text in stopped)
    assert len(stopped) > 12


def test_a_disk_that_becomes_read_only(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as folder:
        _, before = run(folder, methods="Quick")
        remount(folder, "ro")
        with pytest.raises(InputError, match=r"cannot write to .*Read-only file system"):
            run(folder, methods=["Quick", "Constant"])
        pd.testing.assert_frame_equal(collect(folder).scores, before.scores)
        remount(folder, "rw")
        summary, after = run(folder, methods=["Quick", "Constant"])
    assert (summary.found, summary.computed) == (4, 2)
    assert set(after.scores["method"]) == {"Quick", "Constant"}


def test_the_command_on_a_full_disk(tmp_path):
    """One line that says what to do; the same command goes on once there is room."""
    arguments = ["run", "--model", "digits:vgg", "--samples", "4", "--metric", "C", "--quiet"]
    arguments += ["--method", "Constant", "--method", "Random"]
    runner = CliRunner(env={"COLUMNS": "200"})
    with small_disk(tmp_path / "disk", "24k") as folder:
        full = runner.invoke(app, [*arguments, "--output", str(folder)])
        assert full.exit_code == 1, full.output
        assert "No space left on device. What was finished is kept" in full.output
        assert "Traceback" not in full.output
        kept = whole_shards(folder)
        remount(folder, "size=1m")
        again = runner.invoke(app, [*arguments, "--output", str(folder)])
        assert again.exit_code == 0, again.output
        assert f"{3 - len(kept)} shards computed, {len(kept)} were there" in again.output


def test_a_run_of_more_images_has_the_first_ones_scores(tmp_path):
    (few, some), (more, every) = (run(tmp_path, first=n) for n in (3, 6))
    # Blocks of 4: one of two is scored, and the classes of all are known.
    assert (few.computed, more.computed, more.found) == (3, 1, 3)
    assert some.scores["sample"].unique().tolist() == [0, 1, 2, 3]
    assert every.scores["sample"].nunique() == 6
    first = every.scores[every.scores["sample"] < 4].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, some.scores)
    # Those that are scored first are those that a smaller draw has, whose order is the files'.
    _, smaller = run(tmp_path / "smaller", samples=4)
    drawn = some.targets.query("sample < 4")["file"]
    assert sorted(drawn) == sorted(smaller.targets["file"])
    assert drawn.tolist() != smaller.targets["file"].tolist()
