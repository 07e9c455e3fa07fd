"""The draw of mosaics in plain Python: every sample sorts all others by a 64-bit hash.

Written from this definition, with whole numbers and no NumPy arithmetic. Words have 64 bits, sums
and products are modulo 2^64:

- content(x) is the BLAKE2b hash (8 bytes, read as little-endian) of a sample's values as
  little-endian float32, in C order, with -0 as 0;
- mix(w) is the finaliser of SplitMix64: w ^= w >> 30, w *= 0xBF58476D1CE4E5B9, w ^= w >> 27, w *=
  0x94D049BB133111EB, w ^= w >> 31;
- salt is the same hash of the text ``seed,mosaic,k`` for the k-th mosaic of each sample (k from
  0), and of ``seed,focus`` for Focus;
- own(i) = mix(content(i) ^ salt), other(j) = mix(content(j) + c * 0x9E3779B97F4A7C15), where c is
  the number of samples of the same content before j, by class and then by place, without i;
- the candidates of i are ordered by mix(own(i) ^ other(j)) >> 1, those with c > 0 or the content
  of i itself after all others;
- the sample and its three negatives, in this order, stand in the quadrants of the permutation
  number mix(own(i) + 0x9E3779B97F4A7C15) mod 24 of (0, 1, 2, 3), in lexicographic order.

A sample that is not finite is no candidate. Focus takes the first candidate of the sample's class
and the first two of others.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Sequence

WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def content(values: Sequence[float]) -> int:
    """BLAKE2b, 8 bytes, of the values as little-endian float32; 0 and -0 alike."""
    packed = b"".join(struct.pack("<f", 0.0 if value == 0 else value) for value in values)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little")


def mix(word: int) -> int:
    """The finaliser of SplitMix64."""
    word ^= word >> 30
    word = word * 0xBF58476D1CE4E5B9 & WORD
    word ^= word >> 27
    word = word * 0x94D049BB133111EB & WORD
    return word ^ word >> 31


def own(word: int, text: str) -> int:
    """Hash of a sample's content and of what draws it."""
    salt = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return mix(word ^ salt)


def order(i: int, contents: Sequence[int], classes: Sequence[int], text: str) -> list[int]:
    """All other samples in the order in which they stand for sample i.

    First those whose content has not come before, by class and place, and is not sample i's.
    """
    ranked = []
    for j in range(len(contents)):
        if j == i:
            continue
        before = sum(
            contents[k] == contents[j] and (classes[k], k) < (classes[j], j)
            for k in range(len(contents))
            if k != i
        )
        again = before > 0 or contents[j] == contents[i]
        other = mix((contents[j] + before * GOLDEN) & WORD)
        ranked.append((again, mix(own(contents[i], text) ^ other) >> 1, j))
    return [j for _, _, j in sorted(ranked)]


def places(word: int, text: str) -> tuple[int, ...]:
    """Quadrants of the sample and of the three others."""
    permutations = list(itertools.permutations(range(4)))
    return permutations[mix((own(word, text) + GOLDEN) & WORD) % 24]


def mosaic(
    i: int, contents: Sequence[int], classes: Sequence[int], seed: int = 0, repeat: int = 0
) -> tuple[list[int], int]:
    """The samples in the quadrants of sample i's mosaic, and i's quadrant."""
    text = f"{seed},mosaic,{repeat}"
    ranked = order(i, contents, classes, text)
    others = ranked[:3]
    if all(classes[j] == classes[i] for j in others):
        others[2] = next((j for j in ranked if classes[j] != classes[i]), others[2])
    where = places(contents[i], text)
    row = [0] * 4
    for place, sample in zip(where, [i, *others], strict=True):
        row[place] = sample
    return row, where[0]


def focus(i: int, contents: Sequence[int], classes: Sequence[int], seed: int = 0) -> list[int]:
    """The samples in the quadrants of sample i's mosaic for Focus; -1 where there is none."""
    text = f"{seed},focus"
    ranked = order(i, contents, classes, text)
    mates = [j for j in ranked if classes[j] == classes[i]]
    others = [j for j in ranked if classes[j] != classes[i]]
    row = [-1] * 4
    if mates and others:
        shown = [i, mates[0], others[0], (others * 2)[1]]
        for place, sample in zip(places(contents[i], text), shown, strict=True):
            row[place] = sample
    return row
