"""``python -m benchmarks.compatibility``: the table of models that absLRP explains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.compatibility.page import written
from benchmarks.compatibility.processes import SOURCES, tried
from benchmarks.result_files import replace_file


def main(
    model: Annotated[
        list[str] | None, typer.Argument(help="Only these, such as timm/levit_128s; tried anew.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All that the results do not have yet.")
    ] = False,
    results: Annotated[Path, typer.Option(help="One line a model.")] = (
        Path(__file__).parent / "results.csv"
    ),
    page: Annotated[Path | None, typer.Option(help="Write the counts into this page.")] = None,
) -> None:
    """Try to explain models, and count the results."""
    known = pd.read_csv(results, keep_default_na=False) if results.exists() else pd.DataFrame()
    listed = [f"{source}/{name}" for source, (names, _) in SOURCES.items() for name in names()]
    left = [key for key in listed if known.empty or key not in set(known.model)]
    keys = [*(model or ()), *(left if every else ())]
    for key in keys:
        if key.split("/")[0] not in SOURCES:
            raise typer.BadParameter(f"expected {' or '.join(SOURCES)}/NAME, got {key!r}")
        row = {"model": key, **tried(key)}
        typer.echo(f"{key}: {row['verdict']} {row['reason']}", err=True)
        known = pd.concat([known, pd.DataFrame([row])]).drop_duplicates("model", keep="last")
        replace_file(results, known.sort_values("model").to_csv(index=False).encode())
    text = written(pd.read_csv(results), len(listed))
    if page is None:
        typer.echo(text)
    else:
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
