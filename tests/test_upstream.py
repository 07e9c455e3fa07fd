"""The contribution to Quantus can still be made from our sources, and agrees with them.

Quick: made in a copy of the installed Quantus, without network. Slow: its tests are run there.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import quantus

from tests.upstream import MARKS, scripts

GENERATED = (
    "quantus/functions/gae_func.py",
    "quantus/helpers/gae_utils.py",
    "quantus/metrics/faithfulness/gae.py",
    "quantus/metrics/faithfulness/local_consistency.py",
    "quantus/metrics/localisation/contrastiveness.py",
)

pytestmark = MARKS


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, ModuleType]]:
    """The modules of the contribution."""
    with scripts() as found:
        yield found


@pytest.fixture(scope="module")
def work(tools: dict[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Quantus before and after the change."""
    folder = tmp_path_factory.mktemp("upstream")
    tools["upstream"].build(folder, Path(quantus.__file__).parents[1], tests=False, evidence=False)
    return folder


@pytest.fixture(scope="module")
def assets(tools: dict[str, ModuleType]) -> Path:
    """Quantus's test assets."""
    found: Path | None = tools["upstream"].find_assets()
    if found is None:
        pytest.skip("Quantus's test assets are not in ../shared/quantus_assets")
    return found


@pytest.mark.parametrize("path", GENERATED)
def test_generated_code_is_quantus_own(tools: dict[str, ModuleType], work: Path, path: str) -> None:
    """It is Python 3.8, carries Quantus's header, and imports nothing of ours."""
    text = (work / "after" / path).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    assert "# This file is part of Quantus." in text
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    known = {"quantus", "numpy", "torch", "typing_extensions"}
    assert imported <= known | set(sys.stdlib_module_names)
    assert not re.search(r"gae_metric|abslrp|\bSPEC\b|NDArray|ArrayLike|pairwise|strict=", text)
    # As Quantus's flake8 has it; its own header is longer.
    header = tools["generate"].licence_header(work / "after").splitlines()
    assert [line for line in text.splitlines() if len(line) > 127 and line not in header] == []


def test_everything_is_registered(work: Path) -> None:
    """The changed Quantus exports the metrics and lists them; nothing of it needs torch."""
    code = """
import importlib.abc, importlib.util, sys
real = importlib.util.find_spec
hidden = ("torch", "captum", "zennit", "transformers")
importlib.util.find_spec = lambda n, *a: None if n.split(".")[0] in hidden else real(n, *a)
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
sys.meta_path.insert(0, Hide())
import quantus

from tests.upstream import MARKS, scripts
found = {name: metric for group in quantus.AVAILABLE_METRICS.values()
         for name, metric in group.items()}
for metric in (quantus.LocalConsistency, quantus.Contrastiveness, quantus.GAE):
    assert found[metric.name] is metric
assert "torch" not in sys.modules
print(quantus.__file__)
"""
    done = _run(["-c", code], work / "after")
    assert Path(done.strip()) == work / "after/quantus/__init__.py"


def test_one_commit_for_each_part(tools: dict[str, ModuleType], work: Path) -> None:
    """Each fix is a patch of its own, with its tests; the metrics are the last one."""
    fixes = tools["upstream"].FIXES
    patches = sorted((work / "patches").glob("*.patch"))
    assert len(patches) == len(fixes) + 1
    for name, patch in zip(fixes, patches, strict=False):
        files = set(re.findall(r"^\+\+\+ b/(\S+)", patch.read_text("utf-8"), re.M))
        assert len([file for file in files if file.startswith("quantus/")]) == 1, name
        assert any(file.startswith("tests/") for file in files), name
    assert set(GENERATED) <= set(
        re.findall(r"^\+\+\+ b/(\S+)", patches[-1].read_text("utf-8"), re.M)
    )


