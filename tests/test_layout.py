"""Which room may import which: read from the imports, wherever in a file they stand.

A room is a module or a package at the top of ``abslrp``, ``gae_metric`` or ``benchmarks``. Each has
a floor, and a table says which rooms below it it may import. Imports within functions and for type
checkers count; those by which an ``__init__`` exports lazily do not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("abslrp", "gae_metric", "benchmarks")


class Room(NamedTuple):
    floor: int
    #: What lives there, which is why it may import no more.
    holds: str
    #: Rooms of the same package that it may import.
    may: str = ""


#: Imports of a module, by its dotted name: modules of ours, and names of other packages.
Imports = Mapping[str, set[str]]
Table = Mapping[str, Room]

GAE_METRIC: Table = {
    "_moved": Room(0, "earlier import paths"),
    "errors": Room(0, "errors that are a caller's to mend"),
    "functional": Room(0, "equations only, as functions of tensors"),
    "demo": Room(0, "digits and networks"),
    "_names": Room(0, "names of metrics and methods, and names in lines"),
    "study": Room(1, "what a call of a metric does, whichever metric it is", "errors functional"),
    "inputs": Room(2, "images, labels, models and weights, no metric", "demo errors"),
    "plotting": Room(2, "drawings of numbers that are given", "_names errors functional"),
    "metrics": Room(3, "the Quantus classes, thin", "errors functional plotting study"),
    "companions": Room(4, "metrics beside GAE's", "functional metrics study"),
    "probe": Room(4, "what metrics want explained elsewhere", "errors functional metrics study"),
    "explainers": Room(5, "methods that give maps, no metric", "_names errors functional study"),
    "comparison": Room(
        6, "statistics of scores that are there already", "_names errors explainers"
    ),
    "commands": Room(
        7,
        "the command line, on top of all rooms",
        "_names companions comparison demo errors explainers functional inputs metrics plotting "
        "probe study",
    ),
    "__main__": Room(8, "the command line's other name", "commands"),
    # It exports lazily, and those imports do not count.
    "__init__": Room(9, "names for users", "_moved"),
}

BENCHMARKS: Table = {
    "__init__": Room(0, "a line of text"),
    "result_files": Room(0, "folders and files of results, not written over what is finished"),
    "compatibility": Room(1, "which models absLRP explains", "result_files"),
    "data": Room(0, "images and labels"),
    "metrics": Room(0, "metrics by name, called block by block"),
    "models": Room(0, "models by name"),
    "notebooks": Room(0, "notebooks, and their execution"),
    "paper": Room(0, "the paper's numbers"),
    "methods": Room(1, "methods by name, and what they explain", "models"),
    "config": Room(2, "what a run is of", "data methods metrics models"),
    "sanity": Room(2, "checks of GAE itself", "data methods metrics models result_files"),
    "speed": Room(2, "times and memory", "result_files"),
    "studies": Room(2, "one file for each question", "data methods models result_files"),
    "runner": Room(
        3, "what carries a run out", "__init__ config data methods metrics models result_files"
    ),
    "figures": Room(
        4, "figures of a run", "config data methods metrics models result_files runner"
    ),
    "tables": Room(4, "tables of a run", "config methods metrics paper result_files runner"),
    "report": Room(5, "a page of a run", "data figures result_files runner tables"),
    "check": Room(
        5, "whether what a run needs is there", "config data figures methods metrics models"
    ),
    "commands": Room(
        6, "the commands", "check config figures methods report result_files runner tables"
    ),
    "rehearse": Room(
        7,
        "tables and figures on stand-ins",
        "commands config data figures methods models runner tables",
    ),
    "cli": Room(8, "the command line, on top", "commands rehearse"),
    "__main__": Room(9, "the command line's other name", "cli"),
}

ABSLRP: Table = {
    "tape": Room(0, "the calls of one forward pass; no rule, no model class"),
    "outputs": Room(0, "what models return, and which part of it is logits"),
    "names": Room(0, "operators by the names that users know"),
    "arrays": Room(0, "numbers of any kind as tensors"),
    "targets": Room(1, "outputs of any shape as one number for each sample", "arrays"),
    "batch": Room(
        2, "what a model is called with, what it makes of it", "arrays outputs tape targets"
    ),
    "arguments": Room(3, "what users pass, checked", "arrays batch outputs"),
    "plan": Room(1, "factors and the forms of an account; no operator, no equation", "tape"),
    "registry": Room(2, "which rule an operator has", "names plan tape"),
    "contrast": Room(
        2, "where relevance starts, and what becomes of two maps", "outputs plan"
    ),
    "ablations": Room(2, "what is left out of a tape's accounts", "plan tape"),
    "rules": Room(
        3, "equations; no memory, no kernel, not who comes next", "outputs plan registry tape"
    ),
    "refusals": Room(3, "what users are told", "names plan registry tape"),
    "rule_sets": Room(
        4, "absLRP's siblings: differences from the rules", "contrast plan registry rules tape"
    ),
    "forward": Room(
        5, "one forward pass and its options",
        "ablations arguments batch names outputs plan refusals registry tape",
    ),
    "samples_apart": Room(
        6, "whether each sample's logits are its own",
        "batch forward names plan refusals tape",
    ),
    "propagate": Room(
        7, "relevance of an input",
        "ablations batch forward refusals samples_apart",
    ),
    "losses": Room(2, "what became of relevance, in words", "names plan tape"),
    "classes": Room(
        8, "maps of classes or other targets, chunk by chunk",
        "arguments batch contrast forward outputs propagate rule_sets samples_apart",
    ),
    "explain": Room(
        9, "what users call",
        "ablations arguments batch classes contrast forward losses outputs plan propagate registry",
    ),
    "context": Room(8, "what users call", "forward plan registry tape"),
    "inspection": Room(
        9, "what users call", "arguments batch classes forward losses plan tape"
    ),
    "zennit": Room(
        9, "what users call",
        "arguments context contrast forward plan registry rule_sets rules tape",
    ),
    "text": Room(
        9, "what users call", "arguments batch classes contrast forward losses outputs tape"
    ),
    "graphs": Room(10, "what users call", "arguments batch explain outputs"),
    "__init__": Room(
        11, "names for users",
        "context explain graphs inspection plan refusals registry rule_sets rules tape targets",
    ),
}  # fmt: skip

TABLES: Mapping[str, Table] = {
    "abslrp": ABSLRP,
    "gae_metric": GAE_METRIC,
    "benchmarks": BENCHMARKS,
}

#: What a package, or a room, never imports, and why.
NEVER: Mapping[str, Mapping[str, str]] = {
    "abslrp": {
        "gae_metric": "abslrp explains models, whatever measures it",
        "benchmarks": "benchmarks is no part of what is installed",
    },
    "gae_metric": {"benchmarks": "benchmarks is no part of what is installed"},
    "gae_metric.functional": {
        "quantus": "functional holds equations only, and needs no Quantus",
        "abslrp": "functional holds equations only, of any maps",
    },
}


def name_of(path: Path) -> str:
    """``gae_metric.functional.scores``; a package's ``__init__`` is named like the package."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, modules: set[str], package: str | None = None) -> set[str]:
    """Modules that a file imports.

    Parameters
    ----------
    source
        Its text.
    modules
        Names of our modules: ``from package import module`` is an import of the module.
    package
        Of an ``__init__``: its name. If it has a ``__getattr__``, what it imports for type checkers
        says what it exports, and does not count.
    """
    tree = ast.parse(source)
    lazy = package is not None and any(
        "__getattr__" in (getattr(node, "name", ""), getattr(node, "id", ""))
        for statement in tree.body
        for node in ast.walk(statement)
    )
    found: set[str] = set()
    for statement in tree.body:
        if lazy and isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, "imports are absolute, so that they can be found"
                inner = {f"{node.module}.{one.name}" for one in node.names}
                found |= inner & modules
                found |= {str(node.module)} if inner - modules else set()
    return found - {package}


