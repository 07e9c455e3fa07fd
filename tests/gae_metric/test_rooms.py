"""What ``import gae_metric`` alone gives: every public room, imported when it is used."""

import importlib
import subprocess
import sys

import pytest

import gae_metric
from gae_metric._moved import MOVED

ROOMS = [
    *("companions", "comparison", "demo", "explainers", "functional", "inputs", "metrics"),
    *("plotting", "probe"),
]


def run(code: str) -> None:
    """In a process of its own, where nothing else has imported them."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_reachable(room: str) -> None:
    run(f"import gae_metric; assert gae_metric.{room}.__name__ == 'gae_metric.{room}'")


def test_nothing_is_imported_before_it_is_used() -> None:
    names = [f"gae_metric.{room}" for room in ROOMS]
    run(
        "import sys, gae_metric; dir(gae_metric)\n"
        f"assert not {{*{names}, 'torch'}} & {{*sys.modules}}"
    )


def test_dir_names_rooms_and_classes() -> None:
    assert {*ROOMS, "GAE", "ProbeSet", "compare"} <= {*dir(gae_metric)}


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    """``gradcam`` is the function, whatever was imported before."""
    run(
        "import gae_metric.explainers.grad_cam, gae_metric.explainers.gradients\n"
        "from gae_metric.explainers import EXPLAINERS, gradcam\n"
        "assert EXPLAINERS['GradCAM'] is gradcam"
    )


def test_noise_keeps_its_name() -> None:
    run("import gae_metric; gae_metric.noise.SeededNoise; from gae_metric import noise")


@pytest.mark.parametrize("room", ["companions", "explainers", "inputs"])
def test_rooms_export_what_they_say(room: str) -> None:
    module = getattr(gae_metric, room)
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert {*module.__all__} <= {*dir(module)}
    wanted = (
        "No gae_metric.inputs attribute nothing" if room == "inputs" else "no attribute 'nothing'"
    )
    with pytest.raises(AttributeError, match=wanted):
        _ = module.nothing


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="No gae_metric attribute nothing"):
        _ = gae_metric.nothing


@pytest.mark.parametrize("old", MOVED)
def test_documented_import_paths_still_work(old: str) -> None:
    sys.modules.pop(f"gae_metric.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"gae_metric.{old} is gae_metric.{MOVED[old]} now"):
        found = importlib.import_module(f"gae_metric.{old}")
    assert found is importlib.import_module(f"gae_metric.{MOVED[old]}")
