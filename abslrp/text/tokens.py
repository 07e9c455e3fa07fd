"""Tokens, words and what to print of them, from a tokenizer's encoding."""

from collections.abc import Sequence
from typing import Any

import numpy as np

SPACES = "\u2581\u0120"  # how SentencePiece and byte-level BPE spell a space before a token


def kept(encoding: Any, row: int) -> list[int]:
    """Return the columns of a row of an encoding that hold tokens, not padding."""
    mask = encoding.get("attention_mask")
    return [i for i in range(len(encoding["input_ids"][row])) if mask is None or mask[row][i]]


def read_tokens(
    encoding: Any, row: int, tokenizer: Any = None, text: str | tuple[str, str] | None = None
) -> dict[str, Any]:
    """Read row ``row`` of an encoding: what a :class:`abslrp.text.TextRelevance` has of a text.

    Parameters
    ----------
    encoding
        What the tokenizer returned.
    row
        Which text of it.
    tokenizer
        Names the tokens and knows the special ones where the encoding does not.
    text
        The text, or a pair, to spell words as they are written.
    """
    places = kept(encoding, row)
    keys: list[Key] | None = None
    spans, texts = None, (text,) if isinstance(text, str) else text
    if fast := getattr(encoding, "encodings", None):
        one = fast[row]
        tokens = tuple(one.tokens[i] for i in places)
        special = [bool(one.special_tokens_mask[i]) for i in places]
        words, sequences = one.word_ids, one.sequence_ids
        keys = [None if words[i] is None else (sequences[i] or 0, words[i]) for i in places]
        spans = [one.offsets[i] for i in places] if texts is not None else None
    else:
        ids = [int(encoding["input_ids"][row][i]) for i in places]
        tokens = tuple(map(str, ids if tokenizer is None else tokenizer.convert_ids_to_tokens(ids)))
        if "special_tokens_mask" in encoding:
            special = [bool(encoding["special_tokens_mask"][row][i]) for i in places]
        else:
            known = set(getattr(tokenizer, "all_special_ids", ()))
            known -= {getattr(tokenizer, "unk_token_id", None)}  # stands for a part of the text
            special = [one in known for one in ids]
    pieces = _pieces(tokens, special, keys, spans, texts)
    found = {"tokens": tokens, "special": np.array(special), "pieces": pieces}
    return found if keys is None else {**found, **_words(keys, pieces)}


Key = tuple[int, int] | None
"""Sequence of a pair, and word of it; None for special tokens."""


def _words(keys: list[Key], pieces: Sequence[tuple[str, bool]]) -> dict[str, Any]:
    """For each token its word's number, and the words."""
    numbers: dict[Key, int] = {}
    words = [None if key is None else numbers.setdefault(key, len(numbers)) for key in keys]
    spelled = [""] * len(numbers)
    for (text, space), word in zip(pieces, words, strict=True):
        if word is not None:
            spelled[word] += " " * bool(space and spelled[word]) + text
    return {"words": tuple(words), "spelled": tuple(spelled)}


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
    tokens: Sequence[str],
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
        else:
            space = token[:1] in SPACES if marks else not token.startswith("##")
            pieces.append((bare(token), space or i == 0 or special[i - 1]))
    return tuple(pieces)
