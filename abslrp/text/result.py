"""What an explanation of one text holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TextRelevance:
    """Relevance of the tokens, or of the words, of one text.

    Padding is left out, so that the result is the same in every batch.

    Parameters
    ----------
    tokens
        The T tokens as the tokenizer spells them; the words, once grouped.
    relevance
        (T,) relevance for the target: positive speaks for it, negative against it.
    special
        (T,) bool: tokens that the tokenizer added (``[CLS]``, ``</s>``), which stand for no part
        of the text.
    target
        Class that was explained.
    logits
        (N,) output of the model.
    words
        For each token the place of its word in ``spelled``, None for special tokens. None if the
        tokenizer cannot tell.
    spelled
        The words, as written in the text where it is known.
    label
        Name of the target, if the model has one.
    pieces
        For each token what to print and whether a space comes before it.

    Examples
    --------
    >>> import numpy as np
    >>> found = TextRelevance(
    ...     ("[CLS]", "grip", "##ping"), np.array([0.1, 0.5, -0.2]),
    ...     np.array([True, False, False]), 1, np.zeros(2), (None, 0, 0), ("gripping",),
    ... )
    >>> found.grouped().tokens, found.grouped().relevance.round(3).tolist()
    (('[CLS]', 'gripping'), [0.1, 0.3])
    """

    tokens: tuple[str, ...]
    relevance: NDArray[np.floating]
    special: NDArray[np.bool_]
    target: int
    logits: NDArray[np.floating]
    words: tuple[int | None, ...] | None = None
    spelled: tuple[str, ...] = ()
    label: str | None = None
    pieces: tuple[tuple[str, bool], ...] = ()

    def __post_init__(self) -> None:
        if not self.pieces:
            object.__setattr__(self, "pieces", tuple((token, True) for token in self.tokens))
        for name in ("relevance", "special"):
            if getattr(self, name).shape != (len(self.tokens),):
                raise ValueError(
                    f"{name}: expected shape ({len(self.tokens)},), one entry per token, got "
                    f"{getattr(self, name).shape}"
                )

    @property
    def probabilities(self) -> NDArray[np.floating]:
        """(N,) softmax of the logits."""
        powers = np.exp(self.logits - self.logits.max())
        shares: NDArray[np.floating] = powers / powers.sum()
        return shares

    def grouped(self) -> TextRelevance:
        """Return the relevance of words: the sums over their tokens. Special tokens stay.

        Raises
        ------
        ValueError
            If the tokenizer could not tell which word a token belongs to.
        """
        if self.words is None:
            raise ValueError(
                "words: the tokenizer does not say which word a token belongs to; use a fast one"
            )
        groups: list[list[int]] = []
        for i, word in enumerate(self.words):
            if groups and word is not None and word == self.words[groups[-1][-1]]:
                groups[-1].append(i)
            else:
                groups.append([i])
        words = [(group[0], self.words[group[0]]) for group in groups]
        texts = [self.tokens[i] if word is None else self.spelled[word] for i, word in words]
        return replace(
            self,
            tokens=tuple(texts),
            relevance=np.array([self.relevance[group].sum() for group in groups]),
            special=np.array([self.special[i] for i, _ in words]),
            words=tuple(word for _, word in words),
            pieces=tuple(zip(texts, (self.pieces[i][1] for i, _ in words), strict=True)),
        )
