"""Sheets of maps: several bands of methods, several classes of an image, several models."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from gae_metric import compare, plotting
from gae_metric.plotting import Strip
from tests.gae_metric.rendering import check_text, drawn, render


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def picture(pixels):
    return np.moveaxis(np.broadcast_to(pixels, (3, *pixels.shape[1:])), 0, -1)


# Several bands of methods


def test_maps_in_bands(rng):
    images = rng.random((2, 3, 12, 12))
    names = ["absLRP", "IntegratedGradients", "LRP-alpha1beta0", "cLRP", "GuidedGradCAM"]
    attributions = {name: rng.standard_normal((2, 3, 12, 12)) for name in names}
    scores = {"cLRP": [0.25, 0.5]}
    figure = plotting.maps(images, attributions, ["a", "b"], "net", scores, columns=3)
    check_text(figure)
    pixels = render(figure)
    panels = np.array(figure.axes).reshape(4, 4)  # two bands of two images
    for band, methods in enumerate((names[:3], names[3:])):
        for i in range(2):
            row = panels[2 * band + i]
            np.testing.assert_array_equal(shown(row[0]), picture(images[i]))
            assert row[0].get_ylabel() == "ab"[i]
            for panel, method in zip(row[1:], methods, strict=False):
                np.testing.assert_allclose(shown(panel), attributions[method][i].sum(axis=0))
                title = panel.get_title().replace("\n", "")
                assert title == (method if i == 0 else "")
                assert drawn(panel, pixels) > 0.5
    assert [panel.get_visible() for panel in panels[2:, 3]] == [False, False]
    assert [panel.get_xlabel() for panel in panels[2:, 1]] == ["0.250", "0.500"]
    with pytest.raises(ValueError, match="columns: expected a positive integer or None, got 0"):
        plotting.maps(images, attributions, columns=0)


# Several classes of an image


@pytest.mark.parametrize("columns", [None, 2])
def test_class_maps(rng, columns):
    images = rng.random((2, 3, 12, 15))
    classes = [["dog", "bull mastiff\n0.31", "a"], ["cat"]]
    attributions = {
        "absLRP": [rng.standard_normal((3, 3, 12, 15)), rng.standard_normal((1, 3, 12, 15))],
        "GradCAM": [rng.random((3, 1, 12, 15)), rng.random((1, 1, 12, 15))],
        "Rollout": [rng.random((3, 12, 15)), rng.random((1, 12, 15))],
    }
    figure = plotting.class_maps(images, classes, attributions, "net", columns=columns)
    check_text(figure)
    pixels = render(figure)
    assert figure.get_size_inches()[0] == pytest.approx(3.3)
    left = list(figure.axes)
    for methods in ([*attributions],) if columns is None else (["absLRP", "GradCAM"], ["Rollout"]):
        for i, names in enumerate(classes):
            image = left.pop(0)
            np.testing.assert_array_equal(shown(image), picture(images[i]))
            rows = []
            for k, name in enumerate(names):
                row = [left.pop(0) for _ in methods]
                for panel, method in zip(row, methods, strict=True):
                    values = attributions[method][i][k]
                    values = values if values.ndim == 2 else values.sum(axis=0)
                    np.testing.assert_allclose(shown(panel), values)
                    assert panel.get_title() == ("" if i or k else method)
                    assert drawn(panel, pixels) > 0.5
                assert row[0].get_ylabel().replace("\n", " ") == name.replace("\n", " ")
                assert all(panel.get_ylabel() == "" for panel in row[1:])
                rows.append(row[0].get_window_extent())
            box = image.get_window_extent()  # in the middle of its rows
            assert (box.y0 + box.y1) / 2 == pytest.approx((rows[0].y1 + rows[-1].y0) / 2, abs=1)
            assert box.x1 < rows[0].x0
    assert not left


def test_class_maps_refuses(rng):
    images, maps = rng.random((1, 3, 8, 8)), rng.random((2, 3, 8, 8))
    with pytest.raises(ValueError, match="images: expected pixels"):
        plotting.class_maps(images[0], [["a", "b"]], {})
    with pytest.raises(
        ValueError, match=r"classes: expected names .* of 1 images, got \[0\] names"
    ):
        plotting.class_maps(images, [[]], {})
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected 2 maps .*\(1, 3, 8, 8\)"):
        plotting.class_maps(images, [["a", "b"]], {"A": [maps[:1]]})
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected 2 maps of size \(8, 8\)"):
        plotting.class_maps(images, [["a", "b"]], {"A": [maps[:, :, :4]]})


# Several models


def test_strips_of_models_of_different_sizes(rng):
    fine, coarse = rng.random((3, 3, 24, 24)), rng.random((3, 3, 14, 14))
    one = {"absLRP": rng.standard_normal((3, 3, 24, 24)), "TIBAV": rng.random((3, 1, 24, 24))}
    other = {"absLRP": rng.standard_normal((3, 14, 14)), "TIBAV": rng.random((3, 1, 14, 14))}
    labels = ["cat", "dog", "Staffordshire bullterrier of London"]
    scores = {"absLRP": [0.1, 0.2, 0.3]}
    figure = plotting.strips(
        [
            Strip(fine, one, "ViT-B/16 at 384, 24×24 tokens", labels, scores),
            Strip(coarse, other, "ViT-B/32", labels),
        ],
        title="absLRP and TIBAV",
    )
    check_text(figure)
    pixels = render(figure)
    assert figure.get_size_inches()[0] == 3.3
    panels = np.array(figure.axes).reshape(2, 3, 3)
    for strip, images, attributions in zip(panels, (fine, coarse), (one, other), strict=True):
        for i in range(3):
            np.testing.assert_array_equal(shown(strip[0, i]), picture(images[i]))
            for row, values in zip(strip[1:], attributions.values(), strict=True):
                flat = values[i] if values.ndim == 3 else values[i].sum(axis=0)
                np.testing.assert_allclose(shown(row[i]), flat)
                assert drawn(row[i], pixels) > 0.5
        assert [row[0].get_ylabel() for row in strip] == ["", "absLRP", "TIBAV"]
    assert [axes.get_xlabel() for axes in panels[0, 1]] == ["0.100", "0.200", "0.300"]
    assert [axes.get_xlabel() for axes in panels[1, 1]] == [""] * 3
    assert [axes.get_title() for axes in panels[0, 0][:2]] == labels[:2]
    assert panels[0, 0, 2].get_title().endswith("…")
    names = [part.get_supylabel().replace("\n", " ") for part in figure.subfigs]
    assert names == ["ViT-B/16 at 384, 24×24 tokens", "ViT-B/32"]


def test_strips_do_not_repeat_images(rng):
    images, maps = rng.random((2, 1, 8, 8)), rng.random((2, 8, 8))
    strips = [Strip(images, {"vgg": maps}, labels=["a", "b"]), Strip(images, {"vit": maps})]
    assert len(plotting.strips(strips).axes) == 6
    differently = [strips[0], Strip(images, {"vit": maps}, labels=["a", "c"])]
    assert len(plotting.strips(differently).axes) == 8  # another class is explained


def test_strips_refuse(rng):
    images, maps = rng.random((2, 3, 8, 8)), rng.random((2, 8, 8))
    with pytest.raises(ValueError, match="images: expected pixels"):
        Strip(images[0], {})
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected 2 maps of size \(8, 8\)"):
        Strip(images, {"A": maps[:1]})
    with pytest.raises(ValueError, match="labels: expected one for each of 2 images, got 1"):
        Strip(images, {"A": maps}, labels=["a"])
    with pytest.raises(ValueError, match=r"of the same number of images, got \[2, 1\]"):
        plotting.strips([Strip(images, {}), Strip(images[:1], {})])
    with pytest.raises(ValueError, match=r"strips of the same number of images, got \[\]"):
        plotting.strips([])


def test_strips_lie_below_one_another(rng):
    images, maps = rng.random((2, 2, 3, 8, 8)), rng.random((2, 8, 8))
    figure = plotting.strips(
        [Strip(images[0], {"vgg": maps}, "one"), Strip(images[1], {"vit_base_patch16_384": maps})]
    )
    check_text(figure)
    left = [axes.get_window_extent().x0 for axes in figure.axes[::2]]
    assert max(left) - min(left) < 1.5
    assert [axes.get_ylabel().count("\n") for axes in figure.axes[2::4]] == [1, 1]


# Names, numbers and texts of any kind


@pytest.mark.parametrize("name", [r"$\foo$", "$$", "a$b$c", "_mine"])
def test_a_name_is_a_name(rng, name):
    """Two dollars made a formula of it, or an error; a legend left out what an underscore leads."""
    pixels, scores = rng.random((2, 3, 8, 8)), {"GAE": rng.random(7)}
    parts = pd.DataFrame({"local_consistency": [0.5, 0.7], "contrastiveness": [0.9, 0.4]})
    for figure in (
        plotting.bars(compare({name: scores, "B": scores}), title=name),
        plotting.distribution({name: scores["GAE"]}),
        plotting.scatter({name: parts, "B": parts}),
        plotting.maps(pixels, {name: pixels}, [name] * 2, name, {name: [0.1, 0.2]}),
        plotting.mosaic(pixels[0], {name: pixels[0]}, 0, [name] * 4),
        plotting.class_maps(pixels[:1], [[name]], {name: [pixels[:1]]}),
        plotting.strips([Strip(pixels, {name: pixels}, name, [name] * 2)]),
    ):
        render(figure)
        # Box plots have blanks in the place of underscores.
        every = figure.findobj(Text)
        texts = [text for text in every if text.get_text().strip(" _") == name.strip("_")]
        assert texts
        assert not any(text.get_parse_math() for text in texts)


def test_kinds_of_numbers(rng):
    pixels = rng.random((4, 3, 8, 8)).astype(np.float32)
    tensor = torch.tensor(pixels, requires_grad=True)
    expected = [shown(axes) for axes in plotting.maps(pixels, {"A": pixels}).axes]
    for images, given in ((tensor, tensor), (pixels.tolist(), pixels.tolist())):
        sheets = plotting.maps(images, {"A": given}), plotting.strips([Strip(images, {"A": given})])
        for found, wanted in zip(sheets[0].axes, expected, strict=True):
            np.testing.assert_array_equal(shown(found), wanted)
        assert len(sheets[1].axes) == 8
        plotting.extremes(images, given, [0.1, 0.4, 0.2, 0.3], 2)
    rounded = plotting.maps(pixels, {"A": tensor.bfloat16()}).axes[1]
    np.testing.assert_allclose(shown(rounded), expected[1], rtol=0.02)
    hidden = np.ma.masked_array([0.1, 9.0], mask=[False, True])
    assert plotting.distribution({"A": hidden}).axes[0].collections[0].get_offsets()[:, 0] == [0.1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": ["a"]}, "labels: expected one for each of 2 images, got 1"),
        ({"scores": {"A": [0.1]}}, r"scores\['A'\]: expected one for each of 2 images, got 1"),
    ],
)
def test_texts_are_as_many_as_images(given, message):
    images = np.zeros((2, 3, 8, 8))
    for draw in (plotting.maps, Strip):
        with pytest.raises(ValueError, match=message):
            draw(images, {"A": images}, **given)
    with pytest.raises(ValueError, match=r"attributions\['A'\]: expected real numbers, got"):
        plotting.maps(images, {"A": images * 1j})
