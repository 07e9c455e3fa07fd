"""``python -m benchmarks figures``: files, what is skipped and why, errors; photographs."""

import shutil

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.data.labels import VOC_CLASSES
from benchmarks.data.names import open_data
from benchmarks.figures import kinds as table
from benchmarks.figures import write
from benchmarks.figures.kinds import class_name, classes_of_voc, kinds
from benchmarks.figures.material import Material, device_of
from benchmarks.figures.outcome import Drawn, LackingError
from benchmarks.figures.two_classes import annotated_pair, pair_of, side_by_side
from benchmarks.figures.write import check_numbers, write_figures
from benchmarks.runner.run import execute
from gae_metric.demo import digits, networks
from gae_metric.errors import InputError
from tests.benchmarks.drawing import Drawings, shown


def computed(folder, **changes):
    given = {
        "models": "digits:vgg",
        "samples": 6,
        "block": 6,
        "methods": "InputXGradient",
        "metrics": "GAE",
        "steps": 2,
        "output": str(folder),
    }
    execute(parse({**given, **changes}), quiet=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One convolutional network, one method."""
    return computed(tmp_path_factory.mktemp("whole") / "run")


def command(*arguments):
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["figures", *map(str, arguments)])
    return result.exit_code, result.output


def test_files_and_what_is_skipped(whole, tmp_path):
    out = tmp_path / "out"
    numbers = [3, 6, 10, 11, 15]
    code, output = command(
        whole, "--output", out, *(part for n in numbers for part in ("--figure", n))
    )
    assert code == 0, output
    stems = ("figure03-digits-vgg", "figure11-digits-vgg")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}.{ending}" for stem in stems for ending in ("png", "pdf")
    )
    for stem in stems:
        with Image.open(out / f"{stem}.png") as image:
            assert image.width == 3.3 * 150  # one column
            assert np.asarray(image.convert("L")).std() > 20
        content = (out / f"{stem}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/Type3" not in content.replace(b" ", b"")
    lines = output.splitlines()
    assert [line for line in lines if line.startswith("figure ")] == [
        "figure 6: skipped: there are no scores of a vision transformer; a run with --model "
        "digits:vit or --config table5 has",
        "figure 10: skipped: it takes scores of two vision transformers with different token "
        "grids, and there are those of none; a run with --config figure10 has both",
        "figure 15: skipped: it takes two models that one method explains, and there are scores of "
        "1; a run with --config digits has them",
    ]
    assert f"wrote {out / 'figure03-digits-vgg.png'} and .pdf" in lines
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in write_figures(whole, tmp_path / "again", [3]).files:
        assert path.read_bytes() == before[path.name]


def test_nothing_to_draw_is_status_1(whole, tmp_path):
    code, output = command(whole, "--figure", 8, "--output", tmp_path)
    assert code == 1
    assert "figure 8: skipped: there are no scores of a vision transformer" in output
    assert not list(tmp_path.iterdir())


def test_scores_that_the_run_has_not(tmp_path):
    folder = computed(tmp_path / "run", samples=4, metrics="C")
    drawings = Drawings(folder)
    for number, metric in ((2, "LC"), (3, "LC"), (11, "GAE")):
        assert drawings[number] == {}
        (skipped,) = drawings.outcomes[number]
        assert skipped.reason.startswith(f"digits:vgg: there are no scores of {metric}; a run with")
    assert list(drawings[4]) == ["digits-vgg"]
    # Without GAE nothing is written below the maps.
    figure = drawings[5]["digits-vgg"]
    assert figure.get_suptitle().replace("\n", " ") == "digits:vgg: maps of the explained class"
    assert not any(axes.get_xlabel() for axes in figure.axes)


def test_a_run_that_is_not_finished(tmp_path):
    folder = computed(tmp_path / "run", methods=["Random", "InputXGradient"], samples=4)
    (folder / "SHA256SUMS").unlink()  # as if it had not been finished
    shutil.rmtree(folder / "shards" / "digits-vgg" / "random")
    (subject,) = Material(folder).subjects
    assert subject.methods == ["InputXGradient"]
    figure = Drawings(folder)[12]["digits-vgg"]
    assert [axes.get_title().replace("\n", "") for axes in figure.axes[:2]] == [
        "image",
        "InputXGradient",
    ]
    shutil.rmtree(folder / "shards" / "digits-vgg" / "inputxgradient")
    with pytest.raises(InputError, match=r"holds no scores yet; `python -m benchmarks run`"):
        Material(folder)


def test_arguments_that_are_wrong(whole, tmp_path):
    for number, near in ((9, "8 or 10"), (1, "2"), (17, "16"), (-3, "2")):
        with pytest.raises(InputError, match=rf"figure: expected one of 2, .* got {number}; .*"):
            check_numbers([number])
        with pytest.raises(InputError, match=f"the nearest is {near}$"):
            check_numbers([number])
    code, output = command(whole, "--figure", 9)
    assert code == 2
    assert "got 9; the nearest is 8 or 10" in output
    code, output = command(tmp_path)
    assert code == 2
    assert f"results: there is no run in {str(tmp_path)!r}" in output
    other = tmp_path / "other" / "run"
    code, output = command(whole, other, "--output", tmp_path)
    assert code == 2
    assert "output: the figures of 2 folders" in output
    assert "two are called 'run'" in output
    assert not (whole / "figures").exists()


def test_two_runs_into_one_folder(whole, tmp_path, monkeypatch):
    empty = {3: lambda material: iter([Drawn("digits-vgg", Figure(figsize=(1, 1)))])}
    monkeypatch.setattr(write, "FIGURES", empty)
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    code, output = command(whole, again, "--output", tmp_path / "out", "--figure", 3)
    assert code == 0, output
    for name in ("run", "again"):
        assert (tmp_path / "out" / name / "figure03-digits-vgg.png").is_file()
    code, output = command(again, "--figure", 3)
    assert code == 0, output
    assert (again / "figures" / "figure03-digits-vgg.pdf").is_file()


# Photographs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Pictures of one digit each, and of two: what a network of digits sees two classes in."""
    folder = tmp_path_factory.mktemp("photographs")
    x = digits.load("test", n=12)[0]
    two = side_by_side(x[:4], x[4:8])
    for name, some in (("one", x[8:]), ("two", two)):
        (folder / name).mkdir()
        for i, pixels in enumerate(some):
            file = folder / name / f"{i}.png"
            Image.fromarray((pixels[0] * 255).round().astype(np.uint8)).save(file)
    run = computed(folder / "run", data=f"imagefolder:{folder}", samples=None)
    return folder, run


def test_photographs_with_a_second_class(photographs):
    folder, run = photographs
    drawings = Drawings(run)
    figure = drawings[7]["digits-vgg"]
    (subject,) = drawings.material.subjects
    data = open_data(f"imagefolder:{folder}")
    images = data.load(subject.loaded.preprocessing)
    model = networks.load("vgg")
    expected = []
    for i, x in enumerate(images.x):
        left, right, upper, lower = (x.copy() for _ in range(4))
        left[:, :, 24:] = right[:, :, :24] = upper[:, 24:] = lower[:, :24] = 0
        with torch.no_grad():
            p = model(torch.tensor(np.stack([x, left, right, upper, lower]))).softmax(1).numpy()
        found = [
            (np.sqrt(min(p[h, a], p[k, b]) * min(p[0, [a, b]])), a, b)
            for h, k in ((1, 2), (3, 4))
            for a in range(10)
            for b in range(10)
            if a != b
        ]
        clarity, *pair = max(found)
        if clarity >= 0.1:
            expected.append((clarity, i, sorted(pair, key=lambda c: -p[0, c]), p[0]))
    expected = sorted(expected, key=lambda one: -one[0])[:3]
    assert {data.files[i].split("/")[0] for _, i, _, _ in expected} == {"two"}
    axes = list(figure.axes)
    for _, i, wanted, p in expected:
        image, *rows = (axes.pop(0) for _ in range(3))
        np.testing.assert_allclose(shown(image), np.moveaxis(images.x[i], 0, -1), atol=1e-6)
        labels = [f"class {c}\n{p[c]:.2f}" for c in wanted]
        assert [row.get_ylabel() for row in rows] == labels
    assert not axes


def test_photographs_that_are_gone(photographs, tmp_path):
    folder, _ = photographs
    copy = tmp_path / "copy"
    shutil.copytree(folder / "one", copy / "one")
    here = computed(tmp_path / "run", data=f"imagefolder:{copy}", samples=None)
    (subject,) = Material(here).subjects
    (copy / "one" / "2.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"data: 'one/2.png' cannot be read any more: not an"):
        subject.images([1, 2])
    (copy / "one" / "2.png").unlink()
    (subject,) = Material(here).subjects
    with pytest.raises(InputError, match=r"data: 'one/2.png' was part of the run, and"):
        subject.images([0])


def test_pairs_of_classes():
    kind = kinds(1000)
    p = np.zeros((5, 1000))
    p[0, [207, 243, 281, 282]] = [0.3, 0.4, 0.1, 0.2]  # two dogs and two cats
    p[1, [207, 281]] = [0.9, 0.05]
    p[2, [243, 281, 282]] = [0.3, 0.4, 0.3]
    # The two dogs are one kind, and so are the cats; of each, the likeliest in the whole image.
    pair, clarity = pair_of(p, kind)
    assert pair == (243, 282)
    assert clarity == pytest.approx((0.7 * 0.3) ** 0.5)
    p[0, [281, 282]] = 0.004  # hardly a cat in the whole image
    assert pair_of(p, kind) == (None, 0)
    p[0, 282] = 0.2
    p[1, 281] = p[2, 281] = 0
    p[2, 282] = 0.04  # nor in its half
    assert pair_of(p, kind) == (None, 0)


def test_pairs_of_annotated_classes():
    """The likeliest class of each thing that is annotated; a person is no class of ImageNet."""
    p = np.zeros(1000)
    p[[207, 243, 281, 620]] = [0.5, 0.3, 0.1, 0.05]
    voc = VOC_CLASSES.index
    assert annotated_pair(p, [voc("cat"), voc("dog"), voc("person")]) == ((207, 281), 0.1)
    assert annotated_pair(p, [voc("dog"), voc("person")]) == (None, 0)
    assert annotated_pair(p, [voc("tvmonitor"), voc("cat")]) == (None, 0)  # it sees no monitor
    assert annotated_pair(np.arange(20) / 190, [3, 11]) == ((11, 3), 3 / 190)


def test_kinds_are_what_they_are_called():
    named = [table._indices(ranges) for ranges in table._KINDS.values()]
    every = [index for some in named for index in some]
    assert len(set(every)) == len(every)  # no class is of two kinds
    assert min(every) >= 0
    assert max(every) < 1000
    kind = kinds(1000)
    for some in named:
        assert len(set(kind[some])) == 1
    assert kind[654] == kind[817] == kind[555] != kind[444]  # minibus, sports car, fire engine
    for name, one in (("dog", "golden retriever"), ("cat", "tabby"), ("bus", "school bus")):
        found = [class_name(i, 1000) for i in classes_of_voc(VOC_CLASSES.index(name), 1000)]
        assert one in found
    words = {"bird": "eagle", "boat": "boat", "bottle": "bottle", "chair": "chair", "bus": "bus"}
    for name, word in words.items():
        found = [class_name(i, 1000) for i in classes_of_voc(VOC_CLASSES.index(name), 1000)]
        assert any(word in one for one in found), name


def test_the_device_of_the_run_or_this_machine():
    assert device_of("cpu") == "cpu"
    assert device_of(f"cuda:{torch.cuda.device_count()}") == "cpu"


def test_no_finite_score(whole):
    (subject,) = Material(whole).subjects
    subject._scores = subject._scores.iloc[:0]
    with pytest.raises(LackingError, match="there are no finite scores"):
        _ = subject.main
