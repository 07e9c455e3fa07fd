"""``python -m benchmarks rehearse``: the paper's tables and figures on stand-ins, end to end.

ImageNet's folders, VOCdevkit and weight files are made in their real layouts, with noise as images
and random weights of the true shapes: what is seen is whether everything runs, and no result.
"""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import typer

from gae_metric.commands.declared import taking

#: Images of a rehearsal: as few as a mosaic has. Two of them are explained.
_IMAGES = 4
#: Steps of masking, percentages of ROAD, perturbations: as few as there can be.
_REDUCED: dict[str, Any] = {"samples": _IMAGES, "first": 2, "block": 2, "batch_size": 2, "steps": 2}
_METRICS: dict[str, dict[str, Any]] = {
    "ROAD_MoRF": {"percentages": [50]},
    "ROAD_LeRF": {"percentages": [50]},
    "LocalLipschitz": {"samples": 1},
}
#: A vision transformer of one block, for a look that takes seconds.
_SMALL: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 3}
#: Numbers of ImageNet's validation images that show several things, and VOC's classes.
_VALIDATION = "ILSVRC2012_val_{:08d}.JPEG"
_NUMBERS, _VOC = (2, 5, 17, 26), ("dog", "cat", "car", "sofa")
#: A thing in an annotation of VOC: its class, and where its box ends.
_OBJECT = (
    "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{}</xmax><ymax>90</ymax>"
    "</bndbox></object>"
)


@dataclass(frozen=True)
class RehearseRequest:
    """What is rehearsed.

    Attributes
    ----------
    config
        Table or figure of benchmarks/configs; may be repeated. Default: all.
    small
        Vision transformers of two narrow blocks: seconds.
    output
        Folder that is kept; by default one that is removed.
    """

    config: list[str] | None = None
    small: bool = False
    output: Path | None = None


@taking(RehearseRequest)
def rehearse(request: RehearseRequest) -> None:
    """Run the tables' and figures' configurations on stand-ins: random weights, images of noise.

    Needs no download, one CPU and 5 GB of memory; every reduction is printed.
    """
    from benchmarks.commands.of_runs import CONFIGS, config_of
    from gae_metric.commands.terminal import Terminal, report_errors

    names = request.config or sorted(path.stem for path in CONFIGS.glob("[tf]*[0-9].yaml"))
    with report_errors(Terminal()) as terminal, tempfile.TemporaryDirectory() as folder:
        for name in names:
            config_of(Path(name))
        failed = run_all(names, request.output or Path(folder), request.small, terminal.say)
        if failed:
            terminal.say(f"failed: {', '.join(failed)}")
            raise typer.Exit(1)


def run_all(names: list[str], folder: Path, small: bool, say: Callable[[str], None]) -> list[str]:
    """Rehearse configurations, and return those of which something failed."""
    from benchmarks.commands.of_runs import config_of
    from benchmarks.config.runs import parse, read
    from benchmarks.figures.plan import FIGURES
    from benchmarks.figures.write import write_figures
    from benchmarks.methods.matrix import QUICK
    from benchmarks.runner.run import execute
    from benchmarks.tables.against_paper import write_tables

    make_imagenet(folder / "imagenet")
    make_voc(folder)
    say(
        f"stand-ins: {_IMAGES} images of noise in ImageNet's and VOC's layouts, random weights"
        + (f", vision transformers of {_SMALL}" if small else "")
    )
    say(f"reduced: {_REDUCED}, one CPU")
    failed: list[str] = []
    made: dict[str, Path] = {}
    seen: set[tuple[str, str]] = set()
    before: set[tuple[int, str]] = set()
    with patch.dict(os.environ, {"IMAGENET": str(folder / "imagenet"), "VOC": str(folder)}):
        for name in names:
            start = perf_counter()
            run = read(config_of(Path(name)))
            given: dict[str, Any] = {**run.model_dump(), **_REDUCED, "devices": ["cpu"]}
            given |= {"readers": 0, "output": str(folder / "results" / name)}
            for model in given["models"]:
                spec = model["name"]
                model["args"] = _SMALL if small and "vit" in spec else {}
                made[spec] = made.get(spec) or make_weights(spec, model["args"], folder)
                model["weights"] = str(made[spec])
            reduced = [*_reduce(given["methods"], QUICK), *_reduce(given["metrics"], _METRICS)]
            first, methods = given["models"][0]["name"], given["methods"]
            new = [one for one in methods if (first, one["label"]) not in seen]
            seen |= {(first, one["label"]) for one in methods}
            if len(new) < len(methods):
                given["methods"] = [one for one in methods if one["name"] == "absLRP" or one in new]
                reduced.append("of methods that this model had before, absLRP alone")
            own = {(n, run.data.name) for n, plan in FIGURES.items() if _is_of(plan, run)}
            wanted, before = sorted(n for n, _ in own - before), before | own
            if len(wanted) < len(own):
                reduced.append("figures that these images had before are left out")
            say(f"{name}: reduced: {'; '.join(reduced) or 'nothing else'}")
            summary = execute(parse(given), quiet=True, say=say)
            write_tables(given["output"], given["output"])
            beside = sorted(path for path in (folder / "results").iterdir() if path.name != name)
            where = folder / "figures" / name
            drawn = write_figures(given["output"], where, wanted, beside=beside) if wanted else []
            stems = {file.name[6:8] for file in drawn}
            lacking = [n for n in wanted if f"{n:02d}" not in stems]
            if summary.failed or lacking:
                failed.append(name)
            for text in (*summary.failed, *(f"figure {n} is not drawn" for n in lacking)):
                say(f"{name}: failed: {text}")
            done, took = f"{summary.computed} shards", perf_counter() - start
            say(f"{name}: {done}, tables, figures {sorted(stems)} in {took:.0f} s")
    return failed


