"""What absLRP and LRP-alpha1beta0 differ by: the study runs, and leaves the rules as they were."""

import numpy as np
import pytest

from benchmarks.models import shared_folder
from benchmarks.studies.contrast_study import (
    EPSILONS,
    STABILISED,
    heads,
    rules_and_contrasts,
    stabilisers,
)
from gae_metric.errors import InputError


def test_a_contrast_makes_maps_of_a_class() -> None:
    table = rules_and_contrasts("vgg", 8).set_index(["rules", "contrast"])
    for rules in ("absLRP", "alpha1beta0"):
        parts = table.loc[rules, "contrastiveness"]
        assert parts.loc["streams"] > parts.loc["None"] + 0.3


def test_the_head_of_squeezenet() -> None:
    try:
        shared_folder()
    except InputError:
        pytest.skip("needs the folder of reference material")
    means = heads(4).set_index(["rules", "contrast"])["contrastiveness"]
    assert means.index.get_level_values("rules").nunique() == 4
    # The rule of one layer makes a difference: 0.748 and 0.887.
    assert means["absLRP, head alpha1beta0", "streams"] > means["absLRP", "streams"] + 0.05


def test_the_stabiliser_is_put_back() -> None:
    table = stabilisers("vgg", 8)
    assert table["epsilon"].tolist() == list(EPSILONS)
    assert np.ptp(table["mean"]) > 0.01  # 0.827 to 0.863
    assert {vars(module)["EPSILON"] for module in STABILISED} == {1e-9}
