"""What several networks show together."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.paper import paper_table
from benchmarks.runner.collected import Collected
from benchmarks.tables.against_paper import _agreement
from benchmarks.tables.evidence import _tau, evidence
from gae_metric.comparison import samples_needed
from gae_metric.errors import InputError

N = 40
MODELS = ("digits:vgg", "digits:resnet", "digits:vit")
#: By model. cLRP is above absLRP on the last alone; HiResCAM as often as below, but for one image.
MEANS = {
    "Saliency": (0.0, 0.1, 0.0),
    "GradCAM": (0.1, 0.2, 0.2),
    "HiResCAM": (0.3, 0.5, 0.6),
    "absLRP": (0.3, 0.5, 0.6),
    "cLRP": (0.2, 0.4, 0.9),
}


def made(**changes):
    rng = np.random.default_rng(0)
    rows = []
    for place, model in enumerate(MODELS):
        common = rng.normal(0, 0.05, N)
        for method, means in MEANS.items():
            own = rng.normal(0, 0.01, N)
            if method in ("absLRP", "HiResCAM"):
                own = np.tile([0.01, -0.01], N // 2) * (1 if method == "absLRP" else -1)
                own[0] += 0.2 if method == "absLRP" else 0
            score = means[place] + common + own
            table = {"model": model, "method": method, "sample": np.arange(N), "score": score}
            rows.append(pd.DataFrame(table))
    models = [{"name": MODELS[0], "paper": [1]}, *MODELS[1:]]
    run = parse({"models": models, "methods": list(MEANS), "metrics": "GAE"})
    targets = pd.DataFrame(
        [(m, k, int(k % 4 == 0), 0) for m in MODELS for k in range(N)],
        columns=["model", "sample", "predicted", "label"],
    )
    none = pd.DataFrame()
    scores = pd.concat(rows, ignore_index=True).assign(metric="GAE")
    given = {"scores": scores, "targets": targets, "failures": none, "seconds": none}
    return Collected(run, facts=(), **(given | changes))


def numbers(text):
    """The mean and the ends of a cell."""
    return [float(one) for one in text.replace("[", "").replace("]", "").replace(",", "").split()]


@pytest.fixture(scope="module")
def found():
    return evidence(made())


def test_means_and_intervals(found):
    table = found["GAE"]
    scores = made().scores
    assert list(table.index) == list(MEANS)
    assert list(table)[:3] == [f"{model} (n = {N})" for model in MODELS]
    for model, column in zip(MODELS, table, strict=False):
        own = scores[scores["model"].eq(model) & scores["method"].eq("cLRP")]["score"]
        mean, low, high = numbers(table.loc["cLRP", column])
        assert mean == pytest.approx(own.mean(), abs=1e-3)
        # 999 draws know an end of the interval to a tenth of the standard error.
        assert (high - low) / 2 == pytest.approx(1.96 * own.sem(ddof=0), rel=0.2)
    # Images are the same on all networks: the mean over networks is over images first.
    by_image = scores.query("method == 'cLRP'").groupby("sample")["score"].mean()
    mean, low, high = numbers(table.loc["cLRP", "all networks"])
    assert mean == pytest.approx(by_image.mean(), abs=1e-3)
    assert (high - low) / 2 == pytest.approx(1.96 * by_image.sem(ddof=0), rel=0.2)
    # One of three networks may be drawn three times.
    low, high = numbers(table.loc["cLRP", "networks drawn, too"])
    assert low < 0.3
    assert high > 0.8


def test_absolute_lrp_less_the_others(found):
    table = found["GAE of absLRP less that of"]
    assert list(table.index) == [name for name in MEANS if name != "absLRP"]
    counts = table[["above", "below"]].T.to_dict("list")
    assert counts == {"Saliency": [3, 0], "GradCAM": [3, 0], "HiResCAM": [0, 0], "cLRP": [2, 1]}
    assert numbers(table.loc["cLRP", "all networks"])[0] == pytest.approx(-1 / 30, abs=0.01)
    least, most = (float(one) for one in table.loc["Saliency", "shown"].split(" to "))
    wide = made().scores.pivot_table("score", ["model", "sample"], "method")
    # Noise that is the images' own is not in a difference of two methods.
    error = (wide["absLRP"] - wide["GradCAM"]).loc["digits:vgg"].sem(ddof=0)
    _, low, high = numbers(table.loc["GradCAM", f"digits:vgg (n = {N})"])
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.3)
    spread = (wide["absLRP"] - wide["Saliency"]).groupby("model").std()
    assert (least, most) == pytest.approx((least, least * spread.max() / spread.min()), abs=1e-3)
    assert samples_needed(most + 5e-4, deviation=spread.max()) <= N
    assert samples_needed(most * 0.9, deviation=spread.max()) > N


def test_orders_of_networks_and_of_the_paper(found):
    table = found["τ of GAE"]
    means = made().scores.groupby(["model", "method"])["score"].mean()
    ours = {model: means[model][list(MEANS)] for model in MODELS}
    expected = stats.kendalltau(ours["digits:vgg"], ours["digits:vit"]).statistic
    mean, low, high = numbers(table.loc["digits:vgg, digits:vit", "τ"])
    assert mean == pytest.approx(expected, abs=1e-3)
    assert low <= mean <= high
    pairs = [numbers(text)[0] for text in table["τ"][:3]]
    together = numbers(table.loc["the mean of these", "τ"])[0]
    assert together == pytest.approx(np.mean(pairs), abs=1e-3)
    theirs = paper_table(1).query("score == 'GAE'").set_index("method")["value"][list(MEANS)]
    row = table.loc["digits:vgg, table 1 of the paper"]
    assert row["methods"] == len(MEANS)
    expected = stats.kendalltau(ours["digits:vgg"], theirs).statistic
    assert numbers(row["τ"])[0] == pytest.approx(expected, abs=1e-3)


def test_images_predicted_as_labelled_and_scores_that_are_missing():
    whole = made()
    scores = whole.scores
    lost = scores.eval("model == 'digits:vgg' and method == 'cLRP' and sample == 1")
    failed = scores.eval("model == 'digits:vit' and method == 'GradCAM'")
    table = evidence(made(scores=scores[~lost & ~failed]), right=True)["GAE"]
    counts = zip(MODELS, (29, 30, 30), strict=True)
    assert list(table)[:3] == [f"{model} (n = {n})" for model, n in counts]
    assert list(table.index) == [name for name in MEANS if name != "GradCAM"]
    own = scores.query("model == 'digits:resnet' and method == 'cLRP' and sample % 4 != 0")["score"]
    assert numbers(table.loc["cLRP", "digits:resnet (n = 30)"])[0] == pytest.approx(
        own.mean(), abs=1e-3
    )
    without = scores.eval("model == 'digits:vit' and method == 'absLRP'")
    with pytest.raises(InputError, match="expected GAE of absLRP on every network"):
        evidence(made(scores=scores[~without]))


def test_networks_that_have_no_scores_yet_are_left_out():
    """The first of them has a table of the paper."""
    scores = made().scores.query("model != @MODELS[0]")
    tables = evidence(made(scores=scores))
    assert list(tables["GAE"])[:2] == [f"{model} (n = {N})" for model in MODELS[1:]]
    assert list(tables["τ of GAE"].index) == ["digits:resnet, digits:vit", "the mean of these"]


def test_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.runner.collected.collect", lambda folder: made())
    (tmp_path / "plan.json").write_text("{}")
    result = CliRunner().invoke(app, ["evidence", str(tmp_path), "--score", "GEA"])
    assert result.exit_code == 2
    assert "score: unknown name 'GEA'; did you mean 'GAE'?" in " ".join(result.output.split())
    result = CliRunner().invoke(app, ["evidence", str(tmp_path), "--score", "gae"])
    assert result.exit_code == 0
    for title in ("All images", "Images predicted as labelled"):
        assert f"## {title}: GAE of absLRP less that of" in result.output
    assert "| HiResCAM " in result.output


def test_means_that_differ_by_rounding_are_tied():
    assert 0.1 + 0.2 != 0.3
    one, other = pd.DataFrame([[0.3], [0.1 + 0.2], [0.5]]), pd.DataFrame([[1.0], [2.0], [3.0]])
    expected = stats.kendalltau([0, 0, 1], [0, 1, 2]).statistic
    assert _tau(one, other)[0] == pytest.approx(expected)
    both = pd.DataFrame({"score": "C", "mean": one[0], "paper": other[0]})
    assert _agreement(both, ["C"])["tau"][0] == pytest.approx(expected)
