"""Configurations whose text is anything: a run, or an error that says where; nothing is run."""

from __future__ import annotations

import os
import sys
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.config.runs import Run, parse, read
from benchmarks.data.labels import imagenet_labels, voc_areas
from gae_metric.errors import InputError
from gae_metric.inputs.labels import read_labels
from gae_metric.inputs.weights import read_weights
from gae_metric.probe import ProbeSet
from tests.hardening.fuzz import damaged, fuzzing, nothing_runs, refusable

GOOD = {
    "models": [{"name": "digits:vgg", "paper": [1], "args": {}}, "digits:vit"],
    "data": {"name": "digits", "split": "val"},
    "samples": 8,
    "seed": 0,
    "methods": ["Saliency", {"name": "absLRP", "label": "x", "options": {"conserve": None}}],
    "metrics": [{"name": "ROAD_MoRF", "options": {"percentages": [10, 20]}}, "GAE"],
    "devices": "cpu",
    "steps": 4,
    "targets": "labels",
    "modules": [],
    "output": "results",
}
TEXT = yaml.safe_dump(GOOD).encode()

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.dates()
    | st.sampled_from(
        ["all", "cnn", "cuda:99", "$HOME", "$NO_SUCH", "~", "{shared}", "../..", 2**70]
    )
    | st.sampled_from(["timm:resnet18", "paper:vgg16", "quantus:Sparseness", "GAE", "absLRP"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(SCALARS.filter(lambda key: key.__hash__ is not None), inner, max_size=3)
        | st.fixed_dictionaries(
            {}, optional={"name": inner, "options": inner, "label": inner, "args": inner}
        )
    ),
    max_leaves=6,
)


def places(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else pairs:
        yield from places(each, (*path, key))


def copied(value):
    return yaml.safe_load(yaml.safe_dump(value))


@fuzzing
@given(data=st.data())
def test_any_value_anywhere(data):
    fields = copied(GOOD)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from([path for path in places(fields) if path]))
        parent = fields
        for key in path[:-1]:
            parent = parent[key]
        parent[path[-1]] = data.draw(VALUES)
    with nothing_runs(), refusable(InputError) as outcome:
        assert parse(fields).model_dump(mode="json")
    assert outcome.message is None or 0 < len(outcome.message) < 20_000


