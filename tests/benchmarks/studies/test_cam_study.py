"""Class activation maps and the logits' common part: the study runs, and leaves networks alone."""

import numpy as np
import pytest
import torch

from benchmarks.models import shared_folder
from benchmarks.studies.cam_study import by_layer, by_map, by_output, by_place, by_rank
from benchmarks.studies.class_maps import Centred, Study, prepare, with_constant, without_last_relu
from gae_metric.errors import InputError


@pytest.fixture(scope="module")
def study() -> Study:
    return prepare("digits:resnet", 8)


def test_networks_that_predict_the_same(study: Study) -> None:
    x = torch.from_numpy(study.x)
    weights = {name: one.clone() for name, one in study.model.state_dict().items()}
    with torch.no_grad():
        before = study.model(x)
        less, more = Centred(study.model)(x), with_constant(study)(x)
    for logits in (less, more):
        torch.testing.assert_close(logits.softmax(1), before.softmax(1), rtol=1e-3, atol=1e-5)
    assert less.mean(1).abs().max() < 1e-5
    above = before.amax(1).mean() - before.mean()
    assert more.mean().item() == pytest.approx(above.item() / 2, rel=1e-3)
    for name, one in study.model.state_dict().items():
        assert torch.equal(one, weights[name])


def test_a_constant_moves_class_activation_maps(study: Study) -> None:
    table = by_output(study, ("GradCAM", "HiResCAM", "GuidedGradCAM")).set_index("method")
    assert table.columns.tolist() == ["as it is", "less the mean", "plus a constant"]
    assert (table.loc["same prediction"] == 1).all()
    scores = table.drop(index="same prediction")
    assert len(scores) == 3
    assert (scores["plus a constant"] < scores["as it is"] - 0.05).all()


def test_maps_of_the_heads_resolution(study: Study) -> None:
    table = by_map(study).set_index("map")
    guided = table["C of guided x map"]
    # The class map is GradCAM but for the bias.
    registered = by_output(study, ("GradCAM", "GuidedGradCAM")).set_index("method")["as it is"]
    assert table.loc["class map", "C"] == pytest.approx(registered["GradCAM"], abs=0.01)
    assert guided["class map"] == pytest.approx(registered["GuidedGradCAM"], abs=0.01)
    assert guided["none"] < guided["class map"] < guided["tile"]
    assert guided["tile"] > 0.99  # a side of the map is even: no cell lies in two quadrants


def test_class_maps_are_larger_where_the_class_is(study: Study) -> None:
    table = by_place(study).set_index("class")
    assert table.loc["predicted", "tile"] > table.loc["predicted", "outside"]
    assert table.loc["predicted", "logit"] > table.loc["mean of all", "logit"]


def test_mosaics_and_layers(study: Study) -> None:
    ranks = by_rank(study).set_index("tiles")
    assert ranks.index.tolist() == ["nearest", "area", "full size"]
    shares = ranks[["top 5", "tile's top 5"]].to_numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    layers = by_layer(study, ("GradCAM", "HiResCAM")).set_index("layer")
    last = layers.loc["layer4.0.act2"]
    # Behind a mean and a linear layer both are the class map, before the ReLU they are not.
    assert last["GradCAM"] == pytest.approx(last["HiResCAM"], abs=1e-4)
    before = layers.loc["layer4.0.bn2"]
    assert abs(before["GradCAM"] - before["HiResCAM"]) > 0.01


def test_a_network_without_class_maps_is_refused() -> None:
    with pytest.raises(InputError, match="no feature map"):
        prepare("digits:vit", 4)


def test_squeezenet_without_its_last_relu() -> None:
    try:
        shared_folder()
    except InputError:
        pytest.skip("needs the folder of reference material")
    study = prepare("shared:squeezenet", 4)
    assert study.rectify is torch.relu
    x = torch.from_numpy(study.x)
    with torch.no_grad():
        changed = without_last_relu(study.model)(x)
    logits, maps = study.class_maps(x)
    torch.testing.assert_close(changed, maps.mean((2, 3)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(logits, study.logits, rtol=1e-3, atol=1e-3)
    assert (changed < logits).any()