def test_formulas_come_from_our_sources(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a formula in our sources is a change of the generated code."""
    extract, parts = tools["extract"], tools["parts"]
    before = parts.functions()
    original = extract.Module.__init__

    def changed(self: Any, name: str) -> None:
        original(self, name)
        if name.endswith(".scores"):
            self.text = self.text.replace("/ 2).clamp(min=0)", "/ 3).clamp(min=0)")
            self.tree = ast.parse(self.text)

    monkeypatch.setattr(extract.Module, "__init__", changed)
    after = parts.functions()
    assert before != after
    assert before == after.replace("/ 3).clamp(min=0)", "/ 2).clamp(min=0)")


def test_missing_definitions_are_named(tools: dict[str, ModuleType]) -> None:
    """A definition that is gone, or a replacement that no longer applies, is an error."""
    extract = tools["extract"]
    module = extract.Module("gae_metric.functional.scores")
    with pytest.raises(extract.ExtractionError, match=r"scores\.py: expected a definition of lost"):
        module.part(extract.Part("lost"))
    with pytest.raises(extract.ExtractionError, match="expected once, got 0 times: 'nowhere'"):
        module.part(extract.Part("similarity", replace={"nowhere": ""}))


def test_conversion(tools: dict[str, ModuleType]) -> None:
    """What Python 3.8, NumPy 1.19 or Quantus's readers lack is rewritten; the rest is kept."""
    text = (
        'def f(x: ArrayLike, *, n: int = 1) -> NDArray[np.int64]:\n    """Äh (SPEC 2.1).\n\n'
        "    Parameters\n    ----------\n    x\n        See :func:`gae_metric.functional.g`.\n"
        '    n\n        Number.\n\n    Returns\n    -------\n    x\n        It.\n    """\n'
        "    # ä, kept\n    return [a for a, b in zip(x, pairwise(x), strict=True)]\n"
    )
    assert tools["extract"].convert(text) == (
        'def f(x: np.ndarray, *, n: int = 1) -> np.ndarray:\n    """Äh.\n\n'
        "    Parameters\n    ----------\n    x: np.ndarray\n        See :func:`g`.\n    n: int\n"
        '        Number.\n\n    Returns\n    -------\n    x\n        It.\n    """\n'
        "    # ä, kept\n    return [a for a, b in zip(x, zip(x, x[1:]))]\n"
    )


def test_generated_code_is_checked(tools: dict[str, ModuleType]) -> None:
    """What Python 3.8 cannot read, and what knows us, is refused."""
    generate = tools["generate"]
    for text in (
        "match x:\n    case 1:\n        pass\n",
        "import gae_metric\n",
        "zip(a, b, strict=True)\n",
    ):
        with pytest.raises(generate.GenerationError):
            generate.check(text, "x.py")
    generate.check("x = 1\n", "x.py")


def test_tables_of_contents(tools: dict[str, ModuleType], tmp_path: Path) -> None:
    """Pages are entered in alphabetical order, in the last table of contents."""
    page = tmp_path / "quantus.metrics.localisation.rst"
    text = ".. toctree::\n   :maxdepth: 4\n\n   quantus.a.auc\n   quantus.a.focus\n"
    page.write_text(text, encoding="utf-8")
    for module in ("quantus.a.contrastiveness", "quantus.a.zebra"):
        tools["generate"].enter(page, module)
    entries = [line.strip() for line in page.read_text("utf-8").splitlines() if "quantus" in line]
    assert entries == [
        "quantus.a.auc",
        "quantus.a.contrastiveness",
        "quantus.a.focus",
        "quantus.a.zebra",
    ]


def test_changes_are_found(tools: dict[str, ModuleType]) -> None:
    """The comparison tells scores, names and defaults that changed; NaN is equal to NaN."""
    changes = tools["compare"].changes
    before = {
        "scores": {"A": [1.0, math.nan], "B": {"1": 0.5}},
        "names": {"f": "(x=<function g at 0x12>)", "gone": "()", "normalise_by_max": "(a)"},
    }
    same = json.loads(json.dumps(before))
    same["names"]["f"] = "(x=<function g at 0x34>)"
    same["names"]["normalise_by_max"] = "(a, per_sample=False)"
    assert changes(before, same) == []
    after = {"scores": {"A": [1.0, 1.0], "B": {"1": 0.5}}, "names": {"f": "(x=2)"}}
    found = changes(before, after)
    assert [line.split()[0] for line in found] == [
        "score",
        "f(x=<function",
        "gone",
        "normalise_by_max",
    ]


def test_download_fails_clearly(
    tools: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the registry the error says what to do."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(tools["upstream"].BuildError, match="registry reachable"):
        tools["upstream"].download(tmp_path)


def test_scores_agree_with_this_package(
    tools: dict[str, ModuleType], work: Path, assets: Path
) -> None:
    """The generated metrics' scores on the MNIST LeNet are ours to 1e-6."""
    out = work / "agreement.json"
    rows = tools["compare"].run("agreement.py", work / "after", out, str(assets), "8", "1")
    assert len(rows) == 6
    for row in rows:
        np.testing.assert_allclose(row["generated"], row["package"], rtol=0, atol=1e-6)
    # Scores that are all 0 would agree whatever was computed.
    assert all(max(row["package"]) > 0.05 for row in rows if "40" in row["model"])


@pytest.mark.slow
def test_upstream_tests(
    tools: dict[str, ModuleType], work: Path, assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Our tests pass with the change, and those of each fix fail without it."""
    outcomes = tools["upstream"].run_tests(work, assets)
    assert set(outcomes.values()) == {"passed"}
    assert len(outcomes) > 60
    assert "with the change" in capsys.readouterr().out


def _run(arguments: list[str], tree: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
