"""The plan and the images of Focus's mosaics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_metric.companions import FocusPlan
from gae_metric.companions.focus import focus_mosaics


@settings(max_examples=60, deadline=None)
@given(
    targets=st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(lambda y: len(set(y)) > 1),
    seed=st.integers(0, 2**40),
)
def test_every_mosaic_is_as_the_paper_has_it(targets, seed):
    y = np.array(targets)
    plan = FocusPlan.draw(np.arange(len(y)), y, seed)
    for i in range(len(y)):
        row, target = plan.indices[i], plan.target[i]
        if (y == y[i]).sum() == 1:
            assert (row == -1).all()
            assert not target.any()
            continue
        assert target.sum() == 2
        assert (y[row] == y[i]).tolist() == target.tolist()
        mates, others = row[target], row[~target]
        assert i in mates
        assert mates[0] != mates[1]
        if (y != y[i]).sum() > 1:
            assert others[0] != others[1]


def test_draw_depends_on_the_seed_alone():
    y = np.arange(60) % 3
    np.random.seed(0)  # noqa: NPY002 - the state that must not matter
    plan = FocusPlan.draw(np.arange(len(y)), y, 1)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    again = FocusPlan.draw(np.arange(len(y)), y, 1)
    np.testing.assert_array_equal(plan.indices, again.indices)
    np.testing.assert_array_equal(plan.target, again.target)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert (plan.indices != FocusPlan.draw(np.arange(len(y)), y, 2).indices).any()


def test_draws_are_uniform():
    """Over 800 seeds, sample 0's mate, others and quadrants are each equally frequent."""
    y = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    mates, others, quadrants = np.zeros(8), np.zeros(8), np.zeros(4)
    for seed in range(800):
        plan = FocusPlan.draw(np.arange(len(y)), y, seed)
        row, target = plan.indices[0], plan.target[0]
        mates[row[target]] += 1
        others[row[~target]] += 1
        quadrants[row.tolist().index(0)] += 1
    np.testing.assert_allclose(mates, [800, 400, 400, 0, 0, 0, 0, 0], atol=70)
    np.testing.assert_allclose(others, [0, 0, 0, 320, 320, 320, 320, 320], atol=70)
    np.testing.assert_allclose(quadrants, 200, atol=60)


def test_unusable_samples_are_in_no_other_mosaic():
    y = np.arange(40) % 2
    usable = np.ones(40, dtype=bool)
    usable[[3, 8]] = False
    plain = FocusPlan.draw(np.arange(40), y)
    careful = FocusPlan.draw(np.arange(40), y, usable=usable)
    met = 0
    for i in np.flatnonzero(usable):
        if np.isin(plain.indices[i], [3, 8]).any():
            met += 1
            assert not np.isin(careful.indices[i], [3, 8]).any()
            assert (y[careful.indices[i]] == y[i]).tolist() == careful.target[i].tolist()
        else:
            np.testing.assert_array_equal(careful.indices[i], plain.indices[i])
    assert met > 0
    lonely = FocusPlan.draw(np.arange(4), [0, 0, 1, 1], 0, [True, False, True, True])
    assert (lonely.indices[0] == -1).all()
    assert 1 not in lonely.indices[2:]


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="at least two classes"):
        FocusPlan.draw(np.arange(4), [1, 1, 1, 1])


@pytest.mark.parametrize(
    ("indices", "target"),
    [
        (np.zeros((4, 3), dtype=int), np.zeros((4, 3), dtype=bool)),
        (np.zeros((4, 4)), np.zeros((4, 4), dtype=bool)),
        (np.zeros((4, 4), dtype=int), np.zeros((4, 4), dtype=int)),
        (np.tile(np.arange(4), (4, 1)), np.tile([True, True, False, False], (4, 1))),
        (np.tile(np.arange(4), (4, 1)), np.eye(4, dtype=bool)),
        (np.array([[0, 4, 0, 0]]), np.array([[True, True, False, False]])),
    ],
)
def test_refuses_what_is_no_plan(indices, target):
    with pytest.raises(ValueError, match=r"indices: expected|target: expected"):
        FocusPlan(indices, target)


def test_permuted_plan_gives_the_same_mosaics():
    y = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    plan = FocusPlan.draw(np.arange(len(y)), y, 0)
    order = np.random.default_rng(0).permutation(8)
    permuted = plan.permute(order)
    for j in range(8):
        expected = plan.indices[order[j]]
        if expected[0] == -1:
            assert (permuted.indices[j] == -1).all()
        else:
            np.testing.assert_array_equal(order[permuted.indices[j]], expected)
        np.testing.assert_array_equal(permuted.target[j], plan.target[order[j]])
    with pytest.raises(ValueError, match="permutation of 8"):
        plan.permute([0] * 8)


def test_a_plan_is_not_changed_by_accident():
    indices, target = np.array([[0, 1, 2, 3]] * 4), np.zeros((4, 4), dtype=bool)
    target[:, :2] = True
    target[2:] = ~target[2:]
    plan = FocusPlan(indices, target)
    indices[0] = 3
    assert plan.indices[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        plan.target[0, 0] = False


def test_double_mosaics_are_the_images():
    x = torch.as_tensor(np.random.default_rng(0).random((5, 3, 4, 6)))
    mosaic = focus_mosaics(x, [[4, 0, 2, 2], [1, 2, 3, 4]], "double")
    assert mosaic.shape == (2, 3, 8, 12)
    assert torch.equal(mosaic[0, :, :4, :6], x[4])
    assert torch.equal(mosaic[0, :, :4, 6:], x[0])
    assert torch.equal(mosaic[0, :, 4:, :6], x[2])
    assert torch.equal(mosaic[1, :, 4:, 6:], x[4])


@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (4, 7), (5, 7)])
def test_input_mosaics_are_halved_images(shape):
    height, width = shape
    x = np.random.default_rng(0).random((4, 2, height, width)).astype(np.float32)
    mosaic = focus_mosaics(torch.as_tensor(x), [[0, 1, 2, 3]], "input").numpy()
    assert mosaic.shape == (1, 2, height, width)
    assert mosaic.dtype == np.float32
    top, left = (height + 1) // 2, (width + 1) // 2
    for k in range(4):
        lines, columns = (height // 2 if k > 1 else top), (width // 2 if k % 2 else left)
        for r in range(lines):
            for c in range(columns):
                here = mosaic[0, :, r + (top if k > 1 else 0), c + (left if k % 2 else 0)]
                np.testing.assert_array_equal(
                    here, x[k, :, r * height // lines, c * width // columns]
                )
