"""What the fuzzing tests share: damaged copies of good files, and a watch over what runs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: Settings of all fuzzing tests: the same examples on every machine, none too slow.
fuzzing = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@st.composite
def damaged(draw: st.DrawFn, good: bytes, edits: int = 4) -> bytes:
    """Draw a copy of a file with bytes changed, cut out, put in, or repeated."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, edits))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "flip", "cut", "end", "insert", "repeat"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + draw(st.integers(1, 64))]
            case "end":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=16))
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
    return bytes(data)


_RUNS = (
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen"),
    *("pickle.find_class", "socket.connect", "socket.getaddrinfo", "urllib.Request"),
)
_watched: list[list[str]] = []
_hooked = False


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in _RUNS:
        _watched[-1].append(f"{event} {arguments!r:.200}")


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """Refuse, by Python's audit events, programs, pickles and connections while it lasts."""
    global _hooked  # noqa: PLW0603 - an audit hook cannot be taken away again
    if not _hooked:
        sys.addaudithook(_note)
        _hooked = True
    seen: list[str] = []
    _watched.append(seen)
    try:
        yield
    finally:
        _watched.remove(seen)
    assert not seen, seen[:5]


class Outcome:
    """What came of something that may be refused: a message, or None."""

    message: str | None = None


@contextlib.contextmanager
def refusable(kind: type[Exception]) -> Iterator[Outcome]:
    """Let errors of one kind end the block, and keep their message; others go on."""
    outcome = Outcome()
    try:
        yield outcome
    except kind as error:
        outcome.message = str(error)


class Bomb:
    """What pickles as an order to make a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)
