"""Each figure of a run shows what it says: the samples, maps and scores that it should."""

import numpy as np
import pytest
import torch

import abslrp
from benchmarks.data.names import open_data
from benchmarks.figures.two_classes import LEAST, side_by_side
from benchmarks.methods import METHODS
from benchmarks.runner.collected import collect
from gae_metric import LocalConsistency, MosaicPlan
from gae_metric.demo import networks
from gae_metric.functional import LERF, MORF, content_hashes, masking_trajectory, mosaics
from tests.benchmarks.drawing import SAMPLES, STEPS, Drawings, picture, shown, small_run

COARSE = "timm-vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("figures"))


@pytest.fixture(scope="module")
def drawings(folder):
    return Drawings(folder)


@pytest.fixture(scope="module")
def collected(folder):
    return collect(folder)


@pytest.fixture(scope="module")
def x(collected):
    """The run's images, by the files that it drew."""
    data = open_data("digits")
    files = collected.targets.query("model == 'digits:vgg'").sort_values("sample")["file"]
    return data.arrays[[data.files.index(file) for file in files]]


def column(collected, metric, method="absLRP", model="digits:vgg"):
    """Scores (N,) in the order of samples."""
    some = collected.scores.query("model == @model and method == @method and metric == @metric")
    return some.sort_values("sample")["score"].to_numpy()


def targets(collected, model="digits:vgg"):
    mine = collected.targets.query("model == @model").sort_values("sample")
    return mine["target"].to_numpy(copy=True)


