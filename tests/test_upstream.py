"""The contribution to Quantus can be made, in the form that Quantus asks for; its scores are ours.

Quick: made in a copy of the installed Quantus, without network. Slow: its tests are run there.
"""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import quantus

from tests.upstream import CONTRIBUTION, MARKS, scripts

ROOT = Path(__file__).resolve().parents[1]
NEW = sorted(CONTRIBUTION.glob("topics/*/new/**/*.py"))
AUTHOR = "Ada Lovelace <ada@example.org>"
#: Of the metrics' commit, tests and documentation included.
MOST_LINES = 1200

pytestmark = MARKS


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, ModuleType]]:
    """The modules of the contribution."""
    with scripts() as found:
        yield found


@pytest.fixture(scope="module")
def work(tools: dict[str, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Quantus as it is, with each topic, and with all of them."""
    folder = tmp_path_factory.mktemp("upstream")
    installed = Path(quantus.__file__).parents[1]
    tools["upstream"].build(folder, installed, AUTHOR, tests=False, evidence=False)
    return folder


@pytest.fixture(scope="module")
def assets(tools: dict[str, ModuleType]) -> Path:
    """Quantus's test assets."""
    found: Path | None = tools["upstream"].find_assets()
    if found is None:
        pytest.skip("Quantus's test assets are not in ../shared/quantus_assets")
    return found


@pytest.mark.parametrize("file", NEW, ids=lambda file: file.name)
def test_new_code_is_quantus_own(work: Path, file: Path) -> None:
    """It is Python 3.8, imports nothing of ours, and code of the library carries the header."""
    topic, _, *parts = file.relative_to(CONTRIBUTION / "topics").parts
    text = work.joinpath(topic, *parts).read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [
        module.split(".")[0]
        for node in imports
        for module in ([each.name for each in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    ]
    assert set(modules) <= {"quantus", "numpy", "torch", "pytest", *sys.stdlib_module_names}
    assert not re.search(r"gae_metric|abslrp|\bSPEC\b|strict=", text)
    assert ("# This file is part of Quantus." in text) == (parts[0] == "quantus")
    # As Quantus's flake8 has it; its own header is longer.
    assert [line for line in text.splitlines() if len(line) > 127 and line[0] != "#"] == []


def test_new_code_is_formatted(work: Path) -> None:
    """As black and isort do with 88 characters a line, and without unused imports."""
    new = [
        str(Path(topic, *parts))
        for topic, _, *parts in (file.relative_to(CONTRIBUTION / "topics").parts for file in NEW)
    ]
    options = ["--isolated", "--no-cache", "--line-length", "88", "--target-version", "py38"]
    for topic in {name.split("/")[0] for name in new}:
        files = [name.partition("/")[2] for name in new if name.startswith(f"{topic}/")]
        # In the tree, which tells what is Quantus's own.
        _run(["-m", "ruff", "format", "--check", *options, *files], work / topic)
        _run(["-m", "ruff", "check", "--select", "F401,I", *options, *files], work / topic)


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
found = {name: metric for group in quantus.AVAILABLE_METRICS.values()
         for name, metric in group.items()}
for metric in (quantus.LocalConsistency, quantus.Contrastiveness, quantus.GAE):
    assert found[metric.name] is metric
assert "torch" not in sys.modules
print(quantus.__file__)
"""
    done = _run(["-c", code], work / "metrics")
    assert Path(done.strip()) == work / "metrics/quantus/__init__.py"


def test_each_topic_is_a_branch_of_one_commit(tools: dict[str, ModuleType], work: Path) -> None:
    """It is off the base, has an author, tests and a text, and changes what its patch changes."""
    topics = tools["topics"]
    for topic in topics.TOPICS:
        log = topics.git(work / topic, "log", "--format=%an <%ae>", "main..HEAD")
        assert log.splitlines() == [AUTHOR]
        assert (
            topics.git(work / topic, "rev-parse", "HEAD~1", "main").split()
            == [topics.git(work / "base", "rev-parse", "HEAD").strip()] * 2
        )
        changed = set(topics.git(work / topic, "diff", "--name-only", "main").split())
        (patch,) = (work / "patches" / topic).glob("0001-*.patch")
        written = set(re.findall(r"(?m)^\+\+\+ b/(\S+)", patch.read_text("utf-8")))
        assert changed <= written
        assert any(name.startswith("tests/") for name in changed)
        text = (work / "patches" / topic / "PULL_REQUEST.md").read_text("utf-8")
        sections = ["Description", "Implemented changes", "Minimum acceptance criteria"]
        assert set(sections) <= set(re.findall(r"(?m)^### (.+)$", text))
        if topic != "metrics":
            assert len([name for name in changed if name.startswith("quantus/")]) == 1
    merged = topics.git(work / "all", "rev-list", "--parents", "-1", "HEAD").split()
    assert len(merged) == 1 + len(topics.TOPICS)


def test_the_metrics_are_small(tools: dict[str, ModuleType], work: Path) -> None:
    """What has to be reviewed is bounded; entries in the documentation's contents come on top."""
    found = tools["topics"].git(work / "metrics", "diff", "--shortstat", "main")
    (lines,) = re.findall(r"(\d+) insertions", found)
    assert int(lines) < MOST_LINES
    assert "deletion" not in found


def test_patches_of_a_distribution_change_the_documentation(
    tools: dict[str, ModuleType], work: Path, tmp_path: Path
) -> None:
    """A tree without documentation gives patches that enter the metrics in a tree that has it."""
    (patch,) = (work / "patches/metrics").glob("0001-*.patch")
    shutil.copytree(work / "base/quantus", tmp_path / "quantus")
    for part in re.split(r"(?m)^(?=diff --git )", patch.read_text("utf-8"))[1:]:
        path = tmp_path / part.split()[2].removeprefix("a/")
        if not path.exists() and "new file mode" not in part:
            # What the patch expects of the file.
            lines = part.partition("\n-- \n")[0].splitlines()
            path.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{line[1:]}\n" for line in lines if line.startswith(" "))
            path.write_text(text, encoding="utf-8")
    tables = list((tmp_path / "docs/source/docs_api").glob("*.rst"))
    assert len(tables) == 4
    tools["topics"].git(tmp_path, "init", "--quiet")
    tools["topics"].git(tmp_path, "apply", str(patch))
    entered = [line.strip() for path in tables for line in path.read_text("utf-8").splitlines()]
    pages = {path.stem for path in CONTRIBUTION.glob("topics/metrics/new/docs/**/*.rst")}
    assert len(pages) == 5
    assert pages <= set(entered)
    assert (tmp_path / "README.md").read_text("utf-8").count("(Vukadin et al., 2024)") == 3


def test_a_tree_that_has_the_change_is_refused(
    tools: dict[str, ModuleType], work: Path, tmp_path: Path
) -> None:
    """Nothing of Quantus's is overwritten."""
    topics = tools["topics"]
    with pytest.raises(topics.BuildError, match="does not apply"):
        topics.change(work / "evaluate", topics.FOLDER / "evaluate")
    shutil.copytree(work / "base/quantus", tmp_path / "quantus")
    shutil.copytree(work / "evaluate/tests", tmp_path / "tests")
    topics.git(tmp_path, "init", "--quiet")
    topics.git(tmp_path, "add", "--all")
    with pytest.raises(topics.BuildError, match=r"has a file tests/test_evaluation_errors\.py"):
        topics.change(tmp_path, topics.FOLDER / "evaluate")


@pytest.mark.parametrize("given", ["Ada", "Ada <ada>", "<ada@example.org>", "A <a@b>\nC <c@d>"])
def test_an_author_is_needed(tools: dict[str, ModuleType], given: str) -> None:
    """A commit without a real author line is not made."""
    assert tools["topics"].find_author(AUTHOR) == AUTHOR
    with pytest.raises(tools["topics"].BuildError, match="--author: expected 'Name <address>'"):
        tools["topics"].find_author(given)


def test_the_author_is_git_s(
    tools: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By default the author is whom git knows here, and there is none if git knows none."""
    monkeypatch.setattr(tools["topics"], "HERE", tmp_path)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(tools["topics"].BuildError, match=r"git's user\.name"):
        tools["topics"].find_author(None)
    (tmp_path / "config").write_text("[user]\nname = Ada Lovelace\nemail = ada@example.org\n")
    assert tools["topics"].find_author(None) == AUTHOR


def test_functions_agree_with_this_package(work: Path) -> None:
    """Mosaics and states are the same, formulas to 1e-6."""
    done = _run(["-m", "tests.upstream_functions"], work / "metrics", ROOT)
    assert Path(done.strip()) == work / "metrics/quantus/functions/gae_func.py"


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
    """The new metrics' scores on the MNIST LeNet are ours to 1e-6."""
    out = work / "agreement.json"
    rows = tools["compare"].run("agreement.py", work / "metrics", out, str(assets), "8", "1")
    assert len(rows) == 6
    for row in rows:
        np.testing.assert_allclose(row["new"], row["package"], rtol=0, atol=1e-6)
    # Scores that are all 0 would agree whatever was computed.
    assert all(max(row["package"]) > 0.05 for row in rows if "40" in row["model"])


@pytest.mark.slow
def test_upstream_tests(
    tools: dict[str, ModuleType], work: Path, assets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tests pass on each branch and on all, and those of each fix fail without it."""
    found = tools["upstream"].run_tests(work, assets)
    assert set(found) == set(tools["topics"].TOPICS)
    assert "all: 50 passed, 0 failed, 0 skipped" in capsys.readouterr().out
    assert "Of the 2 tests, 1 fail without" in found["evaluate"]
    assert "`test_evaluate_raises_the_metrics_error`" in found["evaluate"]


def _run(arguments: list[str], tree: Path, folder: Path | None = None) -> str:
    """Run Python with the Quantus of a tree, in it or in another folder."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder or tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
