"""Quantus's own tests are run before and after the change: how outcomes are read and compared."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import quantus

from tests.upstream import MARKS, scripts

pytestmark = MARKS


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, ModuleType]]:
    """The modules of the contribution."""
    with scripts() as found:
        yield found


def test_their_tests_are_compared(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    """A test that passed must pass; one that did not is counted by its reason."""
    theirs, running = tools["theirs"], tools["running"]
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="a" name="one"/>'
        '<testcase classname="a" name="two"><skipped message="no X"/></testcase>'
        '<testcase classname="a" name="three"><error message="b"/></testcase>'
        '<testcase classname="a" name="three"><failure message="v [1] | w"/></testcase>'
        '<testcase classname="a" name="four"/></testsuite></testsuites>',
        encoding="utf-8",
    )
    before = running.read(report)
    assert before == {
        "a::one": ("passed", ""),
        "a::two": ("skipped", "no X"),
        "a::three": ("failed", "v [1] | w"),
        "a::four": ("passed", ""),
    }
    assert theirs.worse(before, before) == []
    after = {"a::one": ("failed", "why"), "a::two": ("passed", ""), "a::three": ("passed", "")}
    assert theirs.worse(before, after) == ["a::one: failed why", "a::four: gone"]
    text = theirs.describe(before, after)
    assert "4, of which 0 have the same outcome" in text
    assert "- before: 2 passed, 1 failed, 1 skipped\n- after: 2 passed, 1 failed, 0 skipped" in text
    assert "| skipped | 1 | no X |" in text
    assert theirs.reason("v [1] | w at 0x1f\nmore") == "v [...] \\| w [...]"


def test_their_tests_need_a_checkout(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    """The source distribution has no tests, so that none would be compared."""
    (tmp_path / "base").mkdir()
    with pytest.raises(tools["upstream"].BuildError, match="expected a checkout of Quantus"):
        tools["theirs"].run(tmp_path)


def test_one_that_no_longer_passes_is_an_error(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found is written out all the same."""
    theirs = tools["theirs"]
    (tmp_path / "base/tests").mkdir(parents=True)
    for name in ("conftest.py", "test_a.py"):
        (tmp_path / "base/tests" / name).touch()
    asked = []
    results = {"before": {"a::one": ("passed", "")}, "after": {"a::one": ("failed", "why")}}
    monkeypatch.setattr(theirs.running, "pytest", lambda *given: asked.append(given))
    monkeypatch.setattr(theirs.running, "read", lambda path: results[path.stem.split("-")[1]])
    with pytest.raises(tools["upstream"].BuildError, match="a::one: failed why"):
        theirs.run(tmp_path)
    assert "- after: 0 passed, 1 failed, 0 skipped" in (tmp_path / "theirs.md").read_text("utf-8")
    # The same tests in both trees: the tree with all changes has ours beside them.
    assert [(given[0].name, given[1]) for given in asked] == [
        ("base", ["tests/test_a.py"]),
        ("all", ["tests/test_a.py"]),
    ]


#: As Quantus's conftest and tests begin, and how they ask for fixtures.
THEIR_CONFTEST = """
import pytest
from keras.datasets import cifar10
from quantus.helpers.model.models import LeNet, LeNetTF

@pytest.fixture(scope="session", autouse=True)
def model_tf():
    model = LeNetTF()
    model.load_weights("nowhere")
    return {"model": model}

@pytest.fixture
def model():
    return LeNet()

@pytest.fixture
def images():
    (x, y), _ = cifar10.load_data()
    return x[:8].reshape(8, 3, 32, 32)

@pytest.fixture
def patched(mocker):
    mocker.patch("quantus.helpers.model.tf_model.TensorFlowModel.predict", None)
    mocker.patch("os.curdir", "patched")
"""
THEIR_TESTS = """
from __future__ import annotations
import os
import pytest
import tensorflow as tf
from pytest_lazyfixture import lazy_fixture
from quantus.helpers.model.tf_model import TensorFlowModel

@pytest.mark.parametrize(
    "one,expected",
    [
        (lazy_fixture("model"), "LeNet"),
        (lazy_fixture("model_tf"), ""),
        (lazy_fixture("images"), "ndarray"),
    ],
)
def test_lazy(one: tf.keras.Model, expected):
    assert type(one).__name__ == expected

def test_asks_for_it():
    TensorFlowModel(None)

def test_patched(patched):
    assert os.curdir == "patched"

def test_put_back():
    assert os.curdir == "."
"""


def test_stand_ins_for_what_their_tests_need(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    """Tests for torch run though fixtures for all need TensorFlow; those for it are skipped."""
    for name in ("tensorflow", "keras", "pytest_lazyfixture", "pytest_mock"):
        if importlib.util.find_spec(name) is not None:
            pytest.skip(f"{name} is installed, so nothing stands in for it")
    shutil.copytree(Path(quantus.__file__).parent, tmp_path / "quantus")
    (tmp_path / "tests").mkdir()
    for name, text in (
        ("__init__", ""),
        ("conftest", THEIR_CONFTEST),
        ("test_them", THEIR_TESTS),
    ):
        (tmp_path / "tests" / f"{name}.py").write_text(text, encoding="utf-8")
    report = tmp_path / "report.xml"
    tools["running"].pytest(tmp_path, ["tests/test_them.py"], report, None)
    found = {name.partition("::")[2]: told for name, told in tools["running"].read(report).items()}
    passed, skipped = ("passed", ""), ("skipped", "tensorflow is not installed")
    assert found == {
        "test_lazy[model-LeNet]": passed,
        "test_lazy[model_tf-]": skipped,
        "test_lazy[images-ndarray]": passed,
        "test_asks_for_it": ("skipped", "keras is not installed"),
        "test_patched": passed,
        "test_put_back": passed,
    }
