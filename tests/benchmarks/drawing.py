"""A small run with two families of models, and what its figures show, for the tests of figures."""

import numpy as np
import timm
import torch
from safetensors.torch import save_file

from benchmarks.config.runs import parse
from benchmarks.figures.plan import FIGURES
from benchmarks.figures.write import Drawn, Material
from benchmarks.runner.run import execute

#: A second vision transformer, with 3 x 3 tokens where digits:vit has 6 x 6.
COARSE = {
    "img_size": 48,
    "patch_size": 16,
    "num_classes": 10,
    "embed_dim": 24,
    "depth": 1,
    "num_heads": 2,
}
METHODS = ["Random", "InputXGradient", "LLAttention", "absLRP"]
SAMPLES = 12
STEPS = 2


def small_run(folder):
    """Compute scores of 12 digits for one convolutional network and two vision transformers."""
    weights = folder / "coarse.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = timm.create_model("vit_tiny_patch16_224", **COARSE).state_dict()
        for name in state:  # so that not all digits are of one class
            state[name] *= 10 if name.endswith(("qkv.weight", "proj.weight")) else 1
        save_file(state, weights)
    coarse = {"name": "timm:vit_tiny_patch16_224", "weights": str(weights), "args": COARSE}
    run = parse(
        {
            "models": ["digits:vgg", "digits:vit", coarse],
            "samples": SAMPLES,
            "block": SAMPLES,
            "methods": METHODS,
            "metrics": "GAE",
            "steps": STEPS,
            "seed": 1,
            "output": str(folder / "run"),
        }
    )
    execute(run, quiet=True)
    return folder / "run"


class Drawings:
    """The figures of a run, each drawn once."""

    def __init__(self, folder, beside=(), named=()):
        self.material = Material(folder, named)
        self.beside = [Material(one) for one in beside]
        self.outcomes = {}

    def __getitem__(self, number):
        if number not in self.outcomes:
            self.outcomes[number] = list(self.material.drawn(FIGURES[number], self.beside))
        return {one.name: one.figure for one in self.outcomes[number] if isinstance(one, Drawn)}


def shown(axes):
    """Return what an image or map shows."""
    return np.asarray(axes.images[0].get_array())


def picture(x):
    """Return a digit's canvas as it is shown."""
    return np.moveaxis(x, 0, -1).clip(0, 1)
