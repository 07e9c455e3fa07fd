"""Class labels of images, from a CSV file or from the folders that they lie in."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gae_metric.errors import InputError
from gae_metric.inputs.files import read_bytes

#: Bytes of a file: more than labels of a million images take.
_LARGEST = 1 << 28
#: Classes of a model that is not known yet.
_MOST = 1 << 31


def read_labels(
    source: str | Path, files: Sequence[str], classes: int | None = None
) -> dict[str, int]:
    """Read the class index of each image.

    Parameters
    ----------
    source
        A CSV file with the columns ``file`` (relative to the folder of images) and ``class_index``
        (others are ignored), or the word ``folders``: each image lies in a folder of its class, and
        the folders in sorted order are the classes 0, 1, .., as in torchvision's ``ImageFolder``.
    files
        The images, as :func:`gae_metric.inputs.images.list_images` gives them.
    classes
        Number of classes of the model; None: not known yet, and not looked at.

    Returns
    -------
    Class index by file; files without a label are missing.

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing, a class is not an integer from 0 to
        ``classes - 1``, a file has two classes, no image has a label, or there are not as many
        class folders as classes.

    Examples
    --------
    >>> read_labels("folders", ["cat/1.png", "dog/7.png", "cat/2.png"], classes=2)
    {'cat/1.png': 0, 'dog/7.png': 1, 'cat/2.png': 0}
    """
    if str(source) == "folders":
        return _labels_of_folders(files, classes)
    name = Path(source).name
    table = read_table(source)
    absent = {"file", "class_index"} - set(table.columns)
    if absent:
        columns = ", ".join(map(str, table.columns))
        raise InputError(
            f"labels: {name} must have the columns file and class_index, got "
            f"{columns if len(columns) <= 60 else f'{columns[:57]}...'}"
        )
    labels: dict[str, int] = {}
    for line, (file, text) in enumerate(zip(table["file"], table["class_index"], strict=True), 2):
        index = class_index(text, _MOST if classes is None else classes)
        if index is None:
            most = f" to {classes - 1} (the model has {classes} classes)" if classes else ""
            raise InputError(
                f"labels: {name}, line {line}: class_index must be an integer from 0{most}, got "
                f"{_short(text)}"
            )
        if labels.setdefault(file, index) != index:
            raise InputError(f"labels: {name}, line {line}: a second class for {file!r}")
    if not labels.keys() & set(files):
        raise InputError(
            f"labels: {name} names none of the images; it must name them relative to the folder, "
            f"such as {files[0]!r}"
        )
    return labels


def read_table(source: str | Path) -> pd.DataFrame:
    """Read a CSV file with a header, all of its values as text.

    Raises
    ------
    InputError
        If it cannot be read, or is not such a file.
    """
    content = read_bytes(source, "labels", _LARGEST)
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds NUL characters")
        header = next(csv.reader(io.StringIO(text, newline="")), [])
        if twice := [name for name in header if header.count(name) > 1]:
            raise ValueError(f"the column {twice[0]!r} is there twice")
        with warnings.catch_warnings():
            # A line that is longer than the header would lose its end, or move its columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(
                io.StringIO(text, newline=""), dtype=str, keep_default_na=False, index_col=False
            )
    except (ValueError, OverflowError, csv.Error, pd.errors.ParserWarning) as error:
        # ValueError: not CSV, not text, empty
        raise InputError(f"labels: cannot read {str(source)!r}: {error}") from error
    return table


def class_index(text: str, classes: int) -> int | None:
    """Return the class that a text names, or None if it names none of 0 to ``classes - 1``.

    Examples
    --------
    >>> class_index(" 7", 10), class_index("10", 10), class_index("-1", 10), class_index("1.0", 10)
    (7, None, None, None)
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdecimal()):
        return None
    # Python itself refuses the longest ones.
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= len(str(classes)) and int(digits) < classes else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _labels_of_folders(files: Sequence[str], classes: int | None) -> dict[str, int]:
    """Return ImageFolder's labels."""
    loose = [file for file in files if "/" not in file]
    if loose:
        raise InputError(
            f"labels: with 'folders', each image lies in a folder of its class, but {loose[0]!r} "
            "does not"
        )
    names, index = np.unique([file.split("/")[0] for file in files], return_inverse=True)
    if classes is not None and len(names) != classes:
        raise InputError(
            f"labels: with 'folders', expected one folder for each of the model's {classes} "
            f"classes, found {len(names)}; give a CSV file with the columns file,class_index"
        )
    return dict(zip(files, index.tolist(), strict=True))
