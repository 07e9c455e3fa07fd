"""Scores are reused where nothing that they depend on has changed, and only there."""

import dataclasses
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from benchmarks.config.runs import parse
from benchmarks.methods import METHODS
from benchmarks.models import load
from benchmarks.runner import identity, worker
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
from benchmarks.runner.store import Store
from gae_metric.errors import InputError


def run(output, *, replace=False, retry_failed=False, **changes):
    """Return the number of shards computed, and what the run said."""
    given = {
        "models": "digits:vgg", "samples": 5, "methods": "Saliency", "metrics": "LC", "steps": 3,
        "output": str(output),
    }  # fmt: skip
    said = []
    options = {"replace": replace, "retry_failed": retry_failed}
    settings = parse({**given, **changes})
    return execute(settings, quiet=True, say=said.append, **options).computed, said


@pytest.fixture
def squeezenet(tmp_path):
    """A model entry whose weights file can be replaced."""
    file = tmp_path / "weights.safetensors"
    from torchvision.models import squeezenet1_1

    save_file(squeezenet1_1(num_classes=4).state_dict(), file)
    return {
        "name": "torchvision:squeezenet1_1", "weights": str(file), "args": {"num_classes": 4},
        "size": 48,
    }  # fmt: skip


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        path = tmp_path / "images" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_weights_and_images_by_their_content(tmp_path, squeezenet, photographs):
    out, data = tmp_path / "out", f"imagefolder:{photographs}"
    changes = {"models": squeezenet, "data": data}
    assert run(out, **changes) == (2, [])
    before = collect(out).scores["score"].tolist()
    assert run(out, **changes) == (0, [])
    # The same content elsewhere is the same.
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((tmp_path / "weights.safetensors").read_bytes())
    assert run(out, models={**squeezenet, "weights": str(moved)}, data=data)[0] == 0
    tensors = load_file(moved)
    save_file({k: v * 1.5 for k, v in tensors.items()}, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"2 of whose 2 shards .*: weights\. --replace"):
        run(out, **changes)
    assert collect(out).scores["score"].tolist() == before
    expected = ["shards of other settings, which are left alone: 2: weights"]
    assert run(out, replace=True, **changes) == (2, expected)
    assert collect(out).scores["score"].tolist() != before
    image = photographs / "class0" / "0.png"
    Image.open(image).rotate(90).save(image)
    with pytest.raises(InputError, match=r"shards .*: images\. --replace"):
        run(out, **changes)


def test_labels(tmp_path, photographs):
    (tmp_path / "flat").mkdir()
    for path in photographs.glob("*/*.png"):
        path.rename(tmp_path / "flat" / path.name)
    data = f"imagenet:{tmp_path / 'flat'}"
    for shift in (0, 1):
        lines = [f"{i}.png,{i + shift}" for i in range(5)]
        (tmp_path / "flat" / "labels.csv").write_text("\n".join(["file,class_index", *lines]))
        assert run(tmp_path / "out", data=data, replace=True, targets="labels")[0] == 2


