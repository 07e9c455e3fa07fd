"""Compare Quantus before and after the change, and the new metrics with this package's."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PULL_REQUEST = HERE / "PULL_REQUEST.md"
#: The new metrics' scores may differ this much from this package's.
TOLERANCE = 1e-6
#: Public names whose signature the change extends, by an option whose default changes nothing.
EXTENDED = {"normalise_by_max"}
_BEGIN, _END = "<!-- evidence: written by upstream.py -->", "<!-- end of the evidence -->"


class ComparisonError(RuntimeError):
    """Something changed that must not, or does not agree."""


def run(script: str, tree: Path, out: Path, *arguments: str) -> Any:
    """Run one of our scripts with the Quantus of a tree and return the JSON that it writes."""
    path = os.pathsep.join([str(tree.resolve()), str(HERE.parents[1])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    first, *others = arguments
    command = [sys.executable, str(HERE / script), first, str(out.resolve()), *others]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ComparisonError(f"{script} with {tree}:\n{done.stderr}")
    return json.loads(out.read_text(encoding="utf-8"))


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """List existing scores that differ, and public names that are gone or have other defaults."""
    found = []
    for key, value in before["scores"].items():
        if not same(value, after["scores"].get(key)):
            found.append(f"score of {key}: {value} became {after['scores'].get(key)}")
    for name, signature in before["names"].items():
        if name not in after["names"]:
            found.append(f"{name} is gone")
        elif name not in EXTENDED and _plain(signature) != _plain(after["names"][name]):
            found.append(f"{name}{signature} became {after['names'][name]}")
    return found


def same(a: Any, b: Any) -> bool:
    """Whether results are equal to the last digit, NaN and errors included."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def _plain(signature: str) -> str:
    """Return a signature without the addresses of functions in it."""
    return re.sub(r" at 0x[0-9a-f]+", "", signature)


def disagreement(row: dict[str, Any]) -> float:
    """Largest difference of the scores of a row of ``agreement.py``; NaN agrees with NaN."""
    largest = 0.0
    for a, b in zip(row["new"], row["package"], strict=True):
        if math.isnan(a) != math.isnan(b):
            return math.inf
        largest = max(largest, 0.0 if math.isnan(a) else abs(a - b))
    return largest


def evidence(work: Path, assets: Path, tests: str | None) -> None:
    """Compare everything, and write the figures into the text of the metrics' pull request.

    Parameters
    ----------
    work
        Folder with the trees.
    assets
        Quantus's test assets.
    tests
        What is said of the metrics' tests, if they were run.

    Raises
    ------
    ComparisonError
        If a score, name or default changed, or the new metrics' scores are not this package's.
    """
    old = run("scores.py", work / "base", work / "scores-before.json", str(assets))
    new = run("scores.py", work / "all", work / "scores-after.json", str(assets))
    found = changes(old, new)
    if found:
        raise ComparisonError("the change changes\n" + "\n".join(found))
    rows = run("agreement.py", work / "metrics", work / "agreement.json", str(assets), "124")
    wrong = [row for row in rows if not disagreement(row) <= TOLERANCE]
    if wrong:
        named = ", ".join(f"{row['metric']} of {row['method']}" for row in wrong)
        raise ComparisonError(
            f"scores differ by more than {TOLERANCE} from this package's: {named}"
        )
    text = (f"- {tests}\n" if tests else "") + _table(old, new, rows)
    written = PULL_REQUEST.read_text(encoding="utf-8")
    start, stop = written.index(_BEGIN) + len(_BEGIN), written.index(_END)
    PULL_REQUEST.write_text(f"{written[:start]}\n\n{text}\n{written[stop:]}", encoding="utf-8")
    print(text)


def _table(old: dict[str, Any], new: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    failed = [key for key, value in old["scores"].items() if isinstance(value, str)]
    metrics = {key.partition(",")[0] for key in old["scores"]}
    broken = sorted({key.partition(",")[0] for key in failed})
    added = sorted(set(new["names"]) - set(old["names"]))
    classes = [name for name in added if "." not in name]
    lines = [
        f"- {len(metrics)} existing metrics, {len(old['scores'])} runs on 8 MNIST images with the "
        "LeNet of the tests (maps given and explained): every result is equal to the last digit "
        "before and after, with the fixes merged as well.",
        f"- {len(old['names'])} public names and methods of `quantus`: none is gone, no default "
        f"changed; `{'`, `'.join(sorted(EXTENDED))}` has a new optional argument by "
        "its own fix. New: "
        f"`{'`, `'.join(classes)}`.",
    ]
    if broken:
        lines.append(
            f"- Raised the same error before and after with the NumPy at hand: {', '.join(broken)}."
        )
    worst = max(map(disagreement, rows))
    lines += [
        f"- The scores of 124 MNIST images are those of the package `gae-metric` to {worst:.1e}, "
        "at another batch size. (The LeNet is so certain that other classes' quadrants count fully "
        "against a map; with its logits divided by 40 they count in part.)",
        "",
        "| model | metric | method | mean score | largest difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        mean = sum(row["new"]) / len(row["new"])
        lines.append(
            f"| {row['model']} | {row['metric']} | {row['method']} | {mean:.4f} | "
            f"{disagreement(row):.0e} |"
        )
    return "\n".join(lines) + "\n"
