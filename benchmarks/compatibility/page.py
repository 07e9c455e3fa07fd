"""The page of the docs, by the template ``page.md``: counts of each source, and what fails."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

PACKAGES = ("torch", "torchvision", "timm", "transformers", "zennit", "captum", "lxt")


def written(results: pd.DataFrame, listed: int) -> str:
    """Return the page for results as they stand in the CSV file, and the length of the list."""
    beyond = results.verdict.isin(["not built", "no gradient"])
    given = results[~beyond]
    arriving = given.set_index(given.model.str.rpartition("/")[0].str.replace("/", " "))
    arriving = arriving[["verdict", "arrives", "zennit", "captum", "lxt"]]
    counts = []
    for source, rows in arriving.groupby(level=0):
        shares = rows.drop(columns="verdict").apply(pd.to_numeric, errors="coerce")
        conserves = shares.apply(lambda one: one.between(0.9, 1.1).sum())
        both = [n for name in shares for n in (shares[name].notna().sum(), conserves[name])]
        verdicts = [(rows.verdict == one).sum() for one in ("explained", "refused")]
        wrong = len(rows) - sum(verdicts)
        counts.append([source, len(rows), *verdicts, wrong, *both[1:]])
    failures = given[given.verdict != "explained"][["model", "verdict", "reason"]]
    versions = [
        f"Python {platform.python_version()}",
        *(f"{one} {version(one)}" for one in PACKAGES),
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("page.md").render(
        listed=listed, tried=len(given), explained=int((given.verdict == "explained").sum()),
        counts=counts, unbuilt=int(beyond.sum()), versions=", ".join(versions),
        time=given.time.astype(float).median(), failures=failures.to_numpy().tolist(),
    )  # fmt: skip
