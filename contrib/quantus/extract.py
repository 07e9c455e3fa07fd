"""Take functions out of our sources and write them as Quantus needs them.

Code is cut out of the files by its place in the syntax tree, so comments stay, and edited at nodes
of that tree: nothing is kept by hand in two places.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

#: Text of docstrings and comments that means nothing outside this project.
_OURS = (
    (re.compile(r"\s*\(SPEC [\d.]+\)"), ""),
    (re.compile(r"gae_metric\.(?:functional\.)?"), ""),
)


class ExtractionError(ValueError):
    """Our sources are not as the description of the change expects."""


@dataclass(frozen=True)
class Part:
    """A definition that is taken from one of our modules.

    Attributes
    ----------
    name
        Its name; ``Class.method`` for a method, which becomes a function.
    rename
        The name that it gets.
    docstring
        What replaces its docstring.
    replace
        Further replacements of text, each of which must apply exactly once.
    """

    name: str
    rename: str | None = None
    docstring: str | None = None
    replace: Mapping[str, str] = field(default_factory=dict)


class Module:
    """One of our modules.

    Parameters
    ----------
    name
        Its dotted name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
        self.text = self.path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)

    def find(self, name: str) -> ast.stmt:
        """Return the statement that defines a name, or a method of a class."""
        body: list[ast.stmt] = self.tree.body
        *owners, last = name.split(".")
        for owner in owners:
            found = next((each for each in body if owner in _defined(each)), None)
            if not isinstance(found, ast.ClassDef):
                raise ExtractionError(f"{self.path}: expected a class {owner}")
            body = found.body
        statement = next((each for each in body if last in _defined(each)), None)
        if statement is None:
            raise ExtractionError(f"{self.path}: expected a definition of {name}")
        return statement

    def part(self, part: Part) -> str:
        """Return a definition, converted."""
        statement = self.find(part.name)
        text = convert(self._cut(statement))
        if "." in part.name:
            text = _as_function(text)
        if part.docstring is not None:
            text = _with_docstring(text, part.docstring)
        if part.rename is not None:
            old = part.name.rpartition(".")[2]
            text = replace_once(text, f"def {old}(", f"def {part.rename}(", part.name)
        for old, new in part.replace.items():
            text = replace_once(text, old, new, f"{self.name}.{part.name}")
        return text

    def _cut(self, statement: ast.stmt) -> str:
        """Return the lines of a statement with its decorators and the ``#:`` comments above it."""
        lines = self.text.splitlines()
        first = statement.lineno
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            first = min([first, *(each.lineno for each in statement.decorator_list)])
        while first > 1 and lines[first - 2].lstrip().startswith("#:"):
            first -= 1
        return textwrap.dedent("\n".join(lines[first - 1 : statement.end_lineno])) + "\n"


def parameter_docs(module: str, name: str) -> dict[str, str]:
    """Descriptions of a documented object's parameters, one paragraph each, by name."""
    statement = Module(module).find(name)
    assert isinstance(statement, (ast.FunctionDef, ast.ClassDef))
    doc = ast.get_docstring(statement) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}|\Z)", doc, re.S | re.M)
    if section is None:
        raise ExtractionError(f"{module}.{name}: expected a section Parameters")
    found: dict[str, str] = {}
    for names, text in re.findall(r"^(\S[^\n]*)\n((?:[ ]+[^\n]*\n|\n)*)", section[1], re.M):
        for each in names.split(", "):
            found[each] = " ".join(clean(text).split())
    return found


def parameter_defaults(module: str, name: str) -> dict[str, str]:
    """Return the defaults of a function's parameters, as source text, by name."""
    statement = Module(module).find(name)
    assert isinstance(statement, ast.FunctionDef)
    named = [*statement.args.posonlyargs, *statement.args.args]
    defaults = statement.args.defaults
    pairs = list(zip(named[len(named) - len(defaults) :], defaults, strict=True))
    keywords = zip(statement.args.kwonlyargs, statement.args.kw_defaults, strict=True)
    pairs += [(argument, value) for argument, value in keywords if value is not None]
    return {argument.arg: ast.unparse(value) for argument, value in pairs}


