"""Tokens, words and what to print of them, from a tokenizer's encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SPACES = "\u2581\u0120"  # how SentencePiece and byte-level BPE spell a space before a token


@dataclass(frozen=True)
class Tokens:
    """One row of an encoding, without padding."""

    places: list[int]
    """Columns of the encoding that hold the tokens."""
    tokens: tuple[str, ...]
    special: tuple[bool, ...]
    words: tuple[int | None, ...] | None
    spelled: tuple[str, ...]
    pieces: tuple[tuple[str, bool], ...]


def read_tokens(
    encoding: Any,
    row: int,
    ids: Sequence[int],
    kept: Sequence[bool],
    tokenizer: Any = None,
    texts: Sequence[str] | None = None,
) -> Tokens:
    """Read row ``row`` of an encoding.

    Parameters
    ----------
    encoding
        What the tokenizer returned.
    row
        Which text of it.
    ids
        (T,) token ids.
    kept
        (T,) False at padding.
    tokenizer
        Names the tokens and knows the special ones where the encoding does not.
    texts
        The text, or the two of a pair, to spell words as they are written.
    """
    places = [i for i, keep in enumerate(kept) if keep]
    fast = getattr(encoding, "encodings", None)
    if fast:
        one = fast[row]
        tokens = [one.tokens[i] for i in places]
        special = [bool(one.special_tokens_mask[i]) for i in places]
        keys = [
            None if one.word_ids[i] is None else (one.sequence_ids[i] or 0, one.word_ids[i])
            for i in places
        ]
        spans = [one.offsets[i] for i in places] if texts is not None else None
        words, spelled = _words(keys, tokens, spans, texts)
        return Tokens(
            places,
            tuple(tokens),
            tuple(special),
            words,
            spelled,
            _pieces(tokens, special, keys, spans, texts),
        )
    chosen = [int(ids[i]) for i in places]
    if tokenizer is not None:
        tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(chosen)]
    else:
        tokens = [str(one) for one in chosen]
    if "special_tokens_mask" in encoding:
        mask = encoding["special_tokens_mask"][row]
        special = [bool(mask[i]) for i in places]
    else:
        known = set(getattr(tokenizer, "all_special_ids", ()))
        known -= {getattr(tokenizer, "unk_token_id", None)}  # stands for a part of the text
        special = [one in known for one in chosen]
    return Tokens(
        places,
        tuple(tokens),
        tuple(special),
        None,
        (),
        _pieces(tokens, special, None, None, None),
    )


Key = tuple[int, int] | None
"""Sequence of a pair, and word of it; None for special tokens."""


def _words(
    keys: list[Key],
    tokens: list[str],
    spans: list[tuple[int, int]] | None,
    texts: Sequence[str] | None,
) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
    """For each token its word's number, and the words."""
    numbers: dict[tuple[int, int], int] = {}
    members: list[list[int]] = []
    words: list[int | None] = []
    for i, key in enumerate(keys):
        if key is None:
            words.append(None)
            continue
        if key not in numbers:
            numbers[key] = len(members)
            members.append([])
        members[numbers[key]].append(i)
        words.append(numbers[key])
    spelled = []
    for (sequence, _), group in zip(numbers, members, strict=True):
        if texts is not None and spans is not None:
            start, stop = spans[group[0]][0], spans[group[-1]][1]
            spelled.append(texts[sequence][start:stop].strip())
        else:
            spelled.append("".join(bare(tokens[i]) for i in group))
    return tuple(words), tuple(spelled)


def bare(token: str) -> str:
    """Return a token without the marks of its place in a word.

    Examples
    --------
    >>> bare("##ing"), bare("\u0120film"), bare("##")
    ('ing', 'film', '##')
    """
    if token.startswith("##") and len(token) > 2:
        return token[2:]
    return token.lstrip(SPACES) or token


def _pieces(
    tokens: list[str],
    special: list[bool],
    keys: list[Key] | None,
    spans: list[tuple[int, int]] | None,
    texts: Sequence[str] | None,
) -> tuple[tuple[str, bool], ...]:
    """Return what to print for each token, and whether a space comes before it."""
    pieces = []
    marks = any(token[:1] in SPACES for token in tokens if token)
    for i, token in enumerate(tokens):
        key = None if keys is None else keys[i]
        before = None if keys is None or i == 0 else keys[i - 1]
        if special[i]:
            pieces.append((token, True))
        elif spans is not None and texts is not None and key is not None:
            start, stop = spans[i]
            written = texts[key[0]][start:stop]
            same = before is not None and before[0] == key[0]
            gap = texts[key[0]][spans[i - 1][1] : start] if same else " "
            space = gap != "" or written[:1].isspace()  # byte-level tokens may hold their space
            pieces.append((written.strip() or bare(token), space))
        elif i == 0 or special[i - 1]:
            pieces.append((bare(token), True))
        elif marks:
            pieces.append((bare(token), token[:1] in SPACES))
        else:
            pieces.append((bare(token), not token.startswith("##")))
    return tuple(pieces)
