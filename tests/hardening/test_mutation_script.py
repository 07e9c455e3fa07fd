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
    assert {"abslrp.rules.addition", "abslrp.outputs", "gae_metric.functional.scores"} < {
        *mutation.MODULES
    }
    assert all(mutation.path_of(one).is_file() for one in mutation.MODULES)
    files = {one for package in mutation.ROOMS for one in mutation.files_of(package)}
    assert "tests/abslrp/rule_sets/test_epsilon.py" in files
    assert "tests/gae_metric/test_functional_scores.py" in files
    assert "tests/abslrp/test_models.py" not in files


RECORDED = [
    {
        "tests": ["a::slow", "a::quick", "a::other", "a::third"],
        "seconds": [15.0, 1.0, 2.0, 1.5],
        "lines": {"m: x = 1": [0, 1], "m: y = 2": [2], "n: z = 3": [2], "m: z = 3": [3]},
    },
    {"tests": ["b::long"], "seconds": [4.5], "lines": {"m: x = 1": [0]}},
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (2, ["a::quick", "b::long", "a::other", "a::third"]),  # up to 20 seconds, of files in turn
        (3, ["a::other", "a::quick", "b::long", "a::third"]),  # then those of its function
        (4, ["a::quick", "b::long", "a::other", "a::third"]),  # no test runs it
        (5, ["a::third", "a::quick", "b::long", "a::other"]),  # then those of its module
    ],
)
def test_tests_are_those_that_run_the_line(line, expected, tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text("def f():\n    x = 1\n    y = 2\n    return 0\nz = 3\n")
    monkeypatch.setattr(mutation, "path_of", lambda module: tmp_path / f"{module}.py")
    found = mutation.tests_of(mutation.Mutant("m", "op", line, "", "", ""), RECORDED)
    assert list(found) == expected


def test_lines_that_tests_run_are_recorded_and_chosen_tests_alone_run(tmp_path):
    pytest.importorskip("coverage", reason="needs coverage")
    code = """
import sys
sys.path.insert(0, "scripts")
import mutation
from pathlib import Path
mutation.prepare()
file = "tests/abslrp/test_figure1.py"
(found,) = mutation.record([file], Path(sys.argv[1]))
test, other = found["tests"][:2]
assert all(one.startswith(file) for one in found["tests"])
assert any(0 in tests for line, tests in found["lines"].items() if "rules.absolute: " in line)
old = mutation.path_of("abslrp.rules.absolute").read_text()
wrong = mutation.changed("abslrp.rules.absolute", "op", old, old.replace("import", "imports", 1))
for names, one in ([test, other], None), ([test], wrong), ([file + "::none"], None):
    print(mutation.run(names, one, 600)[0])
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    said = done.stdout.splitlines()
    assert said[1:] == ["survived", "killed", "killed: no tests"], done.stderr


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
    module = mutation.MODULES[0]
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
    if not all(importlib.util.find_spec(one) for one in ("cosmic_ray", "coverage")):
        pytest.skip("needs cosmic-ray and coverage")
    code = (ROOT / "scripts" / "mutation.py").read_text(encoding="utf-8")
    # One file of tests, as it takes minutes to record all.
    code = code.replace('"tests/abslrp/**/test_*.py"', '"tests/abslrp/test_rules_pooling.py"')
    code = code.replace("Path(__file__).resolve()", f"Path({str(ROOT / 'scripts' / 'm')!r})")
    script, out = tmp_path / "mutation.py", tmp_path / "results.json"
    script.write_text(code, encoding="utf-8")
    command = [sys.executable, str(script), "abslrp.rules.pooling"]
    command += ["--minutes", "2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "| `abslrp.rules.pooling` |" in done.stdout, done.stderr
    outcomes = [one["outcome"] for one in json.loads(out.read_text()).values()]
    assert any(one.startswith("killed") for one in outcomes)
