"""Maps as a tool returned them: where they lie, not yet read."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.probe.storage import ArrayFile, ProbeError, open_container
from gae_metric.study.conversion import as_tensor, like, map_shapes

#: Rows of no item that are listed one by one.
_LISTED = 1000

_SHARD = re.compile(r"maps-(\d{5,})")


@dataclass(frozen=True)
class MapBlock:
    """Maps of consecutive items that lie together."""

    #: Number of the first item, and of items.
    start: int
    count: int
    #: A map in each row.
    values: ArrayFile | NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the map of one item."""
        return self.values.shape[1:]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return maps of the block from one row to another."""
        values = self.values
        return values.rows(start, stop) if isinstance(values, ArrayFile) else values[start:stop]


@dataclass(frozen=True)
class MapSet:
    """What maps are expected, and which files a probe set itself has.

    Attributes
    ----------
    ids
        Names of the items, in order.
    shape
        Shape of one input.
    shards
        Numbers of the items of the shards.
    own
        Files of the probe set, which maps may lie beside.
    """

    ids: Sequence[str]
    shape: tuple[int, ...]
    shards: Sequence[int] = ()
    own: frozenset[Path] = frozenset()

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes that the map of an item may have."""
        return map_shapes(self.shape)


def blocks_of(maps: Any, expected: MapSet) -> tuple[list[MapBlock], list[str]]:
    """Return blocks of maps, and what there is of maps of no item."""
    if isinstance(maps, (str, Path)):
        return _files(Path(maps), expected)
    if isinstance(maps, (np.ndarray, Tensor)):
        if maps.ndim == 0:
            raise ProbeError("maps: expected an array of maps, got a single value")
        return _whole(as_array(maps), 0, expected.ids, "maps")
    if isinstance(maps, Mapping):
        return _by_name(maps, lambda name: as_array(maps[name])[None], expected)
    if isinstance(maps, Sequence):
        wanted = islice(maps, len(expected.ids))
        blocks = [MapBlock(i, 1, as_array(values)[None]) for i, values in enumerate(wanted)]
        return blocks, [f"maps[{i}]" for i in range(len(expected.ids), len(maps))]
    raise ProbeError(
        "maps: expected an array, a mapping from items, an iterable of chunks or a path, got "
        f"{type(maps).__name__}"
    )


def _files(path: Path, expected: MapSet) -> tuple[list[MapBlock], list[str]]:
    container, folder = open_container(path, "maps"), path.resolve()
    files = [file for file in container.names() if folder / file not in expected.own]
    names = [file.removesuffix(".npy") for file in files]
    shards = {name: found for name in names if (found := _SHARD.fullmatch(name))}
    kinds = {
        "one array 'maps'": "maps" in names,
        "arrays 'maps-00000', ... of shards": bool(shards),
        "arrays named after items": len(names) > len(shards) + ("maps" in names),
    }
    if sum(kinds.values()) > 1:
        both = " beside ".join(kind for kind, found in kinds.items() if found)
        raise ProbeError(f"maps: expected one form of maps in {str(path)!r}, got {both}")
    blocks: list[MapBlock] = []
    extra: list[str] = []
    if "maps" in names:
        return _whole(container.array("maps.npy"), 0, expected.ids, "maps")
    if not shards:
        return _by_name(names, lambda name: container.array(f"{name}.npy", alone=True), expected)
    starts = np.cumsum([0, *expected.shards]).tolist()
    for name, found in shards.items():
        number = int(found[1])
        if number >= len(expected.shards) or name != f"maps-{number:05d}":
            extra.append(name)
            continue
        ids = expected.ids[starts[number] : starts[number + 1]]
        more, left = _whole(container.array(f"{name}.npy"), starts[number], ids, name)
        blocks += more
        extra += left
    return blocks, extra


def _by_name(
    names: Iterable[Any], named: Callable[[Any], ArrayFile | NDArray[Any]], expected: MapSet
) -> tuple[list[MapBlock], list[str]]:
    numbers = {name: i for i, name in enumerate(expected.ids)}
    blocks, extra = [], []
    for name in names:
        if name in numbers:
            blocks.append(MapBlock(numbers[name], 1, named(name)))
        else:
            extra.append(str(name))
    return blocks, extra


def _whole(
    maps: ArrayFile | NDArray[Any], start: int, ids: Sequence[str], name: str
) -> tuple[list[MapBlock], list[str]]:
    count = min(len(maps), len(ids))
    left = range(len(ids), len(maps))
    # A file can say that it has any number of rows.
    many = len(left) > _LISTED
    extra = [f"{name}[{left.start}:{left.stop}]"] if many else [f"{name}[{i}]" for i in left]
    return [MapBlock(start, count, maps)], extra


def as_array(values: Any) -> NDArray[Any]:
    """Return maps, of which kind so ever, as an array."""
    if isinstance(values, (Tensor, np.ma.MaskedArray)) or hasattr(values, "toarray"):
        values = like(as_tensor(values, "maps"), None)
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise ProbeError(f"maps: expected arrays, got {type(values).__name__}") from None
