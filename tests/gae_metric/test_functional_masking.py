"""The masking trajectory: schedules, ties, outputs, cost, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from gae_metric.functional import (
    LERF,
    MORF,
    mask_baseline,
    masked_inputs,
    masking_trajectory,
)
from gae_metric.functional.selection import highest
from tests.gae_metric.nets import CountingModel, conv_net, images, tabular_net, top_classes
from tests.naive.gae_trajectory import torch_output_and_gradient, trajectory


def example(n=3, shape=(3, 10, 10), dtype=torch.float64):
    net = conv_net(dtype=dtype)
    x = torch.tensor(images(n, shape)).to(dtype)
    return net, x, torch.tensor(top_classes(net, x))


def fractions(trajectory, steps):
    """Share of masked features at each state, (2, B, steps)."""
    masked_from = trajectory.masked_from.flatten(2).long()
    return torch.stack([(masked_from <= t).double().mean(2) for t in range(steps)], dim=2)


def test_reranked_masks_10_20_to_90_percent_lerf_and_10_30_60_100_morf():
    net, x, y = example()
    masked = fractions(masking_trajectory(net, x, y), 10)
    expected = torch.arange(10).double() / 10
    torch.testing.assert_close(masked[LERF], expected.expand(3, 10))
    expected = torch.tensor([0, 0.1, 0.3, 0.6, 1, 1, 1, 1, 1, 1]).double()
    torch.testing.assert_close(masked[MORF], expected.expand(3, 10))


def test_uniform_masks_the_same_share_at_each_state_in_both_orders():
    net, x, y = example()
    masked = fractions(masking_trajectory(net, x, y, schedule="uniform"), 10)
    torch.testing.assert_close(masked, (torch.arange(10).double() / 10).expand(2, 3, 10))


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
@pytest.mark.parametrize(("features", "steps"), [(7, 10), (7, 3), (23, 4), (1, 2)])
def test_counts_are_rounded_down_where_steps_do_not_divide(schedule, features, steps):
    net = tabular_net(features)
    x = torch.tensor(images(4, (features,)))
    masked = fractions(
        masking_trajectory(net, x, torch.zeros(4, dtype=int), steps=steps, schedule=schedule), steps
    )
    expected = torch.tensor([t * features // steps for t in range(steps)]).double() / features
    if schedule == "uniform":
        torch.testing.assert_close(masked, expected.expand(2, 4, steps))
    else:
        torch.testing.assert_close(masked[LERF], expected.expand(4, steps))


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_outputs_are_those_of_the_masked_inputs(schedule):
    net, x, y = example()
    trajectory = masking_trajectory(net, x, y, schedule=schedule, steps=6)
    assert trajectory.outputs.shape == (2, 3, 6)
    for order in (LERF, MORF):
        for state in range(6):
            state_x = masked_inputs(x, trajectory.masked_from[order], state)
            output = net(state_x).gather(1, y[:, None])[:, 0]
            torch.testing.assert_close(trajectory.outputs[order, :, state], output)
    torch.testing.assert_close(trajectory.outputs[LERF, :, 0], trajectory.outputs[MORF, :, 0])
    torch.testing.assert_close(trajectory.logits, net(x))


def test_first_masked_features_are_those_of_lowest_and_highest_impact():
    net, x, y = example()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf).gather(1, y[:, None]).abs().sum(), leaf)
    impact = (x * gradient).abs().flatten(1)
    trajectory = masking_trajectory(net, x, y)
    for order, sign in ((LERF, 1), (MORF, -1)):
        first = trajectory.masked_from[order].flatten(1) == 1
        for row in range(3):
            chosen = (sign * impact[row]).sort(stable=True).indices[:30]
            assert set(first[row].nonzero()[:, 0].tolist()) == set(chosen.tolist())


def test_impacts_sum_all_states_and_their_difference_has_the_sign():
    net, x, y = example()
    trajectory = masking_trajectory(net, x, y, steps=5, keep_impacts=True)
    total = torch.zeros_like(trajectory.impacts)
    for order in (LERF, MORF):
        for state in range(5):
            leaf = masked_inputs(x, trajectory.masked_from[order], state).requires_grad_()
            (gradient,) = torch.autograd.grad(net(leaf).gather(1, y[:, None]).abs().sum(), leaf)
            impact = (leaf * gradient).abs().detach()
            total[order] += impact / (impact.sum((1, 2, 3), keepdim=True) + 1e-9)
    total /= total.sum((2, 3, 4), keepdim=True)
    torch.testing.assert_close(trajectory.impacts, total)
    sign = (trajectory.impacts[LERF] - trajectory.impacts[MORF]).sign()
    assert (sign == trajectory.impact_sign).all()
    assert masking_trajectory(net, x, y).impacts is None


def test_summed_impacts_are_divided_by_their_sum_and_1e_minus_9():
    # The only feature is not masked at state 1 either, so that its impact of 1 is counted twice.
    net = nn.Linear(1, 1, bias=False).double()
    trajectory = masking_trajectory(
        net, torch.ones(1, 1).double(), torch.tensor([0]), steps=2, keep_impacts=True
    )
    assert trajectory.impacts.flatten().tolist() == pytest.approx([2 / (2 + 1e-9)] * 2, rel=1e-12)


def test_an_output_of_0_has_no_impacts_as_its_absolute_value_has_gradient_0():
    net = nn.Linear(2, 1, bias=False).double()
    net.weight.data[:] = torch.tensor([1.0, -1.0])
    trajectory = masking_trajectory(
        net, torch.ones(1, 2).double(), torch.tensor([0]), steps=2, keep_impacts=True
    )
    # So state 1 masks the lower index in both orders, and only the other one has an impact then.
    assert trajectory.masked_from[:, 0].tolist() == [[1, 2], [1, 2]]
    assert trajectory.impacts[:, 0].tolist() == [[0, pytest.approx(1)]] * 2


@given(
    key=hnp.arrays(np.float64, (3, 17), elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0])),
    first=hnp.arrays(np.bool_, (3, 17)),
    count=st.integers(0, 17),
)
def test_highest_is_a_stable_sort_with_preferred_features_first(key, first, count):
    marked = highest(torch.tensor(key), count, torch.tensor(first)).numpy()
    for row in range(3):
        order = np.lexsort((np.arange(17), ~first[row], -key[row]))
        expected = np.zeros(17, dtype=bool)
        expected[order[:count]] = True
        assert (marked[row] == expected).all()


def test_ties_of_dead_features_go_to_the_lower_index_in_both_orders():
    net = nn.Linear(8, 1, bias=False).double()
    net.weight.data[:] = 0  # every impact is 0
    trajectory = masking_trajectory(
        net, torch.ones(1, 8).double(), torch.tensor([0]), steps=4, schedule="uniform"
    )
    expected = [1, 1, 2, 2, 3, 3, 4, 4]
    assert trajectory.masked_from[:, 0].tolist() == [expected, expected]


def test_reranked_counts_masked_features_first_among_zeros():
    # Impacts 3, 2, 1, 0, 0, 0 and MoRF: state 1 masks 2 of 6, state 2 masks the top 4 of m_1,
    # which are feature 2 and, of the zeros, first the two masked ones and then feature 3.
    net = nn.Linear(6, 1, bias=False).double()
    net.weight.data[:] = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0, 0.0])
    trajectory = masking_trajectory(net, torch.ones(1, 6).double(), torch.tensor([0]), steps=3)
    assert trajectory.masked_from[MORF, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_cost_is_2t_minus_1_gradients_and_fewer_where_all_is_masked():
    net, x, y = example(n=2)
    counting = CountingModel(net)
    masking_trajectory(counting, x, y, schedule="uniform")
    assert counting.rows == counting.gradients == 2 * 19
    assert counting.largest == 4  # both orders in one batch
    counting = CountingModel(net)
    masking_trajectory(counting, x, y)
    assert counting.rows == 2 * (1 + 9 + 4)


def test_model_is_left_as_it_was():
    net, x, y = example()
    net[0].weight.requires_grad_(False)
    flags = [p.requires_grad for p in net.parameters()]
    before = x.clone()
    with torch.no_grad():  # gradients are on inside whatever they are outside
        masking_trajectory(net, x, y)
    assert [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters())
    assert not x.requires_grad
    assert x.equal(before)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_scale_of_the_outputs_does_not_matter(factor):
    net, x, y = example()
    expected = masking_trajectory(net, x, y, keep_impacts=True)
    found = masking_trajectory(lambda x: factor * net(x), x, y, keep_impacts=True)
    assert found.masked_from.equal(expected.masked_from)
    torch.testing.assert_close(found.impacts, expected.impacts)
    torch.testing.assert_close(found.outputs, factor * expected.outputs)


def test_works_under_inference_mode():
    net, x, y = example()
    baseline = torch.full_like(x, 0.1)
    expected = masking_trajectory(net, x, y, baseline=baseline)
    with torch.inference_mode():
        found = masking_trajectory(net, x, y, baseline=baseline)
        # Tensors that were made there cannot take part in a gradient.
        made = masking_trajectory(net, x.clone(), y.clone(), baseline=baseline.clone())
    assert found.masked_from.equal(expected.masked_from)
    assert made.masked_from.equal(expected.masked_from)


def test_model_that_overwrites_its_input():
    class Overwrites(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            x *= 2
            return self.net(x)

    net, x, y = example()
    x_before = x.clone()
    found = masking_trajectory(Overwrites(net), x, y)
    expected = masking_trajectory(lambda x: net(2 * x), x, y)
    assert found.masked_from.equal(expected.masked_from)
    assert x.equal(x_before)


def test_a_sample_does_not_depend_on_the_others():
    net, x, y = example(n=4)
    together = masking_trajectory(net, x, y)
    for i in range(4):
        alone = masking_trajectory(net, x[i : i + 1], y[i : i + 1])
        assert alone.masked_from[:, 0].equal(together.masked_from[:, i])
        torch.testing.assert_close(alone.outputs[:, 0], together.outputs[:, i])


def test_a_sample_that_is_not_finite_is_marked_and_touches_no_other():
    net, x, y = example(n=3)
    expected = masking_trajectory(net, x, y)
    x[1, 0, 0, 0] = math.nan
    found = masking_trajectory(net, x, y)
    assert found.finite.tolist() == [True, False, True]
    for i in (0, 2):
        assert found.masked_from[:, i].equal(expected.masked_from[:, i])


@pytest.mark.parametrize("baseline", [0.5, "mean", "blur", [1.0, 2.0, 3.0]])
def test_masked_features_take_the_baseline_and_have_no_impact(baseline):
    net, x, y = example()
    value = np.reshape(baseline, (3, 1, 1)) if isinstance(baseline, list) else baseline
    values = mask_baseline(x, value)
    trajectory = masking_trajectory(net, x, y, baseline=values)
    masked = fractions(trajectory, 10)
    # Impact is relative to the baseline, so MoRF masks 30 % at state 2, not 10 % again.
    torch.testing.assert_close(masked[MORF, 0, :4], torch.tensor([0, 0.1, 0.3, 0.6]).double())
    state = masked_inputs(x, trajectory.masked_from[MORF], 9, values)
    torch.testing.assert_close(state, values.expand_as(x) + 0 * x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 1}, "steps: expected 2 to 255, got 1"),
        ({"steps": 256}, "steps"),
        ({"schedule": "random"}, "schedule: expected one of reranked, uniform, got 'random'"),
        ({"features": "pixels"}, "features: expected .* or .*, got 'pixels'"),
        ({"targets": torch.tensor([0, 1])}, r"targets: expected integers of shape \(3,\)"),
        ({"targets": torch.tensor([0, 1, 5])}, "targets: expected classes from 0 to 4.* got 5"),
        ({"targets": torch.tensor([0, -1, 1])}, "got -1 at position 1"),
        ({"targets": torch.tensor([0, 7, -1])}, "got 7 at position 1"),
        ({"targets": torch.tensor([0.0, 1.0, 2.0])}, "expected integers .* torch.float32"),
        (
            {"targets": torch.tensor([True, False, True])},
            "targets: expected integers .* torch.bool",
        ),
        ({"x": torch.zeros(3, 2, dtype=int)}, "x: expected floating-point"),
        ({"x": torch.zeros(3)}, r"a batch axis and .*, got torch.float32 \(3,\)"),
        ({"x": torch.zeros(0, 2)}, r"at least one sample, got torch.float32 \(0, 2\)"),
        ({"model": lambda x: torch.zeros(len(x), 5)}, "does not depend on the input"),
    ],
)
def test_arguments_that_are_refused(change, message):
    net, x, y = example()
    arguments = {"model": net, "x": x, "targets": y, **change}
    with pytest.raises(ValueError, match=message):
        masking_trajectory(**arguments)


def test_a_trajectory_cannot_be_changed_and_is_equal_to_itself_only():
    net, x, y = example()
    trajectory = masking_trajectory(net, x, y, steps=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        trajectory.outputs = trajectory.outputs
    assert trajectory != dataclasses.replace(trajectory)


def test_the_most_steps_are_255():
    trajectory = masking_trajectory(
        tabular_net(3), torch.tensor(images(1, (3,))), torch.tensor([0]), steps=255
    )
    assert trajectory.outputs.shape == (2, 1, 255)
    assert trajectory.masked_from[LERF].max() == 255  # never


def test_half_precision_model():
    net, x, y = example(dtype=torch.bfloat16)
    trajectory = masking_trajectory(net, x, y)
    assert trajectory.finite.all()
    assert fractions(trajectory, 10)[LERF, 0, 9] == pytest.approx(0.9)


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_whole_positions_are_masked_as_gates_of_positions_are(schedule):
    """Reference: gates g (B, 1, ...) of a model of g * x, whose entries are the positions."""
    net, x, y = example()
    options = {"schedule": schedule, "keep_impacts": True}
    found = masking_trajectory(net, x, y, features="positions", **options)
    for i in range(len(x)):
        one = x[i : i + 1]
        gates = masking_trajectory(
            lambda gates, one=one: net(gates * one),
            torch.ones_like(one[:, :1]),
            y[i : i + 1],
            **options,
        )
        for name in ("masked_from", "impacts"):
            theirs = getattr(gates, name).expand(2, *one.shape)
            torch.testing.assert_close(getattr(found, name)[:, i : i + 1], theirs)
        torch.testing.assert_close(found.outputs[:, i], gates.outputs[:, 0])


def summed(x):
    """Logits of series (B, C, L) that positions at 0 have no part in."""
    weight = torch.tensor([[1.0, -2.0], [0.5, 1.5], [2.0, 0.3]], dtype=x.dtype)
    return (x.transpose(1, 2) @ weight.T).tanh().sum(1) + 3


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_positions_at_the_baseline_are_no_features(schedule):
    x = torch.tensor(images(3, (2, 11)))
    y = torch.tensor([0, 1, 2])
    padded = torch.nn.functional.pad(x, (0, 29))
    padded[1] = padded[1].roll(7, 1)
    options = {"schedule": schedule, "features": "positions"}
    expected = masking_trajectory(summed, x, y, **options)
    found = masking_trajectory(summed, padded, y, **options)
    torch.testing.assert_close(found.outputs, expected.outputs)
    places = [slice(11), slice(7, 18), slice(11)]
    for i, place in enumerate(places):
        assert found.masked_from[:, i, :, place].equal(expected.masked_from[:, i])
        assert found.impact_sign[i, :, place].equal(expected.impact_sign[i])
    assert (found.impact_sign[0, :, 11:] == 0).all()


def test_each_row_has_its_own_count():
    key = torch.tensor([[3.0, 1.0, 2.0, 2.0]]).expand(5, 4)
    first = torch.tensor([[False, False, False, True]]).expand(5, 4)
    found = highest(key, torch.arange(5)[:, None], first)
    for count in range(5):
        assert found[count].equal(highest(key[:1], count, first[:1])[0])


@pytest.mark.parametrize("scale", [1.0, torch.ones(3, requires_grad=True)])
def test_a_model_without_a_gradient_is_refused(scale):
    """Also where a path leads to a parameter alone."""
    x, y = torch.tensor(images(2, (2, 11))), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="does not depend on the input differentiably"):
        masking_trajectory(lambda x: summed(x.detach()) * scale, x, y)


@pytest.mark.parametrize("schedule", ["reranked", "uniform"])
def test_states_of_one_input_are_evaluated_once(schedule):
    net, x, y = example(5)
    x[:, :, :5] = 0
    model = CountingModel(net)
    found = masking_trajectory(model, x, y, schedule=schedule, keep_impacts=True)
    told = sum(int((~found.repeated[:, i, 1:]).sum()) for i in range(5))
    assert model.rows == 5 + told
    assert model.rows < 5 * (14 if schedule == "reranked" else 19)
    for i, order in itertools.product(range(5), ("lerf", "morf")):
        naive = trajectory(
            lambda state, i=i: torch_output_and_gradient(net, state, int(y[i])),
            x[i].numpy(), order, schedule=schedule,
        )  # fmt: skip
        place = ("lerf", "morf").index(order)
        # Which of the black features is masked first changes no input.
        there = x[i].numpy() != 0
        since = found.masked_from[place, i].numpy()
        np.testing.assert_array_equal(since[there], naive.masked_from[there])
        np.testing.assert_allclose(found.outputs[place, i], naive.outputs, rtol=1e-9)
        same = [np.array_equal(*pair) for pair in itertools.pairwise(naive.states)]
        assert found.repeated[place, i].tolist() == [False, *same]
        sums = naive.impacts.sum(0) / naive.impacts.sum()
        np.testing.assert_allclose(found.impacts[place, i], sums, rtol=0, atol=1e-9)


def test_an_image_of_the_mask_value_is_evaluated_once():
    model = CountingModel(example()[0])
    x = torch.full((1, 3, 10, 10), 0.5, dtype=torch.float64)
    found = masking_trajectory(model, x, torch.tensor([0]), baseline=0.5)
    assert model.rows == 1
    assert found.repeated[..., 1:].all()
    assert (found.outputs == found.outputs[0, 0, 0]).all()


def test_positions_of_tabular_data_are_its_entries():
    net = tabular_net()
    x, y = torch.tensor(images(3, (7,))), torch.zeros(3, dtype=int)
    entries, positions = (
        masking_trajectory(net, x, y, features=features) for features in ("entries", "positions")
    )
    assert positions.masked_from.equal(entries.masked_from)
    assert positions.outputs.equal(entries.outputs)
