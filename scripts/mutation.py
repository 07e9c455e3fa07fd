"""Change rules and formulas at one place at a time, and see that a test fails.

``make mutation``, or ``python scripts/mutation.py [MODULE ...] [--minutes 30]`` with cosmic-ray
installed, whose operators make the mutants, beside a few of our own for what tensor code calls by
method. Which lines each test runs is recorded first (some minutes, kept beside ``--out``), and only
tests that run the changed line are run against a mutant, up to ``SECONDS`` of them.

A mutant runs in a fork of a process that has imported torch and pytest already, and gets its source
by an import hook, so that no file is written and none takes more than a second or two beside its
tests. Mutants are taken in an order that is random, yet always the same, so that what a time limit
leaves is a fair sample; results are kept in ``--out``, and a further run goes on with the rest
(``--again``: and with those that survived, after a test was added).
The status is 1 if a mutant survived that is not known (``mutation_known.json``, with reasons).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import resource
import signal
import sys
import time
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def module_of(file: Path) -> str:
    """Return the name of a module of this checkout."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


#: What is changed of each package, and the tests that may notice it.
ROOMS = {
    "abslrp": ("rules/*", "rule_sets/*", "plan/*", "tape/*", "batch", "outputs"),
    "gae_metric": ("functional/*",),
}
TESTS = {
    "abslrp": ("tests/abslrp/**/test_*.py",),
    "gae_metric": ("tests/gae_metric/test_functional_*.py",),
}
#: Tests of whole models and other libraries, which take minutes.
SLOW = re.compile(r"test_(ablations|compatibility|docs|golden|graphs|huggingface|models|onnx|text)")
MODULES = [
    module_of(file)
    for package, names in ROOMS.items()
    for name in names
    for file in sorted((ROOT / package).glob(f"{name}.py"))
    if file.name != "__init__.py"
]
#: Seconds that the tests of one change may take, as they took when they were recorded.
SECONDS = 20.0
#: Of cosmic-ray's operators those that mean something here: ``|`` is in annotations only.
OPERATORS = (
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul"),
    *("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Gt_Lt", "Lt_Gt", "Eq_NotEq", "NotEq_Eq"),
    *("Is_IsNot", "IsNot_Is", "USub_UAdd", "Invert_Not", "Delete_Not", "Delete_Invert"),
    *("NumberReplacer", "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ZeroIterationForLoop", "BreakWithContinue"),
)
#: Methods and keywords of tensors, and what a slip would make of them.
SWAPS = {
    "mul_": "div_", "mul": "div", "div_": "mul_", "div": "mul", "add_": "sub_", "sub": "add",
    "min": "max", "max": "min", "amax": "amin", "amin": "amax", "abs": "neg", "sum": "amax",
    "sqrt": "square", "maximum": "minimum", "cumsum": "cumprod", "mean": "sum",
}  # fmt: skip
#: What nothing depends on: marks of a signature, such as ``*``, and checks of equal lengths.
UNSEEN = re.compile(r"strict=(?:True|False)|[*/](?=\s*[,)])")
#: Surviving mutants that change nothing that a test could see, and why.
KNOWN: dict[str, str] = {
    f"{group['module']}: {change}": group["why"]
    for group in json.loads((ROOT / "scripts/mutation_known.json").read_text(encoding="utf-8"))
    for change in group["changes"]
}


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change."""

    module: str
    operator: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """What it is told by, wherever its line has moved to."""
        return f"{self.module}: {self.before} -> {self.after}"


def changed(module: str, operator: str, old: str, new: str) -> Mutant:
    """Describe a change by the first line that differs."""
    pairs = zip(old.splitlines(), new.splitlines(), strict=False)
    line, (before, after) = next((n, p) for n, p in enumerate(pairs, 1) if p[0] != p[1])
    return Mutant(module, operator, line, before.strip(), after.strip(), new)


def swapped(module: str, source: str) -> Iterator[Mutant]:
    """Exchange the methods and keywords of ``SWAPS``, one at a time.

    >>> [m.after for m in swapped("m", "x.clamp(min=0)")]
    ['x.clamp(max=0)']
    """
    lines = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(iter(lines).__next__))
    for previous, token, following in zip(tokens, tokens[1:], tokens[2:], strict=False):
        keyword = previous.string in ("(", ",") and following.string == "="
        if token.string in SWAPS and (previous.string == "." or keyword):
            row, column = token.start
            text = lines[row - 1]
            end = column + len(token.string)
            made = [*lines[: row - 1], text[:column] + SWAPS[token.string] + text[end:]]
            new = "".join([*made, *lines[row:]])
            yield changed(module, f"swap {token.string}", source, new)


def operated(module: str, source: str) -> Iterator[Mutant]:
    """Apply cosmic-ray's operators, at each place that they find."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    for name in operator_names():
        if name.endswith(OPERATORS):
            operator, occurrence = get_operator(name)(), 0
            while (new := mutate_code(source, operator, occurrence)) is not None:
                occurrence += 1
                if UNSEEN.sub("", new) != UNSEEN.sub("", source):
                    yield changed(module, name.rpartition("/")[2], source, new)


