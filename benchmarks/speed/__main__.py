"""``python -m benchmarks.speed abslrp|gae``: tables of time and memory."""

import math
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from benchmarks.result_files import refuse_finished, replace_file
from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed.measure import MODES, Mode
from gae_metric.commands.terminal import Terminal, report_errors

Threads = Annotated[int | None, typer.Option(help="Threads of torch.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Models = Annotated[list[str] | None, typer.Option(help=", ".join(abslrp_speed.MODELS))]
Modes = Annotated[
    list[str] | None,
    typer.Option(
        "--mode", help="plain, compiled, autocast, recorded; default: on cuda all, else plain."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write the table, too: .csv or .md.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the table that is there.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


def machine(device: str) -> str:
    """Name what the figures were measured on."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor()
    return (
        f"{name or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


@app.command()
def abslrp(
    batch: Annotated[list[int] | None, typer.Option(help="Batch sizes.")] = None,
    model: Models = None,
    repeats: Annotated[int, typer.Option(help="Rounds; the least time counts.")] = 5,
    mode: Modes = None,
    threads: Threads = None,
    device: Device = "cpu",
    out: Out = None,
    replace: Replace = False,
) -> None:
    """Multiples of one forward pass and one input gradient of the plain model."""
    cuda = _prepare(device, threads, out, replace)
    names, wanted = _models(model or abslrp_speed.DEFAULT), _modes(mode, cuda)
    batches = batch or ([1, 16, 64] if cuda else [8, 32])
    _show(abslrp_speed.table(batches, repeats, device, names, wanted), device, out)


@app.command()
def gae(
    model: Models = None,
    samples: Annotated[int, typer.Option(min=4, help="Images to score.")] = 4,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images that are worked on at a time.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds; the least time counts.")] = 3,
    mode: Modes = None,
    threads: Threads = None,
    device: Device = "cpu",
    out: Out = None,
    replace: Replace = False,
) -> None:
    """GAE with absLRP as a multiple of the gradients and explanations it consists of."""
    from benchmarks.speed import gae as gae_speed

    cuda = _prepare(device, threads, out, replace)
    names = _models(model or ["ResNet50", "ViT-B/16"])
    batches = batch or ([1, 16, 64] if cuda else [4])
    wanted = _modes(mode, cuda)
    result = gae_speed.table(names, samples, batches, repeats, device, wanted)
    _show(result, device, out)


def _show(result: pd.DataFrame, device: str, out: Path | None) -> None:
    typer.echo(machine(device))
    typer.echo(result.to_string(index=False, float_format=_number, na_rep="-"))
    if out is None:
        return
    if out.suffix != ".md":
        replace_file(out, result.to_csv(index=False).encode())
        return
    command = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    cells = result.map(lambda value: _number(value) if isinstance(value, float) else str(value))
    table = cells.to_markdown(index=False, tablefmt="github", disable_numparse=True)
    replace_file(out, f"Made by `{command}` on {machine(device)}.\n\n{table}\n".encode())


def _number(value: float) -> str:
    """Two decimals, or as many as three digits need."""
    text = f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
    return "" if math.isnan(value) else text


def _prepare(device: str, threads: int | None, out: Path | None, replace: bool) -> bool:
    """Set threads, and return whether it is a GPU, which has to be there, as the table has not."""
    if out is not None:
        with report_errors(Terminal()):
            refuse_finished("out", out, replace)
    if threads is not None:
        torch.set_num_threads(threads)
    cuda = device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise typer.BadParameter("there is no CUDA device", param_hint="--device")
    return cuda


def _known(names: list[str], known: Iterable[str], option: str) -> list[str]:
    for name in names:
        if name not in known:
            message = f"expected one of {', '.join(known)}, got {name!r}"
            raise typer.BadParameter(message, param_hint=option)
    return names


def _models(names: list[str]) -> list[str]:
    return _known(names, abslrp_speed.MODELS, "--model")


def _modes(names: list[str] | None, cuda: bool) -> tuple[Mode, ...]:
    wanted = (MODES if cuda else ["plain"]) if names is None else _known(names, MODES, "--mode")
    return tuple(mode for mode in MODES if mode in wanted)


@app.callback()
def main() -> None:
    """Measure speed and memory as ratios in one run."""


if __name__ == "__main__":
    app()
