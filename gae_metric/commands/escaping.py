"""Names of files and classes, which anybody may have chosen, for what they are written to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


#: What moves a terminal's cursor, turns the direction of a text, or is no character.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MARKDOWN = re.compile(r"[\\`*\[\]|#~<>&]|(?<!\w)_|_(?!\w)")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def visible(text: str) -> str:
    r"""Return a text that does nothing to a terminal but to be read.

    Examples
    --------
    >>> visible("a\x1b[2Jb") == r"a\x1b[2Jb"
    True
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def csv_text(frame: pd.DataFrame, **options: Any) -> str:
    r"""Return a table as CSV in which no text is a formula: one is led by an apostrophe.

    Examples
    --------
    >>> import pandas as pd
    >>> csv_text(pd.DataFrame({"file": ["=1+2.png", "a.png"], "score": [-1.0, 2.0]}), index=False)
    "file,score\n'=1+2.png,-1.0\na.png,2.0\n"
    """

    def quoted(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return f"'{visible(value)}" if value.startswith(_FORMULA) else visible(value)

    text: str = frame.map(quoted).to_csv(lineterminator="\n", **options)
    return text


def markdown_text(text: str) -> str:
    r"""Return a text on one line that GitHub's Markdown shows as it is.

    Examples
    --------
    >>> print(markdown_text("a|b <i>ROAD_MoRF</i> *"))
    a\|b &lt;i&gt;ROAD_MoRF&lt;/i&gt; \*
    """
    line = visible(" ".join(text.split()))
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)
