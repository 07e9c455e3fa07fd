"""Label files whose text is anything: labels in range, or an error that names file and line."""

from __future__ import annotations

import gzip
import http.server
import threading
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.data.labels import VOC_CLASSES, imagenet_labels, voc_areas
from benchmarks.data.names import open_data
from gae_metric.errors import InputError
from gae_metric.inputs.labels import class_index, read_labels
from tests.hardening.fuzz import damaged, fuzzing, nothing_runs, refusable

FILES = ["a.png", "b.png", "sub/c.png"]
GOOD = b"file,class_index\na.png,3\nb.png,0\nsub/c.png,9\n"
KAGGLE = b"ImageId,PredictionString\na,n01440764 1 2 3 4\nb,n01443537 1 1 1 1\n"
LINES = b"a.png 3\nb.png 0\n"

#: Rows of a CSV file as a spreadsheet might leave them, and worse.
CELLS = st.sampled_from(
    [
        *("a.png", "b.png", "3", "0", "", " 7 ", "-1", "1e3", "nan", "9.0", "٣", "²", "True"),
        *("9" * 5000, "0" * 5000 + "3", '"', "'", "../../etc/passwd", "n01440764", "\0", "=1+1"),
    ]
)
TABLES = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=5).map("\n".join)


def check(labels: dict[str, int], classes: int) -> None:
    assert labels
    assert all(type(index) is int and 0 <= index < classes for index in labels.values())


@fuzzing
@given(data=st.data())
def test_any_table(tmp_path_factory, data):
    file = tmp_path_factory.mktemp("labels") / "labels.csv"
    head = data.draw(st.sampled_from(["file,class_index\n", "class_index,file,more\n", ""]))
    file.write_text(head + data.draw(TABLES))
    with nothing_runs(), refusable(InputError) as outcome:
        check(read_labels(file, FILES, 10), 10)
    assert outcome.message is None or outcome.message.startswith("labels: ")
    assert len(outcome.message or "") < 1000


@fuzzing
@given(data=st.data())
@pytest.mark.parametrize(
    ("name", "good"),
    [("labels.csv", GOOD), ("LOC_val_solution.csv", KAGGLE), ("val.txt", LINES)],
)
def test_any_damage(tmp_path_factory, name, good, data):
    file = tmp_path_factory.mktemp("labels") / name
    file.write_bytes(data.draw(damaged(good)))
    with nothing_runs(), refusable(InputError) as outcome:
        check(imagenet_labels(file.parent, FILES, file), 1000)
    assert outcome.message is None or name in outcome.message


@fuzzing
@given(content=st.binary(max_size=300))
@pytest.mark.parametrize("name", ["labels.csv", "val.txt"])
def test_any_bytes(tmp_path_factory, name, content):
    file = tmp_path_factory.mktemp("labels") / name
    file.write_bytes(content)
    with nothing_runs(), pytest.raises(InputError, match="labels: "):
        imagenet_labels(file.parent, FILES, file)


@fuzzing
@given(text=st.text(max_size=12), classes=st.integers(1, 1000))
def test_class_index(text, classes):
    index = class_index(text, classes)
    expected = text.strip()
    if expected.isascii() and expected.isdecimal() and int(expected) < classes:
        assert index == int(expected)
    else:
        assert index is None


