"""Figure 9 as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from abslrp.text.colors import as_results, caption, color, intensities
from abslrp.text.result import TextRelevance

STYLE = (
    "font-family:sans-serif;line-height:1.9;color:#111;background:#fff;padding:.5em;"
    "overflow-wrap:break-word"
)


def to_html(
    results: TextRelevance | Sequence[TextRelevance], *, special: bool = True, captions: bool = True
) -> str:
    """Render texts with their tokens coloured: red speaks for the target, blue against it.

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
    blocks = [_block(one, special, captions) for one in as_results(results)]
    return f'<div style="{STYLE}">\n' + "\n".join(blocks) + "\n</div>\n"


def _block(result: TextRelevance, special: bool, captions: bool) -> str:
    parts: list[str] = []
    rows = zip(result.pieces, intensities(result), result.relevance, result.special, strict=True)
    for (text, space), intensity, relevance, marked in rows:
        if marked and not special:
            continue
        red, green, blue = color(intensity)
        style = f"background:rgb({red},{green},{blue});padding:.1em 0;border-radius:.15em"
        if marked:
            style += ";color:#666;border-bottom:1px dashed #999;font-size:.8em"
        gap = " " if space and parts else ""
        parts.append(f'{gap}<span style="{style}" title="{relevance:+.4g}">{escape(text)}</span>')
    head = f"<strong>{escape(caption(result))}</strong> " if captions else ""
    return f'<p style="margin:.3em 0">{head}{"".join(parts)}</p>'
