"""Figures are rendered and looked at: size, titles, and that something is drawn where it should."""

import io
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from gae_metric import plotting

KEYS = [f"{a}_{b}" for a in ("output", "similarity") for b in ("lerf", "morf", "difference")]


def render(figure):
    """Pixels of a figure as it is saved, and its size in inches."""
    assert isinstance(figure, Figure)
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png")
        pixels = np.asarray(Image.open(stream).convert("RGB"))
    width, height = figure.get_size_inches()
    np.testing.assert_allclose(pixels.shape[:2], (height * figure.dpi, width * figure.dpi), atol=1)
    return pixels, width


def drawn(axes, pixels):
    """Share of the pixels within some axes that are not white."""
    box = axes.get_window_extent()
    height = len(pixels)
    inside = pixels[height - int(box.y1) : height - int(box.y0), int(box.x0) : int(box.x1)]
    assert inside.size
    return (inside != 255).any(axis=-1).mean()


def known_figures():
    """Numbers of the figures that pyplot knows: whatever ran before may have left some."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return pyplot.get_fignums() if pyplot else []


@pytest.fixture(autouse=True)
def _global_state_is_left_alone():
    before, figures = dict(mpl.rcParams), known_figures()
    yield
    assert dict(mpl.rcParams) == before
    assert known_figures() == figures


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def some_curves(rng, samples=3, steps=10):
    return {key: rng.random((samples, steps)) for key in KEYS}


def test_curves(rng):
    values = some_curves(rng)
    figure = plotting.curves(values, sample=2, title="absLRP")
    pixels, width = render(figure)
    assert width == 3.3
    assert figure.get_suptitle() == "absLRP"
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3]  # two curves and the zero line
    lerf, morf = figure.axes[0].lines[:2]
    np.testing.assert_array_equal(lerf.get_ydata(), values["output_lerf"][2])
    np.testing.assert_array_equal(morf.get_ydata(), values["output_morf"][2])
    assert lerf.get_color() != morf.get_color()
    assert lerf.get_marker() != morf.get_marker()
    d_output, d_similarity = figure.axes[2].lines[:2]
    np.testing.assert_array_equal(d_output.get_ydata(), values["output_difference"][2])
    np.testing.assert_array_equal(d_similarity.get_ydata(), values["similarity_difference"][2])
    assert all(drawn(axes, pixels) > 0.01 for axes in figure.axes)


def test_curves_refuses_what_it_cannot_draw(rng):
    values = some_curves(rng)
    with pytest.raises(ValueError, match="sample 3"):
        plotting.curves(values, sample=3)
    with pytest.raises(ValueError, match="output_lerf"):
        plotting.curves({})
    with pytest.raises(ValueError, match=r"\(N, T\)"):
        plotting.curves(values | {"output_morf": np.ones(10)})


def test_impact(rng):
    lerf = rng.random((3, 20, 24))
    morf = np.zeros_like(lerf)
    morf[:, :10] = 2.0
    figure = plotting.impact(rng.random((3, 20, 24)), lerf, morf, title="7")
    pixels, width = render(figure)
    assert width == 3.3
    titles = [axes.get_title() for axes in figure.axes[:5]]
    assert titles == ["image", "LeRF sum", "MoRF sum", "impact map", "sign"]
    assert all(drawn(axes, pixels) > 0.2 for axes in figure.axes[:5])
    impact_map, sign = (axes.images[0].get_array() for axes in figure.axes[3:5])
    np.testing.assert_allclose(impact_map, (lerf - morf).sum(0))
    assert (sign[:10] == -1).all()
    assert (sign[10:] == 1).all()
    labels = [text.get_text() for text in figure.axes[5].get_legend().get_texts()]
    assert labels == ["LeRF higher", "equal", "MoRF higher"]


def test_impact_of_nothing_and_of_a_wrong_shape():
    nothing = np.zeros((3, 6, 6))
    render(plotting.impact(nothing, nothing, nothing))
    with pytest.raises(ValueError, match=r"lerf, morf.*\(3, 5, 6\)"):
        plotting.impact(nothing, nothing[:, :5], nothing)
    with pytest.raises(ValueError, match="image"):
        plotting.impact(np.zeros((2, 6, 6)), nothing, nothing)


def test_maps(rng):
    images = rng.random((2, 3, 16, 16))
    attributions = {
        "absLRP": rng.standard_normal((2, 3, 16, 16)),
        "GradCAM": rng.random((2, 1, 16, 16)),
        "InputXGradient": np.zeros((2, 16, 16)),
    }
    scores = {"absLRP": [0.25, 0.5]}
    figure = plotting.maps(
        images, attributions, labels=["tiger", "jay"], title="net", scores=scores
    )
    pixels, width = render(figure)
    assert width == pytest.approx(3.3)
    assert [axes.get_title() for axes in figure.axes[:4]] == [
        "image",
        "absLRP",
        "GradCAM",
        "InputX\nGradient",
    ]
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["tiger", "jay"]
    assert [figure.axes[i].get_xlabel() for i in (1, 5)] == ["0.250", "0.500"]
    shown = figure.axes[1].images[0]
    np.testing.assert_allclose(shown.get_array(), attributions["absLRP"][0].sum(0))
    low, high = shown.get_clim()
    assert low == -high
    assert drawn(figure.axes[1], pixels) > 0.5


def test_maps_grow_with_the_number_of_methods(rng):
    images = rng.random((1, 3, 8, 8))
    many = {str(i): images for i in range(9)}
    assert plotting.maps(images, many).get_size_inches()[0] == 7.5


def test_maps_draws_a_map_that_is_not_finite(rng):
    images = rng.random((1, 1, 8, 8))
    figure = plotting.maps(images, {"broken": np.full((1, 1, 8, 8), np.nan)})
    render(figure)
    assert figure.axes[1].texts[0].get_text() == "not\nfinite"


def test_maps_refuses_other_shapes(rng):
    images = rng.random((2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected 2 maps"):
        plotting.maps(images, {"A": images[:1]})
    with pytest.raises(ValueError, match="images"):
        plotting.maps(images[:0], {})
    with pytest.raises(ValueError, match="attributions: expected a mapping from names, got nda"):
        plotting.maps(images, images)
    with pytest.raises(ValueError, match="results: expected a mapping from names, got list"):
        plotting.distribution([0.1, 0.2])


def table():
    return pd.DataFrame(
        {
            "method": ["absLRP", "Random"] * 3,
            "metric": ["GAE", "GAE", "ROAD", "ROAD", "Focus", "Focus"],
            "mean": [0.3, 0.0, 0.2, 0.6, 0.9, np.nan],
            "standard_error": [0.02, 0.0, 0.05, 0.05, np.nan, np.nan],
            "better": ["higher", "higher", "lower", "lower", "higher", "higher"],
            "best": [True, False, True, False, True, False],
        }
    )


def test_bars():
    figure = plotting.bars(table(), title="vgg")
    pixels, width = render(figure)
    assert width == 3.3
    titles = [axes.get_title(loc="left") for axes in figure.axes[:3]]
    assert titles == ["GAE ↑", "ROAD ↓", "Focus ↑"]
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0.2, 0.6]
    best, other = (bar.get_facecolor() for bar in figure.axes[0].patches)
    assert best != other
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["absLRP", "Random"]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # first method on top
    assert drawn(figure.axes[0], pixels) > 0.05
    assert not figure.axes[3].get_visible()


def test_bars_refuses_an_incomplete_table():
    with pytest.raises(ValueError, match="missing: mean"):
        plotting.bars(table().drop(columns="mean"))
    with pytest.raises(ValueError, match="no rows"):
        plotting.bars(table().iloc[:0])
    with pytest.raises(ValueError, match=r"summary: expected rows with the columns .*; missing:"):
        plotting.bars({"absLRP": {"GAE": [0.3]}})
