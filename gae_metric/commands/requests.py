"""What the commands take: each option once, and what can be checked before torch is imported.

The attributes of a request are a command's options; what its docstring says of them is their help.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gae_metric._names import DEFAULT_METHODS, DIRECTIONS
from gae_metric.commands import folder, options
from gae_metric.errors import LARGEST_SIDE, InputError, check_integer, lookup
from gae_metric.inputs.files import check_file, check_model, list_images, model_names
from gae_metric.inputs.labels import read_labels

PHOTOGRAPHS = 7
"""Photographs that there are."""

#: What a mosaic is made of.
_LEAST = 4
_SHORT = {"LC": "LocalConsistency", "LC_R": "LocalRobustness", "LC_F": "LocalFaithfulness"}
_SHORT["C"] = "Contrastiveness"
#: Devices that torch may have.
_DEVICE = re.compile(r"auto|(cpu|cuda|mps|xpu|hpu|mtia|xla|npu)(:\d+)?")
#: Classes of the models of a source, whichever it is.
_CLASSES = {"digits": 10, "lite": 1000, "torchvision": 1000}
_PROBES = {"GAE": "GAE", **{name: name for name in _SHORT.values()}, **_SHORT}


@dataclass(frozen=True, kw_only=True)
class InputsRequest:
    """A model, images as it takes them, and how they are masked and put into mosaics.

    Attributes
    ----------
    model
        timm:NAME, torchvision:NAME, lite:0|1|2 or digits:vgg|resnet|vit; `gae-metric models` lists
        them.
    images
        Folder of images.
    labels
        CSV file with the columns file,class_index, or the word 'folders' if there is a folder for
        each class. Default: the model's own predictions are explained.
    weights
        Local safetensors file. Default: the published weights.
    samples
        Number of images, drawn by --seed. Default: all.
    seed
        Seed of the draw of images and mosaics, and of noise.
    steps
        States of the masking trajectory.
    schedule
        reranked: all features are ranked again in each state, as in the authors' code; uniform:
        each state masks the same number of further features.
    mask_value
        Value of masked features in the input tensor: a number, mean or blur.
    n_mosaics
        Number of mosaics of each image; C is the mean over them.
    interpolation
        How images are made smaller for a mosaic: nearest, bilinear, bicubic or area. evaluate also
        takes none: mosaics of full-size images.
    protocol
        paper, or repository: mosaics as in the authors' later code.
    batch_size
        Images that the model gets at a time.
    device
        auto, cpu, cuda, cuda:1, ...
    recursive
        Also read images in subfolders.
    size
        Side of the model's input in pixels. Default: the model's own.
    mean
        Mean per channel, such as 0.5,0.5,0.5. Default: the model's own.
    std
        Standard deviation per channel. Default: the model's own.
    range
        Values of black and white before the mean is subtracted, such as -1,1. Default: 0,1.
    model_arg
        Option of the model, such as num_classes=10; may be repeated.
    output
        Where the logits are in what the model returns: a key, an attribute or a position. Or what
        it returns: 'log' for probabilities, 'log_softmax' for their logarithms, 'binary' for one
        logit of two classes.
    """

    model: str
    images: Path
    out: Path
    labels: str | None = None
    weights: Path | None = None
    samples: int | None = None
    seed: int = 0
    steps: int = 10
    schedule: str = "reranked"
    mask_value: str = "0"
    n_mosaics: int = 1
    interpolation: str = "nearest"
    protocol: str = "paper"
    batch_size: int = 16
    device: str = "auto"
    recursive: bool = False
    size: int | None = None
    mean: str | None = None
    std: str | None = None
    range: str | None = None
    model_arg: list[str] | None = None
    output: str | None = None

    @property
    def least(self) -> int:
        """Images that it takes at least."""
        return _LEAST

    def check(self) -> list[str]:
        """Refuse what is wrong of itself; return the images that the folder has."""
        check_integer("samples", 1 if self.samples is None else self.samples)
        check_integer("seed", self.seed, 0)
        check_integer("batch-size", self.batch_size)
        check_integer("n-mosaics", self.n_mosaics)
        check_integer("steps", self.steps, 2, 255)
        size = 1 if self.size is None else self.size
        check_integer("size", size)
        check_integer("size", size, 1, LARGEST_SIDE)
        check_model(self.model)
        if not _DEVICE.fullmatch(self.device):
            raise InputError(
                "device: expected auto, cpu, cuda, cuda:N, mps or another of torch's, got "
                f"{self.device!r}"
            )
        every = list_images(self.images, self.recursive or self.labels == "folders")
        files = folder.without_figures(self.images, every)
        options.check_count(min(len(files), self.samples or len(files)), self.least)
        if self.labels is not None:
            read_labels(self.labels, files, self.classes)
        if self.weights is not None:
            check_file(self.weights, "weights")
        _ = self.changes, options.arguments_of(self.model_arg), self.masking, self.mosaicking
        return files

    @property
    def classes(self) -> int | None:
        """Classes of the model, where they are known before it is opened."""
        usual = _CLASSES.get(self.model.partition(":")[0].strip().lower())
        found = options.arguments_of(self.model_arg).get("num_classes", usual)
        return found if self.output is None and isinstance(found, int) else None

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed of the model's own preprocessing."""
        given = {"mean": self.mean, "std": self.std, "range": self.range}
        return {"size": self.size} | {k: options.numbers_of(k, text) for k, text in given.items()}

    @property
    def selected(self) -> str | int | None:
        """What selects the logits from the model's result, as in the metrics."""
        if self.output is not None and self.output.isdecimal() and len(self.output) < 10:
            return int(self.output)
        return self.output

    @property
    def masking(self) -> dict[str, Any]:
        """Options of metrics that mask."""
        value = options.mask_value_of(self.mask_value)
        schedule = options.choice("schedule", self.schedule)
        return {"steps": self.steps, "schedule": schedule, "mask_value": value}

    @property
    def mosaicking(self) -> dict[str, Any]:
        """Options of metrics that make mosaics."""
        names = ("interpolation", "protocol")
        chosen = {name: options.choice(name, getattr(self, name)) for name in names}
        if chosen["protocol"] == "repository" and self.n_mosaics > 1:
            raise InputError(
                "n-mosaics: expected 1 with --protocol repository, which draws its own"
            )
        return {"seed": self.seed, "n_mosaics": self.n_mosaics} | chosen


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(InputsRequest):
    """What to evaluate.

    Attributes
    ----------
    out
        Folder to write.
    methods
        Names, separated by commas: {methods}, and captum:NAME for one of Captum's. `gae-metric
        methods` describes them.
    metrics
        Names, separated by commas: {metrics}; `gae-metric metrics` describes them.
    lipschitz_samples
        Number of perturbations of each image in LocalLipschitz.
    overwrite
        Replace another run that is in the folder.
    figures
        Also write figures.
    """

    out: Path = Path("gae-evaluate")
    methods: str = DEFAULT_METHODS
    metrics: str = ", ".join(DIRECTIONS)
    lipschitz_samples: int = 10
    overwrite: bool = False
    figures: bool = True

    @property
    def method_names(self) -> list[str]:
        """Methods, as they are registered."""
        return options.names_of("methods", self.methods, options.check_method)

    @property
    def metric_names(self) -> list[str]:
        """Metrics, in the order of the tables."""
        asked = options.names_of("metrics", self.metrics, options.metric_name)
        return [name for name in DIRECTIONS if name in asked]

    @property
    def least(self) -> int:
        """Images that it takes at least."""
        return _LEAST if {"GAE", "C"} & set(self.metric_names) else 1

    def check(self) -> list[str]:
        """Refuse what is wrong of itself; have a folder for the output; return the images."""
        check_integer("lipschitz-samples", self.lipschitz_samples)
        _ = self.method_names, self.metric_names
        files = super().check()
        folder.claim(self.out, self.settings, self.overwrite)
        return files

    @property
    def settings(self) -> dict[str, Any]:
        """What the run is of."""
        named = {"methods": ",".join(self.method_names), "metrics": ",".join(self.metric_names)}
        return {"command": "evaluate"} | options.settings_of(self) | named


