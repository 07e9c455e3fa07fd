"""Scores of the new metrics beside this package's, on MNIST, as JSON; run by ``compare.py``.

``python agreement.py ASSETS OUT COUNT [METHODS]`` with the changed Quantus first on PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from quantus.helpers.model.models import LeNet

import gae_metric

METRICS = ("LocalConsistency", "Contrastiveness", "GAE")
METHODS = ("InputXGradient", "Saliency", "IntegratedGradients")


def main(assets: Path, out: Path, count: int, methods: int = len(METHODS)) -> None:
    """Write the scores of both, by metric, model and method."""
    warnings.simplefilter("ignore")
    x = np.loadtxt(assets / "mnist_x").reshape(-1, 1, 28, 28)[:count]
    y = np.loadtxt(assets / "mnist_y").astype(int)[:count]
    found: list[dict[str, Any]] = []
    for model_name, divisor in (("LeNet", 1), ("LeNet, logits / 40", 40)):
        model = LeNet()
        weights = torch.load(assets / "mnist", map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
        with torch.no_grad():
            # The LeNet is certain of everything: of each quadrant S is then 1 or -1.
            model.fc_3.weight.div_(divisor)
            model.fc_3.bias.div_(divisor)
        model.eval()
        for name in METRICS:
            for method in METHODS[:methods]:
                call = {"explain_func": quantus.explain, "explain_func_kwargs": {"method": method}}
                theirs = getattr(quantus, name)()(model, x, y, batch_size=41, **call)
                ours = getattr(gae_metric, name)(disable_warnings=True)(model, x, y, **call)
                found.append(
                    {
                        "model": model_name,
                        "metric": name,
                        "method": method,
                        "new": theirs,
                        "package": ours,
                    }
                )
    out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