@fuzzing
@given(data=st.data())
def test_any_damage(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "run.yaml"
    file.write_bytes(data.draw(damaged(TEXT)))
    with nothing_runs(), refusable(InputError) as outcome:
        assert isinstance(read(file), Run)
    assert outcome.message is None or "run.yaml" in outcome.message


@fuzzing
@given(content=st.binary(max_size=200) | VALUES.map(lambda v: repr(v).encode("utf-8", "replace")))
def test_any_bytes(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "run.yaml"
    file.write_bytes(content)
    with nothing_runs(), pytest.raises(InputError, match=r"run\.yaml"):
        read(file)


@pytest.mark.parametrize(
    "text",
    [
        "models: !!python/object/apply:os.system ['touch bomb']",
        "models: !!python/name:os.system",
        "models: !!python/module:antigravity",
        "!!python/object/new:subprocess.Popen [['touch', 'bomb']]",
        "samples: !!int 0x",
        "samples: 2001-99-99",
        "samples: " + "9" * 5000,
        "samples: !!timestamp nonsense",
        "? {a: b}\n: c",
        "a: &a [*a]",
        "a: *a",
        "[" * 10_000,
        "{" * 10_000,
        "- " * 10_000,
        "a: 'b",
        "\t a",
        "%YAML 9.9\n---\na: b",
        "a: b\n---\na: c",
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe",
        b"\0",
        b"",
        b"3",
        b"- a",
    ],
)
def test_text_that_is_no_configuration(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "run.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with nothing_runs(), pytest.raises(InputError, match=r"run\.yaml"):
        read(file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def bomb(kind):
    """References that multiply by ten thirty times: a few hundred bytes of text."""
    if kind == "merges":
        lines = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 30)]
        return "\n".join(["a0: &a0 {k: 1}", *lines])
    parts = {"lists": "[{}]", "maps": "{{{}}}"}[kind]
    lines = []
    for i in range(1, 30):
        inner = [f"k{j}: *a{i - 1}" if kind == "maps" else f"*a{i - 1}" for j in range(10)]
        lines.append(f"a{i}: &a{i} {parts.format(', '.join(inner))}")
    return "\n".join(["a0: &a0 x", *lines, "models: *a29"])


@pytest.mark.parametrize("kind", ["lists", "maps", "merges"])
def test_references_are_refused_and_not_followed(tmp_path, kind):
    (tmp_path / "run.yaml").write_text(bomb(kind))
    start = time.perf_counter()
    with pytest.raises(InputError, match=r"line 2: a reference"):
        read(tmp_path / "run.yaml")
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("samples: true", "samples: .*valid integer"),
        ("seed: 1.0", "seed: .*valid integer"),
        ("models: {name: digits:vgg, size: true}", "size: .*valid integer"),
        ("samples: 0x" + "f" * 9000, "samples: expected a number of at most"),
        ("methods: {name: RISE, options: {n_masks: 1.0e+300}}", "n_masks: expected a number of at"),
        ("samples: .inf", "samples: expected a number of at most"),
        ("samples: 1\nseed: 2\nsamples: 3", "line 1: a key is there twice"),
        ("methods:\n- {name: RISE, name: absLRP}", "line 3: a key is there twice"),
        ('methods: {name: RISE, label: "\\ud800"}', "label: expected text of UTF-8"),
        ('output: "a\\0b"', "output: expected text of UTF-8 without NUL"),
        ("models: {name: digits:vgg, paper: [true]}", "paper.*: .*valid integer"),
        ("samples: 010", "line 2: expected a decimal number, got '010'"),
        ("samples: 1:30", "line 2: expected a decimal number, got '1:30'"),
        ("methods: {name: RISE, options: {p: 1:30.5}}", "line 2: expected a decimal number"),
        ("samples: 1" + ":59" * 300_000, "expected a decimal number, got '1:59:59"),
        ("\n".join(f"key{i}: 1" for i in range(5_000)), "unknown key 'key9'; .*; 4990 more"),
        ("threads: 100000000000", "threads: .*less than or equal to 1024"),
        ("readers: 9007199254740992", "readers: .*less than or equal to 1024"),
        ("retries: 9999", "retries: .*less than or equal to 1024"),
    ],
)
def test_values_that_no_setting_has(tmp_path, text, expected):
    (tmp_path / "run.yaml").write_text(text if "models" in text else f"models: digits:vgg\n{text}")
    with pytest.raises(InputError, match=expected):
        read(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    "modules",
    [
        *(7, 1.5, {"a": 1}, [7], [None], [""], "a b", "../evil", "./evil", "/tmp/evil", ".evil"),
        *("evil.py/", "os;import this", "evil-module", ["a", ["b"]], b"os"),
    ],
)
def test_names_of_modules_are_names(modules):
    """They are imported, so nothing that is not the name of an installed module is looked for."""
    before, path = set(sys.modules), list(sys.path)
    with pytest.raises(InputError, match="modules: "):
        parse({"models": "digits:vgg", "methods": "Saliency", "modules": modules})
    assert set(sys.modules) == before
    assert sys.path == path


def test_a_modules_own_errors_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, text, reason in (
        ("broken_syntax", "def (", "invalid syntax"),
        ("broken_error", "1 / 0", "division by zero"),
        ("broken_silent", "raise ValueError", "ValueError"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(InputError, match=f"modules: cannot import '{name}': .*{reason}"):
            parse({"models": "digits:vgg", "methods": "Saliency", "modules": name})


def test_what_never_ends_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    for name in ("pipe", "link", "large"):
        path = tmp_path / name
        for what in (
            read,
            lambda path: read_labels(path, ["a.png"], 2),
            lambda path: imagenet_labels(tmp_path, ["a.png"], path),
            voc_areas,
            ProbeSet.load,
            *([read_weights] if name != "large" else []),
        ):
            with pytest.raises(InputError, match=r"found a pipe|at most|as one at"):
                what(path)


def test_places_that_are_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none", "a\0b", ""):
        with pytest.raises(InputError, match="config: cannot read"):
            read(path)