@dataclass(frozen=True, kw_only=True)
class ProbeRequest(InputsRequest):
    """What to make a probe set of.

    Attributes
    ----------
    out
        FILE.npz, or a new folder for a set of shards.
    metric
        GAE, LocalConsistency (LC), LocalRobustness (LC_R), LocalFaithfulness (LC_F) or
        Contrastiveness (C).
    overwrite
        Replace another probe set that is there.
    """

    out: Path
    metric: str = "GAE"
    overwrite: bool = False

    @property
    def metric_name(self) -> str:
        """The metric, as its class is called."""
        return lookup("metric", self.metric, _PROBES)[1]

    @property
    def least(self) -> int:
        """Images that it takes at least."""
        return _LEAST if self.metric_name in ("GAE", "Contrastiveness") else 1

    def check(self) -> list[str]:
        """Refuse what is wrong of itself; have a folder for the output; return the images."""
        _ = self.metric_name
        if self.interpolation == "none":
            raise InputError(
                "interpolation: none makes mosaics that are larger than images, and all inputs of "
                "a probe set have one shape"
            )
        out = self.out
        own = folder.probe_files(out)
        if out.suffix != ".npz" and (out.is_file() or (out.is_dir() and {*out.iterdir()} - {*own})):
            raise InputError(
                f"out: expected an .npz file or a new or empty folder, got {str(out)!r}, which has "
                "something in it"
            )
        if own or out.suffix == ".npz":
            folder.refuse_existing(out, self.overwrite)
        files = super().check()
        folder.new_folder(out.parent if out.suffix == ".npz" else out)
        return files


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """Which maps to score.

    Attributes
    ----------
    probe
        What `gae-metric probe` wrote.
    maps
        FILE.npz or folder with a map for each item.
    out
        CSV file to write.
    batch_size
        Maps at a time, or fewer where they take more than 256 MB.
    overwrite
        Replace the file if it is there.
    """

    probe: Path
    maps: Path
    out: Path | None = None
    batch_size: int = 64
    overwrite: bool = False

    def check(self) -> None:
        """Refuse what is wrong of itself."""
        check_integer("batch-size", self.batch_size)
        for name in ("probe", "maps"):
            if not os.path.exists(path := getattr(self, name)):
                raise InputError(
                    f"{name}: expected a folder or an .npz file, found nothing at {str(path)!r}"
                )
            if self.out is None:
                continue
            written = {os.path.realpath(self.out)}
            if self.out.suffix in (".npy", ".json"):  # a folder's own, unlike a table beside them
                written.add(os.path.realpath(self.out.parent))
            if os.path.realpath(path) in written:
                raise InputError(
                    f"out: expected a CSV file to write, got {str(self.out)!r}, which is {name} or "
                    "a part of it"
                )
        if self.out is not None:
            if self.out.exists() and not self.out.is_file():
                kind = "folder" if self.out.is_dir() else "device"
                raise InputError(f"out: expected a CSV file to write, got {kind} {str(self.out)!r}")
            folder.refuse_existing(self.out, self.overwrite)
            folder.new_folder(self.out.parent)


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """What the demo compares.

    Attributes
    ----------
    out
        Folder to write.
    samples
        Number of held-out digits, 4 to 450, by default 32; or of photographs, 4 to 7, by default
        7, for a shorter run.
    networks
        Networks on digits, by commas; by default all.
    seed
        Seed of digits, mosaics and noise.
    photographs
        Free photographs and EfficientNet-Lite0 in the place of digits (extra 'photographs').
    overwrite
        Replace another run that is in the folder.
    """

    out: Path = Path("gae-demo")
    samples: int | None = None
    networks: str | None = None
    seed: int = 0
    photographs: bool = False
    overwrite: bool = False

    @property
    def chosen(self) -> list[str]:
        """Networks."""
        known = dict.fromkeys(model_names("digits"))
        named = "vgg,resnet,vit" if self.networks is None else self.networks
        return options.names_of("networks", named, lambda name: lookup("networks", name, known)[0])

    @property
    def count(self) -> int:
        """Digits or photographs."""
        usual = PHOTOGRAPHS if self.photographs else 32
        return usual if self.samples is None else self.samples

    def check(self) -> None:
        """Refuse what is wrong of itself."""
        most = PHOTOGRAPHS if self.photographs else 450
        if not _LEAST <= self.count <= most:
            raise InputError(f"samples: expected 4 (a mosaic's) to {most}, got {self.samples}")
        if self.photographs and self.networks is not None:
            raise InputError("networks: --photographs has EfficientNet-Lite0; leave --networks out")
        check_integer("seed", self.seed, 0)
        _ = self.chosen
        folder.claim(self.out, self.settings, self.overwrite)

    @property
    def settings(self) -> dict[str, Any]:
        """What the run is of."""
        kept = {} if self.photographs else {"networks": self.chosen}
        return {"command": "demo"} | options.settings_of(self) | {"samples": self.count} | kept
