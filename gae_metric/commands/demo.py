"""The main job: six methods, six metrics and three networks on scanned digits, or photographs."""

from __future__ import annotations

from functools import partial

from gae_metric.commands.evaluate import Run
from gae_metric.commands.folder import claim
from gae_metric.commands.methods import method
from gae_metric.commands.quantus_evaluation import METRICS, Settings, predictions
from gae_metric.commands.requests import DEFAULT_METHODS, DemoRequest, settings_of
from gae_metric.commands.tables import Evaluation, Inputs
from gae_metric.commands.terminal import Terminal
from gae_metric.demo import digits, photographs
from gae_metric.inputs.models import load_model

METHODS = tuple(DEFAULT_METHODS.split(","))
"""The methods that are compared."""

PHOTOGRAPH_METHODS = ("absLRP", "GradCAM", "cLRP", "Saliency", "Random")
"""The methods that are compared on photographs."""

#: Steps of Integrated Gradients, which would take three quarters of the time with the usual 20.
_STEPS = 8


def run(request: DemoRequest, terminal: Terminal | None = None) -> list[Evaluation]:
    """Evaluate methods with all metrics on held-out digits or photographs, and write a folder.

    Parameters
    ----------
    request
        How many digits, 4 to 450, balanced over the classes, and which networks. The network's own
        predictions are explained.
    terminal
        Where tables and progress go.

    Returns
    -------
    list of Evaluation
        One for each network. The folder holds what
        :func:`gae_metric.commands.evaluate.run` writes, figures and cells in a folder for each
        network.

    Raises
    ------
    InputError
        If an argument is not as described, or the folder cannot be written.
    """
    terminal = terminal or Terminal()
    request.check()
    chosen = PHOTOGRAPH_METHODS if request.photographs else METHODS
    methods = dict(method(name) for name in chosen)
    if "IntegratedGradients" in methods:
        methods["IntegratedGradients"] = partial(methods["IntegratedGradients"], n_steps=_STEPS)
    settings = {"command": "demo"} | settings_of(request)
    folder = claim(request.out, settings, request.overwrite)
    options = Settings(seed=request.seed)
    work = Run(folder, methods, tuple(METRICS), options, settings, terminal)
    if request.photographs:
        work.metrics = ("GAE", "LC", "C", "ROAD")
        loaded = load_model("lite:0")
        names = list(photographs.SOURCES)
        x = photographs.load(loaded.preprocessing)
        targets = predictions(loaded.model, x).argmax(axis=1)
        show = loaded.preprocessing.to_display
        work.add(folder, "lite:0", Inputs(loaded.model, x, names, targets, show, loaded.classes))
        return work.finish()
    x, labels = digits.load("test", n=request.samples, seed=request.seed)
    for name in request.chosen:
        model = load_model(f"digits:{name}").model
        targets = predictions(model, x).argmax(axis=1)
        right = int((targets == labels).sum())
        terminal.say(f"{name}: {right} of {len(x)} held-out digits classified correctly")
        names = [f"digit {i}" for i in range(len(x))]
        work.add(folder / name, name, Inputs(model, x, names, targets, digits.to_display))
    return work.finish()
