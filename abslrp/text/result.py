"""What an explanation of one text holds, and its tokens in colours, as in figure 9 and as HTML.

Red is evidence for the target, blue evidence against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

RED = (239, 83, 80)
BLUE = (84, 140, 235)
"""Ends of the scale, light enough for black text (contrast above 4.5:1)."""

STYLE = (
    "font-family:sans-serif;line-height:1.9;color:#111;background:#fff;padding:.5em;"
    "overflow-wrap:break-word"
)


@dataclass(frozen=True, eq=False)
class TextRelevance:
    """Relevance of the tokens, or of the words, of one text.

    Padding is left out, so that the result is the same in every batch. A notebook shows it in
    colours, as :func:`to_html` does.

    Parameters
    ----------
    tokens
        The T tokens as the tokenizer spells them; the words, once grouped.
    relevance
        (T,) relevance for the target: positive is evidence for it, negative against it.
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

    @property
    def caption(self) -> str:
        """Target and its probability, or its logit where there is but one."""
        name = self.label if self.label is not None else f"class {self.target}"
        if len(self.logits) < 2:
            return f"{name} (logit {self.logits[self.target]:.3g})"
        return f"{name} ({self.probabilities[self.target]:.1%})"

    @property
    def intensities(self) -> list[float]:
        """Relevance divided by the largest absolute relevance of the text's own tokens.

        The scale leaves special tokens out, or one that gathers most of the relevance would leave
        the text white; theirs is cut to [-1, 1]. What is not finite counts as 0.
        """
        relevance = np.nan_to_num(self.relevance.astype(float), posinf=0, neginf=0)
        largest = np.abs(relevance[~self.special]).max(initial=0)
        if largest == 0:
            largest = np.abs(relevance).max(initial=0) or 1
        shares: list[float] = np.clip(relevance / largest, -1, 1).tolist()
        return shares

    def colored(self, special: bool = True) -> Iterator[tuple[str, bool, tuple[int, ...], int]]:
        """Yield what to print, whether a space comes before it, its colour, and which token."""
        pairs = zip(self.pieces, self.intensities, strict=True)
        for i, ((text, space), intensity) in enumerate(pairs):
            if special or not self.special[i]:
                yield text, space, color(intensity), i

    def _repr_html_(self) -> str:
        return to_html(self)

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


Results: TypeAlias = TextRelevance | Sequence[TextRelevance]


def color(intensity: float) -> tuple[int, ...]:
    """Colour of an intensity in [-1, 1]: white at 0.

    Examples
    --------
    >>> color(0), color(1) == RED, color(-1) == BLUE
    ((255, 255, 255), True, True)
    """
    end = RED if intensity > 0 else BLUE
    return tuple(round(255 + abs(intensity) * (one - 255)) for one in end)


def as_results(results: Results) -> list[TextRelevance]:
    """Return one or several results as a list; ValueError for anything else."""
    listed = [results] if isinstance(results, TextRelevance) else list(results)
    for i, one in enumerate(listed):
        if not isinstance(one, TextRelevance):
            raise ValueError(
                f"results: expected TextRelevance at position {i}, got {type(one).__name__}"
            )
    return listed


def to_html(results: Results, *, special: bool = True, captions: bool = True) -> str:
    """Render texts with their tokens coloured: red is for the target, blue against it.

    Parameters
    ----------
    results
        What :func:`abslrp.text.explain` returned, or one of it.
    special
        Whether special tokens are shown; they are grey and dashed.
    captions
        Whether the target and its probability stand before each text.

    Returns
    -------
    An HTML fragment with inline styles only, for a notebook, a page or a file of its own. A
    token's relevance is shown when the pointer rests on it.

    Raises
    ------
    ValueError
        If ``results`` holds something else.

    Examples
    --------
    >>> import numpy as np
    >>> from abslrp.text import TextRelevance
    >>> found = TextRelevance(
    ...     ("good",), np.array([1.0]), np.array([False]), 1, np.zeros(2), label="positive"
    ... )
    >>> "background:rgb(239,83,80)" in to_html(found)
    True
    """
    blocks = []
    for result in as_results(results):
        line = f"<strong>{escape(result.caption)}</strong> " if captions else ""
        for n, (text, space, rgb, i) in enumerate(result.colored(special)):
            style = f"background:rgb({','.join(map(str, rgb))});padding:.1em 0;border-radius:.15em"
            if result.special[i]:
                style += ";color:#666;border-bottom:1px dashed #999;font-size:.8em"
            title = f"{result.relevance[i]:+.4g}"
            gap = " " if space and n else ""
            line += f'{gap}<span style="{style}" title="{title}">{escape(text)}</span>'
        blocks.append(f'<p style="margin:.3em 0">{line}</p>')
    return f'<div style="{STYLE}">\n' + "\n".join(blocks) + "\n</div>\n"
