"""The command ``gae-metric``."""

from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from gae_metric._names import METHODS, METRICS
from gae_metric.commands import requests
from gae_metric.commands.declared import taking
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


def _command(name: str, request: type[Any], where: str, what: str, *examples: str) -> None:
    """Add a command whose options are the fields of a request."""

    @taking(request, {"{methods}": ", ".join(METHODS), "{metrics}": ", ".join(METRICS)})
    def command(asked: Any) -> None:
        kept = "stopped; what was finished is kept, and the same command goes on from there"
        with report_errors(Terminal(), kept if hasattr(request, "settings") else None) as terminal:
            asked.check()
            # Not before, so that --help and what is wrong of itself need no torch.
            module, _, function = where.partition(":")
            work = getattr(import_module(f"gae_metric.commands.{module}"), function)
            evaluations = work(asked, terminal) or ()
            if any(not one.expected for e in evaluations for one in e.results.failures):
                raise typer.Exit(1)

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
    "Write a probe set: all inputs that another tool must explain for a score.",
    "--model timm:resnet50 --images photographs/ --out probe.npz",
    "--model lite:0 --images photographs/ --metric LC --samples 8 --out probe/",
)
_command(
    "score",
    requests.ScoreRequest,
    "probe:score",
    "Score the maps that another tool made for a probe set.",
    "--probe probe.npz --maps maps.npz --out scores.csv",
    "--probe probe/ --maps maps/ --batch-size 16",
)


@app.command()
def methods() -> None:
    """List the methods that --methods takes."""
    known = {name: what for name, (what, _, _) in METHODS.items()}
    known["captum:NAME"] = "a method of Captum (extra 'captum'), such as captum:DeepLift"
    _echo(f"{name:{max(map(len, known))}}  {what}" for name, what in known.items())


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
