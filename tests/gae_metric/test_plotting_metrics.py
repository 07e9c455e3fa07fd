"""``metric.plot()`` works as in Quantus, and draws what belongs to the metric."""

from __future__ import annotations

import copy

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gae_metric import GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness
from tests.gae_metric.nets import conv_net, gradient_tensor, images, top_classes
from tests.gae_metric.rendering import check_text, drawn, render

ALL = (GAE, Contrastiveness, LocalConsistency, LocalFaithfulness, LocalRobustness)


@pytest.fixture(scope="module")
def case():
    net = conv_net(dtype=torch.float32)
    x = images(6, dtype=np.float32)
    return net, x, top_classes(net, x)


@pytest.fixture(autouse=True)
def plt():
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    yield plt
    plt.close("all")


def called(cls, case):
    net, x, y = case
    metric = cls(disable_warnings=True)
    metric(net, x, y, explain_func=gradient_tensor)
    return metric


def plotted(metric, plt, **kwargs):
    """The only figure that pyplot knows after a plot."""
    assert metric.plot(show=False, **kwargs) is None
    assert len(plt.get_fignums()) == 1
    figure = plt.gcf()
    check_text(figure)
    pixels = render(figure)
    assert all(drawn(axes, pixels) > 0.01 for axes in figure.axes)
    return figure


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_plots_its_own_scores(case, copied, plt):
    metric = called(LocalFaithfulness, case)
    other = copied(metric)
    other.components = pd.DataFrame({"lc_faithfulness": [5.0, 7.0]})
    other.plot(show=False)
    lines = [line.get_xydata() for line in plt.gcf().axes[0].lines]
    assert max(np.max(each) for each in lines if len(each)) == 7
    drawn_by = LocalFaithfulness(default_plot_func=max)
    assert copied(drawn_by).default_plot_func is max


@pytest.mark.parametrize("cls", ALL)
def test_before_a_call_there_is_nothing_to_plot(cls, plt):
    with pytest.raises(ValueError, match="call the metric first"):
        cls().plot(show=False)
    assert not plt.get_fignums()


@pytest.mark.parametrize("cls", ALL)
def test_quantus_saves_what_is_plotted(cls, case, plt, tmp_path):
    metric = called(cls, case)
    path = tmp_path / "figure.png"
    figure = plotted(metric, plt, path_to_save=str(path))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == pytest.approx(400 * figure.get_size_inches()[0], abs=1)
    assert pixels.std() > 5


@pytest.mark.parametrize("cls", ALL)
def test_show_is_pyplots(cls, case, plt, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    called(cls, case).plot()
    assert len(shown) == 1
    assert shown[0].axes


@pytest.mark.parametrize("cls", [LocalConsistency, LocalRobustness])
def test_the_local_metrics_plot_figure_2_of_a_typical_sample(cls, case, plt):
    metric = called(cls, case)
    figure = plotted(metric, plt)
    scores = metric.components.iloc[:, -1]
    sample = scores.sort_values(kind="stable").index[3]
    assert figure.get_suptitle().startswith(f"sample {sample}: LC_R ")
    assert f"{scores[sample]:.3f}" in figure.get_suptitle()
    expected = metric.curves["similarity_morf"][sample]
    np.testing.assert_array_equal(figure.axes[1].lines[1].get_ydata(), expected)
    plt.close("all")
    chosen = plotted(metric, plt, sample=5, title="mine")
    assert chosen.get_suptitle() == "mine"
    expected = metric.curves["output_lerf"][5]
    np.testing.assert_array_equal(chosen.axes[0].lines[0].get_ydata(), expected)
    with pytest.raises(ValueError, match=r"sample: expected one of the 6 samples.*got 6"):
        metric.plot(show=False, sample=6)


@pytest.mark.parametrize("cls", [Contrastiveness, LocalFaithfulness])
def test_the_others_plot_the_distribution(cls, case, plt):
    metric = called(cls, case)
    figure = plotted(metric, plt)
    points = figure.axes[0].collections[0].get_offsets()[:, 0]
    np.testing.assert_allclose(np.sort(points), np.sort(metric.evaluation_scores))


def test_gae_plots_its_two_factors(case, plt):
    metric = called(GAE, case)
    figure = plotted(metric, plt, levels=[0.25])
    points = figure.axes[0].collections[0].get_offsets()
    parts = metric.components
    np.testing.assert_array_equal(points[:, 0], parts["contrastiveness"])
    np.testing.assert_array_equal(points[:, 1], parts["local_consistency"])
    np.testing.assert_allclose(points.prod(axis=1), metric.evaluation_scores)
    assert figure.axes[0].lines[0].get_gid() == "GAE=0.25"


@pytest.mark.parametrize("cls", ALL)
def test_given_results_are_plotted_side_by_side(cls, plt):
    figure = plotted(cls(), plt, results={"absLRP": [0.1, 0.5], "Saliency": [0.0, 0.2]})
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["absLRP", "Saliency"]


def test_a_sample_without_a_score_does_not_matter(case, plt):
    net, x, y = case
    x = x.copy()
    x[2, 0, 0, 0] = np.nan
    for cls in ALL:
        metric = cls(disable_warnings=True)
        metric(net, x, y, explain_func=gradient_tensor)
        plotted(metric, plt)
        plt.close("all")
