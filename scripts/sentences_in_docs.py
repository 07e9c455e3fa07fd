"""Sentences and single rows of README and docs whose numbers come from a run: what they say now.

``figures_in_docs.py`` compares them. Each row of :data:`SENTENCES` names the run, the page, how the
sentence begins, and the numbers in its order: ``None`` for one that is not of this run, such as
the paper's, and :class:`Below` for a bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
from PIL import Image

from gae_metric.comparison.pairs import holm, signed_rank

SQUEEZENET, MOBILENET = "shared:squeezenet", "shared:mobilenet"
LITES = ("lite:0", "lite:1", "lite:2")
RESIDUAL = (MOBILENET, *LITES)
DIGITS = VGG, RESNET, VIT = "digits:vgg", "digits:resnet", "digits:vit"
DINOV2 = "shared:vit_small_dinov2"
CONTRASTIVE = "LRP-alpha1beta0-contrastive"


class Below(float):
    """A number for which a page writes a bound: ``p < 0.02``."""


class Run:
    """The tables that a run left."""

    def __init__(self, out: Path) -> None:
        self.out = out

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of all samples."""
        return pd.read_parquet(self.out / "scores.parquet")

    def each(self, model: str, score: str = "GAE", right: bool = False) -> pd.DataFrame:
        """Return scores (samples, methods) of a network."""
        own = self.scores[self.scores["metric"].eq(score) & self.scores["model"].eq(model)]
        if right:
            known = pd.read_parquet(self.out / "targets.parquet").query("predicted == label")
            own = own.merge(known[["model", "sample"]])
        return own.pivot_table("score", "sample", "method", dropna=False)

    def mean(self, model: str, method: str, score: str = "GAE") -> float:
        """Return a method's mean."""
        return float(self.each(model, score)[method].mean())

    def means(self, models: Sequence[str], method: str, score: str = "GAE") -> list[float]:
        """Return a method's means on networks."""
        return [self.mean(model, method, score) for model in models]

    def error(self, model: str, method: str) -> float:
        """Return the standard error of a method's mean of GAE."""
        return float(self.each(model)[method].sem())

    def p(self, model: str, one: str, other: str = "absLRP", score: str = "GAE") -> float:
        """Return p of the signed-rank test of two methods."""
        each = self.each(model, score)[[one, other]].dropna()
        return float(signed_rank(each[one], each[other])["p"])

    def corrected(self, model: str, method: str, right: bool = False) -> float:
        """Return p against absLRP, with Holm's correction for all methods."""
        each = self.each(model, right=right).dropna()
        others = each.columns.drop("absLRP")
        values = holm(pd.Series([signed_rank(each["absLRP"], each[m])["p"] for m in others]))
        return float(values[list(others).index(method)])

    @cached_property
    def wrong_classes(self) -> pd.DataFrame:
        """C and GAE by class, network and method, as the study printed them."""
        rows = printed(self.out, "Classes that are not predicted, and blank images")
        table = pd.DataFrame(rows).set_index(["classes", "network", "method"])
        return table[["contrastiveness", "gae"]].astype(float).sort_index()

    def tau(self, model: str, score: str) -> list[float]:
        """Return τ to the order of the methods in each of the paper's tables that have a score."""
        table = pd.read_csv(self.out / "kendall.csv")
        return table.loc[table["model"].eq(model) & table["score"].eq(score), "tau"].tolist()


