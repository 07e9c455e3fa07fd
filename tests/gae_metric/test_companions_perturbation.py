"""AOPC and ABPC against equations 8 and 9 written out, region by region."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gae_metric.companions import ABPC, AOPC
from gae_metric.companions.noise import content_generator


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9 * 8, 3)
    return nn.Sequential(*layers).double().eval()


@pytest.fixture
def case():
    rng = np.random.default_rng(1)
    x, a = rng.standard_normal((2, 3, 3, 11, 10))
    return network(), x, np.array([2, 0, 1]), a


def equations(model, image, target, relevance, regions, size, seed):
    """Return AOPC and ABPC of one image, region by region."""
    height, width = image.shape[1:]
    corners = [(r, c) for r in range(0, height, size) for c in range(0, width, size)]
    inside = [np.s_[:, r : r + size, c : c + size] for r, c in corners]
    least, most = image.min((1, 2))[:, None, None], image.max((1, 2))[:, None, None]
    noise = content_generator(image, seed).uniform(least, most, image.shape)

    def f(x):
        with torch.no_grad():
            return float(model(torch.from_numpy(x)[None])[0, target])

    def curve(sign):
        x, outputs = image.copy(), [f(image)]
        for place in sorted(inside, key=lambda place: sign * relevance[place].sum())[:regions]:
            x[place] = noise[place]
            outputs.append(f(x))
        return np.array(outputs)

    morf, lerf = curve(-1), curve(1)
    return (morf[0] - morf).mean(), (lerf - morf).mean()


@pytest.mark.parametrize("batch_size", [1, 5])
def test_equations_8_and_9(case, batch_size):
    model, x, y, a = case
    asked = {"regions": 6, "size": 4, "seed": 3}
    expected = [equations(model, *each, **asked) for each in zip(x, y, a, strict=True)]
    found = [m(**asked)(model, x, y, a, batch_size=batch_size) for m in (AOPC, ABPC)]
    np.testing.assert_allclose(np.transpose(found), expected, atol=1e-10)


def test_one_nan_sample_is_one_nan_score(case):
    model, x, y, a = case
    x[1, 0, 0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match=r"AOPC: NaN .*: 1 samples \(1\)"):
        scores = AOPC(regions=2, size=4)(model, x, y, a)
    assert np.isnan(scores).tolist() == [False, True, False]


@pytest.mark.parametrize("cls", [AOPC, ABPC])
def test_no_map_of_a_chunk_is_finite(case, cls):
    model, x, y, a = case
    given = np.concatenate([a[:2] * np.nan, a[2:]])
    metric = cls(regions=2, size=4, explain_batch_size=2)
    with pytest.warns(RuntimeWarning, match=rf"{cls.name}: NaN .*: 2 samples \(0, 1\)"):
        scores = metric(model, x, y, given)
    assert scores[2] == pytest.approx(cls(regions=2, size=4)(model, x, y, a)[2])


def test_refusals(case):
    model, x, y, a = case
    with pytest.raises(ValueError, match=r"regions: expected at most the 4 of 9 x 9 .* got 100"):
        AOPC()(model, x, y, a)
    with pytest.raises(ValueError, match="size: expected a positive integer, got 0"):
        ABPC(size=0)
    with pytest.raises(ValueError, match="did you mean regions"):
        AOPC(region=4)


@pytest.mark.parametrize("cls", [AOPC, ABPC])
def test_what_is_no_logit_is_told_as_by_gae(case, cls):
    model, x, y, a = case
    asked = {"regions": 3, "size": 4}
    for last, remedy in (
        (nn.Softmax(1), 'output="log"'),
        (nn.Sigmoid(), "output=torch.logit"),
        (nn.LogSoftmax(1), 'output="log_softmax"'),
    ):
        wrong = nn.Sequential(model, last).eval()
        with pytest.warns(
            RuntimeWarning, match=rf"^{cls.name}: the model's outputs .* Pass {remedy}"
        ):
            cls(**asked)(wrong, x, y, a)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = cls(**asked)(model, x, y, a)
        cls(**asked, disable_warnings=True)(wrong, x, y, a)
    mended = cls(output=torch.logit, **asked)(nn.Sequential(model, nn.Sigmoid()).eval(), x, y, a)
    np.testing.assert_allclose(mended, expected, atol=1e-9)


@pytest.mark.parametrize("cls", [AOPC, ABPC])
def test_one_output_has_a_curve_and_no_other_class(case, cls):
    model, x, y, a = case
    asked = {"regions": 3, "size": 4}
    one = nn.Sequential(*model[:3], nn.Linear(288, 1).double()).eval()
    with torch.no_grad():
        one[3].weight.copy_(model[3].weight[:1])
        one[3].bias.copy_(model[3].bias[:1])
    zeros = np.zeros(3, dtype=int)
    assert cls(**asked)(one, x, zeros, a) == pytest.approx(cls(**asked)(model, x, zeros, a))
    with pytest.raises(ValueError, match=r'model: it has one output.*output="binary"'):
        cls(**asked)(one, x, y.clip(0, 1), a)
    binary = cls(output="binary", **asked)(one, x, zeros, a)
    assert binary == pytest.approx([-score for score in cls(**asked)(one, x, zeros, a)])
