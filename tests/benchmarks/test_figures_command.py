"""``python -m benchmarks figures``: files, what is skipped and why, errors; photographs."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from timm.data import RealLabelsImagenet
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.data.labels import VOC_CLASSES
from benchmarks.figures import kinds as table
from benchmarks.figures import write
from benchmarks.figures.kinds import class_name, classes_of_voc, kinds
from benchmarks.figures.plan import LackingError
from benchmarks.figures.two_classes import several_classes, side_by_side
from benchmarks.figures.write import Material, check_numbers, device_of, write_figures
from benchmarks.runner.run import execute
from gae_metric.demo import digits, networks
from gae_metric.errors import InputError
from tests.benchmarks.drawing import Drawings


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
    stems = ("figure03-digits-vgg", "figure11-digits-vgg", "figure15-digits-vgg")
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}.{ending}" for stem in stems for ending in ("png", "pdf")
    )
    for stem in stems:
        with Image.open(out / f"{stem}.png") as image:
            assert image.width == 3.3 * 150 or "15" in stem  # one column
            assert np.asarray(image.convert("L")).std() > 20
            assert "digits:vgg" in image.info["Title"]
        content = (out / f"{stem}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        assert b"/Type3" not in content.replace(b" ", b"")
    lines = output.splitlines()
    assert [line for line in lines if line.startswith("figure ")] == [
        "figure 6: skipped: there are no scores of a vision transformer; a run with --model "
        "digits:vit or --config table5 has",
        "figure 10: skipped: there are no scores of a vision transformer; a run with --model "
        "digits:vit or --config table5 has",
    ]
    instead = "(digits:vgg for vgg16; digits for imagenet; InputXGradient for absLRP)"
    assert f"wrote {out / 'figure03-digits-vgg.png'} and .pdf {instead}" in lines
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in write_figures(whole, tmp_path / "again", [3]):
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
        assert str(skipped).startswith(f"digits:vgg: there are no scores of {metric}; a run with")
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
    assert figure.axes[-1].get_gridspec().ncols == 4
    assert "InputXGradient" in [a.get_ylabel().replace("\n", "") for a in figure.axes]
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
    other.mkdir(parents=True)
    (other / "plan.json").write_text("{}")
    code, output = command(whole, other, "--output", tmp_path)
    assert code == 2
    assert "output: the figures of 2 folders" in output
    assert "two are called 'run'" in output
    assert not (whole / "figures").exists()


def test_two_runs_into_one_folder(whole, tmp_path, monkeypatch):
    monkeypatch.setitem(write.DRAW, "impact", lambda plan, subjects: Figure(figsize=(1, 1)))
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
    """Pictures of one digit each."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "one").mkdir()
    for i, pixels in enumerate(digits.load("test", n=8)[0]):
        image = Image.fromarray((pixels[0] * 255).round().astype(np.uint8))
        image.save(folder / "one" / f"{i}.png")
    run = computed(folder / "run", data=f"imagefolder:{folder}", samples=None)
    return folder, run


def test_photographs_that_nobody_annotated(photographs):
    _, run = photographs
    drawings = Drawings(run)
    figure = drawings[7]["digits-vgg"]
    assert "two images side by side" in figure.get_suptitle().replace("\n", " ")
    assert "digits:vgg for vgg16; imagefolder for imagenet" in drawings.outcomes[7][0].instead


def test_an_image_that_is_named_with_its_classes(photographs, tmp_path):
    _, run = photographs
    x, y = digits.load("test", n=2)
    both = side_by_side(x[:1], x[1:])
    file = tmp_path / "both.png"
    Image.fromarray((both[0, 0] * 255).round().astype(np.uint8)).save(file)
    spec = f"{file}:{y[0]},{y[1]}"
    figure = Drawings(run, named=[spec])[16]["digits-vgg"]
    assert figure.get_suptitle().replace("\n", " ").endswith("(as named)")
    with torch.no_grad():
        chances = networks.load("vgg")(torch.tensor(both)).softmax(1)[0]
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("class")]
    assert [name.split("\n")[0] for name in names] == [f"class {c}" for c in y[:2]]
    for name, digit in zip(names, y[:2], strict=True):
        assert float(name.split("\n")[1]) == pytest.approx(float(chances[digit]), abs=0.02)
    for wrong in (str(file), f"{file}:1", f"{file}:1,10", f"{file}:1,x"):
        with pytest.raises(InputError, match=r"image: expected FILE:CLASS,CLASS .* 0 to 9, got"):
            Drawings(run, named=[wrong])[7]
    with pytest.raises(InputError, match=r"image: cannot read '.*none.png'"):
        Drawings(run, named=[f"{tmp_path / 'none.png'}:1,2"])[7]


@pytest.mark.parametrize(
    ("annotated", "expected"),
    [
        ((("cat", "dog", "person"), ("dog",)), [((0, 207), "dog"), ((0, 281), "cat")]),
        ((("dog", "person"), ("cat",)), []),  # a person is no class of ImageNet
        ((("tvmonitor", "cat"), ("dog",)), []),  # it sees no monitor
    ],
)
def test_classes_that_are_annotated(annotated, expected, monkeypatch):
    """The likeliest class of each thing that is there, as far as the model sees it."""
    p = np.zeros((1, 1000))
    p[0, [207, 243, 281, 620]] = [0.5, 0.3, 0.1, 0.005]
    voc = [tuple(VOC_CLASSES.index(name) for name in names) for names in annotated]
    subject = annotated_subject(p, SimpleNamespace(classes=voc, files=["a.jpg", "b.jpg"]), "voc:x")
    found = several_classes(subject)
    assert [(0, c) for one in found for c in one.classes] == [where for where, _ in expected]
    if found:
        assert found[0].probabilities == (0.5, 0.1)
        assert found[0].what == "by VOC's annotations"


def annotated_subject(p, part, data):
    """What is asked of a model whose images have annotations."""
    targets = pd.DataFrame({"target": [207, 207]})
    return SimpleNamespaceOnce(
        named=(),
        classes=1000,
        part=part,
        targets=targets,
        run=SimpleNamespace(data=SimpleNamespace(name=data)),
        images=lambda samples: np.zeros((len(samples), 3, 4, 4), np.float32),
        probabilities=lambda x: np.repeat(p, len(x), axis=0),
    )


class SimpleNamespaceOnce(SimpleNamespace):
    """One that can be a key."""

    __hash__ = object.__hash__


def test_validation_images_with_several_labels():
    """By the labels of Beyer et al. (2020), which timm ships; two breeds are one thing."""
    known = RealLabelsImagenet(range(50_000)).real_labels
    kind = kinds(1000)
    several = {name: some for name, some in known.items() if len({*kind[some]}) > 1}
    name, labels = next(iter(several.items()))
    one = next(name for name, some in known.items() if len(some) > 1 and len({*kind[some]}) == 1)
    p = np.zeros((1, 1000))
    p[0, labels] = np.linspace(0.2, 0.1, len(labels))
    p[0, known[one]] = 0.1
    part = SimpleNamespace(classes=None, files=[f"n01440764/{one}", f"n01440764/{name}"])
    (found,) = several_classes(annotated_subject(p, part, "imagenet:x"))
    assert set(found.classes) <= set(labels)
    assert len({*kind[list(found.classes)]}) == len(found.classes) > 1
    assert found.what == "by the labels of Beyer et al."


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
