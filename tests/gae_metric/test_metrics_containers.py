"""Data of any container: what is read when, and that the scores are those of an array."""

from __future__ import annotations

import warnings
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness
from gae_metric.companions import ROAD, Focus
from tests.gae_metric.nets import (
    conv_net,
    gradient_tensor,
    images,
    input_x_gradient,
    tabular_net,
    top_classes,
)

N = 12


class Lazy:
    """Makes samples when they are asked for, and counts what is alive."""

    def __init__(self, x, y=None):
        self.x, self.y = x, y
        self.alive = self.most = self.read = 0

    def __len__(self):
        return len(self.x)

    def sample(self, i):
        made = self.x[i].copy()
        self.alive, self.read = self.alive + 1, self.read + 1
        self.most = max(self.most, self.alive)
        weakref.finalize(made, self.gone)
        return made

    def gone(self):
        self.alive -= 1


class Items(Lazy):
    def __getitem__(self, i):
        return self.sample(range(len(self))[i])


class Slices(Lazy):
    def __getitem__(self, places):
        return [self.sample(i) for i in range(*places.indices(len(self)))]


class Pairs(Lazy, Dataset):
    def __getitem__(self, i):
        return self.sample(i), int(self.y[i])


@pytest.fixture(scope="module")
def case():
    net = conv_net()
    x = images(N, (3, 6, 6))
    return net, x, top_classes(net, x)


def scores(metric, *args, **kwargs):
    metric(*args, explain_func=gradient_tensor, batch_size=4, **kwargs)
    return metric.components.to_numpy()


