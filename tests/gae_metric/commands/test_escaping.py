"""Names that anybody may have chosen do nothing where they are written."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from rich.table import Table as Screen

from benchmarks.tables.formats import Table, latex, markdown
from benchmarks.tables.formats import csv as tables_csv
from gae_metric.commands.terminal import Terminal, csv_text, visible

NAMES = ["\x1b[2J\x1b]0;title\x07", "a\rb", "\x9b31m", "\u202egnp.exe", "\udcff.png", "x\x00y"]


def test_nothing_hidden_reaches_a_terminal(capsys):
    terminal = Terminal()
    for name in NAMES:
        terminal.say(name)
        terminal.out.print(name, markup=False)
        table = Screen(title=name)
        table.add_column(name)
        table.add_row(name)
        terminal.out.print(table)
        with terminal.progress(name) as progress:
            progress(name, 1, 2)
    written = "".join(capsys.readouterr())
    for sign in "\x1b\r\x07\x9b\u202e\udcff\x00":
        assert sign not in written
    assert r"\x1b[2J" in written
    assert visible("kept: \n\t äß→ 漢") == "kept: \n\t äß→ 漢"


def test_colours_of_our_own_stay(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    Terminal().out.print("[bold red]x[/]")
    assert "\x1b[" in capsys.readouterr().out


def test_no_text_is_a_formula():
    names = ["=HYPERLINK(1)", "+1", "-1", "@sum", "\t=1", "\n=1", "＝1", "a\r=1", "fine", "a=1"]
    rows = list(
        csv.reader(io.StringIO(csv_text(pd.DataFrame({"n": names, "x": -1.5})), newline=""))
    )
    assert [row[1] for row in rows[1:]] == [*(f"'{n}" for n in names[:7]), r"a\r=1", *names[8:]]
    assert {row[2] for row in rows[1:]} == {"-1.5"}


def table(name):
    cell = {
        "method": name, "score": "C", "better": "higher", "mean": 0.5, "standard_error": 0.1,
        "ci_low": 0.4, "ci_high": 0.6, "samples": 4, "best": True, "tie": False, "paper": np.nan,
        "paper_tie": False,
    }  # fmt: skip
    none = pd.DataFrame(columns=["score", "methods", "tau", "p"])
    notes = (f"{name} failed: <b>x</b>\n% y",)
    return Table("digits:vgg", None, "", 4, ("C",), pd.DataFrame([cell]), none, notes)


def test_markdown_latex_and_csv_of_tables():
    pytest.importorskip("tabulate", reason="the extra 'benchmarks' is not installed")
    name = "[=a|b*c_ <img src=x>`$&#~^\\input{x}%\n\x1b]"
    text = markdown([table(name)])
    row = next(line for line in text.splitlines() if "**0.500**" in line)
    start = r"| \[=a\|b\*c\_ &lt;img src=x&gt;\`$&amp;\#\~^\\input{x}% "
    assert row.startswith(start)
    assert "<b>" not in text
    assert r"\\x1b\]" in row
    for hidden in ("\x1b[2J", "a\x9b31m", "\u202egnp", "x\x00y"):
        written = markdown([table(hidden)])
        assert written == visible(written)
    lines = latex([table(name)]).splitlines()
    (row,) = [line for line in lines if r"\textbf{0.500}" in line]
    assert row.startswith(r"{[}=a\textbar{}b$^{*}$c\_ \textless{}img src=x\textgreater{}`\$\&\#")
    assert r"\textbackslash{}input\{x\}\% \textbackslash{}x1b{]}" in row
    assert [line for line in lines if line.startswith("% [=a")][0].endswith("% y")  # noqa: RUF015
    assert tables_csv([table("=1+1")])[0].splitlines()[1].startswith("digits:vgg,,'=1+1,")
