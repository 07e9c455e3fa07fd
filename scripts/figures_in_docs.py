"""Make figures (numbers) of README and docs again, and name those that changed.

``make figures-in-docs``, or ``python scripts/figures_in_docs.py [NAME ...]``. Each row of
:data:`FIGURES` is a command, about how many hours it takes on two idle cores, and the tables or
sentences that are made of what it writes. A number that differs by more than its last digit's
rounding is named, and the status is 1. Times are not compared: they are of a machine. What commands
leave is kept in ``build/figures-in-docs``, and a run that was stopped there goes on; ``--list``
says names, hours and commands. ``--stored`` takes minutes: of runs that are in
``benchmarks/results`` it makes only the tables again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from sentences_in_docs import DIGITS, SENTENCES, SQUEEZENET, VIT, Below, Run, Values, printed

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
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
    """Commands, and a table or a sentence that is made of what they leave."""

    #: That of the folder in ``benchmarks/results``, where there is one.
    name: str
    #: Of a run, ``{out}`` is its folder, and ``{results}`` of what comes after it.
    command: str
    hours: float
    page: str
    #: The first cells of the table's head, or the first words of the sentence.
    head: str
    fresh: Callable[[Path], Numbers]
    #: The row in bold face below which the rows are; by default those above all such rows.
    section: str = ""
    #: Whether it is no table, but a sentence or a single row.
    prose: bool = False


def demo(out: Path) -> Numbers:
    """Return GAE of the demo, by method and network."""
    table = pd.read_csv(out / "summary.csv")
    names = {"vgg": "VGG", "resnet": "ResNet", "vit": "ViT"}
    return {
        (row.method, names[row.model]): (row.mean, row.standard_error)
        for row in table[table["metric"] == "GAE"].itertuples(index=False)
    }


def means(out: Path, model: str = "") -> Numbers:
    """Return means of a run's tables, GAE's standard errors, and p against absLRP."""
    table = pd.read_csv(out / "tables.csv")
    table = table[table["model"] == (model or table["model"][0])]
    found: dict[tuple[str, str], tuple[float, ...]] = {
        (row.method, row.score): (row.mean, row.standard_error)
        for row in table.itertuples(index=False)
    }
    run, network = Run(out), table["model"].iloc[0]
    for name in run.each(network).columns.drop("absLRP"):
        found[name, "p"] = (run.p(network, name),)
    return found


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
    for row in printed(out, "Standard deviation of C over seeds"):
        name = f"{SHORT[row['network']]}, {row['method']}"
        found[name, f"K = {row['K']}"] = float(row["sample"]), float(row["mean"])
        found.setdefault((name, "mean C"), (float(row["C"]),))
    return found


def constants(out: Path) -> Numbers:
    """Return GAE by the constant that is added to the logits."""
    return {
        (f"{SHORT[row['network']]}, {row['method']}", shown): (float(row["gae"]),)
        for row in printed(out, "A constant is added to all logits")
        for shown in [{"-5": "−5", "0": "0", "5": "+5", "20": "+20"}[row["added"]]]
    }


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


#: Rows of the table of definitions whose GAE is of the digits: methods and networks.
ON_DIGITS = {
    "LRP-epsilon-0.1": DIGITS, "LRP-alpha2beta1": DIGITS, "TIBAV": [VIT], "TIBAV-epsilon": [VIT],
    "Rollout": [VIT], "LLAttention": [VIT], "HiResCAM": DIGITS, "LayerCAM": DIGITS,
    "GradCAM++": DIGITS,
}  # fmt: skip
ON_SQUEEZENET = ["LRP-epsilon", "LRP-alpha1beta0", "cLRP", "LRP-alpha1beta0-contrastive", "RAP"]
ON_SQUEEZENET += ["cRAP", "GradCAM", "GuidedGradCAM", "DeepLIFT", "IntegratedGradients", "Saliency"]
DEFINED = {f"`{name}`": ([name], networks) for name, networks in ON_DIGITS.items()}
DEFINED |= {f"`{name}`": ([name], [SQUEEZENET]) for name in ON_SQUEEZENET}
NETWORKS = {"shared:squeezenet": "SqueezeNet", "shared:mobilenet": "MobileNetV2", "lite:0": "Lite0"}
NETWORKS |= {"lite:1": "Lite1", "lite:2": "Lite2"}


def read(lines: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """Return the cells of a Markdown table: those of its head, and its rows."""
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return head, rows


def numbers_of(lines: Iterable[str]) -> Numbers:
    """Return the numbers of a Markdown table."""
    head, rows = read(lines)
    return {
        (row[0], column): tuple(map(float, NUMBER.findall(cell)))
        for row in rows
        for column, cell in zip(head[1:], row[1:], strict=True)
    }


def evidence(title: str, counted: bool) -> Callable[[Path], Numbers]:
    """Return what reads a printed table by its title; the page may count a network's images."""

    def named(text: str) -> str:
        text = text if counted else re.sub(r" \(n = \d+\)", "", text)
        for name, shown in (
            *NETWORKS.items(),
            ("all networks", "all five" if "GAE" in title else "all three"),
        ):
            text = text.replace(name, shown)
        return text

    def fresh(out: Path) -> Numbers:
        printed = (out / "output.txt").read_text(encoding="utf-8").partition(f"## {title}\n\n")[2]
        return numbers_of(named(printed.partition("\n\n")[0]).splitlines())

    return fresh


