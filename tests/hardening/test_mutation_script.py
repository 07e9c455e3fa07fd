"""``make mutation``: the mutants that it makes, and what it says of them; a run takes long."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.hardening.test_release_scripts import ROOT, load

mutation = load("mutation")
SOURCE = "def f(x):\n    return x.clamp(min=0).mul_(2)\n"


def test_every_module_and_test_is_there():
    for module, tests in mutation.TARGETS.items():
        assert mutation.path_of(module).is_file()
        assert all((ROOT / test).is_file() for test in tests)


def test_methods_and_keywords_are_exchanged_one_at_a_time():
    after = [one.after for one in mutation.swapped("m", SOURCE)]
    assert after == ["return x.clamp(max=0).mul_(2)", "return x.clamp(min=0).div_(2)"]
    assert not list(mutation.swapped("m", "mul_ = min = sum(x)\n"))
    (one,) = mutation.swapped("m", "a\nb.abs()\n")
    assert (one.line, one.before, one.source) == (2, "b.abs()", "a\nb.neg()\n")


def test_operators_of_cosmic_ray():
    pytest.importorskip("cosmic_ray", reason="needs cosmic-ray")
    found = {one.after for one in mutation.operated("m", SOURCE)}
    assert found == {
        "return x.clamp(min= 1).mul_(2)",
        "return x.clamp(min= -1).mul_(2)",
        "return x.clamp(min=0).mul_( 3)",
        "return x.clamp(min=0).mul_( 1)",
    }


def test_what_nothing_depends_on_makes_no_mutants():
    pytest.importorskip("cosmic_ray", reason="needs cosmic-ray")
    source = "def f(a, *, b):\n    return zip(a, b, strict=True)\n"
    assert not list(mutation.operated("m", source))
    source = "def f(a, *, b=True):\n    return g(a *b, *b)\n"
    found = [one.after for one in mutation.operated("m", source)]
    assert found == ["return g(a /b, *b)", "def f(a, *, b=False):"]


def test_the_report(monkeypatch):
    module = next(iter(mutation.TARGETS))
    every = [mutation.changed(module, "op", SOURCE, SOURCE.replace("2", n)) for n in "345"]
    names = [mutation.name_of(one) for one in every]
    assert len(set(names)) == 3
    results = {names[0]: {"outcome": "killed"}, names[1]: {"outcome": "survived"}}
    text = mutation.report(every, results)
    assert f"| `{module}` | 3 | 2 | 1 | 1 | 0 |" in text
    line = f"- `{module}` line 2: `{every[1].before}` -> `{every[1].after}`"
    assert text.endswith(line)
    monkeypatch.setitem(mutation.KNOWN, every[1].key, "because")
    text = mutation.report(every, results)
    assert f"| `{module}` | 3 | 2 | 1 | 1 | 1 |" in text
    assert text.endswith(f"{line} (because)")


def test_known_survivors_are_still_lines_of_their_modules():
    for key in mutation.KNOWN:
        module, _, change = key.partition(": ")
        source = mutation.path_of(module).read_text(encoding="utf-8")
        assert change.partition(" -> ")[0] in source, key


@pytest.mark.slow
def test_a_mutant_is_killed_and_results_are_kept(tmp_path):
    if importlib.util.find_spec("cosmic_ray") is None:
        pytest.skip("needs cosmic-ray")
    out = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "scripts" / "mutation.py"), "abslrp.rules.pooling"]
    command += ["--minutes", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "| `abslrp.rules.pooling` |" in done.stdout, done.stderr
    outcomes = [one["outcome"] for one in json.loads(out.read_text()).values()]
    assert any(one.startswith("killed") for one in outcomes)