def mutants(module: str) -> list[Mutant]:
    """List the mutants of a module, each once."""
    source = path_of(module).read_text(encoding="utf-8")
    every = {one.source: one for one in [*swapped(module, source), *operated(module, source)]}
    return list(every.values())


def path_of(module: str) -> Path:
    """Return the file of a module of this checkout."""
    return ROOT / f"{module.replace('.', '/')}.py"


class Finder(importlib.machinery.PathFinder):
    """Gives one module another source."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:  # type: ignore[override]
        """Find that module, and leave others to Python."""
        if fullname != self.module:
            return None
        file = str(path_of(fullname))
        loader = Loader(fullname, file)
        loader.source = self.source
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


class Loader(importlib.machinery.SourceFileLoader):
    """Loads the source that it was given."""

    source = ""

    def get_code(self, fullname: str) -> Any:
        """Compile it."""
        return compile(self.source, self.path, "exec", dont_inherit=True)


def files_of(package: str) -> list[str]:
    """Return the files of the tests that may notice a change of a package."""
    files = sorted(file for name in TESTS[package] for file in ROOT.glob(name))
    return [str(one.relative_to(ROOT)) for one in files if not SLOW.match(one.name)]


class Recorder:
    """A plugin of pytest that notes which lines of ours each test runs, and how long it takes."""

    def __init__(self, package: str) -> None:
        import coverage

        source = [str(ROOT / package)]
        self.cover = coverage.Coverage(data_file=None, config_file=False, source=source)
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Say whose lines are run from now on; anew, as a test may trace lines itself."""
        self.cover.start()
        self.cover.switch_context(nodeid)

    def pytest_runtest_logfinish(self) -> None:
        """Look no further."""
        self.cover.stop()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up what its setting up, call and tearing down took."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def found(self) -> dict[str, Any]:
        """Return the tests that ran each line, a line being told by its module and text."""
        data, names = self.cover.get_data(), list(self.seconds)
        places = {name: place for place, name in enumerate(names)}
        lines: dict[str, list[int]] = {}
        for file in data.measured_files():
            text = ["", *(one.strip() for one in Path(file).read_text("utf-8").splitlines())]
            for number, tests in data.contexts_by_lineno(file).items():
                name = f"{module_of(Path(file))}: {text[number]}"
                those = {places[one] for one in tests if one}
                lines[name] = sorted(those | set(lines.get(name, [])))
        return {"tests": names, "seconds": list(self.seconds.values()), "lines": lines}


class Chosen:
    """A plugin of pytest that runs the named tests only, in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave out all others."""
        items[:] = [one for one in items if one.nodeid in self.places]
        items.sort(key=lambda one: self.places[one.nodeid])


def run(
    tests: Sequence[str], mutant: Mutant | None, seconds: float, record: Path | None = None
) -> tuple[str, float]:
    """Run tests in a fork, and return what came of it and the processor time it took."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 5))
        signal.alarm(3600)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        if mutant is not None:
            sys.meta_path.insert(0, Finder(mutant.module, mutant.source))
        import pytest

        options = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "ignore"]
        options += ["--hypothesis-seed=0", *dict.fromkeys(one.partition("::")[0] for one in tests)]
        if record is None:
            os._exit(int(pytest.main(["-x", *options], plugins=[Chosen(tests)])))
        recorder = Recorder(tests[0].split("/")[1])
        status = int(pytest.main(options, plugins=[recorder]))
        record.write_text(json.dumps(recorder.found()), encoding="utf-8")
        os._exit(status)
    _, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        outcome = "killed: out of time"
    else:
        outcome = {0: "survived", 1: "killed"}.get(os.WEXITSTATUS(status), "killed: no tests")
    return outcome, used.ru_utime + used.ru_stime


def record(tests: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Return which tests run each line and how long they take, by file, as kept or by a run."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for file in tests:
        kept = folder / f"{file.replace('/', '.')}.json"
        if not kept.exists():
            outcome, seconds = run([file], None, 3600, kept)
            print(f"{file}: {outcome} of its own, {seconds:.0f} s", flush=True)
        found.append(json.loads(kept.read_text(encoding="utf-8")))
    return found


def tests_of(mutant: Mutant, recorded: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the tests that run a line, then those of its function and module, and their seconds.

    Of each, those of every file in turn, the quickest first; no more than ``SECONDS`` of them.
    """
    source = path_of(mutant.module).read_text(encoding="utf-8")
    lines, tree = [one.strip() for one in source.splitlines()], ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
    spans = [(1, len(lines))]
    spans += [(one.body[0].lineno, one.end_lineno or 0) for one in functions]
    spans += [(mutant.line, mutant.line)]
    spans = [(first, last) for first, last in spans if first <= mutant.line <= last]
    chosen: dict[str, float] = {}
    for first, last in reversed(spans):  # what a line does while modules are imported, others see
        names = {f"{mutant.module}: {one}" for one in lines[first - 1 : last] if one}
        ranked: list[tuple[int, float, str]] = []
        for file in recorded:
            places = {place for name in names for place in file["lines"].get(name, [])}
            taken = sorted((file["seconds"][place], file["tests"][place]) for place in places)
            ranked += [(rank, *one) for rank, one in enumerate(taken)]
        for _, seconds, test in sorted(ranked):
            if not chosen or sum(chosen.values()) + seconds <= SECONDS:
                chosen.setdefault(test, seconds)
    return chosen


