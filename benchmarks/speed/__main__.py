"""``python -m benchmarks.speed abslrp|gae``: tables of time and memory."""

import math
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
import typer

from benchmarks.result_files import refuse_finished
from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed.measure import MODES, Mode
from gae_metric.commands.declared import taking
from gae_metric.commands.folder import replace_file
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import lookup
from gae_metric.study.conversion import usable_device

_LISTED = ", ".join(abslrp_speed.MODELS)


@dataclass(frozen=True, kw_only=True)
class SpeedRequest:
    """What is measured.

    Attributes
    ----------
    batch
        Images that are worked on at a time; may be repeated.
    model
        {models}; may be repeated.
    repeats
        Rounds; the least time counts.
    mode
        plain, compiled, autocast, recorded; default: on cuda all, else plain.
    threads
        Threads of torch.
    device
        cpu or cuda.
    out
        Write the table, too: .csv or .md.
    replace
        Replace the table that is there.
    """

    batch: list[int] | None = field(default=None, metadata={"min": 1})
    model: list[str] | None = None
    repeats: int = 5
    mode: list[str] | None = None
    threads: int | None = None
    device: str = "cpu"
    out: Path | None = None
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class GaeRequest(SpeedRequest):
    """What is measured of GAE.

    Attributes
    ----------
    samples
        Images to score.
    """

    samples: int = field(default=4, metadata={"min": 4})
    repeats: int = 3


app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


def machine(device: str) -> str:
    """Name what the figures were measured on."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor()
    return (
        f"{name or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


@app.command()
@taking(SpeedRequest, {"{models}": _LISTED})
def abslrp(request: SpeedRequest) -> None:
    """Multiples of one forward pass and one input gradient of the plain model."""
    names, batches, wanted = _prepare(request, abslrp_speed.DEFAULT, [8, 32])
    _show(abslrp_speed.table(batches, request.repeats, request.device, names, wanted), request)


@app.command()
@taking(GaeRequest, {"{models}": _LISTED})
def gae(request: GaeRequest) -> None:
    """GAE with absLRP as a multiple of the gradients and explanations it consists of."""
    from benchmarks.speed import gae as gae_speed

    names, batches, wanted = _prepare(request, ["ResNet50", "ViT-B/16"], [4])
    samples, repeats = request.samples, request.repeats
    _show(gae_speed.table(names, samples, batches, repeats, request.device, wanted), request)


def _show(result: pd.DataFrame, request: SpeedRequest) -> None:
    out, where = request.out, machine(request.device)
    typer.echo(where)
    typer.echo(result.to_string(index=False, float_format=_number, na_rep="-"))
    if out is None:
        return
    if out.suffix != ".md":
        replace_file(out, result.to_csv(index=False).encode())
        return
    command = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    cells = result.map(lambda value: _number(value) if isinstance(value, float) else str(value))
    table = cells.to_markdown(index=False, tablefmt="github", disable_numparse=True)
    replace_file(out, f"Made by `{command}` on {where}.\n\n{table}\n".encode())


def _number(value: float) -> str:
    """Two decimals, or as many as three digits need."""
    text = f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return "" if math.isnan(value) else text


def _prepare(
    request: SpeedRequest, models: list[str], batches: list[int]
) -> tuple[list[str], list[int], tuple[Mode, ...]]:
    """Set threads, and return what is measured, of which there are defaults.

    A GPU has to be there, and the table has not.
    """
    with report_errors(Terminal()):
        cuda = usable_device(request.device).type == "cuda"
        names = [lookup("model", name, abslrp_speed.MODELS)[0] for name in request.model or models]
        asked = request.mode or (MODES if cuda else ["plain"])
        wanted = {lookup("mode", name, dict.fromkeys(MODES))[0] for name in asked}
        if request.out is not None:
            refuse_finished("out", request.out, request.replace)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    sizes = request.batch or ([1, 16, 64] if cuda else batches)
    return names, sizes, tuple(mode for mode in MODES if mode in wanted)


if __name__ == "__main__":
    app()
