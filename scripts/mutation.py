"""Change rules and formulas at one place at a time, and see that a test fails.

``make mutation``, or ``python scripts/mutation.py [MODULE ...] [--minutes 30]`` with cosmic-ray
installed, whose operators make the mutants, beside a few of our own for what tensor code calls by
method. Only the tests that belong to a module run against its mutants.

A mutant runs in a fork of a process that has imported torch and pytest already, and gets its source
by an import hook, so that no file is written and none takes more than a second or two beside its
tests. Mutants are taken in an order that is random, yet always the same, so that what a time limit
leaves is a fair sample; results are kept in ``--out``, and a further run goes on with the rest
(``--again``: and with those that survived, after a test was added).
The status is 1 if a mutant survived that is not known (``mutation_known.json``, with reasons).
"""

from __future__ import annotations

import argparse
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
RULES = "tests/abslrp/test_rules_"
SETS = "tests/abslrp/rule_sets/"
SCORES = "tests/gae_metric/test_functional_"
ENGINE = ("tests/abslrp/test_seen.py", "tests/abslrp/test_accelerated.py")
#: From a module to the tests that are to notice any change of it, the quickest first.
TARGETS: dict[str, list[str]] = {
    "abslrp.tape.place": ["tests/abslrp/test_layout.py", ENGINE[0]],
    "abslrp.tape.place_by_numbers": [ENGINE[0], f"{RULES}pooling.py"],
    "abslrp.tape.memory": [ENGINE[0], f"{RULES}pooling.py", f"{RULES}signs.py"],
    "abslrp.plan.factors": [ENGINE[1], ENGINE[0], f"{RULES}norms.py"],
    "abslrp.batch": ["tests/abslrp/test_inputs.py", "tests/abslrp/test_explain.py"],
    "abslrp.outputs": ["tests/abslrp/test_outputs.py"],
    "abslrp.tape.modes": [ENGINE[0]],
    "abslrp.tape.writes": [ENGINE[0], f"{RULES}signs.py"],
    "abslrp.plan.arrivals": [ENGINE[1], ENGINE[0], "tests/abslrp/test_conserve.py"],
    "abslrp.plan.axes": ["tests/abslrp/test_layout.py", ENGINE[0]],
    "abslrp.plan.entrywise": [ENGINE[1], ENGINE[0]],
    "abslrp.plan.release": ["tests/abslrp/test_release.py", ENGINE[1]],
    "abslrp.rules.fourier": [ENGINE[0]],
    "abslrp.rules.recurrent": [ENGINE[0]],
    "abslrp.plan.propagation": [ENGINE[1], ENGINE[0], "tests/abslrp/test_conserve.py"],
    "abslrp.plan.linear_maps": [f"{RULES}linear.py", "tests/abslrp/test_products.py"],
    "abslrp.plan.routes": [f"{RULES}pooling.py", ENGINE[0]],
    "abslrp.rules.absolute": [
        f"{RULES}linear.py", f"{RULES}signs.py", f"{SETS}test_epsilon.py", *ENGINE
    ],
    "abslrp.rules.addition": [f"{RULES}elementwise.py", f"{RULES}signs.py", ENGINE[1]],
    "abslrp.rules.normalization": [
        f"{RULES}norms.py", f"{RULES}signs.py", f"{RULES}attention.py", *ENGINE
    ],
    "abslrp.rules.multiplication": [f"{RULES}elementwise.py", f"{RULES}signs.py"],
    "abslrp.rules.pooling": [f"{RULES}pooling.py", f"{RULES}signs.py", f"{SETS}test_epsilon.py"],
    "abslrp.rules.activation": [
        f"{RULES}elementwise.py", f"{RULES}signs.py", "tests/abslrp/test_engine.py", ENGINE[1]
    ],
    "abslrp.rules.decompositions": [
        f"{RULES}attention.py", f"{RULES}linear.py", "tests/abslrp/test_engine.py"
    ],
    "abslrp.rules.structural": [f"{RULES}pooling.py", f"{RULES}signs.py", ENGINE[0]],
    "abslrp.rules.operands": [f"{RULES}linear.py", ENGINE[0]],
    "abslrp.rule_sets.epsilon": [f"{SETS}test_epsilon.py"],
    "abslrp.rule_sets.proportional": [
        f"{SETS}test_epsilon.py", f"{RULES}signs.py", f"{SETS}test_starts.py",
        f"{RULES}elementwise.py",
    ],
    "abslrp.rule_sets.alpha_beta": [
        f"{SETS}test_epsilon.py", f"{SETS}test_agreement.py", f"{SETS}test_authors.py"
    ],
    "abslrp.rule_sets.composites": [f"{SETS}test_composites.py", f"{SETS}test_authors.py"],
    "abslrp.rule_sets.chefer": [
        f"{SETS}test_authors.py", "tests/benchmarks/test_methods_attention.py"
    ],
    "abslrp.rule_sets.clrp": [f"{SETS}test_authors.py", f"{SETS}test_starts.py"],
    "abslrp.rule_sets.layers": [
        f"{SETS}test_epsilon.py", f"{SETS}test_composites.py", f"{SETS}test_rap.py"
    ],
    "abslrp.rule_sets.rap": [f"{SETS}test_rap.py", f"{SETS}test_authors.py"],
    "abslrp.rule_sets.starts": [f"{SETS}test_starts.py", f"{SETS}test_rap.py"],
    "gae_metric.functional.scores": [f"{SCORES}scores.py"],
    "gae_metric.functional.masking": [f"{SCORES}masking.py"],
    "gae_metric.functional.mosaic": [f"{SCORES}mosaic.py"],
    "gae_metric.functional.selection": [f"{SCORES}masking.py"],
}  # fmt: skip
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


