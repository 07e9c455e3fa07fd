"""Methods that the tests of runs register by ``modules: tests.benchmarks.fakes``, and a study's."""

import importlib
import os
import signal
from pathlib import Path

import numpy as np

from benchmarks.methods import METHODS, InapplicableError, method

BEFORE = set(METHODS)
importlib.import_module("benchmarks.studies.class_maps")


@method("Quick", family="any", source="tests", citation="")
def quick(model, inputs, targets, *, factor=1.0, **kwargs):
    return np.asarray(inputs) * factor


@method("Fails", family="any", source="tests", citation="")
def fails(model, inputs, targets, **kwargs):
    raise RuntimeError("out of order")


@method("FailsLater", family="any", source="tests", citation="")
def fails_later(model, inputs, targets, **kwargs):
    if len(inputs) > 1:
        raise RuntimeError("only one at a time")
    return np.asarray(inputs)


@method("Elsewhere", family="any", source="tests", citation="")
def elsewhere(model, inputs, targets, **kwargs):
    raise InapplicableError("the model is not mine")


@method("Dies", family="any", source="tests", citation="")
def dies(model, inputs, targets, *, marks="", times=1, **kwargs):
    """Kill the process that explains, the first few times."""
    for i in range(times):
        mark = Path(marks) / f"death-{i}"
        if len(inputs) > 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(inputs)


FAKES = {name: row for name, row in METHODS.items() if name not in BEFORE}
