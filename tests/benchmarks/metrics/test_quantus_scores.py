"""Every metric of Quantus either runs, or is refused by name and reason before any work."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.config.runs import parse
from benchmarks.data.names import open_data
from benchmarks.methods import METHODS
from benchmarks.metrics import quantus_scores
from benchmarks.metrics.quantus_scores import LOCALISATION, quantus_metrics, quantus_options
from benchmarks.runner import identity, worker
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
from gae_metric.errors import InputError
from gae_metric.inputs.models import LoadedModel
from gae_metric.inputs.preprocessing import Preprocessing, square_crop
from tests.benchmarks.data.test_data import voc

pytestmark = pytest.mark.usefixtures("fake_methods")

PREPARE = Preprocessing(square_crop, 12)
FEW = {
    "nr_samples": 2,
    "nr_runs": 3,
    "n_perturb_samples": 2,
    "nr_steps": 3,
    "patch_size": 4,
    "regions_evaluation": 3,
    "k": 30,
    "perturb_patch_sizes": [3],
    "subset_size": 20,
    "return_nan_when_prediction_changes": False,
}
REFUSED = {
    "ROAD": "ours are ROAD_MoRF and ROAD_LeRF",
    "Focus": "ours, Focus, makes them",
    "InputInvariance": "a convolution with a bias",
    "SmoothMPRT": "does not pass the method on",
    "IROF": "several channels",
    "Consistency": "compares samples with one another",
    "Sufficiency": "compares samples with one another",
    "SensitivityN": "compares samples with one another",
}


def network(classes=20):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, classes),
        )
    return LoadedModel("tiny", model.eval().requires_grad_(False), PREPARE)


def run(tmp_path, metric, **changes):
    given = {
        "models": "digits:vgg",
        "data": f"voc:{tmp_path / 'voc'}",
        "targets": "labels",
        "methods": "Saliency",
        "metrics": metric,
        "modules": "tests.benchmarks.fakes",
        "output": str(tmp_path / "out"),
        "threads": 1,
        **changes,
    }
    summary = execute(parse(given), quiet=True)
    assert summary.failed == {}
    return collect(given["output"]).scores["score"].to_numpy()


def replace_model(monkeypatch, model):
    """Let a run explain this model, whatever name it asks for."""
    for module in (identity, worker):
        monkeypatch.setattr(module, "load", lambda *_: model)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with VOC of two images with masks, and a model of VOC's classes for any name."""
    replace_model(monkeypatch, network())
    voc(tmp_path / "voc")
    return tmp_path


@pytest.mark.parametrize("name", sorted(quantus_metrics()))
def test_it_runs_or_is_refused(name, folder):
    options = {key: value for key, value in FEW.items() if key in quantus_options(name)}
    metric = {"name": f"quantus:{name}", "options": options}
    if name in REFUSED:
        with pytest.raises(InputError, match=rf"quantus:{name} cannot be run: .*{REFUSED[name]}"):
            run(folder, metric)
        assert not (folder / "out").exists()
        return
    assert name not in quantus_scores.REFUSED
    scores = run(folder, metric)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", sorted(LOCALISATION))
def test_localisation_needs_masks(name, tmp_path):
    wanted = rf"quantus:{name} needs masks .* only voc:DIR has, and data is 'digits'"
    with pytest.raises(InputError, match=wanted):
        run(tmp_path, f"quantus:{name}", data="digits")
    assert not (tmp_path / "out").exists()


def test_localisation_is_by_the_mask_of_the_explained_class(folder):
    """Quick's map is the image: the mass of its absolute value in the class's pixels."""
    data = open_data(f"voc:{folder / 'voc'}", masks=True).load(PREPARE)
    inside = data.masks == np.array([8, 15])[:, None, None]  # cat and person, one more than labels
    assert inside.any(axis=(1, 2)).all()
    assert not inside.all(axis=(1, 2)).any()
    maps = np.abs(data.x.sum(axis=1))
    expected = (maps * inside).sum(axis=(1, 2)) / maps.sum(axis=(1, 2))
    found = run(folder, "quantus:AttributionLocalisation", methods="Quick")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_class_that_is_not_in_the_image(folder):
    """What the model predicts may be absent; Quantus's PointingGame calls that a hit."""
    scores = run(folder, "quantus:PointingGame", targets="predicted")
    predicted = collect(folder / "out").targets["predicted"].to_numpy()
    assert not np.isin(predicted, [7, 14]).any()
    assert np.isnan(scores).all()


def test_masks_are_of_voc_s_classes(folder, monkeypatch):
    replace_model(monkeypatch, network(30))
    with pytest.raises(InputError, match="masks are of VOC's 20 classes, and digits:vgg explains"):
        run(folder, "quantus:AUC")


def test_masks_are_only_read_where_they_are_needed(folder):
    (folder / "voc" / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "a.png").unlink()
    assert len(run(folder, "quantus:Sparseness")) == 2


@pytest.mark.parametrize("name", ["PixelFlipping", "RegionPerturbation", "Selectivity"])
def test_a_curve_counts_by_its_area(name, folder):
    """That of Quantus's get_auc_score, whatever PixelFlipping's option says."""
    found = run(folder, f"quantus:{name}")
    data = open_data(f"voc:{folder / 'voc'}").load(PREPARE)
    model = network().model
    maps = METHODS["Saliency"](model, data.x, data.labels)
    curves = quantus_metrics()[name](disable_warnings=True)(
        model=model, x_batch=data.x, y_batch=data.labels, a_batch=maps, device="cpu"
    )
    areas = [np.mean([c[:-1], c[1:]], axis=0).sum() for c in np.array(curves)]
    np.testing.assert_allclose(found, areas, rtol=1e-4)
    if name == "PixelFlipping":
        options = {"return_auc_per_sample": True}
        metric = {"name": f"quantus:{name}", "options": options}
        again = run(folder, metric, output=str(folder / "again"))
        np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("name", ["RandomLogit", "MPRT"])
def test_on_the_digits_networks(name, tmp_path):
    """RandomLogit draws among the model's ten classes, not among Quantus's thousand."""
    scores = run(tmp_path, f"quantus:{name}", data="digits", samples=3)
    assert scores.shape == (3,)
    assert (np.abs(scores) <= 1).all()


def test_what_does_not_change_has_no_rank_correlation(folder, monkeypatch):
    """Quantus's own correlation fails at it where there is one sample."""
    constant = network()
    nn.init.zeros_(constant.model[-1].weight)
    replace_model(monkeypatch, constant)
    metric = {"name": "quantus:MonotonicityCorrelation", "options": {"nr_samples": 2}}
    assert np.isnan(run(folder, metric, methods="Quick")).all()


def test_what_is_not_one_number_is_named(folder):
    metric = {"name": "quantus:MPRT", "options": {"return_average_correlation": False}}
    with pytest.raises(AssertionError, match="quantus:MPRT: expected one number for a sample"):
        run(folder, metric)
