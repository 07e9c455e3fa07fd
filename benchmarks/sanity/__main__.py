"""``python -m benchmarks.sanity``: checks of GAE itself, and the document that reports them."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.result_files import refuse_finished
from benchmarks.sanity import results
from benchmarks.sanity.case import Settings, default_networks
from benchmarks.sanity.document import write
from gae_metric.commands.terminal import Terminal, report_errors

OUT = Path("benchmarks/results/sanity")


def main(
    context: typer.Context,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="digits:vgg, digits:resnet, digits:vit, shared:squeezenet, shared:mobilenet; "
            "by default all that are there."
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Images of each network.")] = None,
    steps: Annotated[int | None, typer.Option(help="States of the masking trajectory.")] = None,
    stages: Annotated[int | None, typer.Option(help="Points of the cascade of layers.")] = None,
    mosaic_seeds: Annotated[int | None, typer.Option(help="Seeds of mosaics.")] = None,
    perturbations: Annotated[int | None, typer.Option(help="Perturbations of each kind.")] = None,
    lipschitz_samples: Annotated[
        int | None, typer.Option(help="Perturbations of an image in LocalLipschitz.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Methods; by default absLRP, GradCAM, InputXGradient.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of results.")] = OUT,
    document: Annotated[
        Path | None,
        typer.Option(help="Markdown document to write; by default sanity.md in the results'."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace finished results of these networks.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write the document from the results.")
    ] = False,
) -> None:
    """Check GAE itself, and write tables, a figure and a document.

    Networks are worked on one after another, each leaving its results in a folder of its own; the
    document tells of all networks that are there.
    """
    torch.set_num_threads(threads)
    command = shlex.join(["python", "-m", "benchmarks.sanity", *sys.argv[1:]])
    given = {**context.params, "methods": tuple(method or ()) or None}
    keys = [key.name for key in dataclasses.fields(Settings) if given.get(key.name) is not None]
    document = document or (Path("docs/sanity.md") if out == OUT else out / "sanity.md")
    with report_errors(Terminal()):
        names = [] if report_only else network or default_networks()
        for name in names:
            refuse_finished("out", results.facts_file(out, name), replace)
        for name in names:
            settings = dataclasses.replace(Settings.of(name), **{key: given[key] for key in keys})
            results.run(name, settings, out, command, lambda text: typer.echo(text, err=True))
        write(results.read(out), document, out)
    typer.echo(f"{document} is written from {out}")


if __name__ == "__main__":
    typer.run(main)
