"""Each figure of a run shows what it says: the samples, maps and scores that it should."""

import numpy as np
import pytest
import torch
from PIL import Image

import abslrp
from benchmarks.config.runs import parse
from benchmarks.data.names import open_data
from benchmarks.figures.plan import FIGURES
from benchmarks.figures.sheets import gini
from benchmarks.figures.two_classes import LEAST, side_by_side
from benchmarks.methods import METHODS
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
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


def test_mosaic_and_positive_parts(drawings, collected, x):
    """Figure 4: absLRP beside LRP-alpha2beta1, which the run need not have."""
    figures = drawings[4]
    assert list(figures) == ["digits-vgg", "digits-vit", COARSE]
    i, y = middle(column(collected, "C")), targets(collected)
    plan = MosaicPlan.draw(content_hashes(x), y, seed=1)
    mosaic = mosaics(torch.tensor(x), plan.indices[i : i + 1]).numpy()
    axes = figures["digits-vgg"].axes
    np.testing.assert_array_equal(shown(axes[0]), picture(mosaic[0]))
    assert [text.get_text() for text in axes[0].texts] == [f"class {y[k]}" for k in plan.indices[i]]
    titles = [panel.get_title().replace("\n", "") for panel in axes[1:]]
    assert titles == ["absLRP", "LRP-alpha2beta1"]
    np.testing.assert_allclose(shown(axes[1]), ours(mosaic, y[i : i + 1])[0].clip(0), atol=1e-6)
    other = METHODS["LRP-alpha2beta1"](networks.load("vgg"), mosaic, y[i : i + 1])
    np.testing.assert_allclose(shown(axes[2]), other[0].sum(0).clip(0), atol=1e-6)
    assert "positive parts" in figures["digits-vgg"].get_suptitle().replace("\n", " ")
    assert axes[1].get_xlabel() == f"C = {column(collected, 'C')[i]:.3f}"
    assert axes[2].get_xlabel() == ""  # of which there is no score


@pytest.mark.parametrize(
    ("number", "name", "instead"),
    [
        (5, "vgg", "digits for imagenet"),
        (6, "vit", "digits for voc"),
        (12, "vgg", "digits for voc"),
        (13, "vit", "digits for imagenet"),
    ],
)
def test_main_method_alone(drawings, collected, x, number, name, instead):
    models = ["digits-vgg"] if name == "vgg" else ["digits-vit", COARSE]
    assert list(drawings[number]) == models
    network = {"vgg": "vgg16", "vit": "vit_base_patch16_224"}[name]
    first = drawings.outcomes[number][0]
    assert first.instead == f"digits:{name} for {network}; {instead}"
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
    title = figure.get_suptitle().replace("\n", " ")
    assert f"of {SAMPLES} samples" in title
    means = [np.mean([gini(one[None]) for one in some]) for some in np.split(maps, [len(top)])]
    assert f"Gini index of positive parts {means[0]:.2f} and {means[1]:.2f}" in title
    assert f"{SAMPLES} samples for 1024" in drawings.outcomes[number][0].instead
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
    for number, name in ((7, "vgg"), (8, "vit"), (16, "vgg")):
        plan, figure = FIGURES[number], drawings[number][f"digits-{name}"]
        first = _rows(figure, len(plan.methods))
        assert len(first) == 2 * plan.shown
        titles = [panel.get_title().replace("\n", "") for panel in first[0][3]]
        assert titles == list(plan.methods)
        assert "two images side by side" in figure.get_suptitle().replace("\n", " ")
        if name != "vgg":
            continue
        for place, (image, target, chance, panels) in enumerate(first):
            k, which_class = order[place // 2], place % 2
            np.testing.assert_allclose(image, picture(canvases[k]), atol=1e-6)
            assert target == y[pairs[k][which_class]]
            assert chance == pytest.approx(both[k][which_class], abs=0.006)
            expected = ours(canvases[k : k + 1], [target])[0]
            np.testing.assert_allclose(shown(panels[0]), expected, atol=1e-5)


def _grid(figure):
    """Panels by rows; how many samples there are depends on the coarse network's random weights."""
    return np.array(figure.axes).reshape(-1, figure.axes[0].get_gridspec().ncols)


def test_two_token_grids(drawings, collected, x):
    (figure,) = drawings[10].values()
    assert list(drawings[10]) == [f"digits-vit-vs-{COARSE}"]
    names = [part.get_supylabel().replace("\n", " ") for part in figure.subfigs]
    assert names == [
        "digits:vit, 6×6 tokens",
        "timm:vit_tiny_patch16_224, 3×3 tokens",
    ]
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
    assert rows[0] == ["absLRP", "HiResCAM"]
    subject = drawings.material.subjects[2]
    maps = subject.maps(["absLRP"], x[samples], targets(collected, subject.name)[samples])["absLRP"]
    for panel, values in zip(coarse[-2], maps, strict=True):
        np.testing.assert_allclose(shown(panel), values.sum(axis=0), atol=1e-6)


def test_two_data_sets(folder, tmp_path, collected, x):
    """Figure 15: the same network on the images of two runs, the paper's first on top."""
    for i, pixels in enumerate(x[:4]):
        (tmp_path / "images" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((pixels[0] * 255).round().astype(np.uint8))
        image.save(tmp_path / "images" / str(i % 2) / f"{i}.png")
    given = collected.run.model_dump()
    given |= {"models": "digits:vgg", "data": f"imagefolder:{tmp_path / 'images'}"}
    execute(parse(given | {"output": str(tmp_path / "run"), "samples": 4}), quiet=True)
    both = Drawings(folder, beside=[tmp_path / "run"])
    figure = both[15]["digits-vgg"]
    names = [part.get_supylabel().replace("\n", " ") for part in figure.subfigs]
    assert names == ["digits", "imagefolder"]
    assert [len(_grid(part)[0]) for part in figure.subfigs] == [4, 4]
    (outcome,) = both.outcomes[15]
    assert outcome.instead == ("digits:vgg for resnet50; digits for imagenet; imagefolder for voc")
    alone = Drawings(folder)
    assert list(alone[15]) == ["digits-vgg"]
    assert alone.outcomes[15][0].instead.endswith("no run of voc beside it")


def test_what_fails_now_is_left_out(drawings, folder, monkeypatch):
    def broken(model, inputs, targets, **kwargs):
        raise RuntimeError("out of order")

    row = METHODS["GradCAM"]
    monkeypatch.setitem(METHODS, "GradCAM", type(row)(row.name, "any", "x", "", broken))
    fresh = Drawings(folder)
    titles = [axes.get_title().replace("\n", "") for axes in fresh[16]["digits-vgg"].axes]
    left = [name for name in FIGURES[16].methods if name != "GradCAM"]
    assert [title for title in titles if title] == ["image", *left]
    assert fresh.material.problems == ["digits:vgg: GradCAM: RuntimeError: out of order"]
