"""Every command that the documentation shows is one that exists, with options that it takes.

Commands are parsed as a shell and the programs would, and nothing is run. In text, a command may be
shown without what it needs, such as ``gae-metric evaluate --help``; in a block it is complete.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [ROOT / "docs", ROOT / "benchmarks"]
PAGES = [ROOT / "README.md", *sorted(page for one in FOLDERS for page in one.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`((?:[A-Z]+=\S+ )?(?:gae-metric|python|make|pytest|pip)\s[^`]+)`")
#: Scripts that a page shows as a reader's own.
READERS_OWN = {"my_tool.py"}
#: Extras and programs that a command is looked up in.
NEEDS = ("jinja2", "pydantic", "yaml", "nbformat", "pyarrow")

pytestmark = pytest.mark.skipif(
    not (ROOT / "docs").is_dir(), reason="the documentation is not part of the package"
)


class Shown(NamedTuple):
    page: str
    line: int
    command: str
    #: Whether it is shown with all that it needs.
    complete: bool


def lines_of(block: str) -> Iterator[tuple[int, str]]:
    """Number and text of each command; a line goes on after a backslash, or indented."""
    command, start, goes_on = "", 0, False
    for number, line in enumerate(block.splitlines()):
        if goes_on or (command and line[:1].isspace()):
            command += " " + line.strip().removesuffix("\\")
        else:
            if command:
                yield start, command
            command, start = line.removesuffix("\\"), number
        goes_on = line.endswith("\\")
    if command:
        yield start, command


def shown_on(page: Path) -> Iterator[Shown]:
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    for block in BLOCK.finditer(text):
        if block[1] == "console":
            first = text.count("\n", 0, block.start(2)) + 1
            for number, command in lines_of(block[2]):
                yield Shown(name, first + number, command, True)
    prose = BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for inline in INLINE.finditer(prose):
        line = prose.count("\n", 0, inline.start()) + 1
        yield Shown(name, line, " ".join(inline[1].split()), False)


SHOWN = [one for page in PAGES for one in shown_on(page)]


@lru_cache
def options_of_pytest() -> str:
    asked = [sys.executable, "-m", "pytest", "--help"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def check_pytest(words: list[str], complete: bool) -> None:
    for word in words:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", options_of_pytest()), word
        elif "/" in word or word == "tests":
            assert (ROOT / word).exists(), word


def check_pip(words: list[str], complete: bool) -> None:
    assert words.pop(0) == "install"
    if "--target" in words:  # other packages, beside the environment
        place = words.index("--target")
        assert words[place + 1].startswith("build/")
        others = [*words[:place], *words[place + 2 :]]
        assert all(Requirement(word).specifier for word in others if word != "--no-deps")
        return
    if "--index-url" in words:  # PyTorch's own builds
        assert words == [*words[:-2], "--index-url", "https://download.pytorch.org/whl/cpu"]
        assert set(words[:-2]) == {"torch", "torchvision"}
        return
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for word in words:
        if word != "-e":
            found = re.fullmatch(r"(?:\.|gae-metric)(?:\[([a-z,]+)\])?", word)
            assert found, word
            for extra in found[1].split(",") if found[1] else []:
                assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def check_make(words: list[str], complete: bool) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, given, _ = word.partition("=")
        known = rf"^{name} \?=|\$\({name}\)" if given else rf"^{name}:"
        assert re.search(known, makefile, re.MULTILINE), word


def check_typer(app: typer.Typer, words: list[str], complete: bool) -> None:
    command = typer.main.get_command(app)
    for one in (command, *getattr(command, "commands", {}).values()):
        one.callback = lambda **_: None
        for parameter in one.params:
            parameter.required = parameter.required and complete
    with pytest.raises(SystemExit) as ended:
        command.main(words, prog_name="command")
    alone = not words and not complete  # `gae-metric` alone gives its help, with status 2
    assert ended.value.code in (0, None) or alone, words


def check_module(name: str, words: list[str], complete: bool) -> None:
    if name == "pytest":
        return check_pytest(words, complete)
    assert name.partition(".")[0] in ("benchmarks", "gae_metric"), name
    for package in NEEDS:
        pytest.importorskip(package, reason="needs the extra 'benchmarks'")
    if name in ("benchmarks", "gae_metric"):
        name += ".cli" if name == "benchmarks" else ".commands.cli"
    elif (ROOT / name.replace(".", "/")).is_dir():
        name += ".__main__"
    module = importlib.import_module(name)
    app = getattr(module, "app", None)
    if app is None:  # typer.run(main)
        app = typer.Typer()
        app.command()(module.main)
    return check_typer(app, words, complete)


class _ParsedError(Exception):
    """The arguments were taken."""


def check_script(path: str, words: list[str], complete: bool) -> None:
    """Run a script up to where it has parsed its arguments."""
    assert (ROOT / path).is_file(), path
    parse = argparse.ArgumentParser.parse_args

    def parsed(*args: Any, **kwargs: Any) -> None:
        parse(*args, **kwargs)
        raise _ParsedError

    def run(main: Callable[..., Any]) -> None:
        app = typer.Typer()
        app.command()(main)
        check_typer(app, words, complete)
        raise _ParsedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parsed)
        patch.setattr(typer, "run", run)
        patch.setattr(sys, "argv", [path, *words])
        patch.syspath_prepend(str((ROOT / path).parent))
        with pytest.raises(_ParsedError):
            runpy.run_path(str(ROOT / path), run_name="__main__")


def check(command: str, complete: bool) -> None:
    words = shlex.split(command, comments=True)
    words = words[: words.index("|")] if "|" in words else words
    while re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    check_paths(words)
    match words:
        case ["gae-metric", *rest]:
            check_module("gae_metric", rest, complete)
        case ["python", "-m", "cProfile", "-s", _, "-m", module, *rest]:
            check_module(module, rest, complete)
        case ["python", "-m", module, *rest]:
            check_module(module, rest, complete)
        case ["python", script, *_] if script in READERS_OWN:
            pass
        case ["python", script, *rest]:
            check_script(script, rest, complete)
        case ["make", *rest]:
            check_make(rest, complete)
        case ["pytest", *rest]:
            check_pytest(rest, complete)
        case ["pip", *rest]:
            check_pip(rest, complete)
        case _:
            pytest.fail(f"no check for {words[0]}")


def check_paths(words: list[str]) -> None:
    """Files of the repository are there; results of a run that is not, once it has been made."""
    configs = {path.stem for path in (ROOT / "benchmarks" / "configs").iterdir()}
    for word in words:
        if re.match(r"(?:abslrp|benchmarks|contrib|docs|gae_metric|scripts|tests)/", word):
            made = Path(word).parent.as_posix() == "benchmarks/results"
            assert (ROOT / word).exists() or (made and Path(word).name in configs), word
    if "--config" in words:
        name = words[words.index("--config") + 1]
        assert name in configs, name


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: f"{one.page}:{one.line}")
def test_the_command_exists(one: Shown) -> None:
    check(one.command, one.complete)


def test_commands_are_found() -> None:
    """Or else the test above would have nothing to look at."""
    pages = {one.page for one in SHOWN if one.complete}
    assert {"README.md", "benchmarks/README.md", "docs/experiments.md", "docs/probe.md"} <= pages
    assert len(SHOWN) > 60


def test_continued_lines_are_one_command() -> None:
    block = "a --b \\\n  c\nd\n  --e f\ng\n"
    assert [(line, command.split()) for line, command in lines_of(block)] == [
        (0, ["a", "--b", "c"]),
        (2, ["d", "--e", "f"]),
        (4, ["g"]),
    ]


@pytest.mark.parametrize(
    "command",
    [
        "gae-metric evaluate --model timm:resnet50",
        "gae-metric score --probe a.npz --maps b.npz --outt c.csv",
        "gae-metric rate --probe a.npz",
        "python -m benchmarks run --samples many",
        "python -m benchmarks run --config table99",
        "python -m benchmarks tables benchmarks/results/table99",
        "python -m benchmarks.speed abslrp --bacth 1",
        "python -m benchmarks.sanity --stages 3.5",
        "python -m benchmarks.nothing",
        "python scripts/train_digits.py --net vgg",
        "python -m pytest tests/nowhere",
        "python -m pytest --no-such-option",
        "python scripts/compat.py --olny 3.10:oldest",
        "python scripts/nothing.py",
        "python contrib/quantus/upstream.py --wrok here",
        "make tset",
        "make VIRTUAL=env",
        "pip install '.[bench]'",
        "pip install quantus",
        "gae_metric demo",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    with pytest.raises((AssertionError, ImportError, SystemExit, pytest.fail.Exception)):
        check(command, complete=True)


@pytest.mark.parametrize(
    "command",
    [
        "make compat COMPAT='--only 3.10:oldest'",
        "python scripts/compat.py --only 3.10:oldest 3.13:newest",
        "python scripts/dist.py --dependencies here",
        "python scripts/mutation.py --minutes 1",
        "python contrib/quantus/upstream.py --no-tests",
        "IMAGENET=/data python -m benchmarks run --config table1  # the images",
    ],
)
def test_a_right_command_passes(command: str) -> None:
    check(command, complete=True)
