"""The document of the results, Markdown, with what comes out badly in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.sanity import meta
from benchmarks.sanity.complaints import complaints
from benchmarks.sanity.figure import draw
from benchmarks.sanity.maps import DEGRADATIONS
from benchmarks.sanity.results import Found
from benchmarks.sanity.text import BASELINES, DEGRADED, HEAD, META, RANDOMISED, SEEDS, TAIL

__all__ = ["markdown", "write"]


def write(found: Sequence[Found], path: Path) -> None:
    """Write the document and, in the folder ``figures`` beside it, its figure."""
    figures = path.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    picture = figures / f"{path.stem}.png"
    draw(found, picture)
    path.write_text(markdown(found, f"figures/{picture.name}"), encoding="utf-8")


def markdown(found: Sequence[Found], picture: str) -> str:
    """Return the document."""
    parts = [
        HEAD.format(picture=picture, runs=_runs(found)),
        "## What comes out badly\n",
        *(f"- {line}" for line in complaints(found) or ["Nothing."]),
        "",
        BASELINES,
        _baselines(found),
        RANDOMISED,
        _randomised(found),
        DEGRADED.format(kinds="; ".join(f"{k}: {how.unit}" for k, how in DEGRADATIONS.items())),
        _degraded(found),
        SEEDS,
        _seeds(found),
        META,
        _meta(found),
        TAIL,
    ]
    return "\n".join(parts)


def _runs(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        settings, seconds = one.facts["settings"], one.facts["seconds"]
        rows.append(
            [
                one.network,
                str(settings["samples"]),
                f"{one.facts['accuracy']:.2f}",
                str(settings["steps"]),
                str(settings["perturbations"]),
                f"{sum(seconds.values()) / 60:.1f}",
                str(one.facts["threads"]),
                f"`{one.facts['command']}`",
            ]
        )
    head = ["network", "images", "accuracy", "T", "K", "CPU minutes", "threads", "command"]
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in one.facts["versions"].items())
        for one in found
    )
    return _table(head, rows) + "\n\n" + "; ".join(versions) + "."


def _baselines(found: Sequence[Found]) -> str:
    rows = [
        [
            one.network,
            row.method,
            *(_number(getattr(row, part)) for part in ("LC_R", "LC_F", "LC", "C")),
            f"{_number(row.GAE)} ± {_number(row.standard_error)}",
            _number(row.largest),
        ]
        for one in found
        for row in _rows(one.tables["baselines"])
    ]
    return _table(["network", "map", "LC_R", "LC_F", "LC", "C", "GAE ± s.e.", "largest GAE"], rows)


def _randomised(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        for method, part in one.tables["randomisation"].groupby("method", sort=False):
            rows.append(
                [
                    one.network,
                    str(method),
                    " → ".join(f"{row.GAE:.3f} ({row.layers})" for row in _rows(part)),
                    _p(float(part["p"].iloc[-1])),
                    _number(float(part["rho"].iloc[0]), 2),
                    str(part["verdict"].iloc[0]),
                ]
            )
    return _table(["network", "method", "GAE (layers randomised)", "p", "ρ", "means"], rows)


def _degraded(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        table = one.tables["degradation"]
        for (method, kind), part in table.groupby(["method", "kind"], sort=False):
            rows.append(
                [
                    one.network,
                    str(method),
                    str(kind),
                    " → ".join(f"{row.GAE:.3f} ({row.strength:.2g})" for row in _rows(part)),
                    _p(float(part["p"].iloc[-1])),
                    _number(float(part["rho"].iloc[0]), 2),
                    str(part["verdict"].iloc[0]),
                ]
            )
    return _table(["network", "method", "worse by", "GAE (strength)", "p", "ρ", "means"], rows)


def _seeds(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        for method, part in one.tables["seeds"].groupby("method", sort=False):
            scores = part["GAE"]
            rows.append(
                [
                    one.network,
                    str(method),
                    str(len(part)),
                    _number(float(scores.mean())),
                    _number(float(scores.std())),
                    f"{_number(float(scores.min()))} to {_number(float(scores.max()))}",
                    _number(float(part["standard_error"].mean())),
                ]
            )
    head = ["network", "method", "seeds", "mean GAE", "s.d. of the mean", "range", "mean s.e."]
    return _table(head, rows)


def _meta(found: Sequence[Found]) -> str:
    rows = []
    for one in found:
        for row in _rows(meta.summary(one.tables["meta"])):
            deviation = float(row.MC_deviation)
            rows.append(
                [
                    one.network,
                    row.place,
                    row.metric,
                    *(_number(getattr(row, key)) for key in ("IAC_NR", "IAC_AR")),
                    *(_number(getattr(row, key)) for key in ("IEC_NR", "IEC_AR")),
                    _number(row.change_NR),
                    _number(row.MC) + ("" if math.isnan(deviation) else f" ± {deviation:.3f}"),
                    f"{row.usable_NR:.1f} / {row.usable_AR:.1f}",
                ]
            )
    head = ["network", "perturbed", "metric", "IAC_NR", "IAC_AR", "IEC_NR", "IEC_AR"]
    return _table([*head, "change", "MC", "samples"], rows)


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Return rows as named tuples."""
    yield from table.itertuples()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def _number(value: Any, digits: int = 3) -> str:
    number = float(value)
    if math.isnan(number):
        return "-"
    text = f"{number:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1e}" if value < 0.001 else f"{value:.3f}"
