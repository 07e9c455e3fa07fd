"""Names that a docstring has on one line: each gets a line and its own type, from the source."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import Any

from griffe import DocstringSectionKind, Extension


class ParameterTypes(Extension):
    """Give each parameter and attribute of a docstring the annotation of its name."""

    def on_function(self, *, func: Any, **_: Any) -> None:
        """Parse the docstring, and keep it with the right types."""
        self._mend(func)

    def on_class(self, *, cls: Any, **_: Any) -> None:
        """Do so for a class, whose docstring tells of its attributes or of ``__init__``."""
        self._mend(cls)

    def _mend(self, described: Any) -> None:
        if described.docstring is None:
            return
        kinds = (DocstringSectionKind.parameters, DocstringSectionKind.attributes)
        described.docstring.parser = "numpy"
        for section in described.docstring.parsed:
            if section.kind in kinds:
                section.value = [one for line in section.value for one in _apart(line, described)]
            elif section.kind is DocstringSectionKind.returns:
                section.value = _joined(section.value)


def _apart(line: Any, described: Any) -> list[Any]:
    """Return an entry for each name of one that has several, with its type."""
    entries = []
    for name in line.name.split(", "):
        one = copy(line)
        one.name, one.annotation = name, _annotation(described, name) or line.annotation
        entries.append(one)
    return entries


def _joined(lines: list[Any]) -> list[Any]:
    """Return one entry for a text of several lines, each of which is taken for a type."""
    if any(one.name or one.description or not isinstance(one.annotation, str) for one in lines):
        return lines
    whole = lines[0]
    whole.description = " ".join(str(one.annotation) for one in lines)
    whole.annotation = None
    return [whole]


def _annotation(described: Any, name: str) -> Any:
    """Return the annotation of a parameter, or of an attribute, which may be inherited."""
    with suppress(AttributeError, KeyError):
        return described.parameters[name].annotation
    with suppress(AttributeError, KeyError, TypeError):
        return described[name].annotation
    return None
