"""What a run is: models, data, methods, metrics and sizes, checked before any work begins.

>>> run = parse({"models": "digits:vgg", "methods": ["saliency", "absLRP"], "samples": 8})
>>> [method.name for method in run.methods], run.metrics[0].name
(['Saliency', 'absLRP'], 'GAE')
>>> parse({"models": "digits:vgg", "methods": {"name": "absLRP", "optons": {}}})
Traceback (most recent call last):
    ...
gae_metric.errors.InputError: methods[0]: unknown key 'optons'; did you mean 'options'? \
Known: name, options, label
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from benchmarks.config import entries
from benchmarks.config.entries import Entry, Expanded
from benchmarks.metrics.registry import kind_of
from gae_metric.errors import InputError, lookup, nearest, refusing, short
from gae_metric.functional.masking import MAX_STEPS, Schedule
from gae_metric.inputs.files import check_file, read_bytes

_T = TypeVar("_T")
#: Bytes that a file may have, and numbers; processes and threads, which would take the machine.
_LARGEST, _MOST, _MANY = 1 << 20, 1 << 53, 1024
#: Faults that are described: to look for the nearest name takes time.
_SHOWN = 10
_METRICS = ("GAE", "ROAD_MoRF", "ROAD_LeRF", "LocalLipschitz", "Focus")


def _named(value: Any) -> Any:
    """Take a bare name for an entry with nothing else said."""
    return {"name": value} if isinstance(value, str) else value


def _several(value: Any) -> Any:
    """Take one entry for a list of one."""
    return [value] if isinstance(value, (str, Mapping)) else value


_Several = Annotated[tuple[Annotated[_T, BeforeValidator(_named)], ...], BeforeValidator(_several)]


class Run(Entry):
    """A whole run."""

    models: _Several[entries.ModelEntry] = Field(min_length=1)
    data: Annotated[entries.DataEntry, BeforeValidator(_named)] = entries.DataEntry()
    #: Images drawn; None for all.
    samples: StrictInt | None = Field(None, ge=1)
    #: How many of them are scored, those drawn first, in whole blocks; None for all, in the data
    #: set's order. Mosaics are of all, so that a run that scores more has the first ones' scores.
    first: StrictInt | None = Field(None, ge=1)
    #: Of the draw of images, the mosaics, and every noise.
    seed: StrictInt = Field(0, ge=0)
    #: Classes that are explained: the model's own predictions (the paper's protocol) or the labels.
    targets: Literal["predicted", "labels"] = "predicted"
    methods: _Several[entries.MethodEntry] = Field(("all",), min_length=1, validate_default=True)
    metrics: _Several[entries.MetricEntry] = Field(_METRICS, min_length=1, validate_default=True)
    #: States T of the masking trajectories, and their schedule.
    steps: StrictInt = Field(10, ge=2, le=MAX_STEPS)
    schedule: Schedule = "reranked"
    #: Samples of a shard.
    block: StrictInt = Field(32, ge=1)
    #: Inputs that the model evaluates at a time.
    batch_size: StrictInt = Field(32, ge=1)
    engine: Literal["local", "ray"] = "local"
    #: One worker for each, by Ray where there are several; ``cpu`` may be repeated.
    devices: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(("cpu",), min_length=1)
    #: Threads of each worker; by default torch's own number in the process that starts the run.
    threads: StrictInt | None = Field(None, ge=1, le=_MANY)
    #: Processes that read images.
    readers: StrictInt = Field(0, ge=0, le=_MANY)
    #: Times that a shard whose worker died is tried again.
    retries: StrictInt = Field(2, ge=0, le=_MANY)
    #: Python modules that register more methods.
    modules: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    #: Folder of the results.
    output: Expanded = Field("benchmarks/results/run", min_length=1)

    @field_validator("methods", mode="before")
    @classmethod
    def _groups(cls, value: Any) -> Any:
        several = _several(value)
        return entries.listed(several) if isinstance(several, (list, tuple)) else several

    @field_validator("models", "methods", "metrics")
    @classmethod
    def _different(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [getattr(one, "label", "") or one.name for one in value]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name!r} is listed twice")
        return value

    @field_validator("metrics")
    @classmethod
    def _without_parts(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        # Local Consistency and Contrastiveness are among GAE's scores.
        whole = any(metric.name == "GAE" for metric in value)
        return tuple(m for m in value if not (whole and m.name in ("LC", "C")))

    @field_validator("devices")
    @classmethod
    def _devices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"(cpu|mps|cuda(:\d+)?)", name):
                raise InputError(f"expected cpu, mps, cuda or cuda:NUMBER, got {name!r}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Run:
        if self.engine == "ray" and len(set(self.devices)) > 1:
            raise InputError("devices: with engine ray, they are those of the cluster")
        if self.masks and self.data.name.partition(":")[0] != "voc":
            first = next(metric.name for metric in self.metrics if kind_of(metric.name).masks)
            raise InputError(
                f"metrics: {first} needs masks of the explained classes, which only voc:DIR has, "
                f"and data is {self.data.name!r}"
            )
        return self

    @property
    def masks(self) -> bool:
        """Whether a metric needs the data set's masks."""
        return any(kind_of(metric.name).masks for metric in self.metrics)


PARTS: dict[str, type[Entry]] = {
    "models": entries.ModelEntry,
    "data": entries.DataEntry,
    "methods": entries.MethodEntry,
    "metrics": entries.MetricEntry,
}
"""What the parts of a run are, by its keys."""


