"""``python -m benchmarks.compatibility``: the table of models that absLRP explains."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.compatibility.candidates import ENTRIES, FAST
from benchmarks.compatibility.processes import in_a_process_of_its_own
from benchmarks.compatibility.table import markdown


def main(
    fast: Annotated[
        bool, typer.Option("--fast", help="Only the models that the tests run.")
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="Only this one, such as timm:levit_128s.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the Markdown table here.")] = None,
) -> None:
    """Explain every model of the list and write the compatibility table."""
    keys = model or (FAST if fast else list(ENTRIES))
    if unknown := [key for key in keys if key not in ENTRIES]:
        raise typer.BadParameter(f"expected one of {', '.join(ENTRIES)}, got {unknown[0]!r}")
    results = {}
    for key in keys:
        results[key] = result = in_a_process_of_its_own(key)
        typer.echo(f"{key}: {result}", err=True)
    arguments = shlex.join(sys.argv[1:])
    text = markdown(results, f"python -m benchmarks.compatibility {arguments}".strip())
    if out is None:
        typer.echo(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    if any(result.error is not None for result in results.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
