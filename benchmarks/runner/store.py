"""Results on disk: one Parquet file for each shard, there as a whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from gae_metric.errors import InputError

__all__ = ["Store", "replace_file"]

_KEY = b"benchmarks"
#: Folders and a name, none of which is hidden or leads up; what :attr:`Shard.key` makes of a name.
_KEYS = re.compile(r"(?:[A-Za-z0-9_+][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_+][A-Za-z0-9_.+-]*")


class Store:
    """A folder of results that one run writes, and anything reads.

    Parameters
    ----------
    root
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> store = Store(tempfile.mkdtemp())
    >>> store.write("model/a", pd.DataFrame({"score": [0.5]}), {"seed": 0})
    >>> store.has("model/a"), store.has("model/b")
    (True, False)
    >>> table, facts = store.read("model/a")
    >>> table["score"].tolist(), facts
    ([0.5], {'seed': 0})
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only run that writes; clear away what a killed one had not finished.

        Raises
        ------
        InputError
            If the folder cannot be written, or another run writes it.
        """
        try:
            (self.root / "shards").mkdir(parents=True, exist_ok=True)
            probe = self.root / f".{uuid.uuid4().hex}.tmp"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"output: cannot write the folder {str(self.root)!r}: {error.strerror}"
            ) from error
        lock = FileLock(self.root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"output: another run writes {str(self.root)!r}; wait for it, or give another "
                "folder with --output"
            ) from None
        try:
            for left in self.root.rglob(".*.tmp"):
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def path(self, key: str) -> Path:
        """Return where a shard is, or would be.

        Raises
        ------
        InputError
            If that is not in the folder; keys may come from a file.
        """
        if not _KEYS.fullmatch(key):
            raise InputError(f"results: no shard in {str(self.root)!r} is named {key!r}")
        return self.root / "shards" / f"{key}.parquet"

    def has(self, key: str) -> bool:
        """Whether a shard is there, whole."""
        path = self.path(key)
        if not path.is_file():
            return False
        try:
            pq.read_metadata(path)
        except (pa.ArrowException, OSError):
            return False
        return True

    def write(self, key: str, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
        """Write a shard, in one step as any reader sees it.

        Raises
        ------
        OSError
            If it cannot be written; the shards that were there are as before.
        """
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        metadata = {**(arrow.schema.metadata or {}), _KEY: json.dumps(facts, default=str).encode()}
        buffer = io.BytesIO()
        pq.write_table(
            arrow.replace_schema_metadata(metadata),
            buffer,
            compression="zstd",
            write_page_checksum=True,
        )
        replace_file(self.path(key), buffer.getvalue())

    def facts(self, key: str) -> dict[str, Any]:
        """Return the facts that a shard was written with."""
        facts: dict[str, Any] = json.loads((pq.read_schema(self.path(key)).metadata or {})[_KEY])
        return facts

    def read(self, key: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return a shard's table, and the facts that it was written with."""
        table = pq.read_table(self.path(key), page_checksum_verification=True, partitioning=None)
        facts: dict[str, Any] = json.loads((table.schema.metadata or {})[_KEY])
        frame: pd.DataFrame = table.to_pandas()
        return frame, facts


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another, or of none, so that it is never there in part.

    Raises
    ------
    OSError
        If there is no room or no permission; the message names the file, and what was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"cannot write {str(path)!r}: {error.strerror}. Finished shards are kept: the same "
            "command goes on from there",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder outlive a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