def test_the_code_of_modules_and_of_what_they_import(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    method = """from benchmarks.methods import method
@method("Mine", family="any", source="me", citation="")
def mine(model, inputs, targets, **kwargs):
    from my_helper import map_of  # not seen by looking at the module's names
    return map_of(inputs)
"""
    (tmp_path / "my_methods.py").write_text(method)
    (tmp_path / "my_helper.py").write_text("def map_of(x):\n    return x\n")
    changes = {"modules": "my_methods", "methods": ["Mine", "Constant"]}
    try:
        assert run(tmp_path / "out", **changes)[0] == 3
        assert run(tmp_path / "out", **changes)[0] == 0
        (tmp_path / "my_helper.py").write_text("def map_of(x):\n    return abs(x)\n")
        with pytest.raises(InputError, match=r"1 of whose 3 shards .*: modules\. --replace"):
            run(tmp_path / "out", **changes)
        assert run(tmp_path / "out", replace=True, **changes)[0] == 1  # Constant stays
    finally:
        METHODS.pop("Mine", None)
        for name in ("my_methods", "my_helper"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("package", "computed"), [("torch", 2), ("quantus", 2), ("captum", 1), ("zennit", 0)]
)
def test_versions_that_matter(tmp_path, monkeypatch, package, computed):
    run(tmp_path)
    real = identity.metadata.version
    other = lambda name: "99.1" if name == package else real(name)  # noqa: E731
    identity._installed.cache_clear()
    monkeypatch.setattr(identity.metadata, "version", other)
    try:
        found, said = run(tmp_path, replace=True)
        assert found == computed
        assert len(said) == (computed > 0)
        assert not said or said[0].endswith(f": {package} {real(package)} (now 99.1)")
    finally:
        identity._installed.cache_clear()


def test_versions_of_what_modules_and_quantus_import(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    method = """from benchmarks.methods import method
@method("Mine", family="any", source="me", citation="")
def mine(model, inputs, targets, **kwargs):
    import skimage.filters
    return inputs
"""
    (tmp_path / "my_filter.py").write_text(method)
    changes = {"modules": "my_filter", "methods": ["Mine", "Constant"]}
    cases = [(changes, 1), ({"methods": "Constant", "metrics": "quantus:Sparseness"}, 1)]
    real = identity.metadata.version
    other = lambda name: "99.1" if name == "scikit-image" else real(name)  # noqa: E731
    try:
        for i, (given, computed) in enumerate(cases):
            run(tmp_path / f"{i}", **given)
            with monkeypatch.context() as patch:
                identity._installed.cache_clear()
                patch.setattr(identity.metadata, "version", other)
                assert run(tmp_path / f"{i}", replace=True, **given)[0] == computed
            identity._installed.cache_clear()
    finally:
        identity._installed.cache_clear()
        METHODS.pop("Mine", None)
        sys.modules.pop("my_filter", None)


def test_batch_size_threads_and_our_own_code(tmp_path, monkeypatch):
    run(tmp_path, threads=1)
    for changes, what in (
        ({"batch_size": 3, "threads": 1}, "batch_size 32 (now 3)"),
        ({"threads": 2}, "threads 1 (now 2)"),
    ):
        with pytest.raises(InputError) as caught:
            run(tmp_path, **changes)
        assert f": {what}. --replace" in str(caught.value)
    for module in (worker.identity, __import__("benchmarks.runner.shards", fromlist=["_"])):
        monkeypatch.setattr(module, "code_digest", lambda: "0" * 64)
    with pytest.raises(InputError, match=r": code\. --replace"):
        run(tmp_path, threads=1)


def test_what_no_score_comes_from_is_there():
    """A folder that was moved would count again, and its texts with it."""
    for package, names in identity._NO_SCORES.items():
        folder = Path(importlib.import_module(package).__file__).parent
        assert [name for name in names if not (folder / name).exists()] == []


def test_a_machine_with_other_weights_or_versions_computes_nothing(tmp_path, monkeypatch):
    """As a node of a cluster may have them; nothing is recorded."""

    def others(*arguments):
        loaded = load(*arguments)
        next(loaded.model.parameters()).mul_(2)
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(worker, "load", others)
        with pytest.raises(InputError, match=r"has not what the run was started with: weights"):
            run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(worker.identity, "matter", lambda method: {"torch": "1.0"})
        with pytest.raises(InputError, match=r"started with: .*torch .* \(now 1\.0\)|: torch"):
            run(tmp_path)
    assert not Store(tmp_path).shards()


def test_an_image_that_changes_while_the_run_goes_on(tmp_path, photographs, monkeypatch):
    real = worker.Worker._load

    def later(self, entry):
        Image.new("RGB", (60, 60), "red").save(photographs / "class1" / "3.png")
        return real(self, entry)

    monkeypatch.setattr(worker.Worker, "_load", later)
    with pytest.raises(InputError, match=r"class1/3\.png' .*: its content has changed since"):
        run(tmp_path / "out", data=f"imagefolder:{photographs}")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("wrapped", ["bare", "while", "from"])
def test_an_interrupt_is_no_failure(tmp_path, monkeypatch, kind, wrapped):
    """Also where a context that it left in turn ended in another error."""

    def explain(model, inputs, targets, **kwargs):
        try:
            raise kind
        except kind as error:
            if wrapped == "bare":
                raise
            if wrapped == "from":
                raise RuntimeError("empty mode stack") from error
            raise RuntimeError("empty mode stack")  # noqa: B904

    row = dataclasses.replace(METHODS["Saliency"], function=explain)
    monkeypatch.setitem(METHODS, "Saliency", row)
    with pytest.raises(kind):
        run(tmp_path)
    assert all("targets" in key for key in Store(tmp_path).shards())
