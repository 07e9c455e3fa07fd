"""Each model in a process of its own, which takes no time to import what all of them need."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from benchmarks.compatibility.candidates import ENTRIES
from benchmarks.compatibility.one_model import Result, measure

# Children are forked from a server that has imported these, each with fresh memory.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torchvision", "timm", "transformers", "benchmarks.compatibility.processes"]
)


def _measured(key: str) -> Result:
    torch.set_num_threads(1)
    return measure(ENTRIES[key])


def in_a_process_of_its_own(key: str) -> Result:
    """Measure one model, so that its memory is given back and its crash stays its own."""
    with ProcessPoolExecutor(1, CONTEXT) as pool:
        try:
            return pool.submit(_measured, key).result()
        except BrokenProcessPool as error:
            return Result(error=str(error))
