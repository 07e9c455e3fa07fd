"""The mosaic, the extremes, the scatter and the distribution are rendered and looked at."""

import sys
from inspect import isfunction

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from PIL import Image

from gae_metric import compare, plotting
from gae_metric.functional import mosaics
from tests.gae_metric.rendering import check_text, drawn, inside, render


@pytest.fixture(autouse=True)
def _global_state_is_left_alone():
    before = dict(mpl.rcParams)
    figures = sys.modules["matplotlib.pyplot"].get_fignums() if _pyplot() else []
    yield
    assert dict(mpl.rcParams) == before
    if _pyplot():
        assert sys.modules["matplotlib.pyplot"].get_fignums() == figures


def _pyplot():
    return "matplotlib.pyplot" in sys.modules


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some_parts(rng, n=30):
    return pd.DataFrame(
        {"local_consistency": rng.uniform(0, 1, n), "contrastiveness": rng.uniform(0, 1, n)}
    )


# Figure 4


def test_mosaic(rng):
    # Four plain images of one colour each, so that the pixels tell where each is.
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=np.float64)
    images = torch.tensor(colors)[:, :, None, None].expand(4, 3, 20, 20)
    order = [2, 0, 3, 1]
    pixels = mosaics(images, [order])[0].numpy()
    attributions = {
        "absLRP": rng.standard_normal((3, 20, 20)),
        "InputXGradient": rng.random((1, 20, 20)),
    }
    names = ["a dog", "a cat", "a jay", "a car"]
    figure = plotting.mosaic(pixels, attributions, 2, names, title="net", scores={"absLRP": 0.25})
    check_text(figure)
    image = render(figure)
    assert figure.get_size_inches()[0] == 3.3
    assert [axes.get_title() for axes in figure.axes] == ["mosaic", "absLRP", "InputX\nGradient"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "C = 0.250", ""]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.moveaxis(pixels, 0, -1))
    shown = inside(figure.axes[0], image)
    height, width = shown.shape[:2]
    for place, which in enumerate(order):
        row, column = divmod(place, 2)
        # In the lower half of the quadrant, away from its name and from the frame.
        y, x = int((row + 0.75) * height / 2), int((column + 0.5) * width / 2)
        np.testing.assert_array_equal(shown[y, x], colors[which] * 255)
    assert [text.get_text() for text in figure.axes[0].texts] == names
    corners = [text.get_position() for text in figure.axes[0].texts]
    assert corners == [(0, 0), (10, 0), (0, 10), (10, 10)]  # x, y of each quadrant's upper left
    np.testing.assert_allclose(
        figure.axes[1].images[0].get_array(), attributions["absLRP"].sum(axis=0)
    )
    for axes in figure.axes:
        frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert {frame.get_xy() for frame in frames} == {(-0.5, 9.5)}  # bottom left
        assert {(f.get_width(), f.get_height()) for f in frames} == {(10, 10)}
        assert drawn(axes, image) > 0.5


def test_mosaic_of_odd_size_without_frame_and_names(rng):
    figure = plotting.mosaic(rng.random((1, 33, 47)), {"A": rng.standard_normal((33, 47))})
    render(figure)
    check_text(figure)
    assert not figure.axes[0].patches
    framed = plotting.mosaic(rng.random((1, 33, 47)), {}, positive=3)
    assert framed.axes[0].patches[0].get_xy() == (23.5, 16.5)  # the first halves are larger


def test_mosaic_refuses(rng):
    pixels = rng.random((3, 8, 8))
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected a map of size \(8, 8\)"):
        plotting.mosaic(pixels, {"A": pixels[:, :4]})
    with pytest.raises(ValueError, match="positive: expected a quadrant from 0 to 3"):
        plotting.mosaic(pixels, {}, positive=4)
    with pytest.raises(ValueError, match="labels: expected four"):
        plotting.mosaic(pixels, {}, labels=["a"])
    with pytest.raises(ValueError, match="image"):
        plotting.mosaic(pixels[:2], {})


# Figures 11 and 14


