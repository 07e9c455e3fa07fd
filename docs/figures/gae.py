"""``python docs/figures/gae.py``: the figures of the page on GAE.

On the digits network that ships with the package; takes about half a minute.
"""

from __future__ import annotations

from pathlib import Path

import torch

import abslrp
from gae_metric import GAE, plotting
from gae_metric.demo import digits, networks
from gae_metric.explainers import input_x_gradient
from gae_metric.functional import LERF, MORF, masking_trajectory, mosaics
from gae_metric.metrics.plot import typical

METHODS = {"absLRP": abslrp.explain, "InputXGradient": input_x_gradient}


def main(folder: Path = Path(__file__).parent) -> None:
    """Write ``gae-curves.png``, ``gae-impact.png`` and ``gae-mosaic.png``."""
    model = networks.load("vgg")
    x, _ = digits.load("test", n=16)
    images = digits.to_display(x)
    targets = model(torch.from_numpy(x)).argmax(1).numpy()
    metrics = {name: GAE() for name in METHODS}
    for name, metric in metrics.items():
        metric(model, x, targets, explain_func=METHODS[name])
    parts = {name: metric.components for name, metric in metrics.items()}
    first = metrics["absLRP"]
    i = typical(parts["absLRP"]["local_consistency"].to_numpy())
    one = slice(i, i + 1)

    figure = plotting.curves(first.curves, i)
    figure.savefig(folder / "gae-curves.png")

    impacts = masking_trajectory(
        model, torch.from_numpy(x[one]), torch.from_numpy(targets[one]), keep_impacts=True
    ).impacts
    assert impacts is not None
    figure = plotting.impact(images[i], impacts[LERF, 0].numpy(), impacts[MORF, 0].numpy())
    figure.savefig(folder / "gae-impact.png")

    assert first.mosaic_indices is not None
    assert first.mosaic_positive is not None
    indices = first.mosaic_indices[i, 0]
    mosaic = mosaics(torch.from_numpy(x), indices[None]).numpy()
    shown = ("absLRP", "InputXGradient")
    figure = plotting.mosaic(
        digits.to_display(mosaic)[0],
        {name: METHODS[name](model, mosaic, targets[one])[0] for name in shown},
        int(first.mosaic_positive[i, 0]),
        labels=[f"class {targets[k]}" for k in indices],
        scores={name: parts[name].loc[i, "contrastiveness"] for name in shown},
    )
    figure.savefig(folder / "gae-mosaic.png")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
