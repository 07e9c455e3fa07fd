"""What a metric spends on making sure of its model and its cache, of the whole call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pandas as pd

from benchmarks.speed.gae import case
from gae_metric import GAE, Contrastiveness
from gae_metric.study import fingerprint
from gae_metric.study.guard import ModelGuard
from gae_metric.study.trajectories import Trajectories

METRICS = {"GAE": GAE, "Contrastiveness": Contrastiveness}

#: By what they do: the functions that are watched. Nested ones count for the outer one.
_WATCHED: dict[str, tuple[Any, str]] = {
    "start: parameters, two forward passes": (ModelGuard, "__enter__"),
    "after explain_func": (ModelGuard, "explained"),
    "end: parameters, a forward pass": (ModelGuard, "__exit__"),
    "samples": (fingerprint, "of_tensors"),
    "used again: a forward or gradient": (Trajectories, "_as_now"),
}


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Time what is watched, in seconds by what it does."""
    spent = dict.fromkeys(_WATCHED, 0.0)
    running: list[str] = []

    def watch(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            running.append(what)
            try:
                return function(*args, **kwargs)
            finally:
                running.pop()
                if not running:
                    spent[what] += time.perf_counter() - start

        return timed

    with ExitStack() as stack:
        for what, (owner, name) in _WATCHED.items():
            stack.enter_context(patch.object(owner, name, watch(what, getattr(owner, name))))
        yield spent


def rows(
    name: str, metrics: Sequence[str], samples: int, batch: int, device: str
) -> list[dict[str, Any]]:
    """Return a row for each metric: its seconds, and how many of them each guard took."""
    given = case(name, samples, batch, device)
    found = []
    for kind in metrics:
        for again in (False, True):
            metric = METRICS[kind](disable_warnings=True)
            with clocked() as spent:
                start = time.perf_counter()
                given.metric(metric, fresh=not again)
                seconds = time.perf_counter() - start
            whole = sum(spent.values())
            found.append(
                {"model": name, "metric": f"{metric.name}{', used again' if again else ''}"}
                | {"images": samples, "seconds": seconds, "guards": whole}
                | {"% of all": 100 * whole / seconds}
                | {what: round(value, 3) for what, value in spent.items()}
            )
    return found


def table(
    names: Sequence[str], metrics: Sequence[str], samples: int, batch: int, device: str
) -> pd.DataFrame:
    """Return the rows of several models."""
    found: pd.DataFrame = pd.DataFrame(
        [row for name in names for row in rows(name, metrics, samples, batch, device)]
    )
    return found
