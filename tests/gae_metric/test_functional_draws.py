"""The draw of mosaics: by content, against plain Python, and what it does not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gae_metric import MosaicPlan
from gae_metric.companions import FocusPlan
from gae_metric.functional import content_hashes
from gae_metric.functional.mosaic_plan import draw_mosaics
from tests.naive import draws as naive

SAMPLES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2)), min_size=4, max_size=24)


@st.composite
def some(draw):
    """Contents and classes; some contents come several times, with one class or another."""
    pairs = draw(SAMPLES)
    return np.array([c for c, _ in pairs], dtype=np.uint64), np.array([y for _, y in pairs])


def test_contents_are_those_of_float32_little_endian():
    x = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float32)
    x[0, 0, 0] = -0.0
    found = content_hashes(x)
    assert found.tolist() == [naive.content(row.ravel().tolist()) for row in x]
    for other in (x.astype(np.float64), torch.tensor(x), x.astype(">f4"), x[::-1].copy()[::-1]):
        values = other if isinstance(other, torch.Tensor) else np.ascontiguousarray(other, "f8")
        assert (content_hashes(values) == found).all()
    assert len(set(found.tolist())) == 3
    # Kept for good: scores that were published are found again.
    assert content_hashes(np.arange(6.0).reshape(1, 6)).tolist() == [KEPT]


KEPT = 5597700074881237875


@settings(max_examples=60, deadline=None)
@given(some(), st.integers(0, 2**70), st.integers(0, 3))
def test_mosaics_are_those_of_plain_python(samples, seed, repeat):
    contents, classes = samples
    indices, positive = draw_mosaics(contents, classes, seed, repeat)
    for i in range(len(contents)):
        row, place = naive.mosaic(i, contents.tolist(), classes.tolist(), seed, repeat)
        assert indices[i].tolist() == row
        assert positive[i] == place


@settings(max_examples=60, deadline=None)
@given(some().filter(lambda s: len(set(s[1].tolist())) > 1), st.integers(0, 2**40))
def test_mosaics_of_focus_are_those_of_plain_python(samples, seed):
    contents, classes = samples
    plan = FocusPlan.draw(contents, classes, seed)
    for i in range(len(contents)):
        row = naive.focus(i, contents.tolist(), classes.tolist(), seed)
        assert plan.indices[i].tolist() == row


def shown(contents, classes, indices):
    """What the quadrants show: contents and classes."""
    return [
        [(contents[j], classes[j]) if j >= 0 else None for j in row] for row in indices.tolist()
    ]


@settings(max_examples=60, deadline=None)
@given(some(), st.randoms(use_true_random=False))
def test_mosaics_do_not_depend_on_the_order(samples, random):
    contents, classes = samples
    order = np.array(random.sample(range(len(contents)), len(contents)))
    indices, positive = draw_mosaics(contents, classes)
    moved, places = draw_mosaics(contents[order], classes[order])
    expected = np.array(shown(contents, classes, indices), dtype=object)[order]
    assert shown(contents[order], classes[order], moved) == [
        [tuple(one) for one in row] for row in expected
    ]
    assert (places == positive[order]).all()


def test_a_new_sample_changes_the_mosaics_that_it_enters():
    contents = np.random.default_rng(0).integers(2**62, size=200)
    classes = np.arange(200) % 5
    before, places = draw_mosaics(contents[:199], classes[:199])
    after, moved = draw_mosaics(contents, classes)
    entered = (after == 199).any(axis=1)[:199]
    assert (before[~entered] == after[:199][~entered]).all()
    assert (places == moved[:199]).all()
    assert 0 < entered.sum() < 12  # of 199, each with 3 in 198: 3 are expected
    focus = FocusPlan.draw(contents[:199], classes[:199])
    more = FocusPlan.draw(contents, classes)
    entered = (more.indices == 199).any(axis=1)[:199]
    assert (focus.indices[~entered] == more.indices[:199][~entered]).all()
    assert (focus.target == more.target[:199]).all()


@pytest.mark.parametrize("others", [1, 3])
def test_each_mosaic_shows_another_class_where_there_is_one(others):
    """Seven of eight alike: the last negative gives way to the one of another class."""
    classes = np.zeros(8 + others, dtype=int)
    classes[8:] = np.arange(others) + 1
    for seed in range(20):
        indices, _ = draw_mosaics(np.arange(len(classes)) + 100, classes, seed)
        assert all(len(set(classes[row])) > 1 for row in indices)
    plain, _ = draw_mosaics(np.arange(len(classes)) + 100, np.arange(len(classes)), 0)
    indices, _ = draw_mosaics(np.arange(len(classes)) + 100, classes, 0)
    changed = (plain != indices).sum(axis=1)
    assert changed.max() == 1  # one negative, and only where all were of one class
    assert (changed == [len(set(classes[row])) == 1 for row in plain]).all()
    one, _ = draw_mosaics(np.arange(8), np.zeros(8))
    assert all(len(set(row)) == 4 for row in one.tolist())


def test_copies_of_an_image_come_last():
    """Each image twice: no mosaic shows one twice, as long as there are four different ones."""
    contents = np.repeat(np.arange(4) + 50, 2)
    indices, _ = draw_mosaics(contents, np.arange(8) // 2, 3)
    assert all(len(set(contents[row])) == 4 for row in indices)
    indices, _ = draw_mosaics(np.full(6, 7), np.arange(6) % 2, 3)
    assert all(len(set(row)) == 4 for row in indices.tolist())


def test_unusable_samples_are_as_if_they_were_not_there():
    contents, classes = np.random.default_rng(1).integers(2**62, size=12), np.arange(12) % 3
    usable = np.ones(12, dtype=bool)
    usable[[2, 7]] = False
    kept = np.flatnonzero(usable)
    indices, positive = draw_mosaics(contents, classes, 5, usable=usable)
    alone, places = draw_mosaics(contents[kept], classes[kept], 5)
    assert (indices[kept] == kept[alone]).all()
    assert (positive[kept] == places).all()
    # Too few: one stands in the mosaic twice, and where there is none, nothing.
    few, _ = draw_mosaics(contents[:4], classes[:4], usable=[True, True, False, True])
    assert 2 not in few[[0, 1, 3]]
    none, _ = draw_mosaics(contents[:4], classes[:4], usable=[True, False, False, False])
    assert sorted(none[0].tolist()) == [-1, -1, -1, 0]


def test_a_subset_keeps_the_mosaics_that_lie_in_it():
    plan = MosaicPlan.draw(np.arange(30), seed=4)
    chosen = np.array([*plan.indices[7], *np.setdiff1d(np.arange(9), plan.indices[7])])
    part = plan.subset(chosen)
    row = int(np.flatnonzero(chosen == 7)[0])
    assert chosen[part.indices[row]].tolist() == plan.indices[7].tolist()
    assert (part.positive == plan.positive[chosen]).all()
    for wrong in ([0, 1, 2], [0, 1, 2, 2], [0, 1, 2, 30], [[0, 1, 2, 3]]):
        with pytest.raises(ValueError, match="samples: expected at least 4 different indices from"):
            plan.subset(wrong)


def test_contents_may_be_a_tensor():
    plans = [MosaicPlan.draw(each) for each in (np.arange(6), torch.arange(6), list(range(6)))]
    for plan in plans[1:]:
        np.testing.assert_array_equal(plan.indices, plans[0].indices)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"contents": np.zeros((5, 3, 4, 4))},
            r"contents, classes: expected integers \(N,\), as content_",
        ),
        ({"contents": 6}, r"expected integers .* got int64 \(\) and"),
        ({"contents": np.arange(6) / 10}, "expected integers .* got float64"),
        ({"classes": [0, 1]}, r"and N classes, got int64 \(6,\) and \(2,\)"),
        ({"seed": 1.5}, "seed: expected a non-negative integer, got 1.5"),
        ({"seed": True}, "seed: expected a non-negative integer, got True"),
    ],
)
def test_what_no_plan_can_be_drawn_from_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MosaicPlan.draw(**{"contents": np.arange(6), **arguments})


def test_contents_do_not_depend_on_bytes_and_strides():
    x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    expected = content_hashes(x)
    for same in (x.astype(">f4"), x[:, ::-1].copy()[:, ::-1], np.asfortranarray(x), x.tolist()):
        np.testing.assert_array_equal(content_hashes(same), expected)
