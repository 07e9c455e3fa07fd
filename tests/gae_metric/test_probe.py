"""Scores of maps that are given back are exactly those of the metric that explains live."""

import numpy as np
import pandas as pd
import pytest
import torch

import gae_metric
from gae_metric import (
    GAE,
    Contrastiveness,
    LocalConsistency,
    LocalFaithfulness,
    LocalRobustness,
    MosaicPlan,
    ProbeSet,
)
from gae_metric.probe import ProbeError
from tests.gae_metric.nets import (
    CountingModel,
    conv_net,
    images,
    input_x_gradient,
    series_net,
    tabular_net,
    top_classes,
)

SINGLE = {"dtype": torch.float32}


@pytest.fixture(autouse=True)
def _fresh():
    gae_metric.clear_cache()


def mixed(model, inputs, targets, **kwargs):
    """Maps that no part of GAE is trivial for, each sample's on its own."""
    maps = [input_x_gradient(model, x[None], y[None]) for x, y in zip(inputs, targets, strict=True)]
    return np.concatenate(maps) + np.float32(0.1) * np.cos(9 * inputs)


def gradient(model, inputs, targets, **kwargs):
    return mixed(model, np.clip(inputs, -1e9, 1e9), targets)


def one_channel(model, inputs, targets, **kwargs):
    return np.abs(mixed(model, inputs, targets)).sum(1, keepdims=True)


def no_channel(model, inputs, targets, **kwargs):
    return mixed(model, inputs, targets).max(1)


def double(model, inputs, targets, **kwargs):
    return mixed(model, inputs, targets).astype(np.float64) ** 3


def half(model, inputs, targets, **kwargs):
    return mixed(model, inputs, targets).astype(np.float16)


def explained(probe, model, explain_func, size=7):
    """Explain what a probe set asks for, item by item."""
    maps = {}
    for ids, inputs, targets in probe.explain_items(size):
        assert inputs.dtype == np.float32
        maps.update(zip(ids, explain_func(model, inputs, targets), strict=True))
    return maps


def live(kind, options, model, x, y, explain_func, **kwargs):
    metric = kind(**options, disable_warnings=True)
    metric(model, x, y, explain_func=explain_func, **kwargs)
    return metric.components[list(metric.columns)]


def same(given, expected):
    pd.testing.assert_frame_equal(given, expected, check_exact=True)
    # Something that could have come out otherwise.
    assert not np.isin(expected.to_numpy(), [-1, 0, 1, np.nan]).all()
    assert len(np.unique(expected.to_numpy())) > 1


IMAGE_CASES = {
    "default": (GAE, {}),
    "uniform": (GAE, {"schedule": "uniform", "steps": 4, "seed": 5}),
    "mosaics": (GAE, {"n_mosaics": 3, "steps": 3}),
    "repository": (GAE, {"protocol": "repository", "seed": 2}),
    "repository predicted": (
        Contrastiveness,
        {"protocol": "repository", "targets": "predicted"},
    ),
    "mean": (GAE, {"mask_value": "mean", "steps": 4}),
    "blur": (GAE, {"mask_value": "blur", "steps": 3}),
    "array": (LocalConsistency, {"mask_value": np.array([[[0.5]], [[0.25]], [[-1.0]]])}),
    "predicted": (GAE, {"targets": "predicted", "steps": 3}),
    "bilinear": (Contrastiveness, {"interpolation": "bilinear"}),
    "plan": (GAE, {"mosaics": MosaicPlan.draw(np.arange(9), seed=4), "steps": 3}),
    "robustness": (LocalRobustness, {"steps": 5}),
    "faithfulness": (LocalFaithfulness, {"steps": 5}),
}


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
def test_maps_of_types_that_numpy_lacks(kind):
    net, x = conv_net(**SINGLE), images(5, (3, 8, 8), np.float32)
    probe = ProbeSet.build(net, x, top_classes(net, x), metric="Contrastiveness")
    maps = torch.tensor(np.stack(list(explained(probe, net, one_channel).values()))).to(kind)
    same(probe.score(maps), probe.score(maps.float()))


