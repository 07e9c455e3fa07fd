"""Files that anybody may have written, read at once or refused at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gae_metric.errors import InputError

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
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: no file name
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{argument}: cannot read {str(path)!r}: {reason}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a pipe, device or socket"
        raise InputError(f"{argument}: cannot read {str(path)!r}: expected a file, found {kind}")
    if limit is not None and found.st_size > limit:
        raise InputError(
            f"{argument}: cannot read {str(path)!r}: expected at most {limit} bytes, it has "
            f"{found.st_size}"
        )
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
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as error:
        raise InputError(f"{argument}: cannot read {str(path)!r}: {error.strerror}") from error


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
    if not root.is_dir():
        found = "a file" if root.exists() else "nothing"
        raise InputError(f"{argument}: expected a folder, found {found} at {str(folder)!r}")
    every = root.rglob("*") if recursive else root.iterdir()
    files = [
        path.relative_to(root)
        for path in every
        if path.suffix.lower() in EXTENSIONS and path.is_file()
    ]
    files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
    if not files:
        hint = "" if recursive else "; images in folders below it are found with --recursive"
        endings = ", ".join(sorted(EXTENSIONS))
        raise InputError(f"{argument}: no image files ({endings}) in {str(folder)!r}{hint}")
    return sorted(file.as_posix() for file in files)
