"""Files and names that anybody may have written: read, or refused at once and without torch."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from gae_metric.errors import InputError, UnknownNameError, lookup, nearest, refusing

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".gif"})
"""File name endings that are taken for images, in any case of letters."""


def check_file(path: str | Path, argument: str, limit: int | None = None) -> int:
    """Refuse what is no regular file: a pipe or a device need never end.

    Parameters
    ----------
    path
        The file.
    argument
        What the caller's user knows it as, for messages.
    limit
        Bytes that it may have.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    InputError
        If there is none, or it is something else, or larger.
    """
    with refusing(f"{argument}: cannot read {str(path)!r}", OSError, ValueError):
        found = os.stat(path)  # a ValueError, where it is no file name
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a pipe, device or socket"
            raise ValueError(f"expected a file, found {kind}")
        if limit is not None and found.st_size > limit:
            raise ValueError(f"expected at most {limit} bytes, it has {found.st_size}")
        return found.st_size


def read_bytes(path: str | Path, argument: str, limit: int) -> bytes:
    """Read a whole file, of no more than a number of bytes; see :func:`check_file`.

    Examples
    --------
    >>> read_bytes(os.devnull, "labels", 100)
    Traceback (most recent call last):
        ...
    gae_metric.errors.InputError: labels: cannot read '/dev/null': expected a file, found a pipe, \
device or socket
    """
    size = check_file(path, argument, limit)
    with refusing(f"{argument}: cannot read {str(path)!r}", OSError), open(path, "rb") as file:
        return file.read(size)


def list_images(folder: str | Path, recursive: bool = False, argument: str = "images") -> list[str]:
    """List the images of a folder, sorted by name.

    Parameters
    ----------
    folder
        The folder.
    recursive
        Whether folders in it are searched too.
    argument
        What the caller's user knows the folder as, for messages.

    Returns
    -------
    Paths relative to the folder, with forward slashes. Hidden files are left out.

    Raises
    ------
    InputError
        If there is no such folder, or no image in it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.JPG", ".c.png", "labels.csv"):
    ...         Path(folder, name).touch()
    ...     list_images(folder)
    ['a.JPG', 'b.png']
    """
    root = Path(folder)
    # Not Path's, which raises OSError at a name that is too long or may not be looked at.
    if not os.path.isdir(root):
        found = "a file" if os.path.exists(root) else "nothing"
        raise InputError(f"{argument}: expected a folder, found {found} at {str(folder)!r}")
    every = root.rglob("*") if recursive else root.iterdir()
    images = [path for path in every if path.suffix.lower() in EXTENSIONS and path.is_file()]
    files = [path.relative_to(root) for path in images]
    files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    if not files:
        hint = "" if recursive else "; images in folders below it are found with --recursive"
        endings = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"{argument}: no image files ({endings}) in {str(folder)!r}{hint}")
    return sorted(file.as_posix() for file in files)


OWN = {"lite": ("0", "1", "2"), "digits": ("vgg", "resnet", "vit")}
"""Sources of few models, and their names."""

_LIBRARIES = ("timm", "torchvision")
SOURCES = (*_LIBRARIES, *OWN)
"""Where models come from: ``SOURCE:NAME``."""

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
    if source in OWN:
        return OWN[source]
    return tuple(sorted(_REGISTERED.findall(_code(source))))


@lru_cache
def _code(source: str) -> str:
    """Return the text of a library's models, as importing it takes seconds."""
    found = find_spec(source)
    assert found is not None
    assert found.origin is not None
    files = (Path(found.origin).parent / "models").glob("*.py")
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(files))


def check_model(spec: str, own: Mapping[str, Iterable[str]] = OWN) -> str:
    """Return ``SOURCE:NAME`` as it is registered; refuse it where there is no such model.

    Parameters
    ----------
    spec
        As users write it.
    own
        Sources beside timm and torchvision, and the names of their models.

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
            f"sources: {', '.join((*_LIBRARIES, *own))}"
        )
    source, _ = lookup("model (source)", source, dict.fromkeys((*_LIBRARIES, *own)))
    if source in own:
        return f"{source}:{lookup(f'model ({source})', name, dict.fromkeys(own[source]))[0]}"
    architecture, known = name.partition(".")[0], model_names(source)
    # Names that timm had before stand in its code as texts.
    old = source == "timm" and re.search(rf"['\"]{re.escape(architecture)}['\"]", _code(source))
    if architecture not in known and not old:
        other = "timm" if source == "torchvision" else "torchvision"
        near = [f"{other}:{one}" for one in model_names(other) if one.startswith(architecture)]
        ours = any(one.startswith(architecture) for one in known)
        elsewhere = f"{other} has it: {', '.join(near[:3])}"
        hint = elsewhere if near and not ours else nearest(architecture, known)
        raise UnknownNameError(f"model: {source} has no {architecture!r}; {hint}")
    return f"{source}:{name}"
