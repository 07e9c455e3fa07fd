"""The entries of a configuration: models, data, methods and metrics, each by name with options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, StrictInt, field_validator, model_validator

from benchmarks.data.names import check_data
from benchmarks.methods import METHODS, find
from benchmarks.metrics.registry import check_metric, find_metric
from benchmarks.models import PAPER, SHARED, shared_folder
from gae_metric.errors import InputError, UnknownNameError
from gae_metric.inputs import files


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
    return files.check_model(spec, {**files.OWN, "paper": PAPER, "shared": SHARED})


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


Expanded = Annotated[str, AfterValidator(expand)]
"""A path or name in which :func:`expand` puts what its variables stand for."""


def group(name: str) -> tuple[str, ...] | None:
    """Return the methods that a word stands for, or None: a method's own name.

    Examples
    --------
    >>> group("paper-vit")[:2], group("absLRP")
    (('GradCAM', 'GradCAM++'), None)
    """
    word = name.strip().lower()
    rows = METHODS.items()
    if word == "all":
        return tuple(METHODS)
    if word in ("cnn", "vit"):
        return tuple(name for name, method in rows if method.family in ("any", word))
    if word in ("paper-cnn", "paper-vit"):
        return tuple(name for name, method in rows if word[-3:] in method.paper)
    return None


def listed(methods: Sequence[Any]) -> list[Any]:
    """Put methods in the place of the words that stand for several.

    What several words have in common is wanted once; a method that is given options (and no label)
    beside a word that stands for it, too, takes its place there.

    Examples
    --------
    >>> listed(["cnn", {"name": "rise", "options": {"n_masks": 100}}])[-2:]
    ['EpsilonPlusFlat', {'name': 'rise', 'options': {'n_masks': 100}}]
    """
    own = {_method_name(one): one for one in methods if isinstance(one, Mapping)}
    groups = [group(one) if isinstance(one, str) else None for one in methods]
    covered = {name for names in groups for name in names or ()}
    once: list[Any] = []
    for given, names in zip(methods, groups, strict=True):
        for one in [given] if names is None else [own.get(name, name) for name in names]:
            name = _method_name(one) if isinstance(one, Mapping) else one
            if not (isinstance(name, str) and name in covered and one in once):
                once.append(one)
    return once


def chosen(names: Any, given: Any, *, methods: bool) -> list[Any]:
    """Return the entries that names stand for: those of a file where it has them, else the names.

    Parameters
    ----------
    names
        Names, or words for several methods.
    given
        What the file has for them, not checked yet.
    methods
        Whether they are methods, which have other names in the paper.
    """

    def key(one: Any) -> str:
        entry = one if isinstance(one, Mapping) else {"name": one}
        name = entry.get("label") or entry.get("name")
        return str((methods and _method_name(entry)) or name).lower()

    entries = given if isinstance(given, list) else ()
    own = {key(one): one for one in entries if isinstance(one, Mapping)}
    every = listed(names) if methods else names
    return [own.get(key(one), one) if isinstance(one, str) else one for one in every]


def _method_name(entry: Mapping[Any, Any]) -> str | None:
    """Return the name of a method that has no label of its own; None: it has, or is unknown."""
    try:
        return None if entry.get("label") else find(str(entry.get("name"))).name
    except UnknownNameError:
        return None


class Entry(BaseModel):
    """A part of a configuration; unknown keys are refused."""

    model_config = {"extra": "forbid", "frozen": True}


def _there(value: str) -> str:
    if not os.path.isfile(value):
        raise InputError(f"there is no file {value!r}")
    return value


class ModelEntry(Entry):
    """A model, see :func:`benchmarks.models.load`."""

    name: Annotated[str, AfterValidator(check_model)]
    weights: Annotated[Expanded, AfterValidator(_there)] | None = None
    args: dict[str, Any] = {}
    size: StrictInt | None = Field(None, ge=1)
    #: Tables of the paper that its results stand beside.
    paper: tuple[Annotated[StrictInt, Field(ge=1, le=13)], ...] = ()


class DataEntry(Entry):
    """A data set, see :func:`benchmarks.data.names.open_data`."""

    name: Annotated[Expanded, AfterValidator(check_data)] = "digits"
    labels: Expanded | None = None
    split: Literal["train", "trainval", "val"] = "val"


class MethodEntry(Entry):
    """A method of :data:`benchmarks.methods.METHODS`, with options of its own."""

    name: Annotated[str, AfterValidator(lambda name: find(name).name)]
    options: dict[str, Any] = {}
    #: What the tables call it; by default its name. Two entries of one method need two labels.
    label: str = Field("", validate_default=True)

    @field_validator("label", mode="before")
    @classmethod
    def _labelled(cls, value: Any, info: Any) -> Any:
        return value or info.data.get("name", "")

    @model_validator(mode="after")
    def _takes(self) -> MethodEntry:
        METHODS[self.name].bind(**self.options)
        return self


class MetricEntry(Entry):
    """A metric of :data:`benchmarks.metrics.METRICS`, or ``quantus:NAME``, with its options."""

    name: Annotated[str, AfterValidator(find_metric)]
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _takes(self) -> MetricEntry:
        check_metric(self.name, self.options)
        return self
