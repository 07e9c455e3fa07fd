"""Each model in a process of its own, which takes no time to import what all of them need."""

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from benchmarks.compatibility import cases, hugging_face
from benchmarks.compatibility.trial import trial

SECONDS, GIBIBYTES = 900, 16
SOURCES: dict[str, tuple[Callable[[], list[str]], Callable[[str], cases.Case]]] = {
    "torchvision": (cases.of_torchvision, cases.from_torchvision),
    "timm": (cases.of_timm, cases.from_timm),
    "transformers": (hugging_face.of_transformers, hugging_face.from_transformers),
}

# Children are forked from a server that has imported these, each with fresh memory.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def case_of(key: str) -> cases.Case:
    """Return the model of a key, such as ``timm/levit_128s`` or ``transformers/causal/llama``."""
    source, name = key.split("/", 1)
    return SOURCES[source][1](name)


def _limited(key: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (GIBIBYTES << 30,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS,) * 2)
    return trial(lambda: case_of(key))


def tried(key: str) -> dict[str, Any]:
    """Try one model, with limits of CPU time and memory."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        try:
            return pool.submit(_limited, key).result()
        except BrokenProcessPool:
            return {"verdict": "wrong", "reason": f"no result in {SECONDS} s and {GIBIBYTES} GiB"}
