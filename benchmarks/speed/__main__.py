"""``python -m benchmarks.speed abslrp``: tables of time and memory."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.speed import abslrp as abslrp_speed
from benchmarks.speed import measure

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
    model: Annotated[list[str] | None, typer.Option(help="VGG16, ResNet50, ViT-B/16.")] = None,
    repeats: Annotated[int, typer.Option(help="Rounds; the median counts.")] = 5,
    device: str = "cpu",
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV, too.")] = None,
) -> None:
    """Multiples of one forward pass and one input gradient of the plain model."""
    names = model or list(abslrp_speed.MODELS)
    result = abslrp_speed.table(batch or [8, 32], repeats, device, names)
    typer.echo(machine(device))
    typer.echo(result.to_string(index=False, float_format="{:.2f}".format))
    if out is not None:
        result.to_csv(out, index=False)


@app.command(hidden=True)
def peak(
    task: str,
    model: Annotated[str, typer.Option()],
    batch: Annotated[int, typer.Option()],
    device: str = "cpu",
) -> None:
    """Peak memory of one task in bytes, measured in this process."""
    built = abslrp_speed.build(model, device)
    typer.echo(measure.peak_bytes(abslrp_speed.tasks(built, batch, device)[task], device))


@app.callback()
def main() -> None:
    """Measure speed and memory as ratios in one run."""


if __name__ == "__main__":
    app()
