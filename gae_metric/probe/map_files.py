"""Maps as a tool returned them: where they lie, not yet read."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.probe.storage import ArrayFile, ProbeError, open_container
from gae_metric.study.conversion import as_tensor, like, map_shapes

#: Rows of no item that are listed one by one.
_LISTED = 1000

#: Forms that maps may have, and the names of their arrays.
_FORMS = {
    "one array 'maps'": re.compile("maps"),
    "arrays 'maps-00000', ... of shards": re.compile(r"maps-\d{5,}"),
    "arrays named after items": re.compile(r"(?!maps(-\d{5,})?$).*", re.DOTALL),
}


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
        container, folder = open_container(maps, "maps"), Path(maps).resolve()
        files = [file for file in container.names() if folder / file not in expected.own]
        names = [file.removesuffix(".npy") for file in files]
        where = f" in {str(maps)!r}"
        return _placed(
            names, lambda name, one: container.array(f"{name}.npy", one), expected, where
        )
    if isinstance(maps, (np.ndarray, Tensor)):
        maps = {"maps": maps}
    elif isinstance(maps, Sequence):
        more = (f"maps[{i}]" for i in range(len(expected.ids), len(maps)))
        maps = dict(zip((*expected.ids, *more), maps, strict=False))
    if not isinstance(maps, Mapping):
        raise ProbeError(
            "maps: expected an array, a mapping from items, an iterable of chunks or a path, got "
            f"{type(maps).__name__}"
        )

    def held(name: Any, one: bool) -> NDArray[Any]:
        values = as_array(maps[name])
        if not one and not values.ndim:
            raise ProbeError("maps: expected an array of maps, got a single value")
        return values[None] if one else values

    return _placed(maps, held, expected)


def _placed(
    names: Collection[Any],
    opened: Callable[[Any, bool], ArrayFile | NDArray[Any]],
    expected: MapSet,
    where: str = "",
) -> tuple[list[MapBlock], list[str]]:
    """Tell the items of arrays by the arrays' names: all, those of a shard, or one."""
    named = {form for form in _FORMS for name in names if _FORMS[form].fullmatch(str(name))}
    if len(named) > 1:
        both = " beside ".join(form for form in _FORMS if form in named)
        raise ProbeError(f"maps: expected one form of maps{where}, got {both}")
    ends = np.cumsum([0, *expected.shards]).tolist()
    places = {f"maps-{k:05d}": range(*ends[k : k + 2]) for k in range(len(expected.shards))}
    places["maps"] = range(len(expected.ids))
    items = {name: range(i, i + 1) for i, name in enumerate(expected.ids)}
    blocks, extra = [], []
    for name in names:
        place = items.get(name, places.get(name))
        if place is None:
            extra.append(str(name))
            continue
        maps = opened(name, name in items)
        blocks.append(MapBlock(place.start, min(len(maps), len(place)), maps))
        # A file can say that it has any number of rows.
        left = range(len(place), len(maps))
        many = len(left) > _LISTED
        extra += [f"{name}[{left.start}:{left.stop}]"] if many else [f"{name}[{i}]" for i in left]
    return blocks, extra


def as_array(values: Any) -> NDArray[Any]:
    """Return maps, of which kind so ever, as an array."""
    if isinstance(values, (Tensor, np.ma.MaskedArray)) or hasattr(values, "toarray"):
        values = like(as_tensor(values, "maps"), None)
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise ProbeError(f"maps: expected arrays, got {type(values).__name__}") from None