def class_value(module: str, name: str, attribute: str) -> str:
    """Return the value of a class attribute, as source text."""
    statement = Module(module).find(f"{name}.{attribute}")
    assert isinstance(statement, ast.AnnAssign)
    assert statement.value is not None
    return ast.unparse(statement.value)


def summary(module: str, name: str) -> str:
    """Return the docstring of a class as far as its parameters, without its first line."""
    statement = Module(module).find(name)
    assert isinstance(statement, ast.ClassDef)
    doc = ast.get_docstring(statement) or ""
    return clean(doc.partition("\nParameters\n")[0].strip())


def convert(text: str) -> str:
    """Rewrite a definition for Python 3.8 and NumPy 1.19, and for readers without our project."""
    tree = ast.parse(text)
    edits = sorted(_edits(tree, text.splitlines(keepends=True)), reverse=True)
    for start, stop, new in edits:
        text = text[:start] + new + text[stop:]
    return _with_types(clean(text))


def clean(text: str) -> str:
    """Drop references to our specification and package."""
    for pattern, new in _OURS:
        text = pattern.sub(new, text)
    return text


def replace_once(text: str, old: str, new: str, where: str) -> str:
    """Replace text that must be there exactly once."""
    if text.count(old) != 1:
        raise ExtractionError(f"{where}: expected once, got {text.count(old)} times: {old!r}")
    return text.replace(old, new)


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, ast.AnnAssign):
        return {ast.unparse(statement.target)}
    if isinstance(statement, ast.Assign):
        targets = [
            each.elts if isinstance(each, ast.Tuple) else [each] for each in statement.targets
        ]
        return {ast.unparse(each) for group in targets for each in group}
    return set()


def _edits(tree: ast.AST, lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield replacements (start, stop, text) of nodes that Python 3.8 or NumPy 1.19 lack."""
    # Offsets of the syntax tree are in bytes.
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(row: int, column: int) -> int:
        return starts[row - 1] + len(lines[row - 1].encode()[:column].decode())

    def span(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = place(node.lineno, node.col_offset)
        return start, place(node.end_lineno, node.end_col_offset)

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "zip" and any(each.arg == "strict" for each in node.keywords):
                yield span(node.args[-1])[1], span(node)[1] - 1, ""
            if node.func.id == "pairwise":
                (argument,) = node.args
                name = ast.unparse(argument)
                yield (*span(node), f"zip({name}, {name}[1:])")
        elif (isinstance(node, ast.Subscript) and ast.unparse(node.value) == "NDArray") or (
            isinstance(node, ast.Name) and node.id == "ArrayLike"
        ):
            yield (*span(node), "np.ndarray")


def _as_function(text: str) -> str:
    """Make a function of a class method: no decorator, no first argument."""
    text = replace_once(text, "@classmethod\n", "", text)
    return re.sub(r"\((?:cls|self),\s*", "(", text, count=1)


def _with_docstring(text: str, docstring: str) -> str:
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef)
    old = function.body[0]
    lines = text.splitlines(keepends=True)
    body = textwrap.indent(textwrap.dedent(docstring).strip(), "    ").lstrip()
    new = f'    """\n    {body}\n    """\n'
    return "".join([*lines[: old.lineno - 1], new, *lines[old.end_lineno :]])


def _with_types(text: str) -> str:
    """Put the types of parameters into the docstring, as Quantus does: ``x: Tensor``."""
    (statement,) = ast.parse(text).body
    if not isinstance(statement, ast.FunctionDef):
        return text
    arguments = [*statement.args.args, *statement.args.kwonlyargs]
    types = {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None}

    def typed(match: re.Match[str]) -> str:
        names = match[2].split(", ")
        if not all(name in types for name in names):
            return match[0]
        return f"{match[1]}{match[2]}: {types[names[0]]}"

    head, mark, rest = text.partition("    Parameters\n    ----------\n")
    section, blank, tail = rest.partition("\n\n")
    return head + mark + re.sub(r"(?m)^(    )(\w+(?:, \w+)*)$", typed, section) + blank + tail
