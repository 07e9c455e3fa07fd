"""``python -m benchmarks.studies.reviews``: figure 9, tokens of three reviews, as PNG and HTML."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from abslrp import text

REVIEWS = (
    "a warm , funny and quietly moving film , carried by two wonderful performances .",
    "despite a talented cast , the story is dull , predictable and far too long .",
    "the plot makes little sense , but the music is gorgeous and the ending is a delight .",
)
"""In the manner of SST-2: one positive, one negative, one of both."""

SHARED = Path(os.environ.get("GAE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
HEAD = SHARED / "models" / "minilm_sst2_linear_head.safetensors"


def explained(head: Path) -> list[text.TextRelevance]:
    """Explain the reviews' predicted classes, word by word, with MiniLM and a sentiment head."""
    model, tokenizer = text.load_classifier(text.packaged_minilm(), head)
    return text.explain(model, tokenizer, REVIEWS, words=True, labels=["negative", "positive"])


def main(
    out: Annotated[Path, typer.Option(help="Folder for reviews.png and reviews.html.")],
    head: Annotated[
        Path, typer.Option(help="Safetensors file with weight (2, 384) and bias (2).")
    ] = HEAD,
) -> None:
    """Write the reviews with their words coloured, and print the predictions."""
    if not head.exists():
        raise typer.BadParameter(f"no such file: {head}", param_hint="--head")
    results = explained(head)
    out.mkdir(parents=True, exist_ok=True)
    text.to_png(results, out / "reviews.png", special=False)
    (out / "reviews.html").write_text(text.to_html(results, special=False), encoding="utf-8")
    for review, result in zip(REVIEWS, results, strict=True):
        share = float(result.probabilities[result.target])
        typer.echo(f"{result.label} ({share:.3f}): {review}")


if __name__ == "__main__":
    typer.run(main)
