"""Commands whose options are the fields of a dataclass, with what its docstring says as their help.

>>> from dataclasses import dataclass
>>> @dataclass
... class Request:
...     '''What to draw.
...
...     Attributes
...     ----------
...     size
...         Side in pixels.
...     '''
...
...     size: int = 3
>>> @taking(Request)
... def draw(request):
...     print(request.size)
>>> draw(size=5), helps(Request)
5
(None, {'size': 'Side in pixels.'})
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature, cleandoc
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

Request = TypeVar("Request")


def helps(request: type[Any], marks: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what the docstrings of a request say of its attributes, with texts for marks."""
    found: dict[str, str] = {}
    for one in reversed(request.__mro__[:-1]):
        section = cleandoc(one.__doc__ or "").partition("Attributes\n----------\n")[2]
        for name, text in re.findall(r"^(\w+)\n((?: +.*\n?)+)", section, re.MULTILINE):
            found[name] = " ".join(text.split())
    for mark, value in (marks or {}).items():
        found = {name: text.replace(mark, value) for name, text in found.items()}
    return found


def taking(
    request: type[Request], marks: Mapping[str, str] | None = None
) -> Callable[[Callable[[Request], None]], Callable[..., None]]:
    """Make a command of a function of a request.

    Parameters
    ----------
    request
        A dataclass. A field's metadata are more arguments of its ``typer.Option``, ``flags``, its
        names where they are not made of the field's, and ``kind``, which may be
        ``typer.Argument``.
    marks
        See :func:`helps`.
    """
    hints, said = get_type_hints(request), helps(request, marks)

    def parameter(field: Field[Any]) -> Parameter:
        # What is off by default has a switch to turn it on, and none to turn it off.
        switch = [f"--{field.name.replace('_', '-')}"] if field.default is False else []
        more = {"kind": typer.Option, "flags": switch, **field.metadata}
        option = more.pop("kind")(*more.pop("flags"), help=said.get(field.name), **more)
        hint: Any = Annotated[hints[field.name], option]
        default = Parameter.empty if field.default is MISSING else field.default
        return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)

    def of(work: Callable[[Request], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            work(request(**given))

        command.__name__, command.__doc__ = work.__name__, work.__doc__
        parameters = [parameter(field) for field in fields(request)]  # type: ignore[arg-type]
        command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return command

    return of