def memory_map(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


FORMS = {
    "items": lambda x, folder: Items(x),
    "slices": lambda x, folder: Slices(x),
    "memory map": memory_map,
    "swapped memory map": lambda x, folder: memory_map(x.astype(">f8"), folder),
    "view of a memory map": lambda x, folder: memory_map(x[:, ::-1], folder)[:, ::-1],
    "list": lambda x, folder: list(x),
    "list of tensors": lambda x, folder: list(torch.tensor(x)),
    "tensor data set": lambda x, folder: TensorDataset(torch.tensor(x)),
    "subset": lambda x, folder: Subset(list(x), range(N)),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_container_gives_the_scores_of_an_array(case, form, tmp_path):
    net, x, y = case
    expected = scores(GAE(steps=3, cache=False), net, x, y)
    found = scores(GAE(steps=3, cache=False), net, FORMS[form](x, tmp_path), y)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [Items, Slices])
@pytest.mark.parametrize(
    "metric",
    [
        lambda: GAE(steps=3, cache=False),
        lambda: LocalConsistency(steps=3, cache=False),
        lambda: Contrastiveness(cache=False),
    ],
)
def test_what_is_held_at_a_time_is_bounded_by_the_batch(case, kind, metric):
    """Of mosaics four samples each, and one batch that is being read."""
    net, x, y = case
    big = np.concatenate([x] * 4) + np.arange(4 * N)[:, None, None, None] / 1e3
    lazy = kind(big)
    scores(metric(), net, lazy, np.tile(y, 4))
    assert lazy.most <= 5 * 4 < len(big)
    assert lazy.alive == 0
    assert lazy.read <= 12 * len(big)


class Lists(Pairs):
    """Rows that are lists, as a collate function leaves them."""

    def __getitem__(self, i):
        return list(super().__getitem__(i))


def test_rows_that_are_lists_of_a_sample_and_its_class(case):
    net, x, y = case
    expected = scores(GAE(steps=3, cache=False), net, x, y)
    found = scores(GAE(steps=3, cache=False), net, Lists(x, y))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("form", ["bool and float", "nullable", "column of arrays"])
def test_tables_of_several_types(form):
    x = images(5, (7,)).round(1)
    x[:, 0] = x[:, 0] > 0
    table = pd.DataFrame(x)
    if form == "column of arrays":
        given = pd.DataFrame({"features": list(x)})["features"]
    else:
        given = table.astype({0: bool}) if form == "bool and float" else table.astype("Float64")
    metric = LocalConsistency(disable_warnings=True)
    expected = metric(tabular_net(), x, [0, 1, 2, 0, 1], explain_func=input_x_gradient)
    found = metric(tabular_net(), given, [0, 1, 2, 0, 1], explain_func=input_x_gradient)
    assert found == expected
    with pytest.raises(ValueError, match=r"x_batch: .* got DataFrame"):
        metric(tabular_net(), table.astype({0: str}), [0] * 5, explain_func=input_x_gradient)


@pytest.mark.parametrize("given", [None, "data set"])
def test_classes_of_a_data_set(case, given):
    net, x, y = case
    pairs = Pairs(x, y)
    found = scores(GAE(steps=3, cache=False), net, pairs, pairs if given else None)
    np.testing.assert_array_equal(found, scores(GAE(steps=3, cache=False), net, x, y))
    assert pairs.most <= 20


def test_a_data_set_without_classes_is_refused(case):
    net, x, _ = case
    with pytest.raises(ValueError, match="y_batch: expected 12 integer classes, got None"):
        GAE()(net, Subset(list(x), range(N)), explain_func=gradient_tensor)


def test_companions_read_too(case):
    net, x, y = case
    for metric in (ROAD(percentages=[30]), Focus(disable_warnings=True)):
        lazy = Items(x)
        found = scores(metric, net, lazy, y)
        np.testing.assert_array_equal(found, scores(metric, net, x, y))
        assert lazy.most <= 20


def test_maps_are_read_too(case):
    net, x, y = case
    maps = input_x_gradient(net, x, y)
    metric = LocalFaithfulness(steps=3, cache=False)
    expected = metric(net, x, y, a_batch=maps)
    lazy = Items(maps)
    assert metric(net, Items(x), y, a_batch=lazy, batch_size=4) == expected
    assert lazy.most <= 4


def test_channels_last_are_turned_as_they_are_read(case):
    net, x, y = case
    found = scores(
        GAE(steps=3, cache=False), net, Items(np.moveaxis(x, 1, -1)), y, channel_first=False
    )
    np.testing.assert_array_equal(found, scores(GAE(steps=3, cache=False), net, x, y))


@pytest.mark.parametrize("place", [0, 1, 7, N - 1])
@pytest.mark.parametrize("metric", [LocalConsistency(), ROAD(percentages=[30]), Focus()])
def test_samples_that_change_are_refused(case, metric, place):
    net, x, y = case
    rng = np.random.default_rng(0)

    class Augmented(Items):
        def __getitem__(self, i):
            return super().__getitem__(i) + rng.normal() * (i == place)

    with pytest.raises(ValueError, match=f"x_batch: expected the same .* ones at index {place};"):
        metric(net, Augmented(x), y, explain_func=gradient_tensor)


def test_samples_of_another_shape_are_named(case):
    net, x, y = case
    ragged = Subset([*x[:-1], x[-1][:, 1:]], range(N))
    with pytest.raises(ValueError, match=r"x_batch: .* got \(3, 5, 6\) for sample 11"):
        LocalConsistency()(net, ragged, y, explain_func=gradient_tensor)


def test_errors_of_a_data_set_are_its_own(case):
    net, x, y = case

    class Broken(Items):
        def __getitem__(self, i):
            raise FileNotFoundError("image.png")

    with pytest.raises(FileNotFoundError, match=r"image\.png"):
        LocalConsistency()(net, Broken(x), y, explain_func=gradient_tensor)


def test_the_time_left_is_shown(case, capsys):
    net, x, y = case
    scores(LocalConsistency(steps=3, display_progressbar=True), net, Items(x), y)
    shown = capsys.readouterr().err
    assert "Local Consistency: 100%" in shown
    assert "<" in shown  # elapsed<left


class Rows(Lazy):
    """As Hugging Face's data sets: dictionaries, and a shape of rows and columns."""

    shape = (N, 3)

    def __getitem__(self, i):
        return {"label": int(self.y[i]), "path": f"{i}.png", "pixel_values": self.sample(i)}


ROWS = {
    "data set": Rows,
    "list": lambda x, y: [{"image": a, "labels": b} for a, b in zip(x, y, strict=True)],
    "tensors": lambda x, y: [
        {"x": torch.tensor(a), "label": torch.tensor(b)} for a, b in zip(x, y, strict=True)
    ],
}


@pytest.mark.parametrize("form", ROWS)
def test_rows_that_are_dictionaries(case, form):
    net, x, y = case
    expected = scores(GAE(steps=3, cache=False), net, x, y)
    for given in (None, y, ROWS[form](x, y)):
        found = scores(GAE(steps=3, cache=False), net, ROWS[form](x, y), given)
        np.testing.assert_array_equal(found, expected)


def test_rows_without_one_array_beside_the_label_are_refused(case):
    net, x, y = case
    several = [{"image": row, "mask": row, "label": 0} for row in x]
    with pytest.raises(ValueError, match=r"x_batch: .* got image, mask of image, mask, label; sel"):
        GAE()(net, several, y, explain_func=gradient_tensor)
    with pytest.raises(ValueError, match=r"x_batch: .* got none of path, label; select"):
        GAE()(net, [{"path": "a.png", "label": 0}] * N, explain_func=gradient_tensor)


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(N)


@pytest.mark.parametrize(
    "form",
    [lambda x: DataLoader(TensorDataset(torch.tensor(x))), lambda x: (row for row in x), Stream],
)
def test_what_is_read_once_is_refused_with_a_remedy(case, form):
    net, x, y = case
    made = form(x) if form is not Stream else Stream()
    for inputs, classes, name in ((made, y, "x_batch"), (x, made, "y_batch")):
        with pytest.raises(ValueError, match=rf"{name}: .* of a DataLoader .*loader\.dataset"):
            GAE()(net, inputs, classes, explain_func=gradient_tensor)


def test_a_dictionary_of_columns_is_refused_by_their_names(case):
    net, x, y = case
    with pytest.raises(ValueError, match=r"x_batch: .* got dict; pass the entry .* image, label"):
        GAE()(net, {"image": x, "label": y}, y, explain_func=gradient_tensor)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (lambda x: ["a", "b"] * 6, "got list of str"),
        (lambda x: torch.nested.nested_tensor(list(torch.tensor(x))), "got a nested tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_what_holds_no_numbers_is_named(case, form, message):
    net, x, y = case
    with pytest.raises(ValueError, match=f"x_batch: .* {message}"):
        LocalConsistency()(net, form(x), y, explain_func=gradient_tensor)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float8_e4m3fn, torch.float16, torch.uint16])
@pytest.mark.parametrize("metric", [GAE(steps=3), ROAD(percentages=[30]), Focus()])
def test_types_that_torch_hardly_computes_in(case, dtype, metric):
    net, x, y = case
    given = torch.tensor(x).abs().mul(3).round().clamp(max=15).to(dtype)
    metric._disable_warnings = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = scores(metric, net, given, y)
        np.testing.assert_array_equal(found, scores(metric, net, given.double(), y))
