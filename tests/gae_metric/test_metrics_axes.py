"""Volumes, video and waveforms: mosaics and scores of samples with one axis or three."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gae_metric import GAE, Contrastiveness, LocalConsistency
from gae_metric.functional import mosaics, score_map
from gae_metric.functional.mosaic import INTERPOLATIONS
from tests.gae_metric.nets import conv_net, gradient_tensor, images, series_net, top_classes


class Frames(nn.Module):
    """The mean of a network's logits over the frames of a video (N, C, D, H, W)."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, x):
        frames = x.transpose(1, 2).flatten(0, 1)
        return self.net(frames).unflatten(0, (len(x), -1)).mean(1)


def scores(metric, net, x, y, **kwargs):
    metric(net, x, y, explain_func=gradient_tensor, **kwargs)
    return metric.components[list(metric.columns)].to_numpy()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_volumes_mosaic_is_that_of_each_slice(interpolation):
    x = torch.tensor(images(6, (2, 3, 7, 9)))
    rows = [[0, 1, 2, 3], [5, 4, 1, 0]]
    found = mosaics(x, rows, interpolation)
    times = 2 if interpolation == "none" else 1
    assert found.shape == (2, 2, 3, 7 * times, 9 * times)
    for depth in range(3):
        # Weighted means of a few float64 numbers, whatever order a kernel adds them in.
        expected = mosaics(x[:, :, depth], rows, interpolation)
        torch.testing.assert_close(found[:, :, depth], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("centre_block", [False, True])
def test_a_volumes_score_map_is_that_of_each_slice(centre_block):
    values = torch.tensor(images(2, (4,)))
    found = score_map(values, (3, 5, 6), centre_block)
    assert found.shape == (2, 1, 3, 5, 6)
    for depth in range(3):
        assert torch.equal(found[:, :, depth], score_map(values, (5, 6), centre_block))


@pytest.mark.parametrize("metric", [GAE, LocalConsistency, Contrastiveness])
def test_one_frame_is_an_image(metric):
    net, x = conv_net(), images(6, (3, 8, 8))
    y = top_classes(net, x)
    expected = scores(metric(cache=False), net, x, y)
    found = scores(metric(cache=False), Frames(net), x[:, :, None], y)
    # The network's outputs are the same numbers; only sums of one term lie between.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_video_is_scored():
    net, x = Frames(conv_net()), images(5, (3, 2, 6, 6))
    metric = GAE(steps=4, disable_warnings=True)
    found = scores(metric, net, x, top_classes(net, x))
    assert np.isfinite(found).all()
    last = scores(metric, net, np.moveaxis(x, 1, -1), top_classes(net, x), channel_first=False)
    np.testing.assert_array_equal(last, found)
    wide = np.moveaxis(images(5, (3, 6, 6, 6)), 1, -1)
    with pytest.raises(ValueError, match="looks channel-last"):
        metric(net, wide, [0, 1, 2, 3, 4], explain_func=gradient_tensor)


@pytest.mark.parametrize("fixed", [False, True])
def test_waveforms_without_a_channel_axis(fixed):
    """The model has convolutions, or takes any length."""
    net = series_net()
    one = nn.Conv1d(1, 2, 1).double().requires_grad_(False)
    waves = nn.Sequential(nn.Unflatten(1, (1, -1)), one, net).eval()
    x, y = images(6, (32,)), np.arange(6) % 3
    model = waves if fixed else torch.jit.trace(waves, torch.tensor(x))
    beside = nn.Sequential(nn.Flatten(), waves).eval()
    metric = GAE(cache=False, disable_warnings=True)
    metric(beside, x[:, None], y, explain_func=flat)
    expected = metric.components[list(metric.columns)]
    found = GAE(cache=False, disable_warnings=True)
    found(model, x, y, explain_func=flat)
    np.testing.assert_allclose(found.components[list(found.columns)], expected, rtol=1e-9)


def flat(model, inputs, targets, **kwargs):
    """Explain inputs (n, L) as any user does."""
    x = torch.tensor(inputs, requires_grad=True)
    output = model(x).gather(1, torch.as_tensor(targets)[:, None]).sum()
    (gradient,) = torch.autograd.grad(output, x)
    return (gradient.abs() * x.abs()).detach().numpy()
