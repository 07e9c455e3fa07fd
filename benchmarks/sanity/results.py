"""Results of a network in a folder of its own: one small CSV per check, and how they were made."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pandas as pd
import torch

from benchmarks.sanity import checks, meta
from benchmarks.sanity.case import NETWORKS, Case, Settings, open_case
from benchmarks.sanity.changed_maps import Remembered
from gae_metric import clear_cache
from gae_metric.commands.folder import replace_file
from gae_metric.commands.provenance import installed
from gae_metric.errors import InputError

Say: TypeAlias = Callable[[str], None]

CHECKS: dict[str, Callable[[Case, dict[str, Remembered]], pd.DataFrame]] = {
    "baselines": checks.baselines,
    "randomisation": lambda case, methods: checks.randomisation(case),
    "degradation": checks.degradation,
    "seeds": checks.seeds,
    "meta": lambda case, methods: meta.evaluate(case),
}
"""The checks, by the names of their files."""

_PACKAGES = ("gae-metric", "quantus", "torch", "torchvision", "timm", "grad-cam", "scipy")


class Found(NamedTuple):
    """Results of one network.

    Attributes
    ----------
    network
        Its name.
    facts
        Settings, versions, command, seconds of CPU time of each check, accuracy on the images.
    tables
        By the names of :data:`CHECKS`.
    """

    network: str
    facts: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def facts_file(out: Path, network: str) -> Path:
    """Return the file that a network's results end with."""
    return out / network.replace(":", "-") / "facts.json"


def run(network: str, settings: Settings, out: Path, command: str, say: Say) -> None:
    """Run all checks on a network, and write its folder.

    Parameters
    ----------
    network, settings
        See :func:`benchmarks.sanity.case.open_case`.
    out
        Folder for the network's own, ``digits-vgg``.
    command
        What was typed, to be noted.
    say
        Gets a line after each check.
    """
    clear_cache()
    case = open_case(network, settings)
    methods = checks.explainers(case)
    tables, seconds = {}, {}
    for name, check in CHECKS.items():
        start = time.process_time()
        tables[name] = check(case, methods)
        seconds[name] = round(time.process_time() - start, 1)
        say(f"{network}: {name} in {seconds[name]:.0f} s of CPU time")
    facts = {
        "network": case.network,
        "command": command,
        "settings": asdict(case.settings),
        "accuracy": case.accuracy,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "versions": {"Python": platform.python_version(), **installed(_PACKAGES)},
    }
    file = facts_file(out, network)
    file.unlink(missing_ok=True)  # what is replaced is not finished until the last file is there
    for name, table in tables.items():
        text = table.to_csv(index=False, float_format="%.6g")
        replace_file(file.with_name(f"{name}.csv"), text.encode())
    replace_file(file, f"{json.dumps(facts, indent=2)}\n".encode())
    clear_cache()


def read(out: Path) -> list[Found]:
    """Read the results of all networks that are in a folder, in the order of the document.

    Raises
    ------
    InputError
        If there are none.
    """
    found = []
    for network in NETWORKS:
        file = facts_file(out, network)
        if file.is_file():
            facts = json.loads(file.read_text(encoding="utf-8"))
            tables = {name: pd.read_csv(file.with_name(f"{name}.csv")) for name in CHECKS}
            found.append(Found(network, facts, tables))
    if not found:
        raise InputError(f"results: there are none in {str(out)!r}")
    return found
