"""``python -m tests.hardening.leaks``: memory stays flat over many explanations and GAE calls.

What a call leaves behind shows in two ways: memory that the process holds, and objects that the
garbage collector knows. Both are read after a warm-up, in which caches fill and the allocator takes
what it will need, and again after the last call.

>>> kept = []
>>> growth("a leak", lambda: kept.append([0] * 200_000), times=40, warm_up=5).flat
False
>>> growth("none", lambda: sum(range(100)), times=40, warm_up=5).flat
True
"""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import abslrp
from gae_metric import GAE, clear_cache
from gae_metric.demo import digits, networks

__all__ = ["Growth", "explaining", "growth", "scoring"]

#: Bytes that memory may differ by between two moments at which the same is held: what the
#: allocator keeps for later, and other threads' stacks.
NOISE = 8 << 20
#: Objects likewise: caches of Python and of libraries.
OBJECTS = 200

app = typer.Typer(add_completion=False, help=__doc__.partition("\n")[0])


@dataclass(frozen=True)
class Growth:
    """What calls of one kind left behind."""

    what: str
    times: int
    #: Bytes that the process held more in the last quarter of the calls than in the first; on a
    #: CUDA device, bytes of tensors there.
    nbytes: int
    #: Objects that there were more after the last call than after the warm-up.
    objects: int
    #: Kinds of objects of which there were more, and how many more.
    kinds: dict[str, int]

    @property
    def flat(self) -> bool:
        """Whether nothing grew beyond noise."""
        return self.nbytes <= NOISE and self.objects <= OBJECTS


def growth(
    what: str, work: Callable[[], object], times: int, warm_up: int, device: str = "cpu"
) -> Growth:
    """Repeat some work, and measure what it leaves behind.

    Parameters
    ----------
    what
        Its name.
    work
        Called ``warm_up + times`` times.
    times, warm_up
        Numbers of calls, with and without being measured.
    device
        Whose memory is read.
    """
    for _ in range(warm_up):
        work()
    before = _kinds()
    held: list[int] = []
    for _ in range(times):
        work()
        held.append(_held(device))
    quarter = max(1, times // 4)
    more = _kinds()
    more.subtract(before)
    return Growth(
        what,
        times,
        int(statistics.median(held[-quarter:]) - statistics.median(held[:quarter])),
        sum(more.values()),
        {name: count for name, count in more.most_common(5) if count > 0},
    )


def _kinds() -> Counter[str]:
    """Count the objects that the garbage collector knows, by their type."""
    gc.collect()
    return Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.get_objects())


def _held(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated()
    with suppress(OSError, AttributeError):  # not with every C library
        # What was freed goes back to the system, so that it is not taken for a leak.
        ctypes.CDLL(None).malloc_trim(0)
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    # Elsewhere the peak is known, which a leak raises too; kilobytes, on macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


#: Options of absLRP that take different ways through the engine.
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"contrast": "signed"},
    {"conserve": "argument"},
    {"conserve": None, "contrast": None},
    {"rules": "alpha2beta1"},
    {"rules": "RAP"},
    {"reduce": "channels", "batch_size": 1},
)


def explaining(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    """Return work that explains by absLRP, each time with other options; some calls fail."""
    turn = _turns()

    def work() -> object:
        number = next(turn)
        with suppress(ZeroDivisionError):
            if number % 5 == 4:
                abslrp.explain(model, x, y, output=_broken)
        return abslrp.explain(model, x, y, **OPTIONS[number % len(OPTIONS)])

    return work


def _broken(logits: Tensor) -> Tensor:
    """Fail with a whole graph behind the logits."""
    raise ZeroDivisionError(f"{len(logits)} logits")


def scoring(
    model: Callable[[], nn.Module], x: Tensor, y: Tensor, steps: int = 10
) -> Callable[[], object]:
    """Return work that scores absLRP by GAE: on a new model, then on it again, from the cache."""
    turn = _turns()
    current: list[nn.Module] = []

    def work() -> object:
        number = next(turn)
        if number % 2 == 0:
            current[:] = [model()]
        if number % 8 == 7:
            clear_cache()
        metric = GAE(steps=steps, disable_warnings=True)
        return metric(
            current[0], x.cpu().numpy(), y.cpu().numpy(), explain_func=abslrp.explain, batch_size=4
        )

    return work


def _turns() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


@app.command()
def main(
    explanations: Annotated[int, typer.Option(min=8, help="Explanations by absLRP.")] = 500,
    calls: Annotated[int, typer.Option(min=8, help="Calls of GAE.")] = 50,
    network: Annotated[
        list[str] | None, typer.Option(help="vgg, resnet, vit; default all.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Explain and score by turns of options, and report what that leaves behind; 1 if anything."""
    found = []
    x, y = digits.load("test", n=4)
    images, classes = torch.as_tensor(x).to(device), torch.as_tensor(y).to(device)
    for name in network or list(networks.NAMES):
        work = explaining(networks.load(name).to(device), images, classes)
        warm_up = min(40, explanations)
        found.append(growth(f"explanations, {name}", work, explanations, warm_up, device))
        _report(found[-1])

        def build(name: str = name) -> nn.Module:
            return networks.load(name).to(device)

        found.append(
            growth(f"GAE, {name}", scoring(build, images, classes), calls, min(16, calls), device)
        )
        _report(found[-1])
    if not all(one.flat for one in found):
        raise typer.Exit(1)


def _report(one: Growth) -> None:
    verdict = "flat" if one.flat else f"GREW: {one.kinds}"
    typer.echo(
        f"{one.what}: {one.times} calls, {one.nbytes / 2**20:+.1f} MiB, {one.objects:+d} objects: "
        f"{verdict}"
    )


if __name__ == "__main__":
    app()