def test_top_and_bottom():
    top, bottom = plotting.top_and_bottom([0.5, np.nan, 0.1, 0.9, 0.1, np.inf, 0.7], 2)
    assert (top.tolist(), bottom.tolist()) == ([3, 6], [2, 4])
    top, bottom = plotting.top_and_bottom(np.zeros(5), 4)
    assert (top.tolist(), bottom.tolist()) == ([0, 1], [2, 3])  # no sample is in both
    for scores in ([1.0], [np.nan, 1.0], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="at least two finite scores"):
            plotting.top_and_bottom(scores, 1)
    with pytest.raises(ValueError, match="k: expected a positive integer, got 0"):
        plotting.top_and_bottom([1, 2], 0)


def test_extremes(rng):
    n = 14
    images, maps = rng.random((n, 3, 16, 16)), rng.standard_normal((n, 1, 16, 16))
    scores = rng.random(n)
    scores[3] = np.nan
    asked = []

    def explain(chosen):
        asked.extend(chosen.tolist())
        return maps[chosen]

    labels = [f"class {i}" for i in range(n)]
    figure = plotting.extremes(images, explain, scores, 5, labels, title="absLRP, GAE")
    check_text(figure)
    image = render(figure)
    assert figure.get_size_inches()[0] == 3.3
    order = np.argsort(np.where(np.isnan(scores), -1, scores))[1:]
    expected = [*order[::-1][:5], *order[:5]]
    assert asked == expected
    assert len(figure.axes) == 20
    top, bottom = figure.axes[:10], figure.axes[10:]
    pictures, shown = top[:5] + bottom[:5], top[5:] + bottom[5:]
    for sample, picture, panel in zip(expected, pictures, shown, strict=True):
        np.testing.assert_array_equal(
            picture.images[0].get_array(), np.moveaxis(images[sample], 0, -1)
        )
        assert picture.get_title() == labels[sample]
        np.testing.assert_array_equal(panel.images[0].get_array(), maps[sample, 0])
        assert panel.get_xlabel() == f"{scores[sample]:.3f}"
        assert min(drawn(picture, image), drawn(panel, image)) > 0.5
    same = plotting.extremes(images, maps, scores, 5, labels, title="absLRP, GAE")
    check_text(same)
    np.testing.assert_array_equal(render(same), image)


@pytest.mark.parametrize(("k", "shape"), [(1, (20, 20)), (3, (24, 16)), (9, (16, 30))])
def test_extremes_of_other_sizes(rng, k, shape):
    images = rng.random((20, 1, *shape))
    figure = plotting.extremes(images, images, rng.random(20), k)
    check_text(figure)
    assert len(figure.axes) == 4 * k
    assert all(axes.get_window_extent().width > 60 for axes in figure.axes)  # 0.3 inches


def test_extremes_refuses(rng):
    images = rng.random((6, 3, 8, 8))
    with pytest.raises(ValueError, match=r"images: expected pixels .* of 5 samples"):
        plotting.extremes(images, images, rng.random(5))
    with pytest.raises(ValueError, match="attributions: expected maps of 4 samples of size"):
        plotting.extremes(images, images[:, :, :4], rng.random(6), 2)
    with pytest.raises(ValueError, match="attributions: expected maps of 4 samples"):
        plotting.extremes(images, lambda chosen: images[:1], rng.random(6), 2)
    for labels in ("abcde", "abcdefg"):
        with pytest.raises(ValueError, match="labels: expected one for each of 6 images, got"):
            plotting.extremes(images, images, rng.random(6), 2, labels)


# LC against C


