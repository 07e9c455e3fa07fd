"""A cache of masking trajectories, shared by all metrics of the process."""

import functools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from torch import Tensor, nn

from gae_metric.functional.masking import Trajectory

P = ParamSpec("P")
T = TypeVar("T")

#: Bytes that the cache of the process may hold: 1,000 photographs at 224 x 224, beside which
#: a call on any number of them stays below 2 GB.
DEFAULT_LIMIT = 1 << 29


#: The trajectory of one sample, or its logits, on the CPU.
Entry: TypeAlias = Trajectory | Tensor


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds and how often it helped.

    Attributes
    ----------
    hits, misses
        Look-ups of one sample that found, or did not find, an entry.
    entries
        Number of samples held, for which model and setting so ever.
    nbytes, limit
        Bytes held and allowed.
    """

    hits: int
    misses: int
    entries: int
    nbytes: int
    limit: int


def _exclusive(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let one thread in at a time.

    On one line, since an interrupt that comes between the body of a ``with`` and its end, which a
    debugger or a tracer can raise there, would leave the lock held for ever.
    """

    @functools.wraps(method)
    def locked(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock: return method(self, *args, **kwargs)  # fmt: skip  # noqa: E701

    return locked


class TrajectoryCache:
    """Least-recently-used cache with a limit in bytes. Safe to use from several threads.

    Entries belong to a model object and go when it does. An entry that a user of the cache has just
    put or found there does not go for another of the same user: where its samples are more than
    fit, the one used longest ago is the next that will be asked for.

    Parameters
    ----------
    limit
        Bytes to hold at most; 0 turns the cache off.

    Examples
    --------
    >>> import torch
    >>> cache = TrajectoryCache(limit=100)
    >>> model = nn.Linear(1, 1)
    >>> cache.put(model, "key", torch.zeros(10))
    >>> cache.get(model, "key").shape, cache.get(model, "other")
    (torch.Size([10]), None)
    >>> cache.info()
    CacheInfo(hits=1, misses=1, entries=1, nbytes=40, limit=100)
    """

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        # With who has used it last.
        self._entries: OrderedDict[tuple[int, Hashable], tuple[Entry, object]] = OrderedDict()
        self._models: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        self._last = self._nbytes = self._hits = self._misses = 0
        self._limit = limit
        # Reentrant: a model may be collected, and its entries dropped, while the lock is held.
        self._lock = threading.RLock()

    @_exclusive
    def get(self, model: nn.Module, key: Hashable, user: object = None) -> Entry | None:
        """Return the entry, or None."""
        owned = (self._models.get(model, 0), key)
        if owned not in self._entries:
            self._misses += 1
            return None
        self._hits += 1
        entry, _ = self._entries.pop(owned)
        self._entries[owned] = entry, user
        return entry

    @_exclusive
    def put(self, model: nn.Module, key: Hashable, entry: Entry, user: object = None) -> None:
        """Add an entry, if there is room after entries of others that were used longest ago."""
        if entry.nbytes > self._limit:
            return
        number = self._models.get(model)
        if number is None:
            number = self._last = self._last + 1
            self._models[model] = number
            weakref.finalize(model, self._drop, number)
        self._remove((number, key))
        if self._shrink(self._limit - entry.nbytes, user):
            self._entries[number, key] = entry, user
            self._nbytes += entry.nbytes

    @_exclusive
    def clear(self) -> None:
        """Drop all entries and reset the counts."""
        self._entries.clear()
        self._nbytes = self._hits = self._misses = 0

    @_exclusive
    def resize(self, limit: int) -> None:
        """Change the limit; entries go until it is kept."""
        if not (isinstance(limit, Real) and limit >= 0):
            raise ValueError(f"limit: expected a non-negative number of bytes, got {limit!r}")
        self._limit = limit
        self._shrink(limit)

    @_exclusive
    def info(self) -> CacheInfo:
        """Return the state of the cache."""
        return CacheInfo(self._hits, self._misses, len(self._entries), self._nbytes, self._limit)

    def _remove(self, owned: tuple[int, Hashable]) -> None:
        entry, _ = self._entries.pop(owned, (None, None))
        if entry is not None:
            self._nbytes -= entry.nbytes

    @_exclusive
    def drop(self, model: nn.Module) -> None:
        """Drop the entries of a model."""
        self._drop(self._models.get(model, 0))

    @_exclusive
    def _drop(self, number: int) -> None:
        for owned in [key for key in self._entries if key[0] == number]:
            self._remove(owned)

    def _shrink(self, limit: int, user: object = None) -> bool:
        """Drop entries until a limit is kept, and say whether it is: none of a user's own go."""
        while self._nbytes > limit:
            owned, (_, last) = next(iter(self._entries.items()))
            if user is not None and user is last:
                return False
            self._remove(owned)
        return True


#: The cache that all metrics share.
SHARED = TrajectoryCache()


def clear_cache() -> None:
    """Forget all masking trajectories that metrics share.

    A changed model is noticed without this: entries are found by the model's object, parameters,
    buffers, layers, modes and hooks, and what else changes its output by one forward and backward
    pass of one sample, which each call of a metric compares with its entry.

    Examples
    --------
    >>> import gae_metric
    >>> gae_metric.clear_cache()
    >>> gae_metric.cache_info().entries
    0
    """
    SHARED.clear()


def cache_info() -> CacheInfo:
    """Return what the cache of masking trajectories holds.

    Returns
    -------
    CacheInfo
        Its ``hits``, ``misses``, ``entries``, ``nbytes`` and ``limit``, since the last
        :func:`clear_cache`.

    Examples
    --------
    >>> import gae_metric
    >>> gae_metric.cache_info().limit
    536870912
    """
    return SHARED.info()


def set_cache_limit(limit: int) -> None:
    """Set how many bytes of masking trajectories are kept.

    Parameters
    ----------
    limit
        Bytes; a 224 x 224 photograph takes about 0.5 MB (for each model, target and setting). 0
        turns the cache off. Default 512 MiB.

    Raises
    ------
    ValueError
        If the limit is no number, or negative.

    Examples
    --------
    >>> import gae_metric
    >>> gae_metric.set_cache_limit(1 << 29)
    """
    SHARED.resize(limit)
