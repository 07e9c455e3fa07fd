"""The study of what moves a score: its tables, on few digits."""

import numpy as np
import pytest

from benchmarks.studies import score_stability as study
from gae_metric.demo import digits, networks
from gae_metric.explainers import saliency


@pytest.fixture(scope="module")
def case():
    return networks.load("resnet"), saliency, *digits.load("test", n=12)


def test_the_draw_counts_less_with_more_mosaics(case):
    found = study.draws(*case, seeds=6, mosaics=(1, 8)).set_index("K")
    # By the square root of 8, a factor of 2.8; at least by half of its logarithm.
    assert found.loc[1, "sample"] > 1.7 * found.loc[8, "sample"]
    assert (found["mean"] < found["sample"]).all()


def test_a_constant_changes_lc_robustness_alone(case):
    found = study.constants(*case, added=(0, 20))
    assert np.ptp(found["lc_robustness"]) > 0.1
    for same in ("lc_faithfulness", "contrastiveness"):
        assert np.ptp(found[same]) < 1e-3


def test_classes_that_are_not_predicted_score_high(case):
    found = study.wrong_classes(*case).set_index("classes")["contrastiveness"]
    assert found["true"] < 0.1
    assert found["next"] > 0.3
