"""What computes a shard makes no difference, and a worker that dies is replaced."""

import sys
import time

import pandas as pd
import pytest

from benchmarks.config.runs import parse
from benchmarks.runner.collected import collect
from benchmarks.runner.run import execute
from gae_metric.errors import InputError

pytestmark = pytest.mark.usefixtures("fake_methods")


def run(output, address=None, **changes):
    given = {
        "models": ["digits:vgg"],
        "samples": 6,
        "block": 3,
        "methods": ["absLRP", "Quick"],
        "metrics": ["GAE", "Focus"],
        "steps": 3,
        "threads": 1,
        "modules": "tests.benchmarks.fakes",
        "output": str(output),
        **changes,
    }
    summary = execute(parse(given), address=address, quiet=True)
    return summary, collect(output)


@pytest.fixture(scope="module")
def local(tmp_path_factory, fake_methods):
    return run(tmp_path_factory.mktemp("local"))[1]


def assert_identical(found, local):
    assert found.missing == 0
    assert found.failures.empty
    # Bit for bit.
    pd.testing.assert_frame_equal(found.scores, local.scores, check_exact=True)
    pd.testing.assert_frame_equal(found.targets, local.targets, check_exact=True)


def dying(folder):
    """Let the second of two methods, Quick's equal, kill the worker that first tries it."""
    return ["absLRP", {"name": "Dies", "label": "Quick", "options": {"marks": str(folder)}}]


@pytest.mark.slow
def test_a_process_for_each_device(tmp_path, local):
    """Two, one of which dies in the middle of a shard and is replaced."""
    _, found = run(tmp_path / "out", devices=["cpu", "cpu"], methods=dying(tmp_path))
    assert (tmp_path / "death-0").exists()
    assert_identical(found, local)


@pytest.mark.slow
def test_a_shard_that_kills_every_worker_is_recorded(tmp_path):
    """And the shards after it are computed."""
    methods = [{"name": "Dies", "options": {"marks": str(tmp_path), "times": 9}}, "Quick"]
    changes = {"methods": methods, "metrics": "C", "block": 6, "retries": 1}
    summary, found = run(tmp_path / "out", devices=["cpu", "cpu"], **changes)
    assert found.missing == 0
    (text,) = summary.failed
    assert "Dies: WorkerLostError: its worker died 2 times" in text
    assert set(found.scores["method"]) == {"Quick"}


@pytest.fixture(scope="module")
def cluster():
    """Start two nodes of one CPU each, on this machine."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    nodes.add_node(num_cpus=1, num_gpus=0)
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()


# Half a minute, and not marked slow: the one test of a cluster in `make test`.
def test_two_nodes_and_a_worker_that_is_killed(cluster, tmp_path, local):
    _, found = run(tmp_path / "out", cluster, engine="ray", methods=dying(tmp_path))
    assert (tmp_path / "death-0").exists()
    assert_identical(found, local)


@pytest.mark.slow
def test_an_error_of_the_model_is_not_wrapped(cluster, tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"none")
    model = {"name": "timm:resnet18", "weights": str(weights)}
    with pytest.raises(InputError, match="safetensors") as caught:
        run(tmp_path / "out", cluster, engine="ray", models=[model])
    assert "Ray" not in f"{type(caught.value).__name__} {caught.value}"


@pytest.mark.slow
def test_more_threads_than_the_cluster_has(cluster, tmp_path):
    with pytest.raises(InputError, match="a worker needs 3 CPUs"):
        run(tmp_path / "out", cluster, engine="ray", threads=3)


def test_an_address_at_which_there_is_nothing(tmp_path, monkeypatch):
    """Ray itself would wait for it for minutes."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    # Whatever cluster the other tests are connected to.
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"^address: .*nothing answers at '127\.0\.0\.1:1'"):
        run(tmp_path / "out", "127.0.0.1:1", engine="ray")
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("changes", [{"engine": "ray"}, {"devices": ["cpu", "cpu"]}])
def test_without_ray(tmp_path, monkeypatch, changes):
    monkeypatch.setitem(sys.modules, "benchmarks.runner.ray_engine", None)
    with pytest.raises(InputError, match=r"pip install 'gae-metric\[ray\]'"):
        run(tmp_path / "out", **changes)


def test_a_device_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="device: 'cuda:9' cannot be used"):
        run(tmp_path / "out", devices=["cuda:9"])
