"""Class labels of images, from a CSV file or from the folders that they lie in."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

from gae_metric.errors import InputError, refusing, short
from gae_metric.inputs.files import read_bytes

#: Bytes of a file: more than labels of a million images take.
_LARGEST = 1 << 26
#: Classes of a model that is not known yet.
_MOST = 1 << 31

T = TypeVar("T")


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
    _, table = read_table(source, ("file", "class_index"))
    # Of one name's two spellings in Unicode a Mac's folder has the long one, and tables the short.
    spelled = {normalize("NFC", file): file for file in files} | {file: file for file in files}
    labels: dict[str, int] = {}
    for line, written, text in table:
        file = spelled.get(written) or spelled.get(normalize("NFC", written), written)
        index = class_index(text, _MOST if classes is None else classes)
        if index is None:
            most = f" to {classes - 1} (the model has {classes} classes)" if classes else ""
            raise InputError(
                f"labels: {name}, line {line}: class_index must be an integer from 0{most}, got "
                f"{short(text)}"
            )
        if labels.setdefault(file, index) != index:
            raise InputError(f"labels: {name}, line {line}: a second class for {file!r}")
    if not labels.keys() & set(files):
        raise InputError(
            f"labels: {name} names none of the images; it must name them relative to the folder, "
            f"such as {next(iter(files), 'cat/1.png')!r}"
        )
    return labels


def read_table(
    source: str | Path, *choices: tuple[str, str]
) -> tuple[tuple[str, str], Iterator[tuple[int, str, str]]]:
    """Read two columns of a CSV file with a header.

    Parameters
    ----------
    source
        The file.
    choices
        Pairs of columns, of which the first that the file has is read.

    Returns
    -------
    tuple
        The pair, and the number of each row with its two texts, read as they are asked for. A row
        that is shorter than the header ends in empty texts.

    Raises
    ------
    InputError
        If it cannot be read, is not such a file, or has none of the pairs.
    """
    rows: Iterator[tuple[int, list[str]]] = read_lines(source, partial(csv.reader, strict=True))
    _, header = next(rows, (0, []))
    header = [name.strip() for name in header]
    name, count = next(iter(Counter(header).most_common(1)), ("", 0))
    if count != 1:
        fault = f"the column {short(name)} is there twice" if count else "it has no header"
        raise InputError(f"labels: cannot read {str(source)!r}: {fault}")
    for pair in choices:
        if {*pair} <= {*header}:
            places = header.index(pair[0]), header.index(pair[1])
            return pair, _columns(rows, source, places, len(header))
    raise InputError(
        f"labels: {Path(source).name} must have the columns {' and '.join(choices[-1])}, got "
        f"{short(', '.join(header))[1:-1]}"
    )


def _columns(
    rows: Iterator[tuple[int, list[str]]], source: str | Path, places: tuple[int, int], width: int
) -> Iterator[tuple[int, str, str]]:
    for line, row in rows:
        if len(row) > width:  # its end would be lost
            raise InputError(
                f"labels: cannot read {str(source)!r}: line {line} has {len(row)} fields, the "
                f"header {width}"
            )
        if row:
            first, second = (row[place] if place < len(row) else "" for place in places)
            yield line, first, second


def read_lines(
    source: str | Path, split: Callable[[Iterable[str]], Iterable[T]]
) -> Iterator[tuple[int, T]]:
    """Yield what the lines of a text file are split into, and count it from 1.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    content = read_bytes(source, "labels", _LARGEST)
    what = f"labels: cannot read {str(source)!r} as"
    quoting = f"{what} CSV (is a quote never closed?)"
    with refusing(quoting, csv.Error), refusing(f"{what} UTF-8", ValueError):
        if b"\0" in content:
            raise ValueError("it holds NUL characters")
        # Not as a whole, as a row in Python takes many times the memory of its text.
        lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
        yield from enumerate(split(lines), 1)


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


def _labels_of_folders(files: Sequence[str], classes: int | None) -> dict[str, int]:
    """Return ImageFolder's labels."""
    if loose := [file for file in files if "/" not in file]:
        raise InputError(
            f"labels: with 'folders', each image lies in a folder of its class, but {loose[0]!r} "
            "does not"
        )
    names = sorted({file.split("/")[0] for file in files})
    if classes is not None and len(names) != classes:
        raise InputError(
            f"labels: with 'folders', expected one folder for each of the model's {classes} "
            f"classes, found {len(names)} with images in them; give a CSV file with the columns "
            "file,class_index"
        )
    index = {name: number for number, name in enumerate(names)}
    return {file: index[file.split("/")[0]] for file in files}
