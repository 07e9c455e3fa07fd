"""Names of models and paths in configurations, checked without building or reading anything."""

from __future__ import annotations

import os
import re

from benchmarks.models import PAPER, SHARED, shared_folder
from gae_metric._names import lookup, nearest
from gae_metric.errors import InputError, UnknownNameError

SOURCES = ("timm", "torchvision", "digits", "paper", "shared")


def check_model(spec: str) -> str:
    """Return a model's name if there is such a model.

    Raises
    ------
    InputError
        If there is none; the message gives the nearest name.

    Examples
    --------
    >>> check_model("paper:VGG16")
    'paper:vgg16'
    """
    source, colon, name = spec.partition(":")
    if not colon:
        raise InputError(f"expected SOURCE:NAME, such as timm:resnet50, got {spec!r}")
    kind, _ = lookup("model (source)", source, dict.fromkeys(SOURCES))
    if kind in ("timm", "torchvision"):
        known = _published(kind)
        if (architecture := name.partition(".")[0]) not in known:
            near = nearest(architecture, known)
            raise UnknownNameError(f"{kind} has no {architecture!r}; {near}")
        return f"{kind}:{name}"
    from gae_metric.demo.networks import NAMES

    tables = {"digits": NAMES, "paper": PAPER, "shared": SHARED}
    return f"{kind}:{lookup(f'model ({kind})', name, dict.fromkeys(tables[kind]))[0]}"


def _published(kind: str) -> list[str]:
    if kind == "timm":
        import timm

        names: list[str] = timm.list_models()
        return names
    from torchvision import models

    listed: list[str] = models.list_models(module=models)
    return listed


def expand(path: str) -> str:
    """Put in environment variables (``$NAME``), the home folder, and ``{shared}``.

    ``{shared}`` is the folder of reference material beside the repository.

    Raises
    ------
    InputError
        If a variable is not set, or the folder is not there.

    Examples
    --------
    >>> os.environ["SOME_FOLDER"] = "/data"
    >>> expand("imagenet:$SOME_FOLDER/val")
    'imagenet:/data/val'
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if left := re.search(r"\$\{?(\w+)", expanded):
        raise InputError(f"the environment variable {left[1]} is not set, and {path!r} needs it")
    if "{shared}" in expanded:
        expanded = expanded.replace("{shared}", str(shared_folder()))
    return expanded
