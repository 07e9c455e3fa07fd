"""Results on disk: one Parquet file for each shard, there as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from gae_metric.errors import InputError

_KEY = b"benchmarks"
#: Stands in a shard's metadata, before 64 digits that are the SHA-256 of its name and of all bytes
#: of the file but these.
_SEAL = b"benchmarks.sha256="
#: Folders and a name, none of which is hidden or leads up; what :attr:`Shard.key` makes of a name.
_KEYS = re.compile(r"(?:[A-Za-z0-9_+][A-Za-z0-9_.+-]*/)*[A-Za-z0-9_+][A-Za-z0-9_.+-]*")
#: What :func:`replace_file` writes to first.
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


class Store:
    """A folder of results that one run writes, and anything reads.

    Parameters
    ----------
    root
        The folder.

    Examples
    --------
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
            tempfile.TemporaryFile(dir=self.root).close()
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
            for left in (*self.root.glob(".*.tmp"), *(self.root / "shards").rglob(".*.tmp")):
                if _PARTIAL.fullmatch(left.name):
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

    def shards(self) -> list[str]:
        """Return the names of all shards that there are, whole or not."""
        root = self.root / "shards"
        found = (path.relative_to(root).as_posix() for path in root.rglob("*.parquet"))
        return sorted(key for file in found if _KEYS.fullmatch(key := file[: -len(".parquet")]))

    def has(self, key: str) -> bool:
        """Whether a shard is there, as it was written."""
        return self.path(key).is_file() and self._content(key) is not None

    def damaged(self, key: str) -> bool:
        """Whether a shard is there, and is not as it was written, or is another one."""
        return self.path(key).is_file() and self._content(key) is None

    def put_aside(self, key: str) -> Path:
        """Move a shard to the folder ``damaged``, and return where it is now."""
        place = self.root / "damaged" / f"{key}.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(self.path(key), place)
        return place

    def write(self, key: str, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
        """Write a shard, in one step as any reader sees it.

        Raises
        ------
        OSError
            If it cannot be written; the shards that were there are as before.
        """
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        own = {_KEY: json.dumps(facts, default=str), "seal": _SEAL + b"0" * 64}
        buffer = io.BytesIO()
        pq.write_table(
            arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **own}),
            buffer,
            compression="zstd",
        )
        before, seal, after = buffer.getvalue().rpartition(_SEAL)
        digest = _digest(key, before, after[64:])
        replace_file(self.path(key), before + seal + digest + after[64:])

    def facts(self, key: str) -> dict[str, Any]:
        """Return the facts that a shard was written with."""
        facts: dict[str, Any] = json.loads(pq.read_schema(self._whole(key)).metadata[_KEY])
        return facts

    def read(self, key: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return a shard's table, and the facts that it was written with.

        Raises
        ------
        InputError
            If it is damaged.
        """
        table = pq.read_table(self._whole(key))
        facts: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
        frame: pd.DataFrame = table.to_pandas()
        return frame, facts

    def _whole(self, key: str) -> pa.BufferReader:
        if (content := self._content(key)) is None:
            raise InputError(f"results: {str(self.path(key))!r} is damaged")
        return pa.BufferReader(content)

    def _content(self, key: str) -> bytes | None:
        """Return a shard's bytes, or None if they are not those that were written."""
        content = self.path(key).read_bytes()
        before, _, after = content.rpartition(_SEAL)
        return content if after[:64] == _digest(key, before, after[64:]) else None


def _digest(key: str, *parts: bytes) -> bytes:
    # Lengths first, so that no byte can go from one part to the next.
    digest = hashlib.sha256(repr((key, *map(len, parts))).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


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
