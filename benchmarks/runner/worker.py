"""What a worker does with a shard, wherever it runs."""

import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import gae_metric
from benchmarks.config.entries import MethodEntry, ModelEntry
from benchmarks.config.runs import Run, import_modules
from benchmarks.data.dataset import Data, MaskedImages
from benchmarks.data.labels import VOC_CLASSES
from benchmarks.methods import METHODS
from benchmarks.metrics.metric_call import Block, Call
from benchmarks.metrics.registry import score
from benchmarks.models import load
from benchmarks.runner import identity
from benchmarks.runner.shards import Shard
from gae_metric.commands.provenance import digest
from gae_metric.errors import InputError
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.functional import content_hashes
from gae_metric.inputs.models import LoadedModel
from gae_metric.study.logits import predictions


class Task(NamedTuple):
    """A shard with all that a worker needs to compute it."""

    shard: Shard
    run: Run
    model: ModelEntry
    #: None for the model's predictions.
    method: MethodEntry | None
    block: Block
    #: The images of the block's ``indices``.
    data: Data


@dataclass(eq=False)
class Outcome:
    """What came of a shard."""

    table: pd.DataFrame
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    where: dict[str, Any] = field(default_factory=dict)


def failure(error: BaseException, metric: str | None = None) -> dict[str, Any]:
    """Return what is recorded of an error."""
    applies = not isinstance(error, NotApplicableError)
    text = f"{type(error).__name__}: {error}" if applies else str(getattr(error, "reason", error))
    return {"metric": metric, "error": text, "applies": applies}


def _stop_if_stopped(error: BaseException | None) -> None:
    """Raise the interrupt that an error came from: it is no failure of a method."""
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        _stop_if_stopped(error.__cause__)
        error = error.__context__


class Worker:
    """Computes shards one after the other on one device.

    The model, the images and the masking trajectories of a block are kept for the next method on
    the same block.

    Parameters
    ----------
    device
        Where models go.
    threads
        Threads of torch on the CPU: sums of another number of threads may round differently.
    modules
        Modules that register more methods.
    """

    def __init__(self, device: str, threads: int, modules: tuple[str, ...]) -> None:
        self.device = device
        torch.set_num_threads(threads)
        if device.startswith("cuda"):
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
        import_modules(modules)
        self._modules = identity.module_digest(modules)
        self._model: tuple[ModelEntry, LoadedModel] | None = None
        self._weights = ""
        self._images: tuple[Any, MaskedImages] | None = None

    def run(self, task: Task) -> Outcome:
        """Compute a shard.

        Raises
        ------
        InputError
            If the model or an image is not there, or this machine has not what the run was
            started with; an error of the method is part of the outcome.
        """
        model = self._load(task.model)
        self._check_same(task)
        images = self._read(task, model)
        with torch.inference_mode(False):
            if task.method is None:
                outcome = self._targets(task, model, images.x)
            else:
                outcome = self._scores(task, task.method, model, images)
        outcome.where = {
            "device": self.device,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "threads": torch.get_num_threads(),
        }
        return outcome

    def _load(self, entry: ModelEntry) -> LoadedModel:
        if self._model is None or self._model[0] != entry:
            self._model = self._images = None
            loaded = load(entry.name, entry.weights, entry.args, entry.size)
            loaded.model.to(self.device)
            self._model = (entry, loaded)
            self._weights = digest(loaded.model)
        return self._model[1]

    def _check_same(self, task: Task) -> None:
        """Refuse what is not what the shard is named by, as it may be on another machine."""
        here = {
            "weights": self._weights,
            "code": identity.code_digest(),
            "modules": self._modules,
            "versions": identity.matter(task.method.name if task.method else ""),
        }
        wanted = {key: value for key, value in task.shard.settings.items() if key in here}
        if other := identity.differences(wanted, {key: here[key] for key in wanted}):
            raise InputError(
                f"engine: {socket.gethostname()} has not what the run was started with: "
                f"{', '.join(other)}"
            )

    def _read(self, task: Task, model: LoadedModel) -> MaskedImages:
        block = task.block
        key = (task.model, block.start, block.stop, len(block.targets), block.indices.tobytes())
        if self._images is not None and self._images[0] == key:
            return self._images[1]
        self._images = None
        # Nothing that was computed before has a say in what comes now.
        gae_metric.clear_cache()
        problem = "could be read when the images were drawn, and cannot be any more"
        images = task.data.load_all(model.preprocessing, task.run.readers, problem)
        self._images = (key, images)
        return images

    def _targets(self, task: Task, model: LoadedModel, x: NDArray[np.float32]) -> Outcome:
        begin = time.perf_counter()
        logits = predictions(model.model, x, task.run.batch_size)
        labels = task.data.labels
        predicted = logits.argmax(1)
        if task.run.targets == "labels" and (labels >= logits.shape[1]).any():
            raise InputError(
                f"targets: labels go to {labels.max()}, and {task.model.name} has "
                f"{logits.shape[1]} classes; use targets: predicted"
            )
        target = predicted if task.run.targets == "predicted" else labels
        if task.run.masks and logits.shape[1] != len(VOC_CLASSES):
            raise InputError(
                f"metrics: masks are of VOC's {len(VOC_CLASSES)} classes, and {task.model.name} "
                f"explains {logits.shape[1]} others; localisation needs a model of VOC's classes"
            )
        rows = np.arange(len(target))
        columns = {
            "sample": task.block.samples,
            "file": list(task.data.files),
            "label": labels,
            "predicted": predicted,
            "target": target,
            "logit": logits[rows, target].astype(np.float64),
            "content": content_hashes(x),
            "probability": torch.from_numpy(logits).double().softmax(1).numpy()[rows, target],
        }
        return Outcome(pd.DataFrame(columns), {"targets": time.perf_counter() - begin})

    def _scores(
        self, task: Task, method: MethodEntry, model: LoadedModel, images: MaskedImages
    ) -> Outcome:
        outcome = Outcome(rows({}, task.block))
        run = task.run
        call = Call(
            model=model.model,
            block=task.block,
            x=images.x,
            explain=METHODS[method.name].bind(**method.options),
            seed=run.seed,
            steps=run.steps,
            schedule=run.schedule,
            batch_size=run.batch_size,
            masks=images.masks,
        )
        try:
            # On one image, so that what cannot work is known before trajectories are computed.
            call.explain(model=call.model, inputs=call.own[:1], targets=call.classes[:1])
        except Exception as error:
            _stop_if_stopped(error)
            outcome.failures.append(failure(error))
            return outcome
        columns: dict[str, NDArray[np.float64]] = {}
        for metric in run.metrics:
            begin = time.perf_counter()
            try:
                columns.update(score(metric.name, call, metric.options))
            except Exception as error:
                _stop_if_stopped(error)
                outcome.failures.append(failure(error, metric.name))
            outcome.seconds[metric.name] = time.perf_counter() - begin
        outcome.table = rows(columns, task.block)
        return outcome


def rows(columns: dict[str, NDArray[np.float64]], block: Block) -> pd.DataFrame:
    """Put scores below one another: metric, sample, score."""
    wide = pd.DataFrame({"sample": block.samples, **columns})
    long = wide.melt("sample", var_name="metric", value_name="score")
    kinds = {"metric": "str", "sample": "int64", "score": "float64"}
    return long[list(kinds)].astype(kinds)
