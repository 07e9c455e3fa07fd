"""Types of parameters that a docstring names on one line: each has its own, from the signature."""

from __future__ import annotations

from typing import Any

from griffe import DocstringSectionKind, Extension


class ParameterTypes(Extension):
    """Give each parameter of a docstring the annotation of its name."""

    def on_function(self, *, func: Any, **_: Any) -> None:
        """Parse the docstring, and keep it with the right types."""
        self._mend(func, func.parameters)

    def on_class(self, *, cls: Any, **_: Any) -> None:
        """Do so for a class, whose docstring tells of its attributes or of ``__init__``."""
        self._mend(cls, {**cls.attributes, **{p.name: p for p in cls.parameters}})

    def _mend(self, described: Any, known: Any) -> None:
        if described.docstring is None:
            return
        kinds = (DocstringSectionKind.parameters, DocstringSectionKind.attributes)
        described.docstring.parser = "numpy"
        for section in described.docstring.parsed:
            for one in section.value if section.kind in kinds else ():
                if one.name in known:
                    one.annotation = known[one.name].annotation or one.annotation
