"""Maps that a tool returns, in any of their forms: checked, then read in the order of the items."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.metrics.attribution_metric import named
from gae_metric.probe.storage import ArrayFile, ProbeError, open_container
from gae_metric.study.conversion import as_maps, as_tensor, like, map_shapes

#: Rows of no item that are listed one by one.
_LISTED = 1000


class MapSet(NamedTuple):
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


#: Where items' maps lie, by their numbers: arrays, and rows of them.
_Places: TypeAlias = dict[int, tuple["ArrayFile | NDArray[Any]", int]]


def read_maps(maps: Any, expected: MapSet, batch_size: int) -> Iterator[tuple[int, Tensor]]:
    """Read maps of all items in order.

    Parameters
    ----------
    maps
        See :meth:`ProbeSet.score`.
    expected
        Of what items.
    batch_size
        Maps at a time.

    Yields
    ------
    tuple
        Number of the first item, and maps (n, 1 or C, ...), at least float32.

    Raises
    ------
    ProbeError
        If maps are missing, left over, or of a wrong shape or type; before the first is read,
        unless they come as a stream.
    """
    if _is_stream(maps):
        yield from _stream(maps, expected)
        return
    places, extra = _places_of(maps, expected)
    _check(places, extra, expected)
    for start in range(0, len(expected.ids), batch_size):
        some = (places[i] for i in range(start, min(start + batch_size, len(expected.ids))))
        yield start, _tensor([maps[row : row + 1] for maps, row in some], expected)


def _is_stream(maps: Any) -> bool:
    """Whether maps are chunks of (names, maps): from an iterator, or a list of them."""
    if isinstance(maps, Sequence) and maps and isinstance(maps[0], (tuple, list)):
        names = maps[0][0] if len(maps[0]) == 2 else None
        return isinstance(names, (Sequence, np.ndarray)) and all(isinstance(n, str) for n in names)
    whole = (str, Path, np.ndarray, Tensor, Mapping, Sequence)
    return isinstance(maps, Iterable) and not isinstance(maps, whole)


def _check(places: _Places, extra: list[str], expected: MapSet) -> None:
    """Name all that is missing, left over or wrong."""
    faults = []
    if missing := [name for i, name in enumerate(expected.ids) if i not in places]:
        faults.append(f"{len(missing)} missing: {named(missing, 5)}")
    if extra:
        faults.append(f"{len(extra)} of no item: {named(extra, 5)}")
    if expected.ids and not places:
        faults.append(
            f"one array of all maps is to be called 'maps', and arrays of one map each as their "
            f"items are, such as {expected.ids[0]!r} (of files: maps.npy, {expected.ids[0]}.npy)"
        )
    shapes = map_shapes(expected.shape)
    found = {i: (maps.shape[1:], maps.dtype) for i, (maps, _) in sorted(places.items())}
    usual = next((shape for shape, _ in found.values() if shape in shapes), None)
    wanted = " or ".join(map(str, shapes if usual is None else [usual]))
    wrong: dict[str, list[str]] = defaultdict(list)
    for i, (shape, dtype) in found.items():
        if shape != usual:
            wrong[f"of shape {shape} instead of {wanted}"].append(expected.ids[i])
        if not _is_real(dtype):
            wrong[f"of type {dtype} instead of real numbers"].append(expected.ids[i])
    faults += [f"{len(ids)} {what}: {named(ids, 5)}" for what, ids in wrong.items()]
    if faults:
        raise ProbeError(
            f"maps: expected one for each of the {len(expected.ids)} items; {'; '.join(faults)}"
        )


def _is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8)


def _tensor(parts: list[NDArray[Any]], expected: MapSet) -> Tensor:
    """Return maps (n, 1 or C, ...) of at least single precision."""
    values = np.concatenate(parts)
    # float16 is half a float32's digits; integers are what a metric would make of them too.
    kind = np.float64 if values.dtype == np.float64 else np.float32
    shape = torch.Size((len(values), *expected.shape))
    return as_maps(np.ascontiguousarray(values, dtype=kind), shape, "maps")


def _stream(chunks: Iterable[Any], expected: MapSet) -> Iterator[tuple[int, Tensor]]:
    """Take chunks of (names, maps) as they come."""
    start = 0
    shapes = map_shapes(expected.shape)
    for chunk in chunks:
        try:
            names, values = chunk
            one, names = isinstance(names, str), list(names)
            if one or not all(isinstance(name, str) for name in names):
                raise TypeError("no list of names")
        except (TypeError, ValueError):
            parts = chunk if isinstance(chunk, (tuple, list)) else [chunk]
            kinds = ", ".join(type(part).__name__ for part in parts)
            raise ProbeError(
                "maps: expected an iterable of pairs (names of items, their maps), such as "
                f"(['0-original'], maps) with a map for each name, got ({kinds}); for a map "
                "of each name give a mapping, dict(zip(names, maps))"
            ) from None
        wanted = list(expected.ids[start : start + len(names)])
        if names != wanted:
            raise ProbeError(
                f"maps: expected the order of explain_items, {named(wanted, 5) or 'no more'} next, "
                f"got {named(names, 5)}"
            )
        array = _as_array(values)
        if array.shape[:1] != (len(names),) or array.shape[1:] not in shapes:
            sizes = " or ".join(str((len(names), *shape)) for shape in shapes)
            raise ProbeError(
                f"maps: expected shape {sizes} for {named(names, 5)}, got {array.shape}"
            )
        if not _is_real(array.dtype):
            raise ProbeError(
                f"maps: expected real numbers for {named(names, 5)}, got {array.dtype}"
            )
        shapes = [array.shape[1:]]
        if names:
            yield start, _tensor([array], expected)
        start += len(names)
    if start < len(expected.ids):
        missing = list(expected.ids[start:])
        raise ProbeError(f"maps: {len(missing)} missing: {named(missing, 5)}")


def _places_of(maps: Any, expected: MapSet) -> tuple[_Places, list[str]]:
    """Return where maps lie, and what there is of maps of no item."""
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
        values = _as_array(maps[name])
        if not one and not values.ndim:
            raise ProbeError("maps: expected an array of maps, got a single value")
        return values[None] if one else values

    return _placed(maps, held, expected)


def _placed(
    names: Collection[Any],
    opened: Callable[[Any, bool], ArrayFile | NDArray[Any]],
    expected: MapSet,
    where: str = "",
) -> tuple[_Places, list[str]]:
    """Tell the items of arrays by the arrays' names: all, those of a shard, or one."""
    ends = np.cumsum([0, *expected.shards]).tolist()
    shards = {f"maps-{k:05d}": range(*ends[k : k + 2]) for k in range(len(expected.shards))}
    items = {name: range(i, i + 1) for i, name in enumerate(expected.ids)}
    forms = {
        "one array 'maps'": {"maps": range(len(expected.ids))},
        "arrays 'maps-00000', ... of shards": shards,
        "arrays named after items": items,
    }
    named = [form for form, places in forms.items() if not places.keys().isdisjoint(names)]
    if len(named) > 1:
        raise ProbeError(f"maps: expected one form of maps{where}, got {' beside '.join(named)}")
    found: _Places = {}
    extra = []
    for name in names:
        place = next((places[name] for places in forms.values() if name in places), None)
        if place is None:
            extra.append(str(name))
            continue
        maps = opened(name, name in items)
        found |= {item: (maps, row) for row, item in enumerate(place[: len(maps)])}
        # A file can say that it has any number of rows.
        left = range(len(place), len(maps))
        many = len(left) > _LISTED
        extra += [f"{name}[{left.start}:{left.stop}]"] if many else [f"{name}[{i}]" for i in left]
    return found, extra


def _as_array(values: Any) -> NDArray[Any]:
    """Return maps, of which kind so ever, as an array."""
    if isinstance(values, (Tensor, np.ma.MaskedArray)) or hasattr(values, "toarray"):
        values = like(as_tensor(values, "maps"), None)
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise ProbeError(f"maps: expected arrays, got {type(values).__name__}") from None
