"""Make figures (numbers) of README and docs again, and name those that changed.

``make figures-in-docs``, or ``python scripts/figures_in_docs.py [NAME ...]``. Each row of
:data:`FIGURES` is a command, about how many hours it takes on two idle cores, and the tables that
are made of what it writes. A number that differs by more than its last digit's rounding is named,
and the status is 1. What commands leave is kept in ``build/figures-in-docs``, and a run that was
stopped there goes on; ``--list`` says names, hours and commands.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
#: By row and column of a page's table, the numbers of a cell: mean, or mean and standard error.
Numbers = Mapping[tuple[str, str], tuple[float, ...]]
NUMBER = re.compile(r"(?<![\w.])[-−]?\d*\.\d+(?:e-?\d+)?|(?<![\w.])\d+e-?\d+")
#: What pages write for methods.
NAMES = {"LRP-α1β0-contrastive": "LRP-alpha1beta0-contrastive"}
NAMES |= {"absLRP by queries and keys alone": "absLRP-queries-keys", "**operation, streams**": ""}
NAMES |= {"LRP-ε with ε = 0.1": "LRP-epsilon-0.1"}
NAMES |= {
    f"{network}, table {number} of the paper ({paper})": f"{network}, table {number} of the paper"
    for network, number, paper in (
        ("SqueezeNet", 1, "VGG16"), ("MobileNetV2", 3, "ResNet50"), ("Lite0", 3, "ResNet50"),
        ("Lite1", 3, "ResNet50"), ("Lite2", 3, "ResNet50"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A command and a table that is made of what it leaves."""

    name: str
    command: str
    hours: float
    page: str
    #: The first cells of the table's head.
    head: str
    fresh: Callable[[Path], Numbers]


def demo(out: Path) -> Numbers:
    """Return GAE of the demo, by method and network."""
    table = pd.read_csv(out / "summary.csv")
    names = {"vgg": "VGG", "resnet": "ResNet", "vit": "ViT"}
    return {
        (row.method, names[row.model]): (row.mean, row.standard_error)
        for row in table[table["metric"] == "GAE"].itertuples(index=False)
    }


def means(out: Path, model: str = "") -> Numbers:
    """Return means of a run's tables, and GAE's standard errors."""
    table = pd.read_csv(out / "tables.csv")
    table = table[table["model"] == model] if model else table
    return {
        (row.method, row.score): (row.mean, row.standard_error)
        for row in table.itertuples(index=False)
    }


def variants(out: Path) -> Numbers:
    """Return LC, C and GAE by absLRP's options and network."""
    table = pd.read_csv(out / "tables.csv").set_index(["method", "model", "score"])["mean"]
    columns = {"digits:vgg": "digits VGG", "digits:resnet": "digits ResNet"}
    columns |= {"digits:vit": "digits ViT", "shared:squeezenet": "SqueezeNet"}
    rows = {"Random": "random map", "Saliency": "saliency", "InputXGradient": "input × gradient"}
    return {
        (rows.get(m, m), columns[model]): tuple(table[m, model, s] for s in ("LC", "C", "GAE"))
        for m, model, score in table.index
        if score == "GAE"
    }


SUBTRACTED = "minus the mean of all class maps"
SCALED = "minus that mean, both first scaled to sum 1, as in absLRP's two streams"


SHORT = {"vgg": "VGG", "resnet": "ResNet", "vit": "ViT"}


def stability(out: Path) -> Numbers:
    """Return deviations of C by the number of mosaics, of a sample and of the mean; its mean."""
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for row in _printed(out, "Standard deviation of C over seeds"):
        name = f"{SHORT[row['network']]}, {row['method']}"
        found[name, f"K = {row['K']}"] = float(row["sample"]), float(row["mean"])
        found.setdefault((name, "mean C"), (float(row["C"]),))
    return found


def constants(out: Path) -> Numbers:
    """Return GAE by the constant that is added to the logits."""
    return {
        (f"{SHORT[row['network']]}, {row['method']}", shown): (float(row["gae"]),)
        for row in _printed(out, "A constant is added to all logits")
        for shown in [{"-5": "−5", "0": "0", "5": "+5", "20": "+20"}[row["added"]]]
    }