def prepare() -> None:
    """Import what every fork needs, and none of ours."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    for name in ("torch", "torchvision", "scipy.stats", "pandas", "matplotlib.pyplot", "pytest",
                 "hypothesis", "timm", "quantus", "zennit.rules", "captum.attr"):  # fmt: skip
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    assert not {"abslrp", "gae_metric"} & set(sys.modules)


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Return earlier results."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def name_of(mutant: Mutant) -> str:
    """Return a name under which results are kept: of the source, since lines may be alike."""
    return hashlib.sha256(f"{mutant.module} {mutant.source}".encode()).hexdigest()[:16]


def report(every: Sequence[Mutant], results: dict[str, dict[str, Any]]) -> str:
    """Return a table of modules, and the survivors, as Markdown."""
    lines = [
        "| module | mutants | tried | killed | survived | of these known |",
        "| --- " * 6 + "|",
    ]
    survivors = []
    for module in dict.fromkeys(one.module for one in every):
        mine = [one for one in every if one.module == module]
        tried = [(one, results[name_of(one)]["outcome"]) for one in mine if name_of(one) in results]
        left = [one for one, outcome in tried if outcome == "survived"]
        survivors += left
        known = sum(one.key in KNOWN for one in left)
        lines.append(
            f"| `{module}` | {len(mine)} | {len(tried)} | {len(tried) - len(left)} | {len(left)} | "
            f"{known} |"
        )
    lines.append("")
    for one in survivors:
        why = f" ({KNOWN[one.key]})" if one.key in KNOWN else ""
        lines += [f"- `{one.module}` line {one.line}: `{one.before}` -> `{one.after}`{why}"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make mutants, run tests against them, and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", help=f"such as {MODULES[0]}; default all")
    parser.add_argument("--minutes", type=float, default=30.0, help="time limit")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    parser.add_argument("--tests", nargs="*", help="files of tests; default the package's")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(MODULES):
        parser.error(f"modules: expected some of {', '.join(MODULES)}, got {', '.join(unknown)}")
    chosen = options.modules or MODULES
    end = time.monotonic() + 60 * options.minutes
    every = [one for module in chosen for one in mutants(module)]
    results = load(options.out)
    if options.again:
        results = {name: one for name, one in results.items() if one["outcome"] != "survived"}
    waiting = [one for one in every if name_of(one) not in results]
    random.Random(0).shuffle(waiting)
    prepare()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    packages = dict.fromkeys(one.partition(".")[0] for one in chosen)
    folder = options.out.with_suffix(".lines")
    recorded = {one: record(options.tests or files_of(one), folder) for one in packages}
    for number, one in enumerate(waiting):
        if time.monotonic() > end:
            break
        tests = tests_of(one, recorded[one.module.partition(".")[0]])
        limit = 3 * sum(tests.values()) + 20
        outcome, seconds = run(list(tests), one, limit) if tests else ("survived", 0.0)
        kept = {key: value for key, value in asdict(one).items() if key != "source"}
        results[name_of(one)] = kept | {"outcome": outcome, "seconds": round(seconds, 2)}
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(f"{number + 1} of {len(waiting)}: {one.key}: {outcome}", flush=True)
    print(report(every, results))
    left = [one for one in every if results.get(name_of(one), {}).get("outcome") == "survived"]
    return int(any(one.key not in KNOWN for one in left))


if __name__ == "__main__":
    sys.exit(main())
