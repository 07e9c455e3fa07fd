"""What the site needs beside MkDocs: docstrings name objects by roles, which Markdown has not."""

from __future__ import annotations

import re
from typing import Any

#: ``:class:`` and the like, before the name that it is for.
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(<code>)~?")


def on_page_content(html: str, **_: Any) -> str:
    """Leave the names of objects without their roles."""
    return ROLE.sub(r"\1", html)
