"""``gae-metric probe`` and ``gae-metric score``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from gae_metric._names import lookup
from gae_metric.commands.escaping import csv_text
from gae_metric.commands.reading import InputsRequest, check_least, read_inputs
from gae_metric.commands.terminal import Terminal
from gae_metric.errors import InputError
from gae_metric.probe.format import METRICS
from gae_metric.probe.probe_set import ProbeSet

__all__ = ["ProbeRequest", "score", "write_probe"]


@dataclass(frozen=True, kw_only=True)
class ProbeRequest(InputsRequest):
    """What to make a probe set of; see ``gae-metric probe --help``."""

    metric: str = "GAE"
    #: The metric's own options.
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder that is written to."""
        return self.out.parent if self.out.suffix == ".npz" else self.out


def write_probe(request: ProbeRequest, terminal: Terminal | None = None) -> ProbeSet:
    """Make a probe set of a model and a folder of images, and write it.

    Parameters
    ----------
    request
        Of what, and where to.
    terminal
        Where progress goes.

    Returns
    -------
    ProbeSet
        The probe set; it is in ``request.out``.

    Raises
    ------
    InputError
        If a part of the request is not as described.
    """
    terminal = terminal or Terminal()
    lookup("metric", request.metric, METRICS)
    check_least(
        ("samples", request.samples, 1),
        ("seed", request.seed, 0),
        ("batch-size", request.batch_size, 1),
    )
    _check_target(request.out)
    model, _, images, targets = read_inputs(request, terminal)
    try:
        with terminal.progress(request.model) as progress, _noted(terminal):
            probe = ProbeSet.build(
                model,
                images.x,
                targets,
                metric=request.metric,
                seed=request.seed,
                batch_size=request.batch_size,
                names=images.files,
                settings={"model": request.model, "images": str(request.images)},
                progress=lambda done, wanted: progress("masking images", done, wanted),
                **request.options,
            )
    except ValueError as error:
        raise InputError(str(error)) from error
    try:
        probe.save(request.out)
    except OSError as error:
        raise InputError(f"out: cannot write to {str(request.out)!r}: {error}") from error
    terminal.out.print(
        f"{len(probe)} items of {len(probe.samples)} images are in {request.out}",
        markup=False,
        soft_wrap=True,
    )
    return probe


def score(
    probe: Path,
    maps: Path,
    out: Path | None = None,
    terminal: Terminal | None = None,
    *,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Score maps that a tool made for a probe set.

    Parameters
    ----------
    probe, maps
        Files or folders, see :mod:`gae_metric.probe.format`.
    out
        CSV file to write: ``sample``, ``file`` (the sample's name, if it has one), ``target`` and
        the scores, one row per sample.
    terminal
        Where the table goes.
    batch_size
        Maps at a time.

    Returns
    -------
    pandas.DataFrame
        What ``out`` holds.

    Raises
    ------
    InputError
        If the probe set is not one, or the maps do not fit it.
    """
    terminal = terminal or Terminal()
    check_least(("batch-size", batch_size, 1))
    read = ProbeSet.load(probe)
    with _noted(terminal):
        scores = read.score(maps, batch_size=batch_size)
    table: pd.DataFrame = scores.reset_index()
    table.insert(1, "target", read.sample_targets)
    if read.names is not None:
        table.insert(1, "file", [read.names[sample] for sample in read.samples])
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(csv_text(table, index=False), encoding="utf-8", newline="")
        except OSError as error:
            raise InputError(f"out: cannot write to {str(out)!r}: {error}") from error
    terminal.out.print(_summary(scores, read.metric))
    if out is not None:
        terminal.out.print(f"Scores are in {out}", markup=False, soft_wrap=True)
    return table


@contextmanager
def _noted(terminal: Terminal) -> Iterator[None]:
    """Say on the terminal what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            terminal.say(f"note: {warning.message}")


def _check_target(out: Path) -> None:
    """Refuse a place that has something in it, before any work."""
    if out.suffix != ".npz" and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise InputError(
            f"out: expected an .npz file or a new or empty folder, got {str(out)!r}, which has "
            "something in it"
        )


def _summary(scores: pd.DataFrame, metric: str) -> Table:
    """Return means and standard errors over the samples that have a score."""
    table = Table(title=f"{metric}: {len(scores)} samples")
    for heading in ("score", "mean", "standard error", "samples"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name in map(str, scores.columns):
        values: Any = scores[name].dropna()
        table.add_row(name, f"{values.mean():.4f}", f"{values.sem():.4f}", str(len(values)))
    return table
