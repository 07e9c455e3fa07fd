"""Data sets by name, on folders made here: labels, masks, damaged files, workers, draws."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.data.labels import VOC_CLASSES, voc_areas
from benchmarks.data.names import open_data
from gae_metric.errors import InputError, UnknownNameError
from gae_metric.inputs.models import load_model
from gae_metric.inputs.preprocessing import Preprocessing, square_crop

SMALL = Preprocessing(square_crop, 16)


def picture(path, seed, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def by_class(tmp_path):
    """Two ImageNet classes (0 and 9) of six images each, three of them damaged."""
    for folder in ("n01440764", "n01518878"):
        for i in range(6):
            picture(tmp_path / folder / f"{i}.png", i)
    (tmp_path / "n01440764" / "1.png").write_bytes(b"nothing")
    whole = (tmp_path / "n01440764" / "2.png").read_bytes()
    (tmp_path / "n01440764" / "2.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "n01518878" / "5.png").write_bytes(b"")
    return tmp_path


DAMAGED = ["n01440764/1.png", "n01440764/2.png", "n01518878/5.png"]


def test_imagenet_by_class(by_class):
    data = open_data(f"imagenet:{by_class}")
    assert len(data) == 12
    # A subset of the classes keeps ImageNet's indices.
    assert {f.split("/")[0]: int(y) for f, y in zip(data.files, data.labels, strict=True)} == {
        "n01440764": 0,
        "n01518878": 9,
    }
    images = data.load(SMALL)
    assert images.x.shape == (9, 3, 16, 16)
    assert images.x.dtype == np.float32
    assert list(images.skipped) == DAMAGED
    assert images.skipped["n01440764/1.png"] == "not an image"
    assert "truncated" in images.skipped["n01440764/2.png"].lower()
    assert images.labels.tolist() == [0] * 4 + [9] * 5
    with Image.open(by_class / images.files[4]) as image:
        assert np.array_equal(images.x[4], SMALL(image))


def test_draws(by_class):
    data = open_data(f"imagenet:{by_class}")
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    small, large = (data.sample(n, seed=1) for n in (3, 7))
    assert len(small) == 3
    assert len(large) == 7
    assert set(small.files) < set(large.files)
    assert list(large.files) == sorted(large.files)
    assert not set(large.files) & set(DAMAGED)
    assert data.sample(7, seed=1).files == large.files
    assert any(data.sample(3, seed=s).files != small.files for s in (2, 3))
    whole = data.sample()
    assert len(whole) == 9
    assert list(whole.skipped) == DAMAGED
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_workers_change_nothing(by_class):
    data = open_data(f"imagenet:{by_class}")
    alone, together = data.sample(8, seed=2), data.sample(8, seed=2, workers=2)
    assert alone.files == together.files
    assert alone.skipped == together.skipped
    one, two = data.load(SMALL), data.load(SMALL, workers=2)
    assert np.array_equal(one.x, two.x)
    assert one.files == two.files
    assert one.skipped == two.skipped


def test_the_model_s_own_preprocessing_reaches_the_workers(by_class):
    loaded = load_model("digits:vgg")
    images = open_data(f"imagenet:{by_class}").sample(2).load(loaded.preprocessing, workers=1)
    assert images.x.shape == (2, 3, 48, 48)


def test_nothing_can_be_read(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"nothing")
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,1\nb.png,2\n")
    data = open_data(f"imagenet:{tmp_path}")
    for call in (lambda: data.load(SMALL), lambda: data.sample(1)):
        with pytest.raises(InputError, match=r"none of the 2 images .* not an image"):
            call()
    with pytest.raises(InputError, match="samples: expected a positive number"):
        data.sample(0)
    with pytest.raises(InputError, match="workers"):
        data.load(SMALL, workers=-1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "file,class_index\na.png,7\nb.png,999\n"),
        ("val.txt", "a.png 7\nval/b.png 999\n\n"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\na,n01514668 1 2 3 4\nb,n15075141 1\n"),
    ],
)
def test_flat_imagenet_with_a_label_file(tmp_path, name, text):
    folder = tmp_path / "val"
    for i, file in enumerate(("a.png", "b.png", "c.png")):
        picture(folder / file, i)
    (tmp_path / name).write_text(text)
    data = open_data(f"imagenet:{folder}")
    assert data.files == ("a.png", "b.png")
    assert data.labels.tolist() == [7, 999]
    assert data.skipped == {"c.png": "no label"}
    assert data.load(SMALL).skipped == {"c.png": "no label"}
    given = open_data(f"imagenet:{folder}", labels=tmp_path / name)
    assert given.files == data.files


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("val.txt", "490\n361\n", "another order"),
        ("val.txt", "a.png 1000\n", "line 1: expected a file and a class index"),
        ("val.txt", "z.png 1\n", "names none of the images"),
        ("LOC_val_solution.csv", "ImageId,PredictionString\na,cat 1\n", "WordNet id"),
        ("labels.csv", "file,class\na.png,1\n", "columns file and class_index"),
        ("labels.csv", "file,class_index\na.png,1000\n", "from 0 to 999"),
    ],
)
def test_label_files_that_are_wrong(tmp_path, name, text, message):
    picture(tmp_path / "a.png", 0)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        open_data(f"imagenet:{tmp_path}")


def test_imagenet_without_labels(tmp_path):
    picture(tmp_path / "a.png", 0)
    with pytest.raises(InputError, match="no label file"):
        open_data(f"imagenet:{tmp_path}")
    picture(tmp_path / "folders" / "cat" / "a.png", 0)
    with pytest.raises(InputError, match=r"WordNet ids.*'cat'.*imagefolder"):
        open_data(f"imagenet:{tmp_path / 'folders'}")


def test_imagefolder(tmp_path):
    from torchvision.datasets import ImageFolder

    for folder in ("dog", "cat", "emu"):
        for i in range(2):
            picture(tmp_path / folder / f"{i}.png", i)
    data = open_data(f"imagefolder:{tmp_path}")
    theirs = ImageFolder(tmp_path)
    assert data.labels.tolist() == theirs.targets
    assert [str(tmp_path / file) for file in data.files] == [path for path, _ in theirs.samples]
    assert data.part([5, 0]).files == ("emu/1.png", "cat/0.png")


ANNOTATION = "<annotation>{}</annotation>"
OBJECT = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def voc(root):
    """VOC2012 as its archive unpacks: three images, two with masks."""
    base = root / "VOCdevkit" / "VOC2012"
    objects = {
        "a": [("dog", 0, 0, 5, 5), ("cat", 0, 0, 20, 12), ("dog", 5, 5, 10, 10)],
        "b": [("person", 1, 1, 9, 9)],
        "c": [],
    }
    for i, (name, some) in enumerate(objects.items()):
        picture(base / "JPEGImages" / f"{name}.jpg", i)
        (base / "Annotations").mkdir(exist_ok=True)
        text = ANNOTATION.format("".join(OBJECT.format(*one) for one in some))
        (base / "Annotations" / f"{name}.xml").write_text(text)
    for kind, names in (("Main", "abc"), ("Segmentation", "ab")):
        (base / "ImageSets" / kind).mkdir(parents=True)
        (base / "ImageSets" / kind / "val.txt").write_text("\n".join(names) + "\n")
    (base / "SegmentationClass").mkdir()
    for name, index in (("a", 8), ("b", 15)):
        mask = np.zeros((24, 20), dtype=np.uint8)
        mask[:, :10] = index
        mask[:, 10:12] = 255
        image = Image.fromarray(mask, mode="P")
        image.putpalette(list(range(256)) * 3)
        image.save(base / "SegmentationClass" / f"{name}.png")
    return root


def test_voc(tmp_path):
    data = open_data(f"voc:{voc(tmp_path)}")
    assert [file.rsplit("/", 1)[1] for file in data.files] == ["a.jpg", "b.jpg"]
    cat, dog, person = (VOC_CLASSES.index(name) for name in ("cat", "dog", "person"))
    # The cat's box is the largest, though there are two dogs.
    assert data.classes == ((cat, dog), (person,))
    assert data.labels.tolist() == [cat, person]
    assert list(data.skipped.values()) == ["no object"]
    assert data.load(SMALL).masks is None


def test_voc_masks(tmp_path):
    data = open_data(f"voc:{voc(tmp_path)}", masks=True)
    images = data.load(Preprocessing(square_crop, 10), workers=1)
    assert images.masks.shape == (2, 10, 10)
    assert images.masks.dtype == np.uint8
    # The middle 20x20 of 20x24, halved: five columns of the cat, one of border.
    assert set(np.unique(images.masks[0])) == {0, 8, 255}
    assert (images.masks[0][:, :4] == 8).all()
    assert (images.masks[1][:, :4] == 15).all()
    assert (images.masks[0][:, 7:] == 0).all()
    assert (images.masks[0][:, 5] == 255).all()
    (tmp_path / data.masks[1]).write_bytes(b"nothing")
    damaged = data.load(SMALL)
    assert len(damaged.x) == len(damaged.masks) == 1
    assert any(reason.startswith("mask: ") for reason in damaged.skipped.values())


def test_voc_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="is not VOC2012 as torchvision reads it"):
        open_data(f"voc:{tmp_path}")
    with pytest.raises(InputError, match="is not VOC2012"):
        open_data(f"voc:{voc(tmp_path / 'x')}", split="tset")
    file = tmp_path / "bad.xml"
    for text in (
        "<annotation>",
        ANNOTATION.format("<object><name>cat</name></object>"),
        ANNOTATION.format(OBJECT.format("unicorn", 0, 0, 1, 1)),
        ANNOTATION.format(OBJECT.format("cat", 0, 0, 1, "")),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=r"bad.xml is not a VOC annotation"):
            voc_areas(file)


def test_digits():
    from gae_metric.demo import digits

    x, y = digits.load("test")
    data = open_data("digits")
    images = data.load(SMALL)
    assert np.array_equal(images.x, x)
    assert np.array_equal(images.labels, y)
    some = data.sample(5, seed=3)
    chosen = [data.files.index(file) for file in some.files]
    assert np.array_equal(some.load(SMALL).x, x[chosen])


def test_names_and_options():
    with pytest.raises(UnknownNameError, match="did you mean 'imagenet'"):
        open_data("imagnet:/x")
    for spec in ("imagenet", "digits:/x"):
        with pytest.raises(InputError, match="data: expected"):
            open_data(spec)
    with pytest.raises(InputError, match="labels: 'digits' takes no label file"):
        open_data("digits", labels="x.csv")
    with pytest.raises(InputError, match="masks: 'digits' has none"):
        open_data("digits", masks=True)
    for kind in ("imagefolder", "imagenet"):
        with pytest.raises(InputError, match="expected a folder, found nothing") as caught:
            open_data(f"{kind}:/nowhere")
        assert str(caught.value).startswith("data: ")


def test_a_folder_without_images(tmp_path):
    with pytest.raises(InputError, match=r"^data: no image files"):
        open_data(f"imagefolder:{tmp_path}")
