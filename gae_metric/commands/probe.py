"""``gae-metric probe`` and ``gae-metric score``."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
from rich import box
from rich.table import Table

from gae_metric.commands.folder import probe_files, replace_file
from gae_metric.commands.reading import read_inputs
from gae_metric.commands.requests import ProbeRequest, ScoreRequest
from gae_metric.commands.tables import with_files
from gae_metric.commands.terminal import Terminal, csv_text
from gae_metric.errors import InputError, refusing
from gae_metric.probe.probe_set import ProbeSet


def write_probe(request: ProbeRequest, terminal: Terminal) -> None:
    """Make a probe set of a model and a folder of images, and write it.

    Parameters
    ----------
    request
        Of what, and where to.
    terminal
        Where progress goes.

    Raises
    ------
    InputError
        If a part of the request is not as described.
    """
    inputs = read_inputs(request, request.check(), terminal)
    try:
        with terminal.progress(request.model) as progress, _noted(terminal, inputs.samples):
            probe = ProbeSet.build(
                inputs.model,
                inputs.x,
                inputs.targets,
                metric=request.metric_name,
                batch_size=request.batch_size,
                names=inputs.samples,
                settings={"model": request.model, "images": str(request.images)},
                progress=lambda done, wanted: progress("masking images", done, wanted),
                **request.masking,
                **request.mosaicking,
            )
    except ValueError as error:
        raise InputError(str(error)) from error
    with refusing(f"out: cannot write to {str(request.out)!r}", OSError):
        for file in probe_files(request.out):
            file.unlink()
        probe.save(request.out)
    terminal.done(f"{len(probe)} items of {len(probe.samples)} images are in {request.out}")


def score(request: ScoreRequest, terminal: Terminal) -> None:
    """Score maps that a tool made for a probe set.

    Parameters
    ----------
    request
        The probe set, the maps, and the CSV file to write: ``sample``, ``file`` (the sample's name,
        if it has one), ``target`` and the scores, one row per sample. It has been checked.
    terminal
        Where the table goes.

    Raises
    ------
    InputError
        If the probe set is not one, or the maps do not fit it.
    """
    read = ProbeSet.load(request.probe)
    # Items of any probe set have the same names: maps of an earlier one cannot be told by them.
    if request.maps.stat().st_mtime < request.probe.stat().st_mtime:
        terminal.say("note: maps: older than the probe set; if that is a new one, it needs others")
    with _noted(terminal, read.names):
        scores = read.score(request.maps, batch_size=request.batch_size)
    table: pd.DataFrame = scores.reset_index()
    table.insert(1, "target", read.sample_targets)
    if read.names is not None:
        table.insert(1, "file", [read.names[sample] for sample in read.samples])
    terminal.out.print(_summary(scores, read.metric))
    if request.out is not None:
        replace_file(request.out.resolve(), csv_text(table, index=False).encode())
        terminal.done(f"Scores are in {request.out}")


@contextmanager
def _noted(terminal: Terminal, files: Sequence[str] | None) -> Iterator[None]:
    """Say on the terminal what is warned of, and of which files."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            terminal.say(f"note: {with_files(str(warning.message), files)}")


def _summary(scores: pd.DataFrame, metric: str) -> Table:
    """Return means and standard errors over the samples that have a score."""
    table = Table(title=f"{metric}: {len(scores)} samples", box=box.SIMPLE_HEAD)
    for heading in ("score", "mean", "standard error", "samples"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, told in scores.agg(["mean", "sem", "count"]).items():
        table.add_row(str(name), *(f"{one:.4f}" for one in told[:2]), f"{told['count']:.0f}")
    return table
