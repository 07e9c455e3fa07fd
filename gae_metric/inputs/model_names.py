"""Names of models, known before a library that has them is imported."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from gae_metric._names import lookup, nearest
from gae_metric.errors import InputError, UnknownNameError

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
    if not name:
        raise InputError(
            f"model: expected SOURCE:NAME, such as timm:resnet50, got {spec!r}; "
            f"sources: {', '.join(SOURCES)}"
        )
    source, _ = lookup("model (source)", source, dict.fromkeys(SOURCES))
    if source in _OWN:
        lookup(f"model ({source})", name, dict.fromkeys(_OWN[source]))
        return
    architecture, known = name.partition(".")[0], model_names(source)
    # Names that timm had before stand in its code as texts.
    old = re.search(rf"['\"]{re.escape(architecture)}['\"]", _code(source))
    if architecture not in known and not old:
        other = "timm" if source == "torchvision" else "torchvision"
        near = [f"{other}:{one}" for one in model_names(other) if one.startswith(architecture)]
        own = any(one.startswith(architecture) for one in known)
        elsewhere = f"{other} has it: {', '.join(near[:3])}"
        hint = elsewhere if near and not own else nearest(architecture, known)
        raise UnknownNameError(f"model: {source} has no {architecture!r}; {hint}")