@pytest.mark.parametrize("name", IMAGE_CASES)
def test_scores_are_the_live_metrics(name, tmp_path):
    kind, options = IMAGE_CASES[name]
    net, x = conv_net(**SINGLE), images(9, (3, 9, 7), np.float32)
    y = (top_classes(net, x) + (np.arange(9) % 3 == 2)) % 5
    probe = ProbeSet.build(net, x, y, metric=kind.name.replace(" ", ""), **options, batch_size=4)
    maps = explained(probe, net, mixed)
    expected = live(kind, options, net, x, y, mixed)
    same(probe.score(maps, disable_warnings=True), expected)
    for path, settings in ((tmp_path / "a.npz", {}), (tmp_path / "b", {"shard_bytes": 20_000})):
        probe.save(path, **settings)
        loaded = ProbeSet.load(path)
        same(loaded.score(maps, batch_size=5, disable_warnings=True), expected)
        pd.testing.assert_frame_equal(loaded.items, probe.items)
        for ours, theirs in zip(probe.explain_items(11), loaded.explain_items(11), strict=True):
            assert ours[0] == theirs[0]
            np.testing.assert_array_equal(ours[1], theirs[1])
            np.testing.assert_array_equal(ours[2], theirs[2])


@pytest.mark.parametrize("explain_func", [one_channel, no_channel, double, half])
def test_maps_of_any_kind(explain_func, tmp_path):
    net, x = conv_net(**SINGLE), images(5, (3, 8, 8), np.float32)
    y = top_classes(net, x)
    probe = ProbeSet.build(net, x, y, steps=4)
    expected = live(GAE, {"steps": 4}, net, x, y, explain_func)
    probe.save(tmp_path / "probe")
    for each in (probe, ProbeSet.load(tmp_path / "probe")):
        same(each.score(explained(each, net, explain_func), disable_warnings=True), expected)


def test_time_series(tmp_path):
    net, x = series_net(torch.float32), images(6, (2, 32), np.float32)
    y = top_classes(net, x)
    expected = live(GAE, {"steps": 5}, net, x, y, one_channel)
    ProbeSet.build(net, x, y, steps=5).save(tmp_path / "p.npz")
    probe = ProbeSet.load(tmp_path / "p.npz")
    same(probe.score(explained(probe, net, one_channel), disable_warnings=True), expected)


def test_tabular(tmp_path):
    net, x = tabular_net(dtype=torch.float32), images(6, (7,), np.float32)
    y = top_classes(net, x)
    expected = live(LocalConsistency, {}, net, x, y, mixed)
    ProbeSet.build(net, x, y, metric="LocalConsistency").save(tmp_path / "p")
    probe = ProbeSet.load(tmp_path / "p")
    same(probe.score(explained(probe, net, mixed), disable_warnings=True), expected)
    with pytest.raises(ValueError, match=r"GAE applies to image, time-?series data"):
        ProbeSet.build(net, x, y)


def test_samples_that_are_not_finite(tmp_path):
    """A NaN feature, and a sample for which the model overflows."""
    net, x = conv_net(**SINGLE), images(7, (3, 8, 8), np.float32)
    y = top_classes(net, x)
    x[2, 0, 1, 1] = np.nan
    x[4] = 3e38
    expected = live(GAE, {"steps": 4}, net, x, y, gradient)
    assert expected["gae"].isna().sum() >= 2
    assert expected.loc[[2, 4], "gae"].isna().all()
    ProbeSet.build(net, x, y, steps=4).save(tmp_path / "p", shard_bytes=1)
    probe = ProbeSet.load(tmp_path / "p")
    maps = explained(probe, net, gradient)
    with pytest.warns(RuntimeWarning, match=r"features are not finite: samples 2; model outputs"):
        scores = probe.score(maps)
    same(scores, expected)
    assert not any(name.startswith("2-") for name in maps)


