"""Each model in a process of its own, which takes no time to import what all of them need."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import torch

from benchmarks.compatibility.candidates import ENTRIES
from benchmarks.compatibility.one_model import Result, measure

# Children are forked from a server that has imported these, each with fresh memory.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torchvision", "timm", "transformers", "benchmarks.compatibility.processes"]
)


def _child(key: str, answer: Connection) -> None:
    torch.set_num_threads(1)
    answer.send(measure(ENTRIES[key]))


def in_a_process_of_its_own(key: str) -> Result:
    """Measure one model, so that its memory is given back and its crash stays its own."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    child = CONTEXT.Process(target=_child, args=(key, sender))
    child.start()
    sender.close()
    try:
        result: Result = receiver.recv()
    except EOFError:
        child.join()
        result = Result(error=f"the process ended with exit code {child.exitcode}")
    child.join()
    return result