def printed(out: Path, title: str) -> list[dict[str, str]]:
    """Return the rows of a table that a study printed below its title."""
    text = (out / "output.txt").read_text(encoding="utf-8").partition(f"{title}\n")[2]
    head, *rows = (line.split() for line in text.partition("\n\n")[0].splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


Values = Callable[[Run], Sequence[float | None]]
PAPER = None


def _plain_cnn(run: Run) -> list[float | None]:
    ours = [run.mean(SQUEEZENET, "absLRP", score) for score in ("GAE", "LC", "C")]
    others = [run.mean(SQUEEZENET, method) for method in ("GuidedGradCAM", "cLRP")]
    return [*3 * [PAPER], *ours, *2 * [PAPER], *others, run.corrected(SQUEEZENET, "cLRP")]


def _residual(run: Run) -> list[float | None]:
    less = [run.mean(model, "absLRP") - run.mean(model, "cLRP") for model in RESIDUAL]
    first = max(run.corrected(model, "cLRP") for model in RESIDUAL[:3])
    return [PAPER, PAPER, *less, Below(first), run.corrected("lite:2", "cLRP")]


def _most(run: Run) -> list[float | None]:
    methods = ("Saliency", "IntegratedGradients", "DeepLIFT", "LRP-epsilon")
    models = (SQUEEZENET, *RESIDUAL)
    return [*3 * [PAPER], *(max(run.means(models, method)) for method in methods)]


def _between(run: Run) -> list[float | None]:
    own = [run.mean(SQUEEZENET, method) for method in ("RAP", "cRAP")]
    rest = max(value for method in ("RAP", "cRAP") for value in run.means(RESIDUAL, method))
    return [PAPER, PAPER, *own, rest]


def _vision(run: Run) -> list[float | None]:
    own = [run.mean(VIT, "absLRP"), run.mean(VIT, "HiResCAM"), run.p(VIT, "HiResCAM")]
    above = [run.p(VIT, method) for method in ("LRP-epsilon-0.1", "absLRP-queries-keys")]
    return [PAPER, PAPER, *own, PAPER, *above]


def _default(run: Run) -> list[float | None]:
    methods = ("absLRP", "absLRP-signed")
    means = [run.mean(model, method) for model in (VGG, VIT) for method in methods]
    return [*means, Below(max(run.p(model, "absLRP-signed") for model in (VGG, VIT)))]


def _gu(run: Run) -> list[float | None]:
    models = (SQUEEZENET, *RESIDUAL)
    less = [run.mean(model, CONTRASTIVE) - run.mean(model, "cLRP") for model in models]
    return [min(less), max(less), Below(max(run.p(m, CONTRASTIVE, "cLRP") for m in models))]


def _above(run: Run) -> list[float | None]:
    clrp = Below(max(run.corrected(model, "cLRP") for model in RESIDUAL))
    models = (MOBILENET, "lite:1", "lite:2")
    signed = Below(max(run.corrected(model, "absLRP-signed") for model in models))
    return [clrp, signed]


def _above_digits(run: Run) -> list[float | None]:
    ablated = [run.p(VIT, method) for method in ("LRP-epsilon-0.1", "absLRP-queries-keys")]
    guided = run.p(RESNET, "GuidedGradCAM")
    return [run.p(VGG, CONTRASTIVE), guided, PAPER, *ablated]


def _limits(run: Run) -> list[float | None]:
    table = run.wrong_classes
    c = {
        k: table.loc[k].xs("Saliency", level="method")["contrastiveness"] for k in ("next", "true")
    }
    product = [table.loc[(k, "vgg", "InputXGradient"), "gae"] for k in ("next", "true")]
    blank = table.loc["blank"].groupby("method")["gae"].agg(["min", "max"])
    zero = table.loc["zero"].xs("Saliency", level="method")["gae"]
    return [
        *(end for classes in c.values() for end in (classes.min(), classes.max())),
        *product,
        table.loc["blank"]["contrastiveness"].min(),
        table.loc["blank"]["contrastiveness"].max(),
        blank.loc["Saliency", "max"],
        *blank.loc["InputXGradient"],
        *zero[["vgg", "resnet", "vit"]],
    ]


def _table(number: int, *models: str) -> Values:
    """Return what gives τ by network, of LC, C and GAE or of the other metrics."""
    others = ("ROAD_MoRF", "ROAD_LeRF", "LocalLipschitz", "Focus")
    wanted = ("LC", "C", "GAE") if number < 7 else others

    def values(run: Run) -> list[float | None]:
        table = pd.read_csv(run.out / "kendall.csv").set_index(["model", "table", "score"])["tau"]
        return [
            float(table[m, number, s])
            for m in models
            for s in wanted
            if (m, number, s) in table.index
        ]

    return values


def _product(run: Run) -> list[float | None]:
    without = [run.mean(model, "LRP-alpha1beta0", "C") for model in (VGG, RESNET)]
    contrast = [run.mean(model, CONTRASTIVE, "C") for model in (VGG, RESNET)]
    methods = ("InputXGradient", "LRP-epsilon")
    lc = [run.mean(model, method, "LC") for model in (VGG, RESNET) for method in methods]
    return [*without, *contrast, min(lc), max(lc)]


def _detail(run: Run) -> list[float | None]:
    """GAE of GuidedGradCAM and GradCAM on Lite0, and the means of LC_R."""
    methods = ("GuidedGradCAM", "GradCAM")
    gae = [run.mean("lite:0", method) for method in methods]
    below = Below(run.p("lite:0", *methods))
    r = {m: [run.mean(m, method, "LC_R") for method in methods] for m in (SQUEEZENET, *RESIDUAL)}
    intervals = [value for m in LITES for one in r[m] for value in (one, PAPER, PAPER)]
    return [*gae, below, *intervals, *r[SQUEEZENET], *r[MOBILENET]]


def _sparsity(run: Run) -> list[float | None]:
    """Gini indices of the best and worst maps, and the rank correlation, from a figure's title."""
    (path,) = run.out.glob("figure*.png")
    with Image.open(path) as picture:
        title = picture.info["Title"].partition("Gini")[2]
    return [float(number) for number in re.findall(r"-?\d\.\d+", title)]


#: Name of the run, page, how the sentence or the row begins, and its numbers.
SENTENCES: tuple[tuple[str, str, str, Values], ...] = (
    ("imagenet-here", "README.md", "- LRP-alpha1beta0-contrastive on", _above),
    ("digits", "README.md", "- VGG: LRP-alpha1beta0-contrastive", _above_digits),
    ("imagenet-here", "docs/evidence.md", "| absLRP is first on a plain CNN", _plain_cnn),
    ("imagenet-here", "docs/evidence.md", "| absLRP and cLRP are tied", _residual),
    ("imagenet-here", "docs/evidence.md", "| gradients are near 0", _most),
    ("imagenet-here", "docs/evidence.md", "| RAP (0.097) and cRAP", _between),
    (
        "imagenet-here",
        "docs/evidence.md",
        "| class activation maps are between",
        lambda run: [
            *2 * [PAPER],
            *(end(run.means((SQUEEZENET, *RESIDUAL), "GradCAM")) for end in (min, max)),
        ],
    ),
    ("digits", "docs/evidence.md", "| absLRP is first on a ViT", _vision),
    (
        "imagenet-here",
        "docs/evidence.md",
        "The test has the same result",
        lambda run: [
            run.corrected(SQUEEZENET, "cLRP", right=True),
            run.corrected("lite:0", "absLRP-signed", right=True),
        ],
    ),
    ("imagenet-here", "docs/evidence.md", "**LRP-α1β0-contrastive is above", _gu),
    (
        "digits",
        "docs/experiments.md",
        "Kendall's τ is",
        lambda run: [
            *(run.tau(model, score)[0] for score in ("GAE", "LC", "C") for model in DIGITS),
            run.tau(VIT, "GAE")[-1],
        ],
    ),
    (
        "imagenet-here",
        "docs/experiments.md",
        "**MobileNetV2** takes",
        lambda run: [run.mean(MOBILENET, "absLRP", score) for score in ("LC", "C")],
    ),
    ("digits", "docs/decisions.md", "With conservation, the text's single pass", _default),
    ("stability", "docs/limits.md", "- **Maps of a class that", _limits),
    ("imagenet-here", "docs/evidence.md", "**GuidedGradCAM is below GradCAM on Lite0**", _detail),
    ("digits", "docs/experiments.md", "- The contrast matters more", _product),
    ("imagenet-here", "docs/fidelity.md", "| table 1: GAE", _table(1, SQUEEZENET)),
    ("imagenet-here", "docs/fidelity.md", "| table 3: GAE", _table(3, *RESIDUAL)),
    ("imagenet-metrics", "docs/fidelity.md", "| table 7: other", _table(7, SQUEEZENET)),
    (
        "digits",
        "docs/fidelity.md",
        "| table 7: other",
        lambda run: [*3 * [PAPER], *_table(7, VGG)(run)],
    ),
    ("imagenet-metrics", "docs/fidelity.md", "| table 8: other", _table(8, MOBILENET, "lite:0")),
    (
        "digits",
        "docs/fidelity.md",
        "| table 8: other",
        lambda run: [*6 * [PAPER], *_table(8, RESNET)(run)],
    ),
    ("digits", "docs/fidelity.md", "| table 9: other", _table(9, VIT)),
    ("figure11", "docs/fidelity.md", "| figure 11:", _sparsity),
    ("figure14", "docs/fidelity.md", "| figure 14:", _sparsity),
    (
        "digits",
        "docs/fidelity.md",
        "| table 10: ablation",
        lambda run: [
            *(
                run.mean(VIT, f"absLRP{part}")
                for part in ("-queries-keys", "", "-values", "-patches")
            ),
            *4 * [PAPER],
            run.tau(VIT, "GAE")[-1],
        ],
    ),
    (
        "dinov2",
        "docs/experiments.md",
        "The network is a ViT-S/14",
        lambda run: [
            value
            for method in ("absLRP-queries-keys", "HiResCAM", "AttnLRP", "absLRP-signed", "absLRP")
            for value in (run.mean(DINOV2, method), run.error(DINOV2, method))
        ],
    ),
    (
        "dinov2",
        "docs/experiments.md",
        "An image of zeros has logits",
        lambda run: [*4 * [PAPER], run.mean(DINOV2, "Random", "C")],
    ),
)
