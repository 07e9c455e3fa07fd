"""Arrays in a folder of ``.npy`` files or in an ``.npz`` (a zip of them), read and written by rows.

Nothing here unpickles, extracts a zip, or opens a file outside the folder that was named.
"""

import hashlib
import io
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from gae_metric.errors import InputError

#: What a file of a probe set may be called: no separators, no parents, no hidden files.
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.npy")

#: Bytes of a manifest at most: names of 100,000 samples, and as JSON no more than 200 MB of memory.
MANIFEST_LIMIT = 1 << 23
#: Bytes that are read at a time, and of an array in Fortran's order, whose rows lie apart.
_PART, _WHOLE = 1 << 22, 1 << 30
#: Bytes of the header of a ``.npy`` file, as in NumPy.
_HEADER = 10_000
#: What reads a header, and the bytes of its stated length, by the format's version.
_READERS = {(1, 0): (npy.read_array_header_1_0, 2), (2, 0): (npy.read_array_header_2_0, 4)}


class ArrayFile:
    """An array in a ``.npy`` file, of which rows are read when they are asked for.

    Parameters
    ----------
    opened
        Opens the file for reading in binary; returns it, its size in bytes, and what it is called
        in errors. It is open from the first rows that are read to the last ones, as there may be
        more files than can be open at a time, and a zip's are slow to open in the middle.
    alone
        Whether all of it is one row.

    Raises
    ------
    ProbeError
        If it is not the file of a plain array, or is cut off.
    """

    def __init__(self, opened: Callable[[], tuple[IO[bytes], int, str]], alone: bool) -> None:
        self._opened = opened
        self._file: IO[bytes] | None = None
        file, size, source = opened()
        self._source = source
        with file, _guarded(source):
            self.shape, self._fortran, self.dtype = _header(file)
            self._offset = file.tell()
        self._whole: NDArray[Any] | None = None
        if self.dtype.hasobject or self.dtype.names is not None or self.dtype.subdtype is not None:
            raise ProbeError(f"{source}: expected numbers, got {self.dtype}")
        if not self.shape:
            raise ProbeError(f"{source}: expected an array with an axis, got a single value")
        if self.dtype.itemsize == 0 or (self.shape[0] and not math.prod(self.shape)):
            # Any number of such rows fits a file of no bytes.
            raise ProbeError(f"{source}: expected rows with values, got {self.dtype} {self.shape}")
        if size - self._offset < math.prod(self.shape) * self.dtype.itemsize:
            raise ProbeError(
                f"{source}: cut off: {size} bytes do not hold {self.dtype} {self.shape}"
            )
        if alone:
            self.shape = (1, *self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read rows, (stop - start, ...), in the native byte order."""
        start, stop, _ = rows.indices(len(self))
        if self._fortran and len(self.shape) > 1:
            if self._whole is None:
                if math.prod(self.shape) * self.dtype.itemsize > _WHOLE:
                    raise ProbeError(
                        f"{self._source}: {self.shape} in Fortran's order does not fit the memory; "
                        "save it in C's (numpy.ascontiguousarray)"
                    )
                self._whole = self._read(0, math.prod(self.shape)).reshape(self.shape, order="F")
            return self._whole[start:stop]
        each = math.prod(self.shape[1:])
        values = self._read(start * each, (stop - start) * each)
        if stop == len(self):
            self.close()
        return values.reshape(stop - start, *self.shape[1:])

    def _read(self, first: int, count: int) -> NDArray[Any]:
        wanted, at = count * self.dtype.itemsize, 0
        # A bytearray, as torch warns of arrays that cannot be written to.
        data = bytearray(wanted)
        with _guarded(self._source):
            file = self._file = self._file or self._opened()[0]
            file.seek(self._offset + first * self.dtype.itemsize)
            while at < wanted and (part := file.read(min(_PART, wanted - at))):
                data[at : at + len(part)] = part
                at += len(part)
        if at != wanted:
            raise ProbeError(f"{self._source}: cut off: {at} bytes, expected {wanted}")
        values: NDArray[Any] = np.frombuffer(data, dtype=self.dtype)
        return values.astype(self.dtype.newbyteorder("="), copy=False)

    def close(self) -> None:
        """Close the file until rows are read again."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"version {version} of the .npy format is for structures")
    read, size = _READERS[version]
    # NumPy takes the memory that a header says that it needs, and only then finds it too large.
    stated = file.read(size)
    if (length := int.from_bytes(stated, "little")) > _HEADER:
        raise ValueError(f"expected a header of at most {_HEADER} bytes, it says {length}")
    shape, fortran, dtype = read(io.BytesIO(stated + file.read(length)))
    if any(side < 0 for side in shape):
        raise ValueError(f"negative shape {shape}")
    return tuple(map(int, shape)), fortran, dtype


@contextmanager
def _guarded(source: str) -> Iterator[None]:
    """Name the file in errors: anybody may have written it."""
    try:
        yield
    except ProbeError:
        raise
    except Exception as error:
        # A broken header or a broken zip can end in nearly any error.
        raise ProbeError(f"{source}: cannot be read: {error or type(error).__name__}") from error


class Container:
    """Files of a folder, by name; links to files elsewhere are refused. See :class:`Npz`, too."""

    def __init__(self, path: Path) -> None:
        self.path, self.process = path.absolute(), os.getpid()

    def names(self) -> list[str]:
        """Return the names of the ``.npy`` files, sorted."""
        with _guarded(str(self.path)):
            return sorted(file.name for file in self.path.iterdir() if file.suffix == ".npy")

    def array(self, name: str, alone: bool = False) -> ArrayFile:
        """Open an array by its file's name."""
        return ArrayFile(lambda: self._open(name), alone)

    def manifest(self) -> bytes:
        """Return what ``manifest.json`` holds."""
        file, size, source = self._open("manifest.json")
        with file, _guarded(source):
            if size > MANIFEST_LIMIT:
                raise ProbeError(f"{source}: expected at most {MANIFEST_LIMIT} bytes, got {size}")
            return file.read(size)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        file, _, source = self._open(name)
        found = hashlib.sha256()
        with file, _guarded(source):
            while part := file.read(_PART):
                found.update(part)
        return found.hexdigest()

    def write(
        self, name: str, dtype: str, shape: tuple[int, ...], parts: Iterable[NDArray[Any]]
    ) -> str:
        """Write an array that comes in parts along its first axis; return its SHA-256."""
        head = io.BytesIO()
        npy.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
        digest = hashlib.sha256(head.getvalue())
        with self._create(name) as file:
            file.write(head.getvalue())
            for part in parts:
                values = np.ascontiguousarray(part, dtype=dtype).data
                digest.update(values)
                file.write(values)
        return digest.hexdigest()

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with self._create(name) as file:
            file.write(text.encode())

    def _open(self, name: str) -> tuple[IO[bytes], int, str]:
        """Open a file; return its size, and what it is called in errors, too."""
        if name != "manifest.json" and not FILE_NAME.fullmatch(name):
            raise ProbeError(f"{self.path}: expected a plain .npy file name, got {name!r}")
        path = self.path / name
        # Resolving a link that leads to itself is an error in some versions of Python.
        with _guarded(str(path)):
            if path.resolve().parent != self.path.resolve():
                raise ProbeError(f"{path}: leads out of the folder")
            if not path.is_file():
                raise _no_file(self.path, name)
            file = path.open("rb")
            return file, os.fstat(file.fileno()).st_size, str(path)

    def _create(self, name: str) -> IO[bytes]:
        return (self.path / name).open("xb")


class Npz(Container):
    """Files of a zip. Nothing is extracted."""

    def __init__(self, path: Path, mode: Literal["r", "w"] = "r") -> None:
        super().__init__(path)
        with _guarded(str(path)) if mode == "r" else nullcontext():
            self.zip = zipfile.ZipFile(path, mode)

    def names(self) -> list[str]:
        """List the files."""
        return sorted(name for name in self.zip.namelist() if name.endswith(".npy"))

    def _open(self, name: str) -> tuple[IO[bytes], int, str]:
        try:
            entry = self.zip.getinfo(name)
        except KeyError:
            raise _no_file(self.path, name) from None
        source = f"{self.path}, {name}"
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Of others, zipfile expands 4096 bytes at once: gigabytes.
            raise ProbeError(f"{source}: expected it stored or deflated, as numpy.savez writes it")
        with _guarded(source):
            return self.zip.open(entry), entry.file_size, source

    def _create(self, name: str) -> IO[bytes]:
        # ZipInfo's own date, so that equal probe sets are equal files.
        return self.zip.open(zipfile.ZipInfo(name), "w", force_zip64=True)


def _no_file(path: Path, name: str) -> "ProbeError":
    hint = "; is it the maps, and not the probe set?" if name == "manifest.json" else ""
    return ProbeError(f"{path}: has no file {name}{hint}")


def open_container(path: str | Path, what: str) -> Container:
    """Open a folder or an ``.npz`` file for reading.

    Raises
    ------
    ProbeError
        If there is none.
    """
    path = Path(path)
    if os.path.isdir(path):
        return Container(path)
    remedy = ""
    if not os.path.isfile(path):
        found = "a pipe or device" if os.path.exists(path) else "nothing"
    elif not zipfile.is_zipfile(path):
        found, remedy = "a file that cannot be read as one", "; numpy.savez makes one"
    else:
        return Npz(path)
    raise ProbeError(
        f"{what}: expected a folder or an .npz file, found {found} at {str(path)!r}{remedy}"
    )


class ProbeError(InputError):
    """A probe set, or the maps that are to be scored with it, is not as described."""
