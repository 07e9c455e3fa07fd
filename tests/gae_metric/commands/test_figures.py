"""The figures of an evaluation: which are drawn, and that they show what was scored."""

import numpy as np
import pytest
import torch

from gae_metric.commands.figures import figures
from gae_metric.commands.quantus_evaluation import Settings, evaluate
from gae_metric.commands.tables import Evaluation, Inputs
from gae_metric.demo import digits, networks
from gae_metric.functional import MosaicPlan, content_hashes, mosaics
from tests.gae_metric.rendering import drawn, render


@pytest.fixture(scope="module")
def study():
    """Return a function from metrics to the study of two methods on the VGG and six digits."""
    x, _ = digits.load("test", n=6)
    model = networks.load("vgg")
    targets = np.array([1, 3, 5, 7, 9, 2])

    def make(*metrics):
        results = evaluate(
            model, x, targets, ["absLRP", "Saliency", "Random"], metrics, settings=Settings(seed=3)
        )
        names = [f"digit {i}" for i in range(6)]
        return Evaluation("vgg", Inputs(model, x, names, targets, digits.to_display), results)

    return make


@pytest.mark.parametrize("metrics", [["C"], ["GAE"]])
def test_mosaic_of_the_typical_sample(study, metrics):
    made = study(*metrics)
    plan = MosaicPlan.draw(content_hashes(made.inputs.x), made.results.targets, seed=3)
    indices, positive = made.results.mosaics
    np.testing.assert_array_equal(indices, plan.indices)
    np.testing.assert_array_equal(positive, plan.positive)

    figure = dict(figures(made))["mosaic"]
    pixels = render(figure)
    assert [axes.get_title() for axes in figure.axes] == ["mosaic", "absLRP", "Saliency"]
    assert all(drawn(axes, pixels) > 0.1 for axes in figure.axes)
    if metrics == ["GAE"]:
        scores = made.results.components["absLRP"]["contrastiveness"].to_numpy()
    else:
        scores = made.results.scores["absLRP", "C"]
    sample = int(np.argsort(scores, kind="stable")[3])
    assert (
        figure.get_suptitle()
        .replace("\n", " ")
        .endswith(f"mosaic of digit {sample}: maps of class {made.results.targets[sample]}")
    )
    assert figure.axes[1].get_xlabel() == f"C = {scores[sample]:.3f}"
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == [f"class {made.results.targets[i]}" for i in indices[sample]]
    shown = mosaics(torch.as_tensor(made.inputs.x), indices[sample : sample + 1])[0].numpy()
    np.testing.assert_allclose(
        figure.axes[0].images[0].get_array(), np.moveaxis(shown, 0, -1), atol=1e-6
    )


def test_figures_that_the_metrics_do_not_allow_are_left_out(study):
    made = study("LocalConsistency")
    assert made.results.mosaics is None
    assert [name for name, _ in figures(made)] == ["bars", "maps", "curves", "impact"]