def _printed(out: Path, title: str) -> list[dict[str, str]]:
    """Return the rows of a table that a study printed below its title."""
    text = (out / "output.txt").read_text(encoding="utf-8").partition(f"{title}\n")[2]
    head, *rows = (line.split() for line in text.partition("\n\n")[0].splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def cams(out: Path) -> Numbers:
    """Return C of class maps by what is subtracted, by network and whether they are guided."""
    table = pd.read_csv(out / "tables.csv")
    shown = {"map": "class map (GradCAM)", "(map - mean)": SUBTRACTED}
    shown |= {"map - mean": SUBTRACTED, "map - mean (scaled)": SCALED}
    shown["(map - mean (scaled))"] = SCALED
    return {
        (
            shown.get(name := row.method.removeprefix("guided x "), name),
            f"{NETWORKS[row.model]}: {'guided × ' * (name != row.method)}map",
        ): (row.mean,)
        for row in table.itertuples(index=False)
    }


def cam_grain(out: Path) -> Numbers:
    """Return LC_R by method and network."""
    table = pd.read_csv(out / "tables.csv").query("score == 'LC_R'")
    methods = table["method"].str.replace("of ", "its average over ").str.replace(" x ", " × ")
    columns = table["model"].map(NETWORKS)
    return {(m, c): (v,) for m, c, v in zip(methods, columns, table["mean"], strict=True)}


def cam_layers(out: Path) -> Numbers:
    """Return C by layer and method."""
    table = pd.read_csv(out / "tables.csv")
    layers = {
        "features.18.2": "features.18.2 (after ReLU6; the default)",
        "features.18.1": "features.18.1 (batch norm before it)",
        "features.17": "features.17 (linear bottleneck)",
        "features.16": "features.16 (linear bottleneck and residual sum)",
    }
    found = {}
    for row in table.itertuples(index=False):
        method, _, layer = row.method.partition(" ")
        found[layers[layer or "features.18.2"], method] = (row.mean,)
    return found


def reviews(out: Path) -> Numbers:
    """Return the probability of each review's prediction."""
    lines = (out / "output.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"\w+ \((.*?)\): (.*)", line) for line in lines]
    return {(one[2], "prediction"): (float(one[1]),) for one in found if one}


NETWORKS = {"shared:squeezenet": "SqueezeNet", "shared:mobilenet": "MobileNetV2", "lite:0": "Lite0"}
NETWORKS |= {"lite:1": "Lite1", "lite:2": "Lite2"}


def evidence(title: str, counted: bool) -> Callable[[Path], Numbers]:
    """Return what reads a printed table by its title; the page may count a network's images."""

    def named(text: str) -> str:
        text = text if counted else re.sub(r" \(n = \d+\)", "", text)
        for name, shown in (*NETWORKS.items(), ("all networks", "all five")):
            text = text.replace(name, shown)
        return text

    def fresh(out: Path) -> Numbers:
        printed = (out / "output.txt").read_text(encoding="utf-8").partition(f"## {title}\n\n")[2]
        lines = printed.partition("\n\n")[0].splitlines()
        head, _, *rows = [
            [named(cell.strip()) for cell in one.strip("|").split("|")] for one in lines
        ]
        return {
            (row[0], column): tuple(map(float, NUMBER.findall(cell)))
            for row in rows
            for column, cell in zip(head[1:], row[1:], strict=True)
        }

    return fresh


EVIDENCE = "-m benchmarks evidence benchmarks/results/imagenet-here"
LESS = "GAE of absLRP less that of"
RUN = "-m benchmarks run --quiet --output {out} --config"
DEFINITIONS = f"{RUN} definitions"
PHOTOGRAPHS = "imagenet:{shared}/images/imagenet"
STABILITY = "-m benchmarks.studies.score_stability"
CAMS = "docs/class-activation-maps.md"
FIGURES = (
    Figure("demo", "-m gae_metric demo --out {out}", 0.2, "README.md", "| GAE | VGG", demo),
    Figure("definitions", DEFINITIONS, 0.8, "README.md", "| | GAE | LC", means),
    Figure("definitions", DEFINITIONS, 0.8, "docs/experiments.md", "| | GAE | LC", means),
    Figure(
        "defaults", f"{RUN} defaults", 0.3, "docs/decisions.md", "| conserve, contrast", variants
    ),
    Figure(
        "defaults-squeezenet",
        f"{RUN} defaults --model shared:squeezenet --data {PHOTOGRAPHS} --samples 16",
        0.3,
        "docs/decisions.md",
        "| conserve, contrast",
        variants,
    ),
    Figure(
        "reviews",
        "-m benchmarks.studies.reviews --out {out}",
        0.01,
        "docs/text.md",
        "| review | prediction",
        reviews,
    ),
    Figure(
        "digits",
        "-m benchmarks tables benchmarks/results/digits --output {out}",
        0.01,
        "docs/experiments.md",
        "| digits:vgg | GAE",
        lambda out: means(out, "digits:vgg"),
    ),
    Figure("stability", STABILITY, 0.2, "docs/gae.md", "| network, method | mean C", stability),
    Figure("stability", STABILITY, 0.2, "docs/gae.md", "| network, method | −5", constants),
    Figure("cams", f"{RUN} cams", 0.1, CAMS, "| | SqueezeNet: map", cams),
    Figure("cam-layers", f"{RUN} cam-layers", 0.1, CAMS, "| | GradCAM", cam_layers),
    Figure("cam-grain", f"{RUN} cam-grain", 0.3, CAMS, "| LC_R | SqueezeNet", cam_grain),
    *(
        Figure("evidence", EVIDENCE, 0.01, "docs/evidence.md", head, evidence(title, counted))
        for head, title, counted in (
            ("| GAE (n =", "All images: GAE", False),
            ("| absLRP minus (n =", f"All images: {LESS}", False),
            ("| GAE | SqueezeNet (n =", "Images predicted as labelled: GAE", True),
            ("| Kendall's τ of GAE (n =", "All images: τ of GAE", False),
        )
    ),
)


def table_of(page: str, head: str) -> Iterator[tuple[str, str, str]]:
    """Yield row, column and text of the cells of a page's table; up to a row in bold face."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(head)), None)
    if start is None:
        raise SystemExit(f"{page} has no table that begins with {head!r}")
    columns = [cell.strip() for cell in lines[start].strip("|").split("|")]
    for line in lines[start + 2 :]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or (cells[0].startswith("**") and not any(cells[1:])):
            return
        row = NAMES.get(cells[0], cells[0]) or cells[0].strip("*")
        yield from (
            (row, column, cell) for column, cell in zip(columns[1:], cells[1:], strict=False)
        )


def changed(figure: Figure, fresh: Numbers) -> Iterator[str]:
    """Yield a line for each number that differs by more than its last digit's rounding."""
    compared = 0
    for row, column, cell in table_of(figure.page, figure.head):
        if "†" in cell or (row, column) not in fresh:
            continue  # of an earlier run, as the page says; or not of this command
        for written, value in zip(NUMBER.findall(cell), fresh[row, column], strict=False):
            compared += 1
            text = written.replace("−", "-")
            unit = 10.0 ** -len(text.partition("e")[0].partition(".")[2])
            if not math.isclose(float(text), value, rel_tol=0, abs_tol=1.001 * unit):
                yield f"{figure.page}: {row}, {column}: {written} is {value:.4g} now"
    print(f"{figure.name}: {compared} numbers of {figure.page} compared", flush=True)
    if not compared:
        yield f"{figure.page}: nothing of the table {figure.head!r} was compared"


def make(figure: Figure, out: Path) -> None:
    """Run a command, and the tables of a run."""
    out.mkdir(parents=True, exist_ok=True)
    words = shlex.split(figure.command.replace("{out}", shlex.quote(str(out))))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    (out / "output.txt").write_text(done.stdout, encoding="utf-8")
    if "benchmarks run" in figure.command:
        words = [sys.executable, "-m", "benchmarks", "tables", str(out)]
        subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Make what is asked for again, and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default all")
    parser.add_argument("--list", action="store_true", help="say names, hours and commands")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "figures-in-docs")
    given = parser.parse_args()
    known = {figure.name: figure for figure in FIGURES}
    if unknown := set(given.names) - set(known):
        parser.error(f"expected of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    wanted = {name: one for name, one in known.items() if not given.names or name in given.names}
    for name, one in wanted.items():
        print(f"{name}: about {one.hours:g} hours: python {one.command}", flush=True)
    print(f"about {sum(one.hours for one in wanted.values()):.1f} hours in all", flush=True)
    if given.list:
        return
    lines = []
    for name, one in wanted.items():
        make(one, given.out / name)
        for figure in FIGURES:
            if figure.name == name:
                lines += changed(figure, figure.fresh(given.out / name))
    print("\n".join(lines) or "nothing changed")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