def test_scatter(rng):
    parts = {name: some_parts(rng) for name in ("absLRP", "IntegratedGradients", "GradCAM")}
    parts["GradCAM"].iloc[4, 0] = np.nan
    figure = plotting.scatter(parts, levels=(0.1, 0.4), title="net")
    check_text(figure)
    image = render(figure)
    assert figure.get_size_inches()[0] == 3.3
    (axes,) = figure.axes
    lines = {line.get_gid(): line for line in axes.lines}
    assert set(lines) == {"GAE=0.1", "GAE=0.4"}
    for level in (0.1, 0.4):
        c, lc = lines[f"GAE={level}"].get_data()
        np.testing.assert_allclose(lc * c, level)
        assert c[0] == pytest.approx(level)  # from the upper edge to the right one
        assert c[-1] == pytest.approx(1)
        # And what is drawn there has the lines' colour.
        x, y = axes.transData.transform((np.sqrt(level), np.sqrt(level)))
        near = image[len(image) - round(y) - 3 : len(image) - round(y) + 3, round(x) - 3 :][:, :6]
        assert near.min() < 200
        label = next(text for text in axes.texts if text.get_text() == f"{level:g}")
        assert label.xy == (1, level)
    clouds = axes.collections
    assert len(clouds) == 6  # samples and mean of three methods
    for i, (name, table) in enumerate(parts.items()):
        kept = table.dropna()
        np.testing.assert_array_equal(
            clouds[2 * i].get_offsets(), kept[["contrastiveness", "local_consistency"]]
        )
        mean = clouds[2 * i + 1]
        np.testing.assert_allclose(
            mean.get_offsets()[0], kept[["contrastiveness", "local_consistency"]].mean()
        )
        assert mean.get_label().replace("\n", "") == name
    assert len({tuple(cloud.get_facecolor()[0][:3]) for cloud in clouds}) == 3
    assert len({len(cloud.get_paths()[0].vertices) for cloud in clouds}) >= 2  # shapes differ too


def test_scatter_of_one_and_of_many(rng):
    alone = plotting.scatter(some_parts(rng))
    check_text(alone)
    assert alone.legends[0].get_texts()[0].get_text() == "mean"
    names = [f"a method {i}" for i in range(12)]
    many = plotting.scatter({name: some_parts(rng, 5) for name in names}, title="many " * 20)
    check_text(many)
    looks = {
        (tuple(c.get_facecolor()[0]), tuple(c.get_edgecolor()[0]), c.get_paths()[0].vertices.size)
        for c in many.axes[0].collections[::2]
    }
    assert len(looks) == 12


def test_scatter_refuses(rng):
    with pytest.raises(ValueError, match="A lacks local_consistency"):
        plotting.scatter({"A": some_parts(rng)[["contrastiveness"]]})
    with pytest.raises(ValueError, match=r"levels: .* got 1"):
        plotting.scatter(some_parts(rng), levels=[0.5, 1])
    with pytest.raises(ValueError, match="no sample has both scores"):
        plotting.scatter(some_parts(rng) * np.nan)


# Distribution, and tables as bars


def test_distribution(rng):
    scores = {"absLRP": rng.random(25), "IntegratedGradients": [0.5, np.nan, 0.25], "None": []}
    figure = plotting.distribution(scores, title="GAE")
    check_text(figure)
    image = render(figure)
    (axes,) = figure.axes
    assert drawn(axes, image) > 0.02
    assert [np.sort(c.get_offsets()[:, 0]).tolist() for c in axes.collections] == [
        sorted(scores["absLRP"]),
        [0.25, 0.5],
        [],
    ]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["absLRP", "Integrated\nGradients", "None"]
    parts = plotting.distribution(pd.DataFrame({"local_consistency": [0.1, 0.2]}))
    assert parts.axes[0].get_yticklabels()[0].get_text() == "local\nconsistency"
    with pytest.raises(ValueError, match="call the metric first"):
        plotting.distribution({"A": [np.nan]})


def test_bars_have_the_intervals_and_marks_of_compare(rng):
    a = rng.random(20)
    scores = {"A": a, "B": a + rng.normal(0, 0.1, 20), "C": a / 9, "D": a * np.nan}
    table = compare({method: {"GAE": s, "ROAD": s} for method, s in scores.items()})
    figure = plotting.bars(table, title="net")
    check_text(figure)
    axes = figure.axes[0]
    rows = table[table["metric"] == "GAE"].set_index("method")
    (errors,) = (c for c in axes.collections if hasattr(c, "get_segments"))
    for segment, method in zip(errors.get_segments(), "ABC", strict=False):
        np.testing.assert_allclose(
            segment[:, 0], rows.loc[method, ["ci_low", "ci_high"]].astype(float)
        )
    stars = [round(text.xy[1]) for text in axes.texts if text.get_text() == "*"]
    assert stars == np.flatnonzero(rows["tie"]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="one row for each method and metric, got several of A, G"):
        plotting.bars(pd.concat([table, table]))
    with pytest.raises(ValueError, match="expected the rows of one model, got those of a, b"):
        plotting.bars(pd.concat([table.assign(model="a"), table.assign(model="b")]))