def _is_of(plan: Any, run: Any) -> bool:
    """Whether a figure of the paper is of a run's models and data, and of its scores."""
    if all(metric.name != "GAE" for metric in run.metrics):
        return False
    own = {model.name.partition(":")[2] for model in run.models}
    return set(plan.models) <= own and run.data.name.partition(":")[0] in plan.data


def _reduce(entries: Sequence[dict[str, Any]], options: Mapping[str, Any]) -> list[str]:
    """Give entries the options of few evaluations, and say which."""
    some = [entry for entry in entries if entry["name"] in options]
    for entry in some:
        entry["options"] = {**entry["options"], **options[entry["name"]]}
    return [f"{entry['name']} {entry['options']}" for entry in some]


def make_weights(name: str, args: Mapping[str, Any], folder: Path) -> Path:
    """Write random weights of a model of the paper, whose predictions differ between images."""
    import timm
    import torch
    from safetensors.torch import save_file
    from timm.data import RealLabelsImagenet

    from benchmarks.data.labels import CLASSES, VOC_CLASSES
    from benchmarks.data.names import open_data
    from benchmarks.figures.kinds import classes_of_voc
    from benchmarks.models import PAPER, load

    file = folder / "weights" / f"{name.partition(':')[2]}{'-small' * bool(args)}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    architecture = PAPER[name.partition(":")[2]].partition(":")[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(architecture, **args).eval()
    save_file(model.state_dict(), file)
    preprocessing = load(name, file, args).preprocessing
    images = [open_data(f"imagenet:{folder / 'imagenet'}"), open_data(f"voc:{folder}")]
    x = torch.cat([torch.from_numpy(one.load(preprocessing).x) for one in images])
    # Random logits are nearly the same for all images; mosaics need two classes, figures of several
    # classes those that are named.
    things = [classes_of_voc(VOC_CLASSES.index(one), CLASSES)[0] for one in _VOC]
    labels = RealLabelsImagenet(range(50_000)).real_labels
    things += [i for number in _NUMBERS for i in labels[_VALIDATION.format(number)]]
    with torch.no_grad():
        logits = model(x)
        spread = (logits - logits.mean(0)).std()
        head = model.get_classifier()
        head.weight /= spread
        head.bias.copy_((head.bias - logits.mean(0)) / spread)
        head.bias[things] += 5
    save_file(model.state_dict(), file)
    return file


def make_imagenet(root: Path) -> None:
    """Write images of noise in folders by WordNet id, by the names of validation images."""
    from timm.data import ImageNetInfo

    ids = ImageNetInfo("imagenet-1k").label_names()
    for place, number in enumerate(_NUMBERS):
        _noise(root / ids[100 * place] / _VALIDATION.format(number), number)


def make_voc(root: Path) -> None:
    """Write images of noise, annotations and image sets as VOC2012 has them."""
    inside = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{number:06d}" for number in _NUMBERS]
    for folder in ("Annotations", "ImageSets/Main"):
        (inside / folder).mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        _noise(inside / "JPEGImages" / f"{name}.jpg", 100 + place)
        two = (_OBJECT.format(_VOC[i % len(_VOC)], 90 - i) for i in (place, place + 1))
        annotation = f"<annotation>{''.join(two)}</annotation>"
        (inside / "Annotations" / f"{name}.xml").write_text(annotation)
    (inside / "ImageSets" / "Main" / "val.txt").write_text("\n".join(names))


def _noise(file: Path, seed: int) -> None:
    """Write an image of coarse noise, wider than high."""
    import numpy as np
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(file)
