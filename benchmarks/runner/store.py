"""Results on disk: one Parquet file for each shard, there as a whole or not at all."""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from gae_metric.commands.folder import new_folder, replace_file
from gae_metric.errors import InputError, refusing

_KEY = b"benchmarks"
#: Stands in a shard's metadata, before 64 digits that are the SHA-256 of its name and of all bytes
#: of the file but these.
_SEAL = b"benchmarks.sha256="
#: Bytes of a shard that are read.
_LARGEST = 1 << 28
#: Bytes that a table may take in memory, and as a multiple of its file's: scores take 20.
_LEAST, _EXPANSION = 1 << 26, 100
#: Columns that are read: several times as many as any table has.
_WIDEST = 64
#: Tests of the types of columns; a value of others has any number of bytes or parts.
_TEXTS = (pa.types.is_string, pa.types.is_large_string)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
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
        for folder in (self.root, self.root / "shards"):
            new_folder(folder, "output")
        try:
            alone = FileLock(self.root / ".lock").acquire(timeout=0)
        except Timeout:
            raise InputError(
                f"output: another run writes {str(self.root)!r}; wait for it, or give another "
                "folder with --output"
            ) from None
        with alone:
            for left in (*self.root.glob(".*.tmp"), *(self.root / "shards").rglob(".*.tmp")):
                if _PARTIAL.fullmatch(left.name):
                    left.unlink(missing_ok=True)
            yield

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
        noted = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **own})
        pq.write_table(noted, buffer, compression="zstd")
        before, seal, after = buffer.getvalue().rpartition(_SEAL)
        replace_file(self.path(key), before + seal + _digest(key, before, after[64:]) + after[64:])

    def facts(self, key: str) -> dict[str, Any]:
        """Return the facts that a shard was written with."""
        return _facts(pq.read_schema(pa.BufferReader(self._whole(key))))

    def read(self, key: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return a shard's table, and the facts that it was written with.

        Raises
        ------
        InputError
            If it is damaged.
        """
        table = read_table(self._whole(key), str(self.path(key)))
        return table.to_pandas(), _facts(table.schema)

    def _whole(self, key: str) -> bytes:
        if (content := self._content(key)) is None:
            raise InputError(f"results: {str(self.path(key))!r} is damaged")
        return content

    def _content(self, key: str) -> bytes | None:
        """Return a shard's bytes, or None if they are not those that were written."""
        path = self.path(key)
        content = path.read_bytes() if path.stat().st_size <= _LARGEST else b""
        before, _, after = content.rpartition(_SEAL)
        return content if after[:64] == _digest(key, before, after[64:]) else None


def _facts(schema: pa.Schema) -> dict[str, Any]:
    wrong = (LookupError, TypeError, ValueError, RecursionError)
    with refusing("results: a shard has no facts", *wrong):
        facts: dict[str, Any] = json.loads(schema.metadata[_KEY])
        return facts


def read_table(content: bytes, name: str) -> pa.Table:
    """Read a Parquet file, whose rows may be many more than its bytes, into bounded memory.

    Parameters
    ----------
    content
        The file.
    name
        What it is called in errors.

    Raises
    ------
    InputError
        If it would take more memory than a table of scores of that many bytes can, or holds
        anything but numbers and texts.
    """
    limit = max(_LEAST, _EXPANSION * len(content))
    schema = pq.read_schema(pa.BufferReader(content))
    texts = [c.name for c in schema if any(is_text(c.type) for is_text in _TEXTS)]
    odd = [c for c in schema if not any(fits(c.type) for fits in (*_TEXTS, *_NUMBERS))]
    if odd or len(schema) > _WIDEST:
        what = f"a column of {odd[0].type}" if odd else f"{len(schema)} columns"
        raise InputError(f"results: {name!r} has {what}, which no run writes")
    # A text that stands in many rows stays one until it is known what they add up to.
    file = pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    found, groups = file.metadata, range(file.metadata.num_row_groups)
    packed = sum(found.row_group(group).total_byte_size for group in groups)
    if max(8 * found.num_rows * found.num_columns, packed) <= limit:
        table = file.read()
        if sum(_text_bytes(table[column]) for column in texts) <= limit:
            return table.cast(schema)
    raise InputError(
        f"results: {name!r} of {len(content)} bytes would take more than {limit} bytes of memory"
    )


def _text_bytes(column: pa.ChunkedArray) -> int:
    """Return the bytes of a column's texts, those that stand in several rows counted in each."""
    sizes = (pc.binary_length(part.dictionary).take(part.indices) for part in column.chunks)
    return sum(pc.sum(each).as_py() or 0 for each in sizes)


def _digest(key: str, *parts: bytes) -> bytes:
    # Lengths first, so that no byte can go from one part to the next.
    digest = hashlib.sha256(repr((key, *map(len, parts))).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()
