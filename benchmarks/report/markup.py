"""HTML from values: whatever is no markup already is escaped, so that data stays text.

>>> tag("td", "<b>", tag("i", 3), class_="number", data_value=0.5, hidden=False)
'<td class="number" data-value="0.5">&lt;b&gt;<i>3</i></td>'
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["Markup", "data", "joined", "tag"]

_VOID = frozenset({"img", "input", "meta", "link", "br", "hr"})


class Markup(str):
    """Text that is HTML; all other text is escaped where it is put into some."""

    __slots__ = ()


def joined(parts: Iterable[Any]) -> Markup:
    """Put markup and text one behind the other."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def tag(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """Return an element.

    Parameters
    ----------
    name
        Of the element.
    *content
        Markup, or values that are written as text.
    **attributes
        ``class_`` is ``class``, ``data_value`` is ``data-value``. True is an attribute without a
        value, None and False are none.
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(content)}</{name}>")


def data(value: Any, **attributes: Any) -> Markup:
    r"""Return an element that holds JSON, for scripts to read.

    Nothing in it ends the element or begins another one, whatever the value.

    Examples
    --------
    >>> data({"name": "</script>"}, id="a")
    '<script type="application/json" id="a">{"name":"\\u003c/script\\u003e"}</script>'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return tag("script", Markup(text), type="application/json", **attributes)


def _escaped(value: Any) -> str:
    return html.escape(str(value), quote=True)
