"""Several classes of a sample: which is explained, and what counts in a mosaic."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gae_metric import GAE, Contrastiveness, LocalFaithfulness
from gae_metric.companions import ABPC, AOPC, ROAD, Focus
from gae_metric.explainers import saliency
from gae_metric.functional import score_map
from gae_metric.functional.mosaic import quadrant_scores
from gae_metric.study.samples import as_labels
from tests.gae_metric.nets import conv_net, gradient_tensor, images, input_x_gradient, top_classes

#: Which of five classes eight samples have.
LISTS = [[0, 2], [1], [2, 3, 4], [0], [4, 1], [3], [0, 1, 2], [2]]


@pytest.fixture(scope="module")
def case():
    net, x = conv_net(), images(8, (3, 8, 8))
    table = np.zeros((8, 5), dtype=np.int64)
    for row, classes in enumerate(LISTS):
        table[row, classes] = 1
    with torch.no_grad():
        logits = net(torch.tensor(x)).numpy()
    return net, x, table, logits


def scores(metric, net, x, y):
    metric(net, x, y, explain_func=gradient_tensor)
    return metric.components[list(metric.columns)].to_numpy()


def quick(**options):
    return GAE(steps=3, cache=False, disable_warnings=True, **options)


FORMS = {
    "lists": lambda table: LISTS,
    "sets": lambda table: [np.array(row)[::-1] for row in LISTS],
    "tensors": lambda table: [torch.tensor(row) for row in LISTS],
    "padded lists": lambda table: [[*row, -1, -1, -1][:3] for row in LISTS],
    "floats": lambda table: table.astype(np.float32),
    "booleans": lambda table: torch.tensor(table, dtype=torch.bool),
    "rows": lambda table: table.tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_classes(case, form):
    _, _, table, _ = case
    labels = as_labels(FORMS[form](table), 8)
    labels.check(5)
    np.testing.assert_array_equal(labels.table, table)


@pytest.mark.parametrize("form", ["one-hot", "column", "lists of one"])
def test_one_class_of_each_is_the_class_itself(case, form):
    net, x, _, _ = case
    y = top_classes(net, x)
    given = {"one-hot": np.eye(5)[y], "column": y[:, None], "lists of one": [[i] for i in y]}
    np.testing.assert_array_equal(scores(quick(), net, x, given[form]), scores(quick(), net, x, y))


@pytest.mark.parametrize("form", ["one-hot", "lists of one"])
@pytest.mark.parametrize(
    "metric",
    [ROAD(percentages=[50]), AOPC(regions=4, size=4), ABPC(regions=4, size=4), Focus()],
    ids=lambda metric: metric.name,
)
def test_companions_take_one_class_of_each_in_any_form(case, metric, form):
    net, x, _, _ = case
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    given = np.eye(5, dtype=int)[y] if form == "one-hot" else [[i] for i in y]
    found = metric(net, x, given, explain_func=gradient_tensor)
    assert found == metric(net, x, y, explain_func=gradient_tensor)


def test_one_hot_rows_of_another_number_of_outputs_are_refused(case):
    net, x, _, _ = case
    with pytest.raises(ValueError, match=r"0 or 1 for each of the model's 5 outputs.*got \(N, 3\)"):
        scores(quick(), net, x, np.eye(3, dtype=int)[[0, 1, 2, 0, 1, 2, 0, 1]])


def test_the_class_with_the_highest_output_is_explained(case):
    net, x, table, logits = case
    chosen = np.where(table, logits, -np.inf).argmax(1)
    assert (chosen != logits.argmax(1)).any()
    seen = {}

    def explain(model, inputs, targets):
        for row, target in zip(inputs, targets, strict=True):
            seen[row.tobytes()] = int(target)
        return inputs

    LocalFaithfulness(steps=2)(net, x, LISTS, explain_func=explain)
    assert [seen[row.tobytes()] for row in x] == chosen.tolist()


def test_quadrants_count_by_the_likeliest_of_their_classes(case):
    """In plain Python: 1 where the explained class is among a negative's."""
    net, x, table, logits = case
    metric = Contrastiveness(disable_warnings=True)
    found = scores(metric, net, x, table)[:, 0]
    chosen = np.where(table, logits, -np.inf).argmax(1)
    for i, (places, own) in enumerate(
        zip(metric.mosaic_indices[:, 0], metric.mosaic_positive[:, 0], strict=True)
    ):
        classes = [max(np.flatnonzero(table[j]), key=lambda c: logits[i, c]) for j in places]
        s = [min(1, 2 * np.exp(logits[i, c] - logits[i, chosen[i]]) - 1) for c in classes]
        assert s[own] == 1
        assert all(s[k] == 1 for k, j in enumerate(places) if table[j, chosen[i]])
        assert not table[places, chosen[i]].all()
        expected = quadrant_scores(torch.tensor(logits[i : i + 1]), [classes], [own])
        np.testing.assert_allclose(s, expected[0], rtol=1e-12)
        assert score_map(expected, (8, 8)).shape == (1, 1, 8, 8)
    assert ((found >= 0) & (found <= 1)).all()