# All of them


def every_figure(rng):
    images, maps = rng.random((6, 3, 12, 12)), rng.standard_normal((6, 3, 12, 12))
    keys = [f"{a}_{b}" for a in ("output", "similarity") for b in ("lerf", "morf", "difference")]
    curves = {key: rng.random((6, 10)) for key in keys}
    table = compare({"absLRP": {"GAE": rng.random(6)}, "Random": {"GAE": rng.random(6)}})
    many = dict.fromkeys(("absLRP", "IntegratedGradients", "GuidedBackprop"), maps)
    labels = [f"a long name {i}" for i in range(6)]
    long = "a network with a very long name, IntegratedGradients, digit 30, class 8, and more"
    return {
        "bars": lambda **k: plotting.bars(table, long, **k),
        "class_maps": lambda **k: plotting.class_maps(
            images[:2],
            [["a long name of a class", "b"], ["c"]],
            {name: [values[:2], values[:1]] for name, values in many.items()},
            long,
            **k,
        ),
        "curves": lambda **k: plotting.curves(curves, 0, long, **k),
        "distribution": lambda **k: plotting.distribution({"A": rng.random(5)}, long, **k),
        "extremes": lambda **k: plotting.extremes(images, maps, range(6), 2, title=long, **k),
        "impact": lambda **k: plotting.impact(images[0], maps[0], maps[1], long, **k),
        "maps": lambda **k: plotting.maps(images, many, labels, long, {"absLRP": [0.5] * 6}, **k),
        "mosaic": lambda **k: plotting.mosaic(
            images[0], {n: m[0] for n, m in many.items()}, 1, list("abcd"), long, **k
        ),
        "scatter": lambda **k: plotting.scatter(some_parts(rng), title=long, **k),
        "strips": lambda **k: plotting.strips(
            [plotting.Strip(images, many, "a long name of a network", labels)], long, **k
        ),
    }


NAMES = sorted({n for n, f in vars(plotting).items() if isfunction(f)} - {"top_and_bottom"})


@pytest.mark.parametrize("name", NAMES)
def test_text_is_readable_and_stays_inside_also_with_a_long_title(name, rng):
    figure = every_figure(rng)[name]()
    check_text(figure)
    assert figure.get_suptitle().split()[:3] == ["a", "network", "with"]


@pytest.mark.parametrize("name", NAMES)
def test_path_saves_the_figure_that_is_returned(name, rng, tmp_path):
    path = tmp_path / f"{name}.png"
    figure = every_figure(rng)[name](path=path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == pytest.approx(300 * figure.get_size_inches()[0], abs=1)
    assert pixels.std() > 5


def test_the_ending_of_the_path_says_the_format(rng, tmp_path):
    every_figure(rng)["scatter"](path=tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_a_folder_that_is_not_there(rng, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        every_figure(rng)["scatter"](path=tmp_path / "nowhere" / "a.png")


def test_colours_differ_for_the_colour_blind():
    """Any two of the series differ by far in CIELAB, seen with each common deficiency."""
    from skimage.color import rgb2lab

    from gae_metric.plotting._style import SERIES

    # Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
    deficiencies = {
        "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }
    colors = np.array([to_rgb(color) for color, _ in SERIES])
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for matrix in deficiencies.values():
        seen = (linear @ np.array(matrix).T).clip(0, 1)
        lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
        distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert distances[np.triu_indices(len(lab), 1)].min() > 10
    assert len({marker for _, marker in SERIES}) == len(SERIES)
