"""The command ``gae-metric``."""

import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from importlib import import_module
from typing import Annotated, Any, get_type_hints

import typer

from gae_metric._names import METRICS
from gae_metric.commands import requests
from gae_metric.commands.methods import METHODS
from gae_metric.commands.terminal import Terminal, report_errors
from gae_metric.errors import UnknownNameError
from gae_metric.inputs.files import SOURCES, model_names

app = typer.Typer(
    name="gae-metric",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    # Half of 80 columns is too little for an option and its choices.
    context_settings={"max_content_width": 100},
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


def _helps(request: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a request say of its attributes."""
    found: dict[str, str] = {}
    for one in reversed(request.__mro__[:-1]):
        section = inspect.cleandoc(one.__doc__ or "").partition("Attributes\n----------\n")[2]
        for name, text in re.findall(r"^(\w+)\n((?: +.*\n?)+)", section, re.MULTILINE):
            found[name] = " ".join(text.split())
    names = {"{methods}": ", ".join(METHODS), "{metrics}": ", ".join(METRICS)}
    for mark, value in names.items():
        found = {name: text.replace(mark, value) for name, text in found.items()}
    return found


def _command(name: str, request: type[Any], where: str, what: str, *examples: str) -> None:
    """Add a command whose options are the fields of a request."""
    hints, said = get_type_hints(request), _helps(request)

    def command(**given: Any) -> None:
        kept = "stopped; what was finished is kept, and the same command goes on from there"
        with report_errors(Terminal(), kept if hasattr(request, "settings") else None) as terminal:
            asked = request(**given)
            asked.check()
            # Not before, so that --help and what is wrong of itself need no torch.
            module, _, function = where.partition(":")
            done = getattr(import_module(f"gae_metric.commands.{module}"), function)(
                asked, terminal
            )
            evaluations = done if isinstance(done, list) else []
            if any(not one.expected for e in evaluations for one in e.results.failures):
                raise typer.Exit(1)

    def parameter(field: Field[Any]) -> inspect.Parameter:
        # What is off by default has a switch to turn it on, and none to turn it off.
        flags = [f"--{field.name}"] if field.default is False else []
        option = typer.Option(*flags, help=said.get(field.name))
        return inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=Annotated[hints[field.name], option],
        )

    parameters = [parameter(field) for field in fields(request)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shown = "\n\n".join(f"  gae-metric {name} {example}" for example in examples)
    app.command(name, help=what, epilog=f"Examples:\n\n{shown}")(command)


_command(
    "demo",
    requests.DemoRequest,
    "evaluate:run_demo",
    "Compare six methods by six metrics on three small networks and scanned digits.",
    "",
    "--photographs --out photographs-demo",
)
_command(
    "evaluate",
    requests.EvaluateRequest,
    "evaluate:run",
    "Compare methods on your images and any timm or torchvision model.",
    "--model lite:0 --images photographs/ --samples 32",
    "--model timm:resnet50 --images cats/ --labels labels.csv --methods absLRP,GradCAM",
)
_command(
    "probe",
    requests.ProbeRequest,
    "probe:write_probe",
    "Write all that must be explained, for a tool that makes its maps elsewhere.",
    "--model timm:resnet50 --images photographs/ --out probe.npz",
)
_command(
    "score",
    requests.ScoreRequest,
    "probe:score",
    "Score the maps that a tool made for a probe set.",
    "--probe probe.npz --maps maps.npz --out scores.csv",
)


@app.command()
def methods() -> None:
    """List the methods that --methods takes."""
    lines = [f"{name:20} {what}" for name, (what, _, _) in METHODS.items()]
    captum = f"{'captum:NAME':20} a method of Captum (extra 'captum'), such as captum:DeepLift"
    _echo([*lines, captum])


@app.command()
def metrics() -> None:
    """List the metrics that --metrics takes."""
    _echo(f"{name:20} {what} ({better} is better)" for name, (better, what) in METRICS.items())


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Part of the names, such as resnet.")] = "",
) -> None:
    """List the models that --model takes."""
    with report_errors(Terminal()):
        known = [f"{source}:{name}" for source in SOURCES for name in model_names(source)]
        if not (found := [name for name in known if pattern.lower() in name.lower()]):
            raise UnknownNameError(f"pattern: no name has {pattern!r} in it")
    _echo(found)


def _echo(lines: Iterable[str]) -> None:
    with report_errors(Terminal()):
        typer.echo("\n".join(lines))
