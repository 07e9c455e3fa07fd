"""The figures of an evaluation: which are drawn, and that they show what was scored."""

import numpy as np
import pytest
import torch

from gae_metric import plotting
from gae_metric.commands.cells import Cells
from gae_metric.commands.figures import figures
from gae_metric.commands.named_metrics import Settings
from gae_metric.commands.quantus_evaluation import evaluate
from gae_metric.commands.tables import Evaluation, Inputs
from gae_metric.demo import digits, networks
from gae_metric.explainers.gradients import explainer
from gae_metric.functional import (
    LERF,
    MORF,
    MosaicPlan,
    content_hashes,
    mask_baseline,
    masking_trajectory,
    mosaics,
)
from gae_metric.metrics.plot import typical
from tests.gae_metric.rendering import drawn, render


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a function from metrics to the study of two methods on the VGG and six digits."""
    x, _ = digits.load("test", n=6)
    model = networks.load("vgg")
    targets = np.array([1, 3, 5, 7, 9, 2])

    def make(*metrics, **options):
        settings = Settings(seed=3, **options)
        methods = dict(map(explainer, ("absLRP", "Saliency", "Random")))
        cells = Cells(tmp_path_factory.mktemp("cells"), "")
        told = {"progress": lambda *_: None, "planned": lambda *_: None}
        inputs = Inputs(model, x, [f"digit {i}" for i in range(6)], targets, digits.to_display)
        results = evaluate(inputs, methods, metrics, settings, cells=cells, **told)
        return Evaluation("vgg", inputs, results, methods, settings)

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


def test_pictures_are_of_what_was_scored(study, monkeypatch):
    """They showed ten steps, masking with 0 and nearest pixels, whatever the settings were."""
    masking = {"steps": 4, "schedule": "uniform", "mask_value": "mean"}
    made = study("GAE", masking=masking, mosaicking={"seed": 3, "interpolation": "area"})
    shown = {}
    for name in ("impact", "mosaic"):
        drawing = getattr(plotting, name)
        monkeypatch.setattr(
            plotting,
            name,
            lambda *given, name=name, drawing=drawing, **named: (
                shown.update({name: given}),
                drawing(*given, **named),
            )[1],
        )
    drawn_figures = dict(figures(made))
    assert {"impact", "mosaic"} <= set(drawn_figures)
    sample = typical(made.results.components["absLRP"]["local_consistency"].to_numpy())
    x = torch.as_tensor(made.inputs.x[[sample]])
    trajectory = masking_trajectory(
        made.inputs.model, x, torch.as_tensor(made.results.targets[[sample]]), steps=4,
        schedule="uniform", baseline=mask_baseline(x, "mean"), keep_impacts=True,
    )  # fmt: skip
    for got, expected in zip(
        shown["impact"][1:3], trajectory.impacts[[LERF, MORF], 0], strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-9)
    sample = typical(made.results.components["absLRP"]["contrastiveness"].to_numpy())
    indices = made.results.mosaics[0][[sample]]
    mosaic = mosaics(torch.as_tensor(made.inputs.x), indices, "area").numpy()
    np.testing.assert_allclose(shown["mosaic"][0], digits.to_display(mosaic)[0], atol=1e-6)
    other = mosaics(torch.as_tensor(made.inputs.x), indices).numpy()
    assert np.abs(digits.to_display(other)[0] - shown["mosaic"][0]).max() > 0.05


def test_figures_that_the_metrics_do_not_allow_are_left_out(study):
    made = study("LC")
    assert made.results.mosaics is None
    assert [name for name, _ in figures(made)] == ["bars", "maps", "curves", "impact"]
