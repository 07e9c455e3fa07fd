"""The main job: six methods, six metrics and three networks on scanned digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gae_metric._names import lookup
from gae_metric.commands.figures import write_figures
from gae_metric.commands.quantus_evaluation import METRICS, Settings, evaluate, predictions
from gae_metric.commands.tables import Evaluation, new_folder, write_tables
from gae_metric.commands.terminal import Terminal
from gae_metric.demo import digits
from gae_metric.demo.networks import NAMES
from gae_metric.errors import InputError
from gae_metric.explainers.gradients import EXPLAINERS
from gae_metric.inputs.models import load_model

__all__ = ["METHODS", "NETWORKS", "run"]

NETWORKS = NAMES
"""The networks that ship with the package."""

METHODS = tuple(EXPLAINERS)
"""The methods that are compared."""


def run(
    out: str | Path,
    *,
    samples: int = 32,
    networks: Sequence[str] = NETWORKS,
    seed: int = 0,
    terminal: Terminal | None = None,
) -> list[Evaluation]:
    """Evaluate all methods with all metrics on held-out digits, and write a folder.

    Parameters
    ----------
    out
        Folder to write: ``scores.csv`` (one row per network, method, metric and sample),
        ``summary.csv`` (:func:`gae_metric.compare`), ``components.csv`` (GAE's parts), ``run.json``
        (settings and versions), and for each network a folder with ``bars.png``, ``maps.png``,
        ``scatter.png`` (LC against C), ``curves.png`` (figure 2), ``impact.png`` (figure 3),
        ``mosaic.png`` (figure 4) and ``extremes.png`` (figures 11 and 14).
    samples
        Number of digits, 4 to 450, balanced over the classes. The network's own predictions are
        explained.
    networks
        Some of :data:`NETWORKS`.
    seed
        Seed of the draw of digits, of mosaics and of noise.
    terminal
        Where tables and progress go.

    Returns
    -------
    list of Evaluation
        One for each network.

    Raises
    ------
    InputError
        If an argument is not as described, or the folder cannot be written.
    """
    terminal = terminal or Terminal()
    known = {name: name for name in NETWORKS}
    chosen = list(dict.fromkeys(lookup("networks", name, known)[0] for name in networks))
    if not chosen:
        raise InputError("networks: expected at least one, got none")
    largest = len(digits.scans("test")[0])
    if not 4 <= samples <= largest:
        raise InputError(f"samples: expected 4 (a mosaic's) to {largest}, got {samples}")
    if seed < 0:
        raise InputError(f"seed: expected a non-negative integer, got {seed}")
    folder = new_folder(out)
    x, labels = digits.load("test", n=samples, seed=seed)
    settings = Settings(seed=seed)
    evaluations = []
    for name in chosen:
        model = load_model(f"digits:{name}").model
        targets = predictions(model, x).argmax(axis=1)
        right = int((targets == labels).sum())
        terminal.say(f"{name}: {right} of {samples} held-out digits classified correctly")
        with terminal.progress(name) as progress:
            results = evaluate(
                model, x, targets, METHODS, tuple(METRICS), settings=settings, progress=progress
            )
        names = [f"digit {i}" for i in range(samples)]
        evaluation = Evaluation(name, model, x, names, digits.to_display, results)
        evaluations.append(evaluation)
        terminal.show(evaluation)
        write_figures(new_folder(folder / name), evaluation)
        # After each network, so that a run that is stopped leaves what was done.
        options = {"command": "demo", "samples": samples, "networks": chosen, "seed": seed}
        write_tables(folder, evaluations, options)
    terminal.out.print(f"Results are in {folder}", markup=False, soft_wrap=True)
    return evaluations