def sanity(out: Path) -> Numbers:
    """Return the numbers of the document that the checks wrote."""
    lines = (out / "sanity.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| | digits:vgg"))
    return numbers_of(itertools.takewhile(str.strip, lines[start:]))


def sentiment(out: Path) -> Numbers:
    """Return GAE and its parts by method, as the notebook shows them."""
    del out  # notebooks are made where they are
    path = ROOT / "benchmarks" / "notebooks" / "sentiment.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = (o["data"]["text/html"] for c in cells for o in c.get("outputs", ()) if "data" in o)
    texts = ("".join(text) for text in shown)
    table = next(text for text in texts if "lc_robustness" in text)
    columns = ("LC_R", "LC_F", "LC", "C", "GAE")
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in table.split("</tr>")]
    return {
        (method, column): (float(value),)
        for method, *values in (row for row in rows if len(row) > len(columns) and row[0])
        for column, value in zip(columns, values, strict=True)
    }


def differences(models: Sequence[str]) -> Callable[[Path], Numbers]:
    """Return what reads GAE of the methods in the table of definitions."""

    def fresh(out: Path) -> Numbers:
        run = Run(out)
        return {
            (row, "GAE"): tuple(run.mean(model, m) for m in methods for model in networks)
            for row, (methods, networks) in DEFINED.items()
            if set(networks) <= set(models)
        }

    return fresh


def dinov2(title: str) -> Callable[[Path], Numbers]:
    """Return what reads a table that the study printed below its title."""

    def fresh(out: Path) -> Numbers:
        text = (out / "output.txt").read_text(encoding="utf-8").partition(f"{title}\n")[2]
        head, *lines = text.partition("\n\n")[0].splitlines()
        columns = re.split(r"\s{2,}", head.strip())
        rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
        return {
            (row[0], column): (float(value),)
            for row in rows
            for column, value in zip(columns, row[1:], strict=True)
        }

    return fresh


def sentence(values: Values) -> Callable[[Path], Numbers]:
    """Return what gives the numbers of a sentence or a row, by their places."""

    def fresh(out: Path) -> Numbers:
        found = enumerate(values(Run(out)))
        return {("", str(place)): (value,) for place, value in found if value is not None}

    return fresh