def test_a_number_that_python_refuses(tmp_path):
    """More than 4300 digits are a ValueError of Python's own."""
    for name, text in (
        ("labels.csv", f"file,class_index\na.png,{'9' * 5000}\n"),
        ("val.txt", f"a.png {'9' * 5000}\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=rf"{name}, line [12]: .*9{{10}}"):
            imagenet_labels(tmp_path, FILES, tmp_path / name)


@pytest.mark.parametrize("text", ['a.png,"3\nb.png,4\n', '"a.png",3\n"b.png"x,4\n'])
def test_a_quote_that_is_never_closed_is_no_matter_of_the_encoding(tmp_path, text):
    (tmp_path / "labels.csv").write_text(f"file,class_index\n{text}")
    with pytest.raises(InputError, match=r"labels.csv' as CSV \(is a quote never") as caught:
        read_labels(tmp_path / "labels.csv", FILES, 10)
    assert "UTF-8" not in str(caught.value)
    (tmp_path / "labels.csv").write_bytes("file,class_index\n\u00e9.png,3\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"labels.csv' as UTF-8: "):
        read_labels(tmp_path / "labels.csv", FILES, 10)


def test_lines_that_are_longer_than_the_header(tmp_path):
    """Their end would be lost, or a class taken for that of another file."""
    (tmp_path / "labels.csv").write_text("file,class_index\na.png,3\nb.png,4,2\n")
    with pytest.raises(InputError, match=r"labels: cannot read .*: line 3 has 3 fields, the head"):
        read_labels(tmp_path / "labels.csv", FILES, 10)


@pytest.mark.parametrize(
    ("head", "rest", "expected"),
    [
        ("file,class_index," + ",".join(map(str, range(1_000_000))), "a.png,3", None),
        ("file,class_index", "a.png,3" + "," * 1_000_000, "line 2 has 1000002 fields"),
        ("file,class_index" + ",a" * 1_000_000, "a.png,3", "the column 'a' is there twice"),
        ("file", ",\n" * 1_000_000, "must have the columns"),
    ],
)
def test_tables_of_any_width_take_no_time(tmp_path, head, rest, expected):
    """If each column is compared with every other, these take an hour, and pytest ends them."""
    (tmp_path / "labels.csv").write_text(f"{head}\n{rest}\n")
    with refusable(InputError) as outcome:
        assert read_labels(tmp_path / "labels.csv", FILES, 10) == {"a.png": 3}
    assert (expected or "") in (outcome.message or "")
    assert (outcome.message is None) == (expected is None)


def test_a_row_takes_no_more_memory_than_its_text(tmp_path):
    """A table of a few megabytes took gigabytes as a whole."""
    (tmp_path / "labels.csv").write_text("file,class_index\n" + "a.png,3\n" * 50_000)
    tracemalloc.start()
    assert read_labels(tmp_path / "labels.csv", FILES, 10) == {"a.png": 3}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * (tmp_path / "labels.csv").stat().st_size


def test_other_encodings(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace(b"\n", b"\r\n"))
    assert read_labels(tmp_path / "labels.csv", FILES, 10) == {"a.png": 3, "b.png": 0, FILES[2]: 9}
    for data in (GOOD.decode().encode("utf-16"), b"file,class_index\n\xff.png,3\n"):
        (tmp_path / "labels.csv").write_bytes(data)
        with pytest.raises(InputError, match="labels: "):
            read_labels(tmp_path / "labels.csv", FILES, 10)


def test_addresses_are_not_fetched_and_archives_not_unpacked(tmp_path, monkeypatch):
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(GOOD)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with pytest.raises(InputError, match="labels: cannot read"):
            read_labels(f"http://127.0.0.1:{server.server_port}/labels.csv", FILES, 10)
        server.shutdown()
        thread.join()
    assert not asked
    (tmp_path / "labels.csv.gz").write_bytes(gzip.compress(GOOD))
    with pytest.raises(InputError, match="labels: cannot read"):
        read_labels(tmp_path / "labels.csv.gz", FILES, 10)


def test_places_that_are_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv", "a\0b.csv", ""):
        with pytest.raises(InputError, match="labels: cannot read"):
            read_labels(path, FILES, 10)
        with pytest.raises(InputError, match="labels: cannot read"):
            imagenet_labels(tmp_path, FILES, path)
    with pytest.raises(InputError, match="labels: cannot read"):
        imagenet_labels(tmp_path, FILES, "a\0b.txt")


# Pascal VOC's annotations.

BOX = b"""<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax>
<ymax>7</ymax></bndbox></object></annotation>"""


@fuzzing
@given(data=st.data())
def test_any_annotation(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "annotation.xml"
    values = ["inf", "-inf", "nan", "1e300", "-5", "", "1,5", "9" * 400, "0x10"]
    good = BOX
    for number in (b">1<", b">2<", b">11<", b">7<"):
        if data.draw(st.booleans()):
            value = data.draw(st.sampled_from(values)).encode()
            good = good.replace(number, b">" + value + b"<")
    file.write_bytes(data.draw(st.just(good) | damaged(good)))
    with nothing_runs(), refusable(InputError) as outcome:
        areas = voc_areas(file)
        assert areas.shape == (20,)
        assert (areas >= 0).all()
    assert outcome.message is None or "annotation.xml is not a VOC" in outcome.message


def test_the_area_of_a_box(tmp_path):
    (tmp_path / "a.xml").write_bytes(BOX)
    assert voc_areas(tmp_path / "a.xml")[VOC_CLASSES.index("dog")] == 50


@pytest.mark.parametrize(
    "text",
    [
        b'<?xml version="1.0" encoding="no-such"?><annotation/>',
        b'<?xml version="1.0" encoding="utf-32"?><annotation/>',
        b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><object><name>&e;'
        b"</name></object></annotation>",
        b"<!DOCTYPE a ["
        + b"".join(b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10) for i in range(1, 12))
        + b"]><annotation>&e11;</annotation>",
        BOX.replace(b">11<", b">inf<"),
        BOX.replace(b"dog", b"unicorn"),
    ],
)
def test_annotations_that_ask_for_more(tmp_path, text):
    (tmp_path / "a.xml").write_bytes(text)
    with nothing_runs(), pytest.raises(InputError, match="is not a VOC annotation"):
        voc_areas(tmp_path / "a.xml")


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside", "sub/inside", "../a", "a/../b"])
@pytest.mark.parametrize("masks", [False, True])
def test_lists_of_images_stay_in_their_folder(tmp_path, name, masks):
    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    (voc / "Annotations" / "a.xml").write_bytes(BOX)
    for kind in ("Main", "Segmentation"):
        (voc / "ImageSets" / kind / "val.txt").write_text(f"a\n{name}\n")
    with pytest.raises(InputError, match="leads out of its folder"):
        open_data(f"voc:{tmp_path}", masks=masks)
    for kind in ("Main", "Segmentation"):
        (voc / "ImageSets" / kind / "val.txt").write_text("a\n")
    assert open_data(f"voc:{tmp_path}", masks=masks).files == (
        "VOCdevkit/VOC2012/JPEGImages/a.jpg",
    )
    for kind in ("Main", "Segmentation"):
        (voc / "ImageSets" / kind / "val.txt").write_text("")
    with pytest.raises(InputError, match="names no image"):
        open_data(f"voc:{tmp_path}", masks=masks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,class_index,file\na.png,1,b.png\n", "the column 'file' is there twice"),
        ("file,class_index\na.png,1\0\n", "NUL"),
        ("file,class_index\na.png,\0\n", "NUL"),
    ],
)
def test_columns_twice_and_nuls(tmp_path, text, expected):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_labels(tmp_path / "labels.csv", ["a.png"], 3)
