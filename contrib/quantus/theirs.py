"""Run Quantus's own tests before and after the change: ``upstream.py --source ... --their-tests``.

Its source distribution has none, so a checkout is needed. What they need beside torch is stood in
for by ``plugin/standins.py``, where it is not installed; what cannot be is skipped or fails, before
and after alike, and is counted by its reason.
"""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import running
from running import BuildError

#: Outcome and message of each test, by name.
Outcomes = Mapping[str, tuple[str, str]]


def run(work: Path) -> str:
    """Run the tests of the tree without a change, there and in that with all of them, and report.

    Raises
    ------
    BuildError
        If there are none, or one that passed before does not pass after.
    """
    before, after = work / "base", work / "all"
    paths = running.test_paths(before / "tests")
    if not paths or not (before / "tests/conftest.py").exists():
        raise BuildError(
            "--their-tests: expected a checkout of Quantus with its tests/, named by --source; the "
            "source distribution has none"
        )
    results: dict[str, Outcomes] = {}
    for name, tree in (("before", before), ("after", after)):
        report = work / f"theirs-{name}.xml"
        running.pytest(tree, paths, report, None)
        results[name] = running.read(report)
    text = describe(results["before"], results["after"])
    (work / "theirs.md").write_text(text, encoding="utf-8")
    if found := worse(results["before"], results["after"]):
        raise BuildError(
            f"Quantus's own tests that passed before the change and do not after it (see "
            f"{work / 'theirs-after.log'}):\n" + "\n".join(found)
        )
    return text


def worse(before: Outcomes, after: Outcomes) -> list[str]:
    """List the tests that passed before and fail, are skipped or are gone after."""
    passed = [name for name, (outcome, _) in before.items() if outcome == "passed"]
    gone = ("gone", "")
    return [
        f"{name}: {' '.join(after.get(name, gone)).strip()}"
        for name in passed
        if after.get(name, gone)[0] != "passed"
    ]


def describe(before: Outcomes, after: Outcomes) -> str:
    """Return what was run and what came of it, and why tests did not pass before, as Markdown."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "captum"))
    same = sum(after.get(name, ("", ""))[0] == outcome for name, (outcome, _) in before.items())
    lines = [
        f"Quantus's own tests, Python {platform.python_version()}, {packages}: {len(before)}, of "
        f"which {same} have the same outcome before and after.",
        "",
        *(
            f"- {running.count(when, {name: outcome for name, (outcome, _) in results.items()})}"
            for when, results in (("before", before), ("after", after))
        ),
        "",
        "| before the change | tests | reason |",
        "| --- | --- | --- |",
    ]
    reasons = Counter((kind, reason(told)) for kind, told in before.values() if kind != "passed")
    lines += [f"| {kind} | {count} | {told} |" for (kind, told), count in reasons.most_common()]
    return "\n".join(lines) + "\n"


def reason(message: str) -> str:
    r"""Return the first line of a message, without what differs from test to test.

    >>> reason("AssertionError: assert [0.13, 2]\nmore")
    'AssertionError: assert [...]'
    """
    line = message.partition("\n")[0].strip()
    return re.sub(r"\[.*?\]|\bat 0x[0-9a-f]+", "[...]", line)[:160].replace("|", "\\|")
