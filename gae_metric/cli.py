"""The command ``gae-metric``."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="gae-metric",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Evaluate attribution methods with GAE and its companions.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gae-metric {version('gae-metric')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Evaluate attribution methods with GAE and its companions."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("gae-demo"),
    samples: Annotated[int, typer.Option(help="Number of held-out digits.")] = 32,
    networks: Annotated[str, typer.Option(help="Networks, by commas.")] = "vgg,resnet,vit",
    seed: Annotated[int, typer.Option(help="Seed of digits, mosaics and noise.")] = 0,
) -> None:
    """Compare six methods by six metrics on three small networks and scanned digits."""
    # Imported here, so that --help and a mistyped option need no torch.
    from gae_metric.console import Terminal, report_errors
    from gae_metric.demo.run import run

    terminal = Terminal()
    with report_errors(terminal):
        studies = run(out, samples=samples, networks=_names(networks), seed=seed, terminal=terminal)
        _exit_if_failed(studies)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Option(help="timm:NAME, torchvision:NAME or digits:vgg|resnet|vit.")
    ],
    images: Annotated[Path, typer.Option(help="Folder of images.")],
    labels: Annotated[
        str | None,
        typer.Option(
            help="CSV file with the columns file,class_index, or the word 'folders' for a folder "
            "per class. Without, the model's own predictions are explained."
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option(help="Methods, by commas; captum:NAME for one of Captum's.")
    ] = "absLRP,Saliency,InputXGradient,IntegratedGradients,GradCAM,Random",
    metrics: Annotated[
        str, typer.Option(help="Metrics, by commas.")
    ] = "GAE,LocalConsistency,Contrastiveness,ROAD,LocalLipschitz,Focus",
    weights: Annotated[
        Path | None,
        typer.Option(help="Local safetensors file; default: the published weights."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Number of images, drawn by --seed; default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of images, mosaics and noise.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images per model evaluation.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("gae-evaluate"),
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Also images in folders below.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(help="Side of the model's input in pixels; default: the model's own."),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Mean per channel, such as 0.5,0.5,0.5; default: the model's own."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Standard deviation per channel; default: the model's own."),
    ] = None,
    range_: Annotated[
        str | None,
        typer.Option("--range", help="What black and white become, such as -1,1; default 0,1."),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(help="Option of the model, such as num_classes=10; may be repeated."),
    ] = None,
    lipschitz_samples: Annotated[
        int, typer.Option(help="Perturbations of each image in LocalLipschitz.")
    ] = 10,
    figures: Annotated[bool, typer.Option(help="Write figures beside the tables.")] = True,
) -> None:
    """Compare methods on your images and any timm or torchvision model."""
    from gae_metric.console import Terminal, report_errors
    from gae_metric.own import Request, run

    terminal = Terminal()
    with report_errors(terminal):
        request = Request(
            model=model,
            images=images,
            labels=labels,
            methods=_names(methods),
            metrics=_names(metrics),
            weights=weights,
            samples=samples,
            seed=seed,
            batch_size=batch_size,
            device=device,
            out=out,
            recursive=recursive,
            size=size,
            mean=_numbers("mean", mean),
            std=_numbers("std", std),
            range=_numbers("range", range_),
            model_args=_arguments(model_arg or []),
            lipschitz_samples=lipschitz_samples,
            figures=figures,
        )
        _exit_if_failed([run(request, terminal)])


def _names(text: str) -> list[str]:
    """Split a list of names by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Split a list of numbers by commas."""
    from gae_metric.errors import InputError

    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option}: expected numbers separated by commas, got {text!r}") from None


def _arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE: numbers, True, False, None and tuples of them; anything else is text."""
    from gae_metric.errors import InputError

    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"model-arg: expected KEY=VALUE, got {pair!r}")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value
    return arguments


def _exit_if_failed(studies: Sequence[Any]) -> None:
    """End with status 1 where something that should work failed."""
    if any(not failure.expected for study in studies for failure in study.results.failures):
        raise typer.Exit(1)
