"""Our numbers beside the paper's, as Markdown, CSV and LaTeX."""

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.methods import METHODS
from benchmarks.paper import paper_table, paper_tables
from benchmarks.runner.collected import Collected
from benchmarks.runner.run import execute
from benchmarks.tables.against_paper import ROW_NAMES, build_tables
from benchmarks.tables.formats import latex, markdown
from gae_metric import compare
from gae_metric.errors import InputError

N = 20
MEANS = {"Saliency": 0.02, "GradCAM": 0.05, "cLRP": 0.2, "absLRP": 0.21, "RISE": 0.1}


@pytest.fixture
def collected():
    """Scores as of a finished run; nothing of this is computed."""
    run = parse(
        {
            "models": [{"name": "digits:vgg", "paper": [1]}, "digits:vit"],
            "methods": [*MEANS, "Rollout"],
            "metrics": ["GAE", "ROAD_MoRF"],
            "output": "here",
        }
    )
    rng = np.random.default_rng(0)
    rows = []
    for model in run.models:
        for method, mean in MEANS.items():
            for metric in ("LC", "C", "GAE", "ROAD_MoRF", "ROAD_MoRF@10"):
                values = rng.normal(mean, 0.05, N)
                values[0] = np.nan if (method, metric) == ("GradCAM", "GAE") else values[0]
                rows.append(
                    pd.DataFrame(
                        {
                            "model": model.name,
                            "method": method,
                            "metric": metric,
                            "sample": np.arange(N),
                            "score": values,
                        }
                    )
                )
    failures = pd.DataFrame(
        {
            "model": "digits:vgg",
            "method": ["Rollout", "Rollout", "RISE"],
            "start": [0, 10, 0],
            "stop": [10, 20, 10],
            "metric": [None, None, "Focus"],
            "error": ["no attention", "no attention", "RuntimeError: out of order"],
            "applies": [False, False, True],
        }
    )
    targets = pd.DataFrame({"model": np.repeat([m.name for m in run.models], N)})
    return Collected(run, pd.concat(rows, ignore_index=True), targets, failures, pd.DataFrame(), ())


def test_our_numbers_and_the_papers(collected):
    first = build_tables(collected)[0]
    assert (first.model, first.number, first.theirs) == ("digits:vgg", 1, "ImageNet, vgg16")
    assert first.scores == ("LC", "C", "GAE")
    cell = first.cells.set_index(["method", "score"])
    scores = collected.scores.query("model == 'digits:vgg' and metric == 'GAE'")
    # GradCAM has no score of one sample, which the others' means leave out, too.
    common = scores.pivot_table("score", "sample", "method").dropna()
    assert len(common) == N - 1
    ours = common["absLRP"]
    assert cell.loc[("absLRP", "GAE"), "mean"] == pytest.approx(ours.mean(), abs=1e-12)
    error = ours.std() / np.sqrt(N - 1)
    assert cell.loc[("absLRP", "GAE"), "standard_error"] == pytest.approx(error, abs=1e-12)
    assert cell.loc[("absLRP", "GAE"), "paper"] == 0.272
    assert np.isnan(cell.loc[("RISE", "GAE"), "paper"])
    assert cell.xs("GAE", level="score")["samples"].eq(N - 1).all()
    expected = compare(scores).set_index("method")["tie"]
    ties = first.cells[first.cells["score"] == "GAE"].set_index("method")["tie"]
    assert ties.to_dict() == expected.to_dict()
    assert ties["absLRP"]
    assert not ties["Saliency"]


def test_rank_correlation_of_what_both_have(collected):
    first = build_tables(collected)[0]
    row = first.agreement.set_index("score").loc["GAE"]
    theirs = paper_table(1).query("score == 'GAE'").set_index("method")["value"]
    common = ["Saliency", "GradCAM", "cLRP", "absLRP"]
    means = first.cells.query("score == 'GAE'").set_index("method")["mean"]
    assert row["methods"] == 4
    tau = stats.kendalltau([means[m] for m in common], [theirs[m] for m in common]).statistic
    assert row["tau"] == pytest.approx(tau)
    assert tau >= 0.6


def test_what_the_paper_has_not(collected):
    """Scores that no table of the paper has stand in one of their own, and so does a model."""
    tables = build_tables(collected)
    assert [(t.model, t.number, t.scores) for t in tables] == [
        ("digits:vgg", 1, ("LC", "C", "GAE")),
        ("digits:vgg", None, ("LC_R", "LC_F", "ROAD_MoRF")),
        ("digits:vit", None, ("LC_R", "LC_F", "LC", "C", "GAE", "ROAD_MoRF")),
    ]


def test_failures_are_noted_once(collected):
    assert build_tables(collected)[0].notes == (
        "Rollout does not apply: no attention",
        "RISE (Focus) failed: RuntimeError: out of order",
    )