def read(path: str | Path, **changes: Any) -> Run:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    **changes
        Keys that replace those of the file. Names of models, methods and metrics that the file has
        keep what it says of them.

    Raises
    ------
    InputError
        If it cannot be read, or a key, name or value in it is not one (the message says where,
        and gives the nearest).
    """
    text = read_bytes(path, "config", _LARGEST)
    try:
        given = yaml.load(text.decode(), _Plain)  # a safe loader that takes less
    # Not UTF-8, not YAML, or a date or number that there is not, at which PyYAML ends in any error.
    except Exception as error:
        raise InputError(f"config: {str(path)!r} is not YAML that can be read: {error}") from error
    if not isinstance(given, Mapping):
        raise InputError(f"config: {str(path)!r} holds no keys")
    for key in changes.keys() & {"models", "methods", "metrics"}:
        wanted, methods = _several(changes[key]), key == "methods"
        changes[key] = entries.chosen(wanted, _several(given.get(key)), methods=methods)
    with refusing(str(path), InputError):
        return parse({**given, **changes})


class _Plain(yaml.SafeLoader):
    """Reads values alone: references may multiply, and of two equal keys one would be lost."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse references."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError(f"line {self.line + 1}: a reference (*name)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is there twice."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise ValueError(f"line {node.start_mark.line + 1}: a key is there twice")
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """Refuse numbers that are others than they look: 010 would be 8, and 1:30 would be 90."""
        number = node.tag.endswith((":int", ":float"))
        if number and re.match(r"[-+]?0\d|.*:", str(node.value)):
            line, text = node.start_mark.line + 1, short(node.value)
            raise ValueError(f"line {line}: expected a decimal number, got {text}")
        return super().construct_scalar(node)


def parse(given: Mapping[str, Any]) -> Run:
    """Check a configuration.

    Raises
    ------
    InputError
        If a key, name or value is not one; the message says which, and gives the nearest.
    """
    _refuse_odd(given)
    import_modules(_modules(given.get("modules")))
    try:
        return Run.model_validate(dict(given))
    except ValidationError as error:
        found = error.errors()
        # A list whose entries are wrong counts as too short, too.
        first = [one for one in found if one["type"] != "too_short"] or found
        more = [f"{len(first) - _SHOWN} more"] if len(first) > _SHOWN else []
        raise InputError("; ".join([*map(_problem, first[:_SHOWN]), *more])) from error


def weighted(run: Run, weights: Sequence[str]) -> Run:
    """Return a run with local weights: FILE for its only model, or MODEL=FILE.

    Raises
    ------
    InputError
        If there is no such model or file.
    """
    models = {model.name: model for model in run.models}
    for text in weights:
        name, equals, file = text.partition("=")
        if not equals:
            if len(models) > 1:
                raise InputError(f"weights: expected MODEL=FILE, one of several, got {text!r}")
            name, file = next(iter(models)), text
        key, model = lookup("weights", name, models)
        check_file(file, "weights")
        models[key] = model.model_copy(update={"weights": file})
    return run.model_copy(update={"models": tuple(models.values())})


def _refuse_odd(value: Any, where: str = "run") -> None:
    """Refuse what no setting is: numbers of absurd size, texts that no file can hold."""
    if isinstance(value, (int, float)) and not -_MOST <= value <= _MOST:
        raise InputError(f"{where}: expected a number of at most {_MOST} in size")
    if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise InputError(f"{where}: expected text of UTF-8 without NUL, got {value!a}")
    if isinstance(value, (list, tuple)):
        for number, one in enumerate(value):
            _refuse_odd(one, f"{where}[{number}]")
    if isinstance(value, Mapping):
        for key, one in value.items():
            _refuse_odd(key, where)
            _refuse_odd(one, str(key) if where == "run" else f"{where}.{key}")


def _modules(given: Any) -> list[str]:
    """Check the names of modules: nothing but names, so neither files nor relative ones."""
    names = _several(given or ())
    if not isinstance(names, (list, tuple)):
        raise InputError(f"modules: expected names of Python modules, got {short(given)}")
    for name in names:
        if not (isinstance(name, str) and all(part.isidentifier() for part in name.split("."))):
            raise InputError(f"modules: expected the name of a Python module, got {short(name)}")
    return list(names)


def import_modules(names: Sequence[str]) -> None:
    """Import what registers more methods."""
    if names and str(Path.cwd()) not in sys.path:  # as it is for `python -m`
        sys.path.append(str(Path.cwd()))
    for name in names:
        with refusing(f"modules: cannot import {name!r}", Exception):  # a module's own, of any kind
            importlib.import_module(name)


def _problem(error: Mapping[str, Any]) -> str:
    """Say in one line what is wrong where."""
    place = [part for part in error["loc"] if not str(part).startswith("function-")]
    where, last = "", place[-1] if place else ""
    for part in place[:-1] if error["type"] == "extra_forbidden" else place:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    if error["type"] == "extra_forbidden":
        owner = PARTS.get(str(place[0]), Run) if len(place) > 1 else Run
        return f"{where or 'run'}: unknown key {last!r}; {nearest(str(last), owner.model_fields)}"
    # What the place says already is not said again.
    message = error["msg"].removeprefix("Value error, ").removeprefix(f"{where.split('.')[0]}: ")
    if error["type"] in ("value_error", "missing"):
        return f"{where}: {message}" if where else message
    return f"{where}: {message}, got {short(error['input'])}"