LESS = "GAE of absLRP less that of"
RUN = "-m benchmarks run --quiet --output {out}"
TABLES = "-m benchmarks tables {results} --output {out}"
DEFINITIONS = f"{RUN} --config definitions; {TABLES}"
DIGITS_RUN = f"{RUN} --first 64; {TABLES}"
HERE = f"{RUN} --config imagenet-here; {TABLES}; -m benchmarks evidence {{results}}"
HERE += "; -m benchmarks evidence {results} --score LC_R"
THREE = "--model shared:squeezenet --model shared:mobilenet --model lite:0"
OTHERS = ("ROAD_MoRF", "LocalLipschitz")
METRICS = f"{RUN} --config imagenet-metrics {THREE}; {TABLES}" + "".join(
    f"; -m benchmarks evidence {{results}} --score {score}" for score in OTHERS
)
PHOTOGRAPHS = "imagenet:{shared}/images/imagenet"
STABILITY = "-m benchmarks.studies.score_stability"
FEW = "--stages 3 --mosaic-seeds 3 --perturbations 1 --lipschitz-samples 3"
SANITY = "; ".join(
    f"-m benchmarks.sanity --replace --out {{out}} {options}"
    for options in (
        "--network digits:vgg --network digits:resnet --network digits:vit",
        f"--network shared:squeezenet --network shared:mobilenet --samples 4 {FEW}",
        f"--network lite:0 --samples 32 {FEW} --method absLRP --method GradCAM",
    )
)
SANITY += "; -m benchmarks.sanity --report-only --out {results} --document {out}/sanity.md"
NOTEBOOKS = "-m benchmarks.notebooks.execute"
DINOV2 = "-m benchmarks.studies.dinov2"
CAMS = "docs/class-activation-maps.md"
EXPERIMENTS = "docs/experiments.md"
EVIDENCE = "docs/evidence.md"
DEFAULTS = f"{RUN} --config defaults"
DEFAULTS_HERE = f"{DEFAULTS} --model shared:squeezenet --data {PHOTOGRAPHS} --samples 16; {TABLES}"
DEFINITION = ("docs/decisions.md", "| | paper | authors' code | here | GAE")
DECISIONS = ("docs/decisions.md", "| conserve, contrast", variants)
FIGURES = (
    Figure("demo", "-m gae_metric demo --out {out}", 0.2, "README.md", "| GAE | VGG", demo),
    Figure("definitions", DEFINITIONS, 0.8, EXPERIMENTS, "| | GAE | LC", means),
    Figure("defaults", f"{DEFAULTS}; {TABLES}", 0.3, *DECISIONS),
    Figure("defaults-squeezenet", DEFAULTS_HERE, 0.3, *DECISIONS),
    Figure(
        "reviews",
        "-m benchmarks.studies.reviews --out {out}",
        0.01,
        "docs/text.md",
        "| review | prediction",
        reviews,
    ),
    *(
        Figure(
            "digits",
            DIGITS_RUN,
            1.5,
            EXPERIMENTS,
            "| digits:vgg | GAE",
            partial(means, model=model),
            section,
        )
        for model, section in (
            ("digits:vgg", ""),
            ("digits:resnet", "digits:resnet"),
            ("digits:vit", "digits:vit"),
        )
    ),
    Figure("sanity", SANITY, 1.5, "docs/sanity.md", "| | digits:vgg | digits:resnet", sanity),
    Figure("notebooks", NOTEBOOKS, 0.2, "docs/text.md", "| method | LC_R", sentiment),
    Figure("digits", DIGITS_RUN, 1.5, *DEFINITION, differences(DIGITS)),
    Figure("imagenet-here", HERE, 8, *DEFINITION, differences([SQUEEZENET])),
    Figure("stability", STABILITY, 0.2, "docs/gae.md", "| network, method | mean C", stability),
    Figure("stability", STABILITY, 0.2, "docs/gae.md", "| network, method | −5", constants),
    Figure("cams", f"{RUN} --config cams; {TABLES}", 0.1, CAMS, "| | SqueezeNet: map", cams),
    Figure(
        "cam-layers", f"{RUN} --config cam-layers; {TABLES}", 0.1, CAMS, "| | GradCAM", cam_layers
    ),
    Figure(
        "cam-grain",
        f"{RUN} --config cam-grain; {TABLES}",
        0.3,
        CAMS,
        "| LC_R | SqueezeNet",
        cam_grain,
    ),
    Figure(
        "imagenet-here",
        HERE,
        8,
        "README.md",
        "| | GAE | LC",
        partial(means, model="shared:squeezenet"),
    ),
    *(
        Figure("imagenet-here", HERE, 8, EVIDENCE, head, evidence(title, counted))
        for head, title, counted in (
            ("| GAE (n =", "All images: GAE", False),
            ("| absLRP minus (n =", f"All images: {LESS}", False),
            ("| GAE | SqueezeNet (n =", "Images predicted as labelled: GAE", True),
            ("| Kendall's τ of GAE (n =", "All images: τ of GAE", False),
        )
    ),
    *(
        Figure(
            "imagenet-metrics",
            METRICS,
            3,
            EVIDENCE,
            f"| {score} | SqueezeNet",
            evidence(f"All images: {score}", True),
        )
        for score in OTHERS
    ),
    *(
        Figure("dinov2-apart", DINOV2, 0.5, EXPERIMENTS, head, dinov2(title))
        for head, title in (
            ("| two streams", "Two streams"),
            ("| absLRP with", "Rules taken apart"),
            ("| mosaics of four groups", "Mosaics of four groups"),
        )
    ),
)
COMMANDS = {figure.name: (figure.command, figure.hours) for figure in FIGURES}
COMMANDS["dinov2"] = f"{RUN} --config dinov2; {TABLES}", 0.5
for number, data in (
    (11, f"--model shared:squeezenet --data {PHOTOGRAPHS} --samples 16"),
    (14, "--model digits:vit --data digits --samples 64"),
):
    drawn = f"-m benchmarks figures {{results}} --figure {number} --output {{out}}"
    COMMANDS[f"figure{number}"] = (
        f"{RUN} --config figure{number} --devices cpu {data}; {drawn}",
        0.1,
    )
