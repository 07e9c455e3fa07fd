"""Addresses at which nothing answers are refused within seconds."""

import re
import socket

import pytest

from benchmarks.runner import addresses
from benchmarks.runner.addresses import check_address
from gae_metric.errors import InputError


@pytest.fixture(autouse=True)
def _no_address_of_the_environment(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_what_answers_is_taken(listening):
    check_address(listening)
    check_address(f"ray://{listening}")


@pytest.mark.parametrize("address", [None, "", "auto", "local", "other://cluster"])
def test_what_is_left_to_ray(address, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("asked"))
    check_address(address)


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_nothing_listens(prefix):
    given = f"{prefix}127.0.0.1:1"
    with pytest.raises(InputError, match=r"^address: expected a Ray cluster, and nothing"):
        check_address(given)


def test_nothing_answers(monkeypatch):
    """A host that drops packets: the limit is handed to the socket, which keeps it."""
    asked = []

    def silent(place, timeout):
        asked.append((place, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(InputError, match=r"nothing answers at 'node:6379' within 5 s: timed"):
        check_address("node:6379")
    with pytest.raises(InputError, match=r"^address: "):
        check_address("[::1]:6379")
    assert asked == [(("node", 6379), addresses.LIMIT), (("::1", 6379), addresses.LIMIT)]


@pytest.mark.parametrize("address", ["node", "node:", "node:port", "node:0", "node:65536", ":1"])
def test_no_address(address):
    wanted = f"address: expected HOST:PORT, ray://HOST:PORT, auto or local, got {address!r}"
    with pytest.raises(InputError, match=re.escape(wanted)):
        check_address(address)


def test_the_environment_s_address(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"^RAY_ADDRESS: "):
        check_address(None)
