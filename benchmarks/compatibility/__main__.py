"""``python -m benchmarks.compatibility``: the table of models that absLRP explains."""

import platform
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import typer

from benchmarks.compatibility.processes import SOURCES, tried
from benchmarks.result_files import templates
from gae_metric.commands.declared import taking
from gae_metric.commands.folder import replace_file
from gae_metric.commands.provenance import installed

PACKAGES = ("torch", "torchvision", "timm", "transformers", "zennit", "captum", "lxt")


def written(results: pd.DataFrame, listed: int) -> str:
    """Return the page for results as they stand in the CSV file, and the length of the list."""
    beyond = results.verdict.isin(["not built", "no gradient"])
    given = results[~beyond]
    told = pd.get_dummies(given.verdict).reindex(columns=["explained", "refused", "wrong"])
    told.insert(0, "models", 1)
    for name in ("arrives", "zennit", "captum", "lxt"):
        share = pd.to_numeric(given.reindex(columns=[name])[name], errors="coerce")
        told[f"{name}: runs"], told[f"{name}: conserves"] = share.notna(), share.between(0.9, 1.1)
    sources = given.model.str.rpartition("/")[0].str.replace("/", " ")
    counts = told.drop(columns="arrives: runs").groupby(sources).sum().astype(int).reset_index()
    failures = given[given.verdict != "explained"][["model", "verdict", "reason"]]
    versions = [f"Python {platform.python_version()}", *map(" ".join, installed(PACKAGES).items())]
    page = templates(Path(__file__).parent, keep_trailing_newline=True).get_template("page.md")
    return page.render(
        listed=listed, tried=len(given), explained=int((given.verdict == "explained").sum()),
        counts=counts.to_numpy().tolist(), unbuilt=int(beyond.sum()), versions=", ".join(versions),
        time=given.time.astype(float).median(), failures=failures.to_numpy().tolist(),
    )  # fmt: skip


@dataclass(frozen=True)
class TrialRequest:
    """Which models are tried.

    Attributes
    ----------
    model
        Only these, such as timm/levit_128s; tried anew.
    every
        All that the results do not have yet.
    results
        One line a model.
    page
        Write the counts into this page.
    """

    model: list[str] | None = field(default=None, metadata={"kind": typer.Argument})
    every: bool = field(default=False, metadata={"flags": ["--all"]})
    results: Path = Path(__file__).parent / "results.csv"
    page: Path | None = None


@taking(TrialRequest)
def main(request: TrialRequest) -> None:
    """Try to explain models, and count the results."""
    results, page = request.results, request.page
    known = pd.read_csv(results, keep_default_na=False) if results.exists() else pd.DataFrame()
    listed = [f"{source}/{name}" for source, (names, _) in SOURCES.items() for name in names()]
    left = [key for key in listed if known.empty or key not in set(known.model)]
    keys = [*(request.model or ()), *(left if request.every else ())]
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
