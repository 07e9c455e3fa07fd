"""``python -m benchmarks.studies.reviews``: figure 9, the words of reviews, as PNG and HTML.

Red speaks for positive sentiment, blue for negative, whatever the prediction.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from abslrp import text
from benchmarks.result_files import refuse_finished
from gae_metric.commands.declared import taking
from gae_metric.commands.terminal import Terminal, report_errors

REVIEWS = (
    "a warm , funny and quietly moving film , carried by two wonderful performances .",
    "despite a talented cast , the story is dull , predictable and far too long .",
    "the plot makes little sense , but the music is gorgeous and the ending is a delight .",
)
"""In the manner of SST-2: one positive, one negative, one of both."""

SHARED = Path(os.environ.get("GAE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
HEAD = SHARED / "models" / "minilm_sst2_linear_head.safetensors"

LABELS = ("negative", "positive")
#: What makes a page of a table of words, on a phone, too.
PAGE = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">\n'


@dataclass(frozen=True)
class ReviewsRequest:
    """What is explained.

    Attributes
    ----------
    out
        Folder for reviews.png and reviews.html.
    head
        Safetensors file with weight (2, 384) and bias (2).
    reviews
        Text file with a review a line. Default: three of ours.
    replace
        Replace reviews.png and reviews.html.
    """

    out: Path
    head: Path = HEAD
    reviews: Path | None = None
    replace: bool = False


@taking(ReviewsRequest)
def main(request: ReviewsRequest) -> None:
    """Write reviews with their words coloured, red for positive sentiment; print predictions."""
    out, reviews = request.out, request.reviews
    for option, file in (("--head", request.head), ("--reviews", reviews)):
        if file is not None and not file.is_file():
            raise typer.BadParameter(f"no such file: {file}", param_hint=option)
    with report_errors(Terminal()):
        refuse_finished("out", out / "reviews.png", request.replace)
    lines = REVIEWS if reviews is None else reviews.read_text(encoding="utf-8").splitlines()
    given = [line for line in lines if line.strip()]
    if not given:
        raise typer.BadParameter(f"no review in {reviews}", param_hint="--reviews")
    model, tokenizer = text.load_classifier(text.packaged_minilm(), request.head)
    positive = [LABELS.index("positive")] * len(given)
    results = text.explain(model, tokenizer, given, positive, words=True, labels=LABELS)
    out.mkdir(parents=True, exist_ok=True)
    text.to_png(results, out / "reviews.png", special=False)
    (out / "reviews.html").write_text(PAGE + text.to_html(results, special=False), "utf-8")
    for review, result in zip(given, results, strict=True):
        predicted = int(result.probabilities.argmax())
        typer.echo(f"{LABELS[predicted]} ({float(result.probabilities[predicted]):.3f}): {review}")


if __name__ == "__main__":
    typer.run(main)
