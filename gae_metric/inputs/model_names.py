"""Names of models, known before a library that has them is imported."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from gae_metric._names import nearest
from gae_metric.errors import InputError, UnknownNameError

__all__ = ["SOURCES", "check_model", "model_names"]

SOURCES = ("timm", "torchvision", "lite", "digits")
"""Where models come from: ``SOURCE:NAME``."""

_OWN = {"digits": ("vgg", "resnet", "vit"), "lite": ("0", "1", "2")}
#: How timm and torchvision mark a function that builds a model, and its name.
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@lru_cache
def model_names(source: str) -> tuple[str, ...]:
    """Return the names of a source's models, sorted.

    Parameters
    ----------
    source
        One of :data:`SOURCES`.

    Examples
    --------
    >>> model_names("digits"), "resnet50" in model_names("torchvision")
    (('vgg', 'resnet', 'vit'), True)
    """
    if source in _OWN:
        return _OWN[source]
    return tuple(sorted(_REGISTERED.findall(_code(source))))


@lru_cache
def _code(source: str) -> str:
    """Return the text of a library's models, as importing it takes seconds."""
    found = find_spec(source)
    assert found is not None
    assert found.origin is not None
    files = (Path(found.origin).parent / "models").glob("*.py")
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(files))


def check_model(spec: str) -> None:
    """Refuse ``SOURCE:NAME`` where there is no such model.

    Raises
    ------
    InputError
        The message gives the nearest name, or another source that has the name.

    Examples
    --------
    >>> check_model("timm:squeezenet1_1")
    Traceback (most recent call last):
        ...
    gae_metric.errors.UnknownNameError: model: timm has no 'squeezenet1_1'; torchvision has it: \
torchvision:squeezenet1_1
    """
    source, _, name = (part.strip() for part in spec.partition(":"))
    architecture = name.partition(".")[0]
    if not name:
        raise InputError(
            f"model: expected SOURCE:NAME, such as timm:resnet50, got {spec!r}; "
            f"sources: {', '.join(SOURCES)}"
        )
    if source.lower() not in SOURCES:
        raise UnknownNameError(
            f"model (source): unknown name {source!r}; {nearest(source, SOURCES)}"
        )
    source = source.lower()
    known = model_names(source)
    # Names that timm had before stand in its code as texts.
    old = source not in _OWN and re.search(rf"['\"]{re.escape(architecture)}['\"]", _code(source))
    if (architecture.lower() if source in _OWN else architecture) in known or old:
        return
    for other in ("torchvision", "timm"):
        near = [one for one in model_names(other) if one.startswith(architecture)]
        if other != source and near and source not in _OWN:
            raise UnknownNameError(
                f"model: {source} has no {architecture!r}; {other} has it: "
                + ", ".join(f"{other}:{one}" for one in near[:3])
            )
    raise UnknownNameError(
        f"model: {source} has no {architecture!r}; {nearest(architecture, known)}"
    )
