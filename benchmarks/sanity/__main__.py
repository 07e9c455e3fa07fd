"""``python -m benchmarks.sanity``: checks of GAE itself, and the document that reports them."""

import dataclasses
import shlex
import sys
from pathlib import Path

import torch
import typer

from benchmarks.result_files import refuse_finished
from benchmarks.sanity import results
from benchmarks.sanity.case import Settings, default_networks
from benchmarks.sanity.document import write
from gae_metric.commands.declared import taking
from gae_metric.commands.terminal import Terminal, report_errors

OUT = Path("benchmarks/results/sanity")


@dataclasses.dataclass(frozen=True)
class SanityRequest:
    """What is checked, and how much.

    Attributes
    ----------
    network
        digits:vgg, digits:resnet, digits:vit, shared:squeezenet, shared:mobilenet, lite:0; by
        default all that are there.
    samples
        Images of each network.
    steps
        States of the masking trajectory.
    stages
        Points of the cascade of layers.
    mosaic_seeds
        Seeds of mosaics.
    perturbations
        Perturbations of each kind.
    lipschitz_samples
        Perturbations of an image in LocalLipschitz.
    method
        Methods; by default absLRP, GradCAM, InputXGradient.
    seed
        Seed of all that is drawn.
    threads
        Threads of torch.
    out
        Folder of results.
    document
        Markdown document to write; by default sanity.md in the results'.
    replace
        Replace finished results of these networks.
    report_only
        Write the document from the results.
    """

    network: list[str] | None = None
    samples: int | None = None
    steps: int | None = None
    stages: int | None = None
    mosaic_seeds: int | None = None
    perturbations: int | None = None
    lipschitz_samples: int | None = None
    method: list[str] | None = None
    seed: int = 0
    threads: int = dataclasses.field(default=1, metadata={"min": 1})
    out: Path = OUT
    document: Path | None = None
    replace: bool = False
    report_only: bool = False


@taking(SanityRequest)
def main(request: SanityRequest) -> None:
    """Check GAE itself, and write tables, a figure and a document.

    Networks are worked on one after another, each leaving its results in a folder of its own; the
    document tells of all networks that are there.
    """
    torch.set_num_threads(request.threads)
    command = shlex.join(["python", "-m", "benchmarks.sanity", *sys.argv[1:]])
    out, given = request.out, {**vars(request), "methods": tuple(request.method or ()) or None}
    keys = [key.name for key in dataclasses.fields(Settings) if given.get(key.name) is not None]
    document = request.document or (Path("docs/sanity.md") if out == OUT else out / "sanity.md")
    with report_errors(Terminal()):
        names = [] if request.report_only else request.network or default_networks()
        for name in names:
            refuse_finished("out", results.facts_file(out, name), request.replace)
        for name in names:
            settings = dataclasses.replace(Settings.of(name), **{key: given[key] for key in keys})
            results.run(name, settings, out, command, lambda text: typer.echo(text, err=True))
        write(results.read(out), document, out)
    typer.echo(f"{document} is written from {out}")


if __name__ == "__main__":
    typer.run(main)