def test_a_mean_of_one_image_is_left_out(collected):
    scores = collected.scores
    lost = scores["metric"].eq("ROAD_MoRF") & scores["sample"].gt(0)
    few = replace(collected, scores=scores.assign(score=scores["score"].mask(lost)))
    first, *_, last = build_tables(few)
    assert "ROAD_MoRF is left out: 1 of 20 images have a score" in first.notes
    assert last.scores == ("LC_R", "LC_F", "LC", "C", "GAE")


def test_settings_of_metrics_are_said(collected):
    """Local Lipschitz depends on the number of perturbations; a default counts as a setting."""
    metrics = ["GAE", {"name": "LocalLipschitz", "options": {"samples": 3}}, "LocalLipschitz"]
    for metric, shown in zip(
        metrics, ("mask_value = 0.0", "samples = 3", "samples = 10"), strict=True
    ):
        name = metric if isinstance(metric, str) else metric["name"]
        scores = collected.scores.query("metric == 'GAE'").assign(metric=name)
        given = {"models": ["digits:vgg"], "methods": [*MEANS], "output": "here"}
        run = parse({**given, "metrics": [metric]})
        tables = build_tables(replace(collected, run=run, scores=scores))
        (line,) = [line for line in tables[0].settings if line.startswith(f"{name}: ")]
        assert shown in line
        assert f"- {line}" in markdown(tables)
        assert f"% {line}" in latex(tables)