def middle(scores):
    return int(np.argsort(scores, kind="stable")[len(scores) // 2])


def which(axes, x):
    """The sample that some axes show."""
    (found,) = [i for i, one in enumerate(x) if np.array_equal(picture(one), shown(axes))]
    return found


def ours(x, classes, model="vgg"):
    return abslrp.explain(networks.load(model), x, np.asarray(classes)).sum(axis=1)


def test_curves_are_those_of_the_typical_sample(drawings, collected, x):
    figures = drawings[2]
    assert list(figures) == ["digits-vgg", "digits-vit", COARSE]
    scores = column(collected, "LC")
    i, y = middle(scores), targets(collected)
    metric = LocalConsistency(steps=STEPS, disable_warnings=True)
    metric(networks.load("vgg"), x[i : i + 1], y[i : i + 1], explain_func=abslrp.explain)
    axes = figures["digits-vgg"].axes
    for panel, what in zip(axes, ("output", "similarity"), strict=False):
        for line, order in zip(panel.lines, ("lerf", "morf"), strict=False):
            np.testing.assert_allclose(
                line.get_ydata(), metric.curves[f"{what}_{order}"][0], atol=1e-4
            )
    title = figures["digits-vgg"].get_suptitle().split()  # no-break spaces are spaces here
    file = collected.targets["file"].iloc[i]
    assert " ".join(title).startswith(f"digits:vgg, absLRP: {file}, class {y[i]}, LC")
    assert title[-1] == f"{scores[i]:.3f}"


def test_impact_of_the_same_sample(drawings, collected, x):
    figures = drawings[3]
    assert list(figures) == ["digits-vgg", "digits-vit", COARSE]
    i, y = middle(column(collected, "LC")), targets(collected)
    impacts = masking_trajectory(
        networks.load("vgg"),
        torch.tensor(x[i : i + 1]),
        torch.tensor(y[i : i + 1]),
        steps=STEPS,
        keep_impacts=True,
    ).impacts.numpy()
    axes = figures["digits-vgg"].axes
    assert which(axes[0], x) == i
    for panel, order in ((axes[1], LERF), (axes[2], MORF)):
        np.testing.assert_allclose(shown(panel), impacts[order, 0].sum(axis=0), atol=1e-6)


def test_mosaic_of_the_run_and_two_methods(drawings, collected, x):
    figures = drawings[4]
    assert list(figures) == ["digits-vgg", "digits-vit", COARSE]
    i, y = middle(column(collected, "C")), targets(collected)
    plan = MosaicPlan.draw(content_hashes(x), y, seed=1)
    mosaic = mosaics(torch.tensor(x), plan.indices[i : i + 1]).numpy()
    axes = figures["digits-vgg"].axes
    np.testing.assert_array_equal(shown(axes[0]), picture(mosaic[0]))
    assert [text.get_text() for text in axes[0].texts] == [f"class {y[k]}" for k in plan.indices[i]]
    # Random looks at nothing and LLAttention does not apply: there is no other.
    assert [panel.get_title().replace("\n", "") for panel in axes[1:]] == [
        "absLRP",
        "InputXGradient",
    ]
    np.testing.assert_allclose(shown(axes[1]), ours(mosaic, y[i : i + 1])[0], atol=1e-6)
    labels = [panel.get_xlabel() for panel in axes[1:]]
    assert labels == [
        f"C = {column(collected, 'C', m)[i]:.3f}" for m in ("absLRP", "InputXGradient")
    ]
    # Of the vision transformer's, the one of the lowest mean.
    others = ("InputXGradient", "LLAttention")
    lowest = min(others, key=lambda m: column(collected, "C", m, "digits:vit").mean())
    titles = [panel.get_title().replace("\n", "") for panel in figures["digits-vit"].axes]
    assert titles == ["mosaic", "absLRP", lowest]


def test_main_method_by_family(drawings, collected, x):
    assert list(drawings[5]) == ["digits-vgg"]
    assert list(drawings[6]) == ["digits-vit", COARSE]
    for number, name in ((5, "vgg"), (6, "vit")):
        y = targets(collected, f"digits:{name}")
        axes = drawings[number][f"digits-{name}"].axes
        samples = [which(panel, x) for panel in axes[:5]]
        assert len(set(y[samples])) == 5  # of different classes
        assert [panel.get_title() for panel in axes[:5]] == [f"class {c}" for c in y[samples]]
        gae = column(collected, "GAE", model=f"digits:{name}")
        maps = ours(x[samples], y[samples], name)
        for sample, panel, values in zip(samples, axes[5:], maps, strict=True):
            np.testing.assert_allclose(shown(panel), values, atol=1e-5)
            assert panel.get_xlabel() == f"{gae[sample]:.3f}"
        assert axes[5].get_ylabel() == "absLRP"


def test_every_method_by_family(drawings, collected, x):
    assert list(drawings[12]) == ["digits-vgg"]
    assert list(drawings[13]) == ["digits-vit", COARSE]
    for number, name, methods in (
        (12, "vgg", ["Random", "InputXGradient", "absLRP"]),
        (13, "vit", ["Random", "InputXGradient", "LLAttention", "absLRP"]),
    ):
        rows = np.array(drawings[number][f"digits-{name}"].axes).reshape(4, 1 + len(methods))
        titles = [panel.get_title().replace("\n", "") for panel in rows[0]]
        assert titles == ["image", *methods]
        for row in rows:
            sample = which(row[0], x)
            for panel, method in zip(row[1:], methods, strict=True):
                score = column(collected, "GAE", method, f"digits:{name}")[sample]
                assert panel.get_xlabel() == f"{score:.3f}"


@pytest.mark.parametrize(("number", "model"), [(11, "digits:vgg"), (14, "digits:vit")])
def test_highest_and_lowest(drawings, collected, x, number, model):
    figure = drawings[number][model.replace(":", "-")]
    scores = column(collected, "GAE", model=model)
    order = sorted(range(SAMPLES), key=lambda i: (-scores[i], i))
    top = order[:5]
    bottom = sorted(set(range(SAMPLES)) - set(top), key=lambda i: (scores[i], i))[:5]
    axes = figure.axes
    assert [which(panel, x) for panel in axes[:5]] == top
    assert [which(panel, x) for panel in axes[10:15]] == bottom
    y = targets(collected, model)
    maps = ours(x[[*top, *bottom]], y[[*top, *bottom]], model[7:])
    for i, panel, values in zip([*top, *bottom], [*axes[5:10], *axes[15:]], maps, strict=True):
        np.testing.assert_allclose(shown(panel), values, atol=1e-5)
        assert panel.get_xlabel() == f"{scores[i]:.3f}"
    assert f"of {SAMPLES} samples" in figure.get_suptitle().replace("\n", " ")
    assert set(drawings[14]) == {"digits-vit", COARSE}


def _rows(figure, methods):
    """Image, class, probability and panels of each row."""
    left = list(figure.axes)
    rows = []
    while left:
        image = left.pop(0)
        for _ in range(2):
            panels = [left.pop(0) for _ in range(methods)]
            name, chance = panels[0].get_ylabel().split("\n")
            rows.append((shown(image), int(name.removeprefix("class ")), float(chance), panels))
    return rows


def test_a_map_for_each_class(drawings, collected, x):
    assert list(drawings[7]) == ["digits-vgg"]
    assert "digits-vit" in drawings[8]
    model, y = networks.load("vgg"), targets(collected)
    pairs = [(i, i + 1) for i in range(0, SAMPLES, 2) if y[i] != y[i + 1]]
    canvases = side_by_side(x[[i for i, _ in pairs]], x[[j for _, j in pairs]])
    chances = model(torch.tensor(canvases)).softmax(1).detach().numpy()
    both = [(chances[k, y[i]], chances[k, y[j]]) for k, (i, j) in enumerate(pairs)]
    order = sorted(range(len(pairs)), key=lambda k: -min(both[k]))
    order = [k for k in order if min(both[k]) >= LEAST]
    methods = ["absLRP", "InputXGradient", "Random"]
    first, later = (_rows(drawings[number]["digits-vgg"], len(methods)) for number in (7, 16))
    assert len(first) == 6  # three images of two classes
    assert len(later) == 2 * len(order[3:6]) > 0
    for place, (image, target, chance, panels) in enumerate([*first, *later]):
        k, which_class = order[place // 2], place % 2
        np.testing.assert_allclose(image, picture(canvases[k]), atol=1e-6)
        assert target == y[pairs[k][which_class]]
        assert chance == pytest.approx(both[k][which_class], abs=0.006)
        panel = panels[0] if place < 6 else panels[-1]  # absLRP stands first, or as it is listed
        np.testing.assert_allclose(shown(panel), ours(canvases[k : k + 1], [target])[0], atol=1e-5)
    titles = [panel.get_title().replace("\n", "") for panel in first[0][3]]
    assert titles[0] == "absLRP"
    assert set(titles) == set(methods)


def _grid(figure):
    """Panels by rows; how many samples there are depends on the coarse network's random weights."""
    return np.array(figure.axes).reshape(-1, figure.axes[0].get_gridspec().ncols)


def test_two_token_grids(drawings, collected, x):
    (figure,) = drawings[10].values()
    assert list(drawings[10]) == [f"digits-vit-vs-{COARSE}"]
    names = [part.get_supylabel().replace("\n", " ") for part in figure.subfigs]
    assert names == ["vit, 6×6 tokens", "vit_tiny_patch16_224, 3×3 tokens"]
    y = targets(collected, "digits:vit")
    fine = _grid(figure.subfigs[0])
    samples = [which(panel, x) for panel in fine[0]]
    assert [panel.get_title() for panel in fine[0]] == [f"class {c}" for c in y[samples]]
    for panel, values in zip(fine[1], ours(x[samples], y[samples], "vit"), strict=True):
        np.testing.assert_allclose(shown(panel), values, atol=1e-5)
    coarse = _grid(figure.subfigs[1])
    # A row without a name is one of images; the second grid has none where they are the first's.
    labels = [[row[0].get_ylabel().replace("\n", "") for row in part] for part in (fine, coarse)]
    rows = [[label for label in part if label] for part in labels]
    assert rows[0] == rows[1]
    assert rows[0][0] == "absLRP"
    assert len(rows[0]) == 2
    subject = drawings.material.subjects[2]
    maps = subject.maps(["absLRP"], x[samples], targets(collected, subject.name)[samples])["absLRP"]
    for panel, values in zip(coarse[-2], maps, strict=True):
        np.testing.assert_allclose(shown(panel), values.sum(axis=0), atol=1e-6)


def test_one_method_for_every_model(drawings, collected, x):
    (figure,) = drawings[15].values()
    axes = _grid(figure)
    named = [row[0].get_ylabel().replace("\n", "") for row in axes]
    assert [name for name in named if name] == ["vgg", "vit", "vit_tiny_patch16_224"][: len(named)]
    assert "absLRP for every model" in figure.get_suptitle()
    samples = [which(panel, x) for panel in axes[0]]
    for name in ("vgg", "vit"):
        y = targets(collected, f"digits:{name}")
        row = axes[named.index(name)]
        for panel, values in zip(row, ours(x[samples], y[samples], name), strict=True):
            np.testing.assert_allclose(shown(panel), values, atol=1e-5)


def test_what_fails_now_is_left_out(drawings, folder, monkeypatch):
    def broken(model, inputs, targets, **kwargs):
        raise RuntimeError("out of order")

    row = METHODS["InputXGradient"]
    monkeypatch.setitem(METHODS, "InputXGradient", type(row)(row.name, "any", "x", "", broken))
    fresh = Drawings(folder)
    rows = np.array(fresh[12]["digits-vgg"].axes).reshape(4, -1)
    assert [panel.get_title() for panel in rows[0]] == ["image", "Random", "absLRP"]
    assert fresh.material.problems == ["digits:vgg: InputXGradient: RuntimeError: out of order"]
