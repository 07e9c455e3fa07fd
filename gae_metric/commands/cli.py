"""The command ``gae-metric``."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gae_metric.errors import InputError

if TYPE_CHECKING:
    from gae_metric.commands.terminal import Terminal

app = typer.Typer(
    name="gae-metric",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Evaluate attribution methods with GAE and its companions.",
)


# Options that commands share.
Model = Annotated[str, typer.Option(help="timm:NAME, torchvision:NAME or digits:vgg|resnet|vit.")]
Images = Annotated[Path, typer.Option(help="Folder of images.")]
Labels = Annotated[
    str | None,
    typer.Option(
        help="CSV file with the columns file,class_index, or the word 'folders' for a folder "
        "per class. Without, the model's own predictions are explained."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Local safetensors file; default: the published weights."),
]
Samples = Annotated[
    int | None,
    typer.Option(help="Number of images, drawn by --seed; default: all."),
]
BatchSize = Annotated[int, typer.Option(help="Images per model evaluation.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Also images in folders below.")]
Size = Annotated[
    int | None,
    typer.Option(help="Side of the model's input in pixels; default: the model's own."),
]
Mean = Annotated[
    str | None,
    typer.Option(help="Mean per channel, such as 0.5,0.5,0.5; default: the model's own."),
]
Std = Annotated[
    str | None,
    typer.Option(help="Standard deviation per channel; default: the model's own."),
]
Range = Annotated[
    str | None,
    typer.Option("--range", help="What black and white become, such as -1,1; default 0,1."),
]
ModelArg = Annotated[
    list[str] | None,
    typer.Option(help="Option of the model, such as num_classes=10; may be repeated."),
]


Output = Annotated[
    str | None,
    typer.Option(
        help="Which part of the model's result is its logits: a key, an attribute or a position; "
        "'log' where it returns probabilities, 'binary' where it returns one logit of two classes."
    ),
]


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
    from gae_metric.commands.demo import run

    with _terminal() as terminal:
        studies = run(out, samples=samples, networks=_names(networks), seed=seed, terminal=terminal)
        _exit_if_failed(studies)


@app.command()
def evaluate(
    model: Model,
    images: Images,
    labels: Labels = None,
    methods: Annotated[
        str, typer.Option(help="Methods, by commas; captum:NAME for one of Captum's.")
    ] = "absLRP,Saliency,InputXGradient,IntegratedGradients,GradCAM,Random",
    metrics: Annotated[
        str, typer.Option(help="Metrics, by commas.")
    ] = "GAE,LocalConsistency,Contrastiveness,ROAD,LocalLipschitz,Focus",
    weights: Weights = None,
    samples: Samples = None,
    seed: Annotated[int, typer.Option(help="Seed of images, mosaics and noise.")] = 0,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("gae-evaluate"),
    recursive: Recursive = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    model_arg: ModelArg = None,
    output: Output = None,
    lipschitz_samples: Annotated[
        int, typer.Option(help="Perturbations of each image in LocalLipschitz.")
    ] = 10,
    figures: Annotated[bool, typer.Option(help="Write figures beside the tables.")] = True,
) -> None:
    """Compare methods on your images and any timm or torchvision model."""
    from gae_metric.commands.evaluate import EvaluateRequest, run

    with _terminal() as terminal:
        request = EvaluateRequest(
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
            output=int(output) if output and output.isdecimal() else output,
            lipschitz_samples=lipschitz_samples,
            figures=figures,
        )
        _exit_if_failed([run(request, terminal)])


@app.command()
def probe(
    model: Model,
    images: Images,
    out: Annotated[Path, typer.Option(help="FILE.npz, or a new folder for a set of shards.")],
    labels: Labels = None,
    weights: Weights = None,
    metric: Annotated[
        str,
        typer.Option(
            help="GAE, LocalConsistency, LocalRobustness, LocalFaithfulness or Contrastiveness."
        ),
    ] = "GAE",
    steps: Annotated[int, typer.Option(help="States of the masking trajectory.")] = 10,
    schedule: Annotated[str, typer.Option(help="reranked or uniform.")] = "reranked",
    mask_value: Annotated[str, typer.Option(help="A number, mean or blur.")] = "0",
    n_mosaics: Annotated[int, typer.Option(help="Mosaics of each image.")] = 1,
    interpolation: Annotated[
        str, typer.Option(help="nearest, bilinear, bicubic or area.")
    ] = "nearest",
    protocol: Annotated[str, typer.Option(help="paper or repository.")] = "paper",
    samples: Samples = None,
    seed: Annotated[int, typer.Option(help="Seed of images and mosaics.")] = 0,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    recursive: Recursive = False,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    model_arg: ModelArg = None,
    output: Output = None,
) -> None:
    """Write all that must be explained, for a tool that makes its maps elsewhere."""
    from gae_metric.commands.probe import ProbeRequest, write_probe

    with _terminal() as terminal:
        request = ProbeRequest(
            model=model,
            images=images,
            out=out,
            labels=labels,
            weights=weights,
            metric=metric,
            samples=samples,
            options={
                "steps": steps,
                "schedule": schedule,
                "mask_value": _mask_value(mask_value),
                "n_mosaics": n_mosaics,
                "interpolation": interpolation,
                "protocol": protocol,
            },
            seed=seed,
            batch_size=batch_size,
            device=device,
            recursive=recursive,
            size=size,
            mean=_numbers("mean", mean),
            std=_numbers("std", std),
            range=_numbers("range", range_),
            model_args=_arguments(model_arg or []),
            output=int(output) if output and output.isdecimal() else output,
        )
        write_probe(request, terminal)


@app.command()
def score(
    probe: Annotated[Path, typer.Option(help="What `gae-metric probe` wrote.")],
    maps: Annotated[Path, typer.Option(help="FILE.npz or folder with a map for each item.")],
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    batch_size: Annotated[
        int, typer.Option(help="Maps at a time, or fewer where they take more than 256 MB.")
    ] = 64,
) -> None:
    """Score the maps that a tool made for a probe set."""
    from gae_metric.commands.probe import score as score_maps

    with _terminal() as terminal:
        score_maps(probe, maps, out, terminal, batch_size=batch_size)


@contextmanager
def _terminal() -> Iterator[Terminal]:
    """Report what goes wrong on the terminal that is given."""
    # Imported here, and what commands run in them, so that --help and a mistyped option need no
    # torch.
    from gae_metric.commands.terminal import Terminal, report_errors

    terminal = Terminal()
    with report_errors(terminal):
        yield terminal


def _names(text: str) -> list[str]:
    """Split a list of names by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Split a list of numbers by commas."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option}: expected numbers separated by commas, got {text!r}") from None
    if option == "std" and len(numbers) == 1:
        raise InputError(f"std: expected positive numbers, one for each channel, got {text!r}")
    return numbers


def _mask_value(text: str) -> float | str:
    """Read a number, ``mean`` or ``blur``."""
    if text in ("mean", "blur"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"mask-value: expected a number, mean or blur, got {text!r}") from None


def _arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE: numbers, True, False, None and tuples of them; anything else is text."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InputError(f"model-arg: expected KEY=VALUE, got {pair!r}")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            arguments[key] = value
    return arguments


def _exit_if_failed(studies: Sequence[Any]) -> None:
    """End with status 1 where something that should work failed."""
    if any(not failure.expected for study in studies for failure in study.results.failures):
        raise typer.Exit(1)
