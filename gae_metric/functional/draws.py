"""Which samples stand beside which: an order of candidates that depends on contents and a seed.

Each sample orders all others by a hash of the seed, its own content and theirs. So its draw depends
neither on the order of the data set nor on its size, and a new sample changes only the draws that
it enters.
"""

import hashlib
import itertools
from collections.abc import Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

#: The key of what is no candidate.
NEVER = np.uint64(2**64 - 1)

_TIER = np.uint64(2**63)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PLACES = np.array(list(itertools.permutations(range(4))))


def content_hashes(x: ArrayLike | Tensor) -> NDArray[np.uint64]:
    """Hash each sample's values, as float32.

    Parameters
    ----------
    x
        (N, ...) samples of any real dtype.

    Returns
    -------
    ndarray
        uint64 (N,): BLAKE2b of the little-endian bytes, the same on every machine.

    Examples
    --------
    >>> one, two, three = content_hashes(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]]))
    >>> one == two, one == three
    (np.False_, np.True_)
    """
    if not isinstance(x, Tensor):  # of any byte order and strides
        array = np.asarray(x)
        x = torch.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    values = x.detach()

    def digest(row: Tensor) -> bytes:
        number = (row.to(torch.float32) + 0.0).cpu().numpy()  # -0 is 0
        content: Any = np.ascontiguousarray(number, dtype="<f4")
        return hashlib.blake2b(content, digest_size=8).digest()

    return np.frombuffer(b"".join(map(digest, values)), dtype="<u8").astype(np.uint64)


def content_generator(sample: NDArray[Any], *key: int) -> np.random.Generator:
    """Return a generator seeded with a sample's content (as float32) and some integers.

    Examples
    --------
    >>> a, b = (content_generator(np.ones(3), 0).random() for _ in range(2))
    >>> a == b, a == content_generator(np.ones(3), 1).random()
    (True, False)
    """
    content = np.ascontiguousarray(sample, dtype=np.float32).tobytes()
    salt = ",".join(str(int(part)) for part in key).encode()
    digest = hashlib.blake2b(content, digest_size=16, key=salt[:64]).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


class Candidates:
    """For each sample, the others in a random order that lasts.

    A sample of the same content as one before it, or as the sample itself, comes after all others.

    Parameters
    ----------
    contents
        (N,) integers: :func:`content_hashes`, or anything that tells samples apart.
    classes
        (N,) classes. Samples of the same content and class stand for one another.
    seed, *more
        Non-negative seed, and what tells draws of that seed apart.
    usable
        (N,) booleans, by default all True: which samples are candidates.

    Examples
    --------
    >>> candidates = Candidates(np.arange(9), np.zeros(9), 0, "example")
    >>> keys = candidates.keys(2)
    >>> bool(keys[2] == NEVER), len(take(keys, 3))
    (True, 3)
    """

    def __init__(
        self,
        contents: ArrayLike,
        classes: ArrayLike,
        seed: int,
        *more: int | str,
        usable: ArrayLike | None = None,
    ) -> None:
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"seed: expected a non-negative integer, got {seed}")
        given, kind = np.asarray(contents), np.shape(classes)
        if given.ndim != 1 or given.dtype.kind not in "iu" or kind != given.shape:
            raise ValueError(
                "contents, classes: expected integers (N,), as content_hashes(x) gives of samples, "
                f"and N classes, got {given.dtype} {given.shape} and {kind}"
            )
        self._contents = given.astype(np.uint64)
        order = np.lexsort((np.asarray(classes), self._contents))
        place = np.arange(len(order))
        new = np.diff(self._contents[order], prepend=self._contents[order[:1]] + _GOLDEN) != 0
        copies = np.empty(len(order), dtype=np.uint64)
        copies[order] = place - np.maximum.accumulate(np.where(new, place, 0))
        text = ",".join(map(str, (int(seed), *more))).encode()
        salt = np.frombuffer(hashlib.blake2b(text, digest_size=8).digest(), dtype="<u8")
        self._own = _mixed(self._contents ^ salt.astype(np.uint64))
        self._others = _mixed(self._contents + copies * _GOLDEN)
        self._copies = np.where(copies > 0, _TIER, np.uint64(0))
        self._number = copies
        self._several = bool(copies.any())
        self._barred = None if usable is None else ~np.asarray(usable, dtype=bool)

    def keys(self, i: int) -> NDArray[np.uint64]:
        """Keys of all samples as candidates of sample i, (N,): the lowest comes first."""
        keys = _mixed(self._own[i] ^ self._others)
        keys >>= np.uint64(1)
        if self._several:
            keys |= self._copies
            # The sample itself is not counted, so that its copies have no order.
            same = self._contents == self._contents[i]
            number = self._number[same] - (self._number[same] > self._number[i])
            others = _mixed(self._contents[i] + number * _GOLDEN)
            keys[same] = (_mixed(self._own[i] ^ others) >> np.uint64(1)) | _TIER
        if self._barred is not None:
            keys[self._barred] = NEVER
        keys[i] = NEVER
        return keys

    def places(self) -> NDArray[np.int64]:
        """For each sample a permutation of the four quadrants, (N, 4)."""
        return _PLACES[(_mixed(self._own + _GOLDEN) % np.uint64(24)).astype(np.int64)]


def take(keys: NDArray[np.uint64], count: int) -> list[int]:
    """Take up to so many candidates out of some keys, in their order."""
    taken: list[int] = []
    while len(taken) < count and keys[first := int(keys.argmin())] != NEVER:
        taken.append(first)
        keys[first] = NEVER
    return taken


def check_size(plan: Sized, size: int) -> None:
    """Refuse a plan of mosaics of another number of samples."""
    if len(plan) != size:
        raise ValueError(
            f"mosaics: expected a plan for the {size} samples of x_batch, got one for {len(plan)}"
        )


def checked_order(order: ArrayLike, size: int) -> NDArray[np.int64]:
    """Refuse what is no permutation of a number of samples."""
    new = np.asarray(order)
    if new.shape != (size,) or (np.sort(new) != np.arange(size)).any():
        raise ValueError(f"order: expected a permutation of {size} samples")
    return new


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix words, (N,), as SplitMix64 does (Steele et al. 2014): each bit decides all others."""
    words = words ^ (words >> np.uint64(30))
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words
