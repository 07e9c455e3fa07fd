"""``make compat`` and ``make dist``: what they read and refuse; what they do takes minutes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


compat, dist = load("compat"), load("dist")
TEXT = (ROOT / "pyproject.toml").read_text()


def test_dependencies_are_those_of_the_project():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    project = tomllib.loads(TEXT)["project"]
    needed, extras = compat.requirements(TEXT)
    assert needed == project["dependencies"]
    assert extras == project["optional-dependencies"]
    assert {one for part in compat.PARTS.values() for one in part.extras} <= set(extras)


def test_a_part_has_what_its_extras_name_and_their_oldest_versions():
    text = """
dependencies = ["torch>=2.11"]

[project.optional-dependencies]
text = ["transformers>=4.48", "words"]
all = ["gae-metric[text]", "torch>=2.11", "ray[default]>=2.40"]

[tool]
"""
    part = compat.Part(("all",), (), ())
    newest = ["torch>=2.11", "ray[default]>=2.40", "transformers>=4.48", "words"]
    assert compat.wanted(text, part, "newest") == newest
    oldest = ["torch==2.11.*", "ray[default]==2.40.*", "transformers==4.48.*", "words"]
    assert compat.wanted(text, part, "oldest") == oldest


def test_every_optional_package_that_users_install_is_tried():
    """All that an extra lists, beside those of developers, is in a part."""
    _, extras = compat.requirements(TEXT)
    tried = {one for part in compat.PARTS.values() for one in compat.wanted(TEXT, part, "oldest")}
    for name in set(extras) - {"dev", "docs"}:
        listed = [one for one in extras[name] if not one.startswith("gae-metric[")]
        assert {compat.pinned(one) for one in listed} <= tried, name
    for part in compat.PARTS.values():
        shown = {re.split(r"[\[=]", one)[0] for one in compat.wanted(TEXT, part, "oldest")}
        assert set(part.shown) <= shown
        assert all((ROOT / path).exists() for path in part.tests)


def test_every_dependency_has_an_oldest_version():
    needed, _ = compat.requirements(TEXT)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\d.]+\.\*", compat.pinned(one)) for one in needed)
    with pytest.raises(ValueError, match=r"pyproject\.toml"):
        compat.requirements("")


def test_the_pythons_are_those_of_the_project():
    low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', TEXT).groups()
    assert tuple(f"3.{minor}" for minor in range(int(low), int(high))) == compat.PYTHONS
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert compat.interpreter("2.99") is None
    assert compat.interpreter(version) is not None


def test_what_is_tried():
    names = [trial.name for trial in compat.trials([])]
    assert names[0] == "3.10:oldest"
    assert names[1:] == [f"{python}:newest" for python in compat.PYTHONS]
    assert [trial.name for trial in compat.trials(["3.12:newest"])] == ["3.12:newest"]
    with pytest.raises(SystemExit, match="expected some of"):
        compat.trials(["3.9:newest"])


def test_what_was_not_run_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compat, "interpreter", lambda version: None)
    assert compat.main(["--only", "3.13:newest", "--folder", str(tmp_path)]) == 0
    table = (tmp_path / "compat.md").read_text()
    assert "| 3.13 | newest |" in table
    assert "not run: no such Python here" in table
    assert table in capsys.readouterr().out


def test_a_failure_is_reported(tmp_path, monkeypatch):
    def broken(python, trial, part):
        raise subprocess.CalledProcessError(1, ["pip", "install", "torch"])

    monkeypatch.setattr(compat, "install", broken)
    monkeypatch.setattr(compat, "interpreter", lambda version: sys.executable)
    monkeypatch.setattr(compat.subprocess, "run", lambda *args, **kwargs: None)
    assert compat.main(["--only", "3.13:newest", "--folder", str(tmp_path)]) == 1
    assert "failed: pip install torch" in (tmp_path / "compat.md").read_text()
    assert not (tmp_path / "3.13-newest").exists()


def distributions(folder, extra_wheel=(), extra_sdist=(), without=()):
    """Archives of the names that a build gives."""
    sources = [
        path.relative_to(ROOT).as_posix()
        for name in dist.PACKAGES
        for path in (ROOT / name).rglob("*.py")
    ]
    wheel, sdist = folder / "gae_metric-1.2.3-py3-none-any.whl", folder / "gae_metric-1.2.3.tar.gz"
    with zipfile.ZipFile(wheel, "w") as out:
        for name in [*sources, "gae_metric-1.2.3.dist-info/METADATA", *extra_wheel]:
            out.writestr(name, "")
    kept = ("LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml")
    with tarfile.open(sdist, "w:gz") as out:
        for name in [*sources, *kept, *extra_sdist]:
            if name not in without:
                out.addfile(tarfile.TarInfo(f"gae_metric-1.2.3/{name}"))
    return sdist, wheel


def test_distributions_as_they_should_be(tmp_path):
    both = distributions(tmp_path)
    dist.check_names(*both)
    assert dist.version_of(*both) == "1.2.3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extra_wheel": ["tests/test_a.py"]}, "the wheel has tests beside its packages"),
        ({"extra_wheel": ["gae_metric/w.pth"]}, r"gae_metric/w\.pth does not belong"),
        ({"extra_sdist": ["shared/SPEC.md"]}, "does not belong"),
        ({"extra_sdist": ["tests/photo.jpg"]}, "does not belong"),
        ({"without": ["LICENSE"]}, "the source distribution lacks LICENSE"),
        ({"without": ["abslrp/explain.py"]}, r"source distribution lacks abslrp/explain\.py"),
    ],
)
def test_distributions_that_are_not(tmp_path, options, message):
    with pytest.raises(dist.DistError, match=message):
        dist.check_names(*distributions(tmp_path, **options))


def test_versions_must_be_one():
    with pytest.raises(dist.DistError, match=r"different versions: 1\.2\.3, 1\.2\.4"):
        dist.version_of(Path("gae_metric-1.2.3.tar.gz"), Path("gae_metric-1.2.4-py3-none-any.whl"))


@pytest.mark.parametrize(
    ("tag", "version", "message"),
    [
        ("v1.2.3", "1.2.3", None),
        ("v1.2.3rc1", "1.2.3rc1", None),
        (None, "1.2.4.dev1+gabc", None),
        ("v1.2", "1.2", "expected a tag such as"),
        ("v1.2.3", "1.2.4.dev0+gabc", "is tagged v1.2.3, but the version is"),
        ("v9.9.9", "9.9.9", "has no entry 9.9.9"),
    ],
)
def test_the_tag_is_the_version_and_in_the_changelog(tmp_path, monkeypatch, tag, version, message):
    monkeypatch.setattr(dist, "ROOT", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3rc1\n\n## [1.2.3] - 2026\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    if tag:
        subprocess.run([*git, "tag", tag], cwd=tmp_path, check=True)
    if message is None:
        dist.check_tag(version)
    else:
        with pytest.raises(dist.DistError, match=message):
            dist.check_tag(version)


def test_make_has_the_targets():
    text = (ROOT / "Makefile").read_text()
    for name in ("compat", "dist"):
        assert re.search(rf"(?m)^{name}:.*\n\t.*scripts/{name}\.py", text)
        assert re.search(rf"(?m)^#   make {name} ", text)