def run(tests: Sequence[str], mutant: Mutant | None, seconds: float) -> tuple[str, float]:
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

        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "ignore"]
        os._exit(int(pytest.main([*options, "--hypothesis-seed=0", *tests])))
    _, status, used = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        outcome = "killed: out of time"
    else:
        outcome = {0: "survived", 1: "killed"}.get(os.WEXITSTATUS(status), "killed: no tests")
    return outcome, used.ru_utime + used.ru_stime


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
    parser.add_argument("modules", nargs="*", help=f"such as {next(iter(TARGETS))}; default all")
    parser.add_argument("--minutes", type=float, default=30.0, help="time limit")
    parser.add_argument("--again", action="store_true", help="try those that survived again")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutation.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(TARGETS):
        parser.error(f"modules: expected some of {', '.join(TARGETS)}, got {', '.join(unknown)}")
    chosen = options.modules or list(TARGETS)
    end = time.monotonic() + 60 * options.minutes
    every = [one for module in chosen for one in mutants(module)]
    results = load(options.out)
    if options.again:
        results = {name: one for name, one in results.items() if one["outcome"] != "survived"}
    waiting = [one for one in every if name_of(one) not in results]
    random.Random(0).shuffle(waiting)
    prepare()
    limits: dict[str, float] = {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(waiting):
        if time.monotonic() > end:
            break
        tests = TARGETS[one.module]
        if one.module not in limits:
            outcome, seconds = run(tests, None, 3600)
            if outcome != "survived":
                print(f"{one.module}: its tests fail without any change: {' '.join(tests)}")
                return 1
            limits[one.module] = 3 * seconds + 20
        outcome, seconds = run(tests, one, limits[one.module])
        kept = {key: value for key, value in asdict(one).items() if key != "source"}
        results[name_of(one)] = kept | {"outcome": outcome, "seconds": round(seconds, 2)}
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
        print(f"{number + 1} of {len(waiting)}: {one.key}: {outcome}", flush=True)
    print(report(every, results))
    left = [one for one in every if results.get(name_of(one), {}).get("outcome") == "survived"]
    return int(any(one.key not in KNOWN for one in left))


if __name__ == "__main__":
    sys.exit(main())