def test_markdown(collected):
    text = markdown(build_tables(collected))
    assert "## digits:vgg, 20 images; beside it table 1 of the paper (ImageNet, vgg16)" in text
    (line,) = [x for x in text.split("\n## ")[1].splitlines() if x.startswith("| absLRP")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[-1] == "0.272"
    assert cells[-2].startswith("**0.2")
    assert cells[-2].endswith(r"\* (n = 19)")
    head = text.split("\n## ")[1].splitlines()[2]
    assert [c.strip() for c in head.strip("|").split("|")][:3] == ["method", "LC ↑", "paper"]
    assert "(n = 19)" in text
    assert "| Kendall's τ" in text
    assert "nan" not in text.lower().replace("finance", "")


#: Escaped characters, commands, and the characters that mean something by themselves.
LATEX = re.compile(r"\\[#$%&_{}]|\\\\|\\[A-Za-z]+|[\\#$%&_{}^~]")
SYMBOLS = {
    "textbar",
    "textgreater",
    "textless",
    "textbackslash",
    "textasciicircum",
    "textasciitilde",
    "textbf",
}
LAYOUT = {"begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule"}
MATHS = {"pm", "uparrow", "downarrow", "tau"}


def body(text):
    """The lines of a document without its comments."""
    return [line for line in text.splitlines() if not line.startswith("%")]


def assert_well_formed(text):
    """Read LaTeX as far as our tables go: nothing in it may mean more than they mean by it."""
    environments, braces, maths = [], 0, False
    for line in body(text):
        assert line.isascii()  # so that it needs no packages for symbols
        for token in LATEX.finditer(line):
            found, rest = token.group(), line[token.end() :]
            if found in ("\\begin", "\\end"):
                name = re.match(r"\{(\w+)\}", rest).group(1)
                if found == "\\begin":
                    environments.append(name)
                else:
                    assert environments.pop() == name
            elif found == "&":
                assert environments[-1] == "tabular"
                assert (braces, maths) == (0, False)  # a cell ends as it began
            elif found == "\\\\":
                assert rest == ""
                assert environments[-1] == "tabular"
            elif found == "$":
                maths = not maths
            elif found in "{}":
                braces += 1 if found == "{" else -1
                assert braces >= 0
            elif found == "^":
                assert maths
            elif found[1:].isalpha():
                assert found[1:] in (MATHS if maths else SYMBOLS | LAYOUT)
            else:
                assert found[0] == "\\", f"{found} is not escaped: {line}"
        assert (braces, maths) == (0, False), line
    assert not environments


def tabulars(text):
    """Number of columns, and of cells in each row, of every tabular."""
    found = []
    for lines in "\n".join(body(text)).split(r"\begin{tabular}")[1:]:
        head, *rows = lines.split(r"\end{tabular}")[0].splitlines()
        cells = [len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows if row.endswith(r"\\")]
        rules = [row for row in rows if not row.endswith(r"\\")]
        assert set(rules) <= {r"\toprule", r"\midrule", r"\bottomrule"}
        found.append((len(re.fullmatch(r"\{(lr*)\}", head).group(1)), cells))
    return found


def test_latex(collected):
    tables = build_tables(collected)
    text = latex(tables)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert r"ROAD\_MoRF $\downarrow$" in text
    assert "±" not in text
    for line in text.splitlines():
        if line.endswith(r"\\") and "&" in line:
            assert line.count("&") in (6, 3)
    assert_well_formed(text)
    # The head, a row for each method, and in the first table one of Kendall's.
    assert tabulars(text) == [(7, [7] * 7), (4, [4] * 6), (7, [7] * 6)]


#: What names, models and errors may hold that LaTeX would read as its own.
HOSTILE = r"50 % of A_1 & {B} #2 $5 ~x^2 \input{y} \\ <|> τ*"


@pytest.fixture
def hostile(collected):
    """The same scores, of a method with such a name, with errors that go on in a second line."""
    scores = collected.scores.replace({"method": {"RISE": HOSTILE}})
    error = f"RuntimeError: {HOSTILE}\n\\undefined {HOSTILE}"
    failures = collected.failures.assign(error=error)
    values = collected.run.model_dump(mode="json")
    values["methods"][list(MEANS).index("RISE")]["label"] = HOSTILE
    return replace(collected, run=parse(values), scores=scores, failures=failures)


def test_latex_of_special_characters(hostile):
    text = latex(build_tables(hostile))
    assert_well_formed(text)
    assert tabulars(text) == [(7, [7] * 7), (4, [4] * 6), (7, [7] * 6)]
    name = (
        r"50 \% of A\_1 \& \{B\} \#2 \$5 \textasciitilde{}x\textasciicircum{}2 "
        r"\textbackslash{}input\{y\} \textbackslash{}\textbackslash{} "
        r"\textless{}\textbar{}\textgreater{} $\tau$$^{*}$"
    )
    assert sum(line.startswith(f"{name} & ") for line in text.splitlines()) == 3
    # Errors are comments, to their last word.
    assert not [line for line in body(text) if "undefined" in line or "RuntimeError" in line]


@pytest.mark.parametrize(
    "text",
    [
        r"\begin{table}\end{tabular}",
        r"\begin{table}",
        "a_b",
        "a & b",
        "a^b",
        "100 %",
        "{a",
        "a}",
        "$a",
        r"\undefined",
        "a ± b",
    ],
)
def test_the_check_can_fail(text):
    with pytest.raises((AssertionError, IndexError)):
        assert_well_formed(text)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex to compile with")
@pytest.mark.parametrize("which", ["collected", "hostile"])
def test_latex_compiles(which, request, tmp_path):
    text = latex(build_tables(request.getfixturevalue(which)))
    whole = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}"
    (tmp_path / "t.tex").write_text(f"{whole}\n{text}\n\\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_markdown_of_errors_of_several_lines(hostile):
    lines = markdown(build_tables(hostile)).splitlines()
    assert not [line for line in lines if line.startswith("\\undefined")]
    # Two of the first model, which has two tables.
    assert sum(line.startswith("- ") and r"\undefined" in line for line in lines) == 4


def test_markdown_of_a_name_with_a_bar(collected):
    scores = collected.scores.replace({"method": {"RISE": "RISE | 100"}})
    values = collected.run.model_dump(mode="json")
    values["methods"][list(MEANS).index("RISE")]["label"] = "RISE | 100"
    text = markdown(build_tables(replace(collected, run=parse(values), scores=scores)))
    columns = {len(re.split(r"(?<!\\)\|", row)) for row in text.splitlines() if row[:1] == "|"}
    assert text.count(r"| RISE \| 100 ") == 3
    assert columns == {9, 6}


def test_every_number_of_the_paper_has_a_method():
    names = {method.paper_name for method in METHODS.values() if method.paper}
    table = paper_tables()
    assert set(table["method"].replace(ROW_NAMES)) <= names
    assert len(table) == 554
    assert set(table["table"]) == set(range(1, 14))
    with pytest.raises(InputError, match="from 1 to 13, got 14"):
        paper_table(14)
    assert len(paper_table(10, "PascalVOC")) == 4


def test_the_command(tmp_path):
    run = parse(
        {
            "models": {"name": "digits:vgg", "paper": [1]},
            "samples": 6,
            "methods": ["Constant", "InputXGradient", "Saliency"],
            "metrics": "C",
            "output": str(tmp_path / "run"),
        }
    )
    execute(run, quiet=True)
    runner = CliRunner(env={"COLUMNS": "200"})
    arguments = ["tables", str(tmp_path / "run"), "--output", str(tmp_path / "tables")]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "table 1 of the paper" in result.output
    written = {path.name for path in (tmp_path / "tables").iterdir()}
    assert written == {"tables.md", "tables.csv", "tables.tex", "kendall.csv"}
    cells = pd.read_csv(tmp_path / "tables" / "tables.csv")
    assert cells.set_index("method").loc["InputXGradient", "paper"] == 0.016
    kendall = pd.read_csv(tmp_path / "tables" / "kendall.csv")
    assert kendall.loc[0, ["score", "methods"]].tolist() == ["C", 3]
    result = runner.invoke(app, ["tables", str(tmp_path / "nothing")])
    assert result.exit_code == 2
    assert "there is no run in" in result.output