def read(root: Path) -> dict[str, set[str]]:
    """Imports of each module of the packages."""
    paths = {
        name_of(p.relative_to(root)): p for one in PACKAGES for p in (root / one).rglob("*.py")
    }
    return {
        name: imports_of(
            path.read_text(encoding="utf-8"),
            set(paths),
            name if path.name == "__init__.py" else None,
        )
        for name, path in paths.items()
    }


def room_of(module: str) -> str:
    """The part of a module's name below its package."""
    return module.split(".")[1] if "." in module else "__init__"


def violations(imports: Imports, package: str, table: Table | None) -> Iterator[str]:
    """Say which imports of a package are against its table, or never allowed."""
    for module, imported in sorted(imports.items()):
        if module.partition(".")[0] != package:
            continue
        room = room_of(module)
        for one in sorted(imported):
            where = f"{module} imports {one}"
            for part, nevers in NEVER.items():
                reason = nevers.get(one.partition(".")[0])
                if reason and f"{module}.".startswith(f"{part}."):
                    yield f"{where}: {reason}"
            other = room_of(one)
            if table is None or one.partition(".")[0] != package or other == room:
                continue
            if room not in table or other not in table:
                new = room if room not in table else other
                yield f"{where}: the room {new} has no place in the table of {package}"
            elif other not in table[room].may.split():
                held = table[room]
                yield (
                    f"{where}: {room} holds {held.holds}, and may import "
                    f"{held.may or 'no other room'}"
                )


def misplaced(table: Table) -> Iterator[str]:
    """Say what a table allows that goes no floor down."""
    for name, room in table.items():
        for other in room.may.split():
            if table[other].floor >= room.floor:
                yield (
                    f"{name} on floor {room.floor} may import {other} on floor "
                    f"{table[other].floor}: imports go down"
                )