FIGURES += tuple(
    Figure(name, *COMMANDS[name], page, head, sentence(values), prose=True)
    for name, page, head, values in SENTENCES
)


def cells_of(figure: Figure) -> Iterator[tuple[str, str, str]]:
    """Yield row, column and text of a table's cells, or place and text of a sentence's numbers."""
    lines = (ROOT / figure.page).read_text(encoding="utf-8").splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith(figure.head)), None)
    if start is None:
        raise SystemExit(f"{figure.page} has nothing that begins with {figure.head!r}")
    whole = list(itertools.takewhile(str.strip, lines[start:]))
    if figure.prose:
        whole = whole[:1] if figure.head.startswith("|") else whole
        for place, found in enumerate(NUMBER.findall(" ".join(whole))):
            yield "", str(place), found
        return
    head, rows = read(whole)
    section = ""
    for name, *cells in rows:
        if name.startswith("**") and not any(cells):
            section = name.strip("*")
        elif section == figure.section:
            row = NAMES.get(name, name) or name.strip("*")
            yield from ((row, column, cell) for column, cell in zip(head[1:], cells, strict=False))


def changed(figure: Figure, fresh: Numbers) -> Iterator[str]:
    """Yield a line for each number that differs by more than its last digit's rounding."""
    compared = 0
    for row, column, cell in cells_of(figure):
        if "†" in cell or (row, column) not in fresh:
            continue  # of an earlier run, as the page says; or not of this command
        for written, value in zip(NUMBER.findall(cell), fresh[row, column], strict=False):
            compared += 1
            text = written.replace("−", "-")
            digits, _, power = text.partition("e")
            unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
            if isinstance(value, Below):
                same = value <= float(text)
            else:
                same = math.isclose(float(text), value, rel_tol=0, abs_tol=1.001 * unit)
            if not same:
                yield f"{figure.page}: {row}, {column}: {written} is {value:.4g} now"
    print(f"{figure.name}: {compared} numbers of {figure.page} compared", flush=True)
    if not compared:
        yield f"{figure.page}: nothing of {figure.head!r} was compared"


def make(figure: Figure, out: Path, stored: bool) -> None:
    """Run a figure's commands; of a run that is stored, what comes after it."""
    out.mkdir(parents=True, exist_ok=True)
    commands = figure.command.split("; ")
    results = RESULTS / figure.name
    if stored and results.is_dir():
        for kept in ("scores.parquet", "targets.parquet"):
            if (results / kept).is_file():
                shutil.copy(results / kept, out)
        commands = [command for command in commands if "{results}" in command]
    else:
        results = out
    printed = ""
    for command in commands:
        given = command.replace("{out}", shlex.quote(str(out)))
        words = shlex.split(given.replace("{results}", shlex.quote(str(results))))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        printed += done.stdout
    (out / "output.txt").write_text(printed, encoding="utf-8")


def main() -> None:
    """Make what is asked for again, and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="by default all")
    parser.add_argument("--stored", action="store_true", help="take the runs that are stored")
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
        make(one, given.out / name, given.stored)
        for figure in FIGURES:
            if figure.name == name:
                lines += changed(figure, figure.fresh(given.out / name))
    print("\n".join(lines) or "nothing changed")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()