def test_maps_that_are_not_finite():
    net, x = conv_net(**SINGLE), images(5, (3, 8, 8), np.float32)
    y = top_classes(net, x)
    probe = ProbeSet.build(net, x, y, steps=3)
    maps = explained(probe, net, mixed)
    clean = probe.score(maps, disable_warnings=True)
    maps["3-lerf-2"] = maps["3-lerf-2"] * np.nan
    maps["1-mosaic-0"] = np.full_like(maps["1-mosaic-0"], np.inf)
    with pytest.warns(RuntimeWarning) as caught:
        scores = probe.score(maps)
    texts = [str(warning.message) for warning in caught]
    assert any("2 have values that are not finite" in t for t in texts)
    assert any("1-mosaic-0, 3-lerf-2" in t for t in texts)
    assert any("attributions are not finite: samples 1, 3" in t for t in texts)
    assert scores["gae"].isna().tolist() == [False, True, False, True, False]
    left = [0, 2, 4]
    pd.testing.assert_frame_equal(scores.loc[left], clean.loc[left], check_exact=True)


def test_double_precision_models_are_explained_in_single():
    net, x = conv_net(), images(5, (3, 8, 8), np.float32)
    y = top_classes(net, x)
    probe = ProbeSet.build(net, x, y, steps=3)

    def in_double(model, inputs, targets, **kwargs):
        return mixed(model, np.asarray(inputs, dtype=np.float64), targets)

    expected = live(GAE, {"steps": 3}, net, x, y, in_double)
    same(probe.score(explained(probe, net, in_double), disable_warnings=True), expected)
    with pytest.raises(ProbeError, match="features of sample 0 do not fit float32"):
        list(ProbeSet.build(net, x.astype(float) * 1e300, y, steps=2).explain_items())


@pytest.fixture(scope="module")
def small():
    net, x = conv_net(**SINGLE), images(5, (3, 6, 6), np.float32)
    probe = ProbeSet.build(net, x, top_classes(net, x), steps=3)
    maps = explained(probe, net, mixed)
    return net, probe, maps, probe.score(maps, disable_warnings=True)


def test_every_form_of_maps(small):
    net, probe, maps, expected = small
    values = list(maps.values())
    forms = {
        "array": np.stack(values),
        "tensor": torch.tensor(np.stack(values)),
        "list": values,
        "tensors": [torch.tensor(each, requires_grad=True) for each in values],
        "reversed mapping": dict(reversed(maps.items())),
        "big-endian": np.stack(values).astype(">f4"),
        "read-only": np.broadcast_to(np.stack(values), (len(values), 3, 6, 6)),
        "view": np.stack([np.flip(each, 1) for each in values])[:, :, ::-1],
        "stream": ((ids, mixed(net, x, y)) for ids, x, y in probe.explain_items(4)),
        "one chunk": iter([(probe.ids, np.stack(values))]),
    }
    for name, form in forms.items():
        scores = probe.score(form, batch_size=3, disable_warnings=True)
        pd.testing.assert_frame_equal(scores, expected, check_exact=True, obj=name)


def test_every_file_of_maps(small, tmp_path):
    _, probe, maps, expected = small
    for path in (tmp_path / "probe.npz", tmp_path / "probe"):
        probe.save(path, shard_bytes=10_000)
    shards = ProbeSet.load(tmp_path / "probe")
    assert len(list((tmp_path / "probe").glob("inputs-*.npy"))) > 1
    stack = np.stack(list(maps.values()))
    forms = []
    for name, write in (("plain", np.savez), ("packed", np.savez_compressed)):
        write(tmp_path / f"all-{name}.npz", maps=stack)
        write(tmp_path / f"each-{name}.npz", **maps)
        forms += [tmp_path / f"all-{name}.npz", tmp_path / f"each-{name}.npz"]
    for folder in ("one", "each", "fortran"):
        (tmp_path / folder).mkdir()
        forms.append(tmp_path / folder)
    np.save(tmp_path / "one" / "maps.npy", stack)
    np.save(tmp_path / "fortran" / "maps.npy", np.asfortranarray(stack))
    for name, values in maps.items():
        np.save(tmp_path / "each" / f"{name}.npy", values)
    forms.append(tmp_path / "probe")
    for k, file in enumerate(sorted((tmp_path / "probe").glob("inputs-*.npy"))):
        count = len(np.load(file))
        np.save(tmp_path / "probe" / f"maps-{k:05d}.npy", stack[:count])
        stack = stack[count:]
    forms += [np.load(form) for form in forms if form.suffix == ".npz"]
    for form in forms:
        scores = shards.score(form, batch_size=5, disable_warnings=True)
        pd.testing.assert_frame_equal(scores, expected, check_exact=True, obj=str(form))