def circles(imports: Imports) -> list[list[str]]:
    """Groups of modules each of which imports itself by way of the others.

    What can be taken away, as it imports nothing or nothing imports it, is no part of a circle.
    """
    left = {module: set(imported) & set(imports) for module, imported in imports.items()}
    while True:
        used = set().union(*left.values()) if left else set()
        kept = {m: those & set(left) for m, those in left.items() if those and m in used}
        if kept == left:
            break
        left = kept
    groups: list[list[str]] = []
    for module in sorted(left):
        if not any(module in group for group in groups):
            reached = reachable(left, module)
            group = sorted(one for one in reached if module in reachable(left, one))
            groups += [group] if group else []
    return groups


def reachable(imports: Imports, start: str) -> set[str]:
    """Modules that a module imports, directly or by way of others."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        new = imports.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found


IMPORTS = read(ROOT)


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_what_is_below_them(package: str) -> None:
    assert list(violations(IMPORTS, package, TABLES[package])) == []


@pytest.mark.parametrize("package", [name for name, table in TABLES.items() if table])
def test_tables_go_down(package: str) -> None:
    table = TABLES[package]
    assert table is not None
    assert list(misplaced(table)) == []


@pytest.mark.parametrize("package", [name for name, table in TABLES.items() if table])
def test_tables_are_of_the_rooms_that_there_are(package: str) -> None:
    """And allow no more than is needed, so that a new import is looked at."""
    table = TABLES[package]
    assert table is not None
    modules = {m: those for m, those in IMPORTS.items() if m.partition(".")[0] == package}
    assert {room_of(module) for module in modules} == set(table)
    for name, room in table.items():
        own = [those for module, those in modules.items() if room_of(module) == name]
        needed = {room_of(one) for those in own for one in those if one in modules} - {name}
        assert set(room.may.split()) <= needed, f"{name} may import more than it does"


@pytest.mark.parametrize("package", [name for name, table in TABLES.items() if table])
def test_no_modules_import_one_another(package: str) -> None:
    own = {m: those for m, those in IMPORTS.items() if m.partition(".")[0] == package}
    assert circles(own) == [], "modules that import one another can only be read as one"


# What finds all that can itself be seen to find it.

SMALL: Table = {
    "functional": Room(0, "equations only"),
    "study": Room(1, "what a call does", "functional"),
}


def test_a_violation_is_found() -> None:
    imports = {
        "gae_metric.functional.x": {"gae_metric.study.y", "quantus", "math"},
        "gae_metric.study.y": {"gae_metric.functional.x", "benchmarks.models", "gae_metric.other"},
        "abslrp.explain": {"gae_metric.errors"},
    }
    assert list(violations(imports, "gae_metric", SMALL)) == [
        "gae_metric.functional.x imports gae_metric.study.y: functional holds equations only, "
        "and may import no other room",
        "gae_metric.functional.x imports quantus: functional holds equations only, and needs no "
        "Quantus",
        "gae_metric.study.y imports benchmarks.models: benchmarks is no part of what is installed",
        "gae_metric.study.y imports gae_metric.other: the room other has no place in the table of "
        "gae_metric",
    ]
    assert list(violations(imports, "abslrp", None)) == [
        "abslrp.explain imports gae_metric.errors: abslrp explains models, whatever measures it"
    ]
    assert list(misplaced(SMALL | {"functional": Room(0, "equations", "study")})) == [
        "functional on floor 0 may import study on floor 1: imports go down"
    ]


def test_a_circle_is_found() -> None:
    imports = {
        "p.a": {"p.b"},
        "p.b": {"p.c", "torch"},
        "p.c": {"p.a", "p.d"},
        "p.d": {"p.e"},
        "p.e": {"p.d"},
        "p.f": {"p.a"},
        "p.g": set(),
    }
    assert circles(imports) == [["p.a", "p.b", "p.c"], ["p.d", "p.e"]]
    assert circles(imports | {"p.c": set(), "p.e": set()}) == []


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "import a.b as c\n"
        "if TYPE_CHECKING:\n    from p.x import Name\n"
        "def f():\n    from p import y, z\n"
    )
    found = {"typing", "a.b", "p.x", "p.y", "p"}
    assert imports_of(source, {"p", "p.x", "p.y"}) == found
    # An __init__ that exports lazily imports nothing by what it tells type checkers.
    assert imports_of(source, {"p", "p.x", "p.y"}, "p") == found - {"p"}
    lazy = source + "def __getattr__(name): ...\n"
    assert imports_of(lazy, {"p", "p.x", "p.y"}, "p") == found - {"p", "p.x"}


def test_the_packages_were_read() -> None:
    assert len(IMPORTS) > 200
    assert "gae_metric.functional.masking" in IMPORTS["gae_metric.functional"]
    assert "gae_metric.commands.cli" in IMPORTS["gae_metric.__main__"]