def test_another_class_is_in_each_mosaic_where_there_is_one(case):
    net, x, _, logits = case
    every = np.ones((8, 5), dtype=int)
    with pytest.raises(ValueError, match="y_batch: Contrastiveness and GAE need samples of at"):
        quick()(net, x, every, explain_func=gradient_tensor)
    for i in range(8):  # one sample of eight shows nothing of the others' class
        y = every.copy()
        top = np.where(every, logits, -np.inf).argmax(1)
        y[i] = 0
        y[i, (top[i] + 1) % 5] = 1
        metric = Contrastiveness(disable_warnings=True)
        metric(net, x, y, explain_func=gradient_tensor)
        others = np.flatnonzero(top != (top[i] + 1) % 5)
        assert all(i in metric.mosaic_indices[j, 0] for j in others if j != i)


def test_order_and_one_sample_more_change_nothing(case):
    net, x, table, _ = case
    expected = scores(quick(), net, x, table)
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_allclose(scores(quick(), net, x[order], table[order]), expected[order])


def test_given_maps_are_of_the_explained_classes(case):
    net, x, table, logits = case
    chosen = np.where(table, logits, -np.inf).argmax(1)
    options = {"steps": 3, "cache": False}
    expected = LocalFaithfulness(**options)(net, x, table, explain_func=input_x_gradient)
    given = input_x_gradient(net, x, chosen)
    metric = LocalFaithfulness(**options)
    assert metric(net, x, table, given, explain_func=input_x_gradient) == expected


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.eye(4)[[0, 1, 2, 3] * 2], r"0 or 1 for each of the model's 5 outputs.* got \(N, 4\)"),
        (np.eye(6)[[0, 1, 2, 3] * 2], r"got \(N, 6\)"),
        ([*LISTS[:7], [5, 1]], r"lists of classes below 5, got \(N, 6\)"),
        ([*LISTS[:7], []], "at least one class for each sample, got none for 1 .* first .* is 7"),
        (np.full((8, 5), 0.5), "y_batch: expected integer classes .* or 0 and 1"),
        (np.arange(40).reshape(8, 5), "y_batch: expected integer classes .* or 0 and 1"),
        (np.eye(5)[[0, 1, 2]], r"y_batch: expected .* got torch.float64 \(3, 5\)"),
        ([*LISTS[:7], ["cat"]], "y_batch: expected"),
        ([*LISTS[:7], [0, -2]], "y_batch: expected lists of classes from 0 to .*, got -2"),
        ([*LISTS[:7], [0, 2**40]], "y_batch: expected lists of classes .*, got 1099511627776"),
        ([0.0] * 7 + [np.inf], r"y_batch: expected integer classes .* got torch.float64 \(8,\)"),
        ([0.0] * 7 + [1e30], r"y_batch: expected integer classes .* got torch.float64 \(8,\)"),
        ([0.0] * 7 + [1.5], r"y_batch: .* got torch.float64 \(8,\) with 1.5 in it$"),
        ([0] * 7 + ["cat"], "y_batch: expected .*, got list of int and str$"),
    ],
)
def test_wrong_classes_are_named(case, y, message):
    net, x, _, _ = case
    with pytest.raises(ValueError, match=message):
        GAE()(net, x, y, explain_func=gradient_tensor)


def test_classes_are_on_the_cpu_whatever_the_default_device(case):
    net, x, _, _ = case
    metric = LocalFaithfulness(steps=3)
    expected = metric(net, x, LISTS, explain_func=saliency)
    with torch.device("meta"):
        assert metric(net, x, LISTS, explain_func=saliency) == expected


def test_companions_take_one_class_of_each(case):
    net, x, table, _ = case
    for metric in (ROAD(), Focus()):
        with pytest.raises(ValueError, match=r"y_batch: .* is defined for one class of each"):
            metric(net, x, table, explain_func=gradient_tensor)


def test_a_class_that_the_model_rules_out_stays_the_samples_own():
    """Logits of minus infinity are lower than all others, and no class takes their place."""
    labels = as_labels([[2], [1, 3], [0, 1]], 3)
    logits = torch.tensor([[5.0, 1.0, -torch.inf, -torch.inf]]).expand(3, -1)
    assert labels.likeliest(np.arange(3), logits).tolist() == [2, 1, 0]
    logits = torch.tensor([[5.0, -torch.inf, 1.0, -torch.inf]]).expand(3, -1)
    assert labels.likeliest(np.arange(3), logits).tolist() == [2, 1, 0]


def test_the_model_may_predict_a_class_that_no_sample_has(case):
    net, x, _, logits = case
    predicted = logits.argmax(1)
    below = [[0, 1] if classes else [0] for classes in predicted]
    assert predicted.max() > 1  # which the lists, of classes 0 and 1, do not have
    labels = as_labels(below, 8)
    assert labels.has(np.arange(8), predicted).tolist() == (predicted <= 1).tolist()
    metric = LocalFaithfulness(targets="predicted", steps=3)
    maps = input_x_gradient(net, x, predicted)
    with pytest.warns(RuntimeWarning, match="explains predicted classes"):
        found = metric(net, x, below, a_batch=maps)
    assert found == LocalFaithfulness(steps=3)(net, x, predicted, a_batch=maps)
