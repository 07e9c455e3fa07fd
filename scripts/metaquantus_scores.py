"""``python scripts/metaquantus_scores.py``: what the package metaquantus gives for some scores.

Writes ``tests/benchmarks/metaquantus.json``, which our consistencies are compared with. metaquantus
pins other packages and installs a package ``tests`` of its own, so this is run in an environment
that is thrown away::

    python -m venv /tmp/metaquantus
    /tmp/metaquantus/bin/python -m pip install quantus metaquantus==0.0.5
    /tmp/metaquantus/bin/python scripts/metaquantus_scores.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "tests" / "benchmarks" / "metaquantus.json"
#: Seeds, and how many scores of each method stay as they are.
CASES = ((5, 0), (6, 4), (7, 0))


def case(seed: int, same: int) -> dict[str, Any]:
    """Draw the scores of four methods on thirty samples, and have them judged."""
    from metaquantus import MetaEvaluation

    rng = np.random.default_rng(seed)
    # With few digits, so that the file is small and holds what was judged.
    before = rng.random((4, 30)).round(5)
    after = (before + rng.normal(-0.05, 0.2, before.shape)).round(5)
    after[:, :same] = before[:, :same]
    usable = rng.random(30) < 0.8
    for scores in (before, after):
        # Equal ones are ranked as an unstable sort likes.
        assert all(len(set(column)) == len(column) for column in scores.T)
    if not same:  # versions of SciPy differ in what they do where sizes of changes are equal
        assert all(len(set(row)) == len(row) for row in abs(after - before).round(5))
    kinds = {"resilience": "Resilience", "reactivity": "Adversary"}
    intra = {
        kind: [
            float(MetaEvaluation.compute_iac_score(one, other, usable, name))
            for one, other in zip(before, after, strict=True)
        ]
        for kind, name in kinds.items()
    }
    resilience = MetaEvaluation.compute_iec_resilience(before, after, usable)
    inter = {
        "resilience": {"higher": resilience, "lower": resilience},
        # Its argument is true where lower is better.
        "reactivity": {
            better: MetaEvaluation.compute_iec_adversary(before, after, usable, better == "lower")
            for better in ("higher", "lower")
        },
    }
    return {
        "seed": seed,
        "before": before.tolist(),
        "after": after.tolist(),
        "usable": usable.tolist(),
        "intra": intra,
        "inter": inter,
    }


def main() -> None:
    """Write the file."""
    versions = {name: version(name) for name in ("metaquantus", "quantus", "numpy", "scipy")}
    head = {"made by": "scripts/metaquantus_scores.py", "versions": versions}
    cases = ",\n".join(json.dumps(case(*arguments)) for arguments in CASES)
    OUTPUT.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{cases}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
