"""ROAD on images with several channels and on several batches."""

import numpy as np
import pytest
import torch

from quantus.functions.perturb_func import baseline_replacement_by_indices
from quantus.metrics.faithfulness import ROAD


class BrightPixel(torch.nn.Module):
    """Tells whether any pixel is bright in all channels together."""

    def forward(self, x):
        brightest = x.sum(dim=1).flatten(1).amax(dim=1)
        return torch.stack([torch.full_like(brightest, 1.5), brightest], dim=1)


@pytest.fixture
def rgb_images():
    """Dark images with one bright block, which is class 1, and attributions that say so."""
    x_batch = np.zeros((6, 3, 10, 10), dtype=np.float32)
    for i in range(6):
        x_batch[i, :, i : i + 2, 4:6] = 1.0
    return {
        "x_batch": x_batch,
        "y_batch": np.ones(6, dtype=int),
        "a_batch": x_batch.copy(),
    }


@pytest.mark.faithfulness
@pytest.mark.parametrize("one_channel", [False, True])
def test_road_rgb(rgb_images, one_channel):
    """Test that the bright block goes first, in all channels of its pixels."""
    a_batch = rgb_images["a_batch"]
    a_batch = a_batch[:, :1] if one_channel else a_batch
    metric = ROAD(percentages=[2, 10], noise=0.0, disable_warnings=True)
    scores = metric(
        BrightPixel().eval(), rgb_images["x_batch"], rgb_images["y_batch"], a_batch
    )
    # 4 of 100 pixels are bright: 2 % leave bright ones, 10 % do not.
    assert scores == {2: 1.0, 10: 0.0}


@pytest.mark.faithfulness
def test_road_ranks_pixels_by_all_channels(rgb_images):
    """Test that a pixel's rank is that of the sum of its channels."""
    a_batch = rgb_images["a_batch"].copy()
    a_batch[:, 0, 9, :] = (
        1.0  # a full row, which ranks first by one channel but not by the sum
    )
    a_batch[:, :, :, 4:6] *= 0.9
    metric = ROAD(percentages=[4], noise=0.0, disable_warnings=True)
    scores = metric(
        BrightPixel().eval(),
        rgb_images["x_batch"][:4],
        np.ones(4, dtype=int),
        a_batch[:4],
    )
    assert scores == {4: 0.0}


@pytest.mark.faithfulness
def test_road_all_batches(rgb_images):
    """Test that samples of later batches count."""
    x_batch = rgb_images["x_batch"][:, :1] * 3.0
    y_batch = np.array([1, 1, 0, 0, 0, 0])  # the model says 1
    metric = ROAD(percentages=[1], noise=0.0, disable_warnings=True)
    whole = metric(BrightPixel().eval(), x_batch, y_batch, x_batch, batch_size=6)
    parts = metric(BrightPixel().eval(), x_batch, y_batch, x_batch, batch_size=2)
    assert whole[1] == pytest.approx(2 / 6)
    assert parts == whole


@pytest.mark.faithfulness
def test_road_other_perturbations_as_before(rgb_images):
    """Test that perturbations of single features still get indices of features."""
    seen = []

    def perturb(arr, indices, **kwargs):
        seen.append(np.asarray(indices))
        return baseline_replacement_by_indices(
            arr, indices, indexed_axes=[0, 1, 2], perturb_baseline="black"
        )

    metric = ROAD(percentages=[50], perturb_func=perturb, disable_warnings=True)
    metric(
        BrightPixel().eval(),
        rgb_images["x_batch"],
        rgb_images["y_batch"],
        rgb_images["a_batch"],
    )
    assert len(seen[0]) == 150
    assert max(each.max() for each in seen) >= 100