def test_one_form_of_maps_at_a_time(small):
    _, probe, maps, _ = small
    with pytest.raises(
        ProbeError, match="one form of maps, got one array 'maps' beside arrays nam"
    ):
        probe.score(maps | {"maps": np.stack(list(maps.values()))})
    with pytest.raises(ProbeError, match=r"items; 1 of no item: targets$"):
        probe.score({"maps": np.stack(list(maps.values())), "targets": np.zeros(len(maps))})
    with pytest.raises(ProbeError, match="expected an array of maps, got a single value"):
        probe.score({"maps": 1.0})


def drop(maps):
    del maps["2-lerf-1"], maps["4-original"]


def add(maps):
    maps["5-original"] = maps["0-original"]


def reshape(maps):
    maps["3-morf-2"] = maps["3-morf-2"][:, :5]


def thin(maps):
    maps["3-morf-2"] = maps["3-morf-2"][:1]


def imaginary(maps):
    maps["1-original"] = maps["1-original"] * 1j


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"30 items; 2 missing: 2-lerf-1, 4-original$"),
        (add, r"1 of no item: 5-original$"),
        (reshape, r"1 of shape \(3, 5, 6\) instead of \(3, 6, 6\): 3-morf-2$"),
        (thin, r"1 of shape \(1, 6, 6\) instead of \(3, 6, 6\): 3-morf-2$"),
        (imaginary, r"1 of type complex\d+ instead of real numbers: 1-original$"),
    ],
)
def test_what_does_not_fit_is_named(small, tmp_path, change, message):
    _, probe, maps, _ = small
    maps = dict(maps)
    change(maps)
    with pytest.raises(ProbeError, match=message):
        probe.score(maps)
    np.savez(tmp_path / "maps.npz", **maps)
    with pytest.raises(ProbeError, match=message):
        probe.score(tmp_path / "maps.npz")


def test_maps_for_a_set_of_nothing_are_named():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).eval()
    probe = ProbeSet.build(model, np.full((4, 3, 2, 2), np.nan), [0, 1, 0, 1])
    with pytest.raises(ProbeError, match=r"each of the 0 items; 1 of no item: maps\[0\]$"):
        probe.score(np.ones((1, 3, 2, 2)))


def test_several_faults_are_named_together(small):
    _, probe, maps, _ = small
    stack = np.stack(list(maps.values()))
    with pytest.raises(ProbeError, match=r"28 missing: 0-lerf-2, .* and 23 more$"):
        probe.score(stack[:2])
    with pytest.raises(ProbeError, match=r"2 of no item: maps\[30\], maps\[31\]$"):
        probe.score(np.concatenate([stack, stack[:2]]))
    faulty = dict(maps)
    drop(faulty)
    add(faulty)
    reshape(faulty)
    with pytest.raises(ProbeError, match=r"2 missing: .*; 1 of no item: .*; 1 of shape .*"):
        probe.score(faulty)
    with pytest.raises(ProbeError, match=r"30 of shape \(9, 9\) instead of \(3, 6, 6\) or \(1"):
        probe.score(np.zeros((30, 9, 9)))
    for wrong in (7, None, 2.5):
        with pytest.raises(ProbeError, match="expected an array, a mapping"):
            probe.score(wrong)
    with pytest.raises(ProbeError, match="got a single value"):
        probe.score(np.array(1.0))
    with pytest.raises(ProbeError, match="found nothing at"):
        probe.score("/nowhere.npz")


def test_streams_are_checked_as_they_come(small):
    _, probe, maps, _ = small
    values = np.stack(list(maps.values()))
    ids = probe.ids
    for chunks, message in (
        ([(ids[:3], values[:3])], r"27 missing: 0-morf-1"),
        ([(ids[1:3], values[1:3])], r"0-original, 0-lerf-1 next, got 0-lerf-1, 0-lerf-2"),
        ([(ids, values), (ids[:1], values[:1])], r"no more next, got 0-original"),
        ([(ids[:2], values[:3])], r"expected shape \(2, 3, 6, 6\) or .* for 0-original, 0-lerf-1"),
        (
            [(ids[:1], values[:1]), (ids[1:2], values[1:2, :1])],
            r"expected shape \(1, 3, 6, 6\) for",
        ),
        ([(ids[:1], values[:1] * 1j)], "expected real numbers for 0-original"),
        ([5], "iterable of pairs"),
    ):
        with pytest.raises(ProbeError, match=message):
            probe.score(iter(chunks))


def test_a_name_beside_its_map_is_no_pair_of_names_and_maps(small):
    _, probe, maps, _ = small
    said = (
        r"pairs \(names of items, their maps\).* got \(str, ndarray\).*dict\(zip\(names, maps\)\)"
    )
    for pairs in (zip(probe.ids, maps.values(), strict=True), [*maps.items()]):
        with pytest.raises(ProbeError, match=said):
            probe.score(pairs)


def test_neither_model_nor_inputs_are_needed_to_score(small, tmp_path):
    _, probe, maps, expected = small
    probe.save(tmp_path / "p", shard_bytes=10_000)
    loaded = ProbeSet.load(tmp_path / "p")
    for file in (tmp_path / "p").glob("inputs-*.npy"):
        file.unlink()
    scores = loaded.score(maps, disable_warnings=True)
    pd.testing.assert_frame_equal(scores, expected, check_exact=True)


def test_the_model_works_once():
    net, x = CountingModel(conv_net(**SINGLE)), images(5, (3, 6, 6), np.float32)
    probe = ProbeSet.build(net, x, top_classes(net.model, x), steps=4)
    assert net.gradients <= 5 * 7
    rows = net.rows
    gae_metric.clear_cache()
    maps = explained(probe, net.model, mixed)
    probe.score(maps, disable_warnings=True)
    assert net.rows == rows


def test_arguments_are_checked(small):
    _, probe, _, _ = small
    net, x = conv_net(**SINGLE), images(5, (3, 6, 6), np.float32)
    y = top_classes(net, x)
    for options, message in (
        ({"metric": "GEA"}, "metric: unknown name 'GEA'; did you mean 'GAE'"),
        ({"steps": 1}, "steps: expected"),
        ({"targets": "labels"}, "targets: expected"),
        ({"names": ["a"]}, "names: expected 5, one of each sample, got 1"),
        ({"mosaics": MosaicPlan.draw(np.arange(4), seed=0)}, "mosaics: expected a plan for the 5"),
    ):
        with pytest.raises(ValueError, match=message):
            ProbeSet.build(net, x, y, **options)
    with pytest.raises(ValueError, match="y_batch: expected 5 integer classes, got None"):
        ProbeSet.build(net, x)
    with pytest.raises(ValueError, match="at least 4 samples"):
        ProbeSet.build(net, x[:3], y[:3])
    with pytest.raises(ProbeError, match="batch_size: expected a positive integer, got 0"):
        next(probe.explain_items(0))
    with pytest.raises(ProbeError, match="shard_bytes"):
        probe.save("unused", shard_bytes=0)


def test_mosaics_of_another_shape_than_samples_are_refused():
    net = conv_net()
    x = images(4)
    with pytest.raises(ValueError, match='interpolation: "none" makes mosaics that are larger'):
        ProbeSet.build(net, x, [0, 1, 2, 3], interpolation="none")


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_samples_that_are_changed_after_the_model_saw_them_are_refused(tmp_path, form):
    """Maps of other images would be scored by what the model did with the first ones."""
    net, x = conv_net(**SINGLE), images(6, dtype=np.float32)
    expected = live(GAE, {"steps": 3}, net, x, top_classes(net, x), mixed)
    given = form(x.copy())
    probe = ProbeSet.build(net, given, top_classes(net, x), steps=3)
    maps = explained(probe, net, mixed)
    given[4] *= -1
    with pytest.raises(ValueError, match=r"x_batch: .*two different ones at index 4; .*not change"):
        list(probe.explain_items())
    with pytest.raises(ValueError, match=r"x_batch: .*two different ones at index 4"):
        probe.save(tmp_path / "probe.npz")
    assert not [*tmp_path.iterdir()]
    given[4] *= -1
    same(probe.score(maps, disable_warnings=True), expected)
    assert sum(len(ids) for ids, _, _ in probe.explain_items()) == len(probe)
