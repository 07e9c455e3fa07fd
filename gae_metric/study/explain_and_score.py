"""Explain all that a study needs, in chunks across samples, and score the maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from gae_metric.study.chunks import ChunkSize
from gae_metric.study.explaining import Explainer
from gae_metric.study.samples import Samples
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import NONE, Items, Study


@dataclass(frozen=True, eq=False)
class ExplainRequest:
    """Who explains what, and how."""

    explainer: Explainer
    #: Maps of the data set's samples, in place of explaining them.
    given: Samples | None
    #: Whether maps of the samples, and of their perturbed states, are needed.
    originals: bool
    states: bool
    #: Inputs that are explained at a time.
    chunk: int
    quiet: bool
    #: Name on the progress bar; None for no bar.
    progress: str | None


def explain_and_score(study: Study, request: ExplainRequest) -> Scorer:
    """Explain in chunks of a study's items, sample by sample, and let go of what is done."""
    scorer, given = Scorer(study), request.given
    items = study.items(request.originals and given is None, request.states)
    size = ChunkSize(request.chunk, "explain_func", request.quiet)
    start = 0

    def add_given(rows: NDArray[np.int64]) -> None:
        if given is None:
            return
        rows = scorer.lacks(rows)
        none = np.full(len(rows), NONE)
        originals = study.ready(Items(rows, none, np.zeros_like(rows), none))
        if len(originals):
            maps = study.data.maps(given, study.samples[originals.row])
            scorer.add(originals, request.explainer.post_process(maps))

    def explain(count: int) -> None:
        chunk = study.ready(items[start : start + count])
        add_given(chunk.row)
        if len(chunk):
            scorer.add(chunk, request.explainer(*study.inputs(chunk)))

    with tqdm(
        total=len(items), desc=request.progress, unit="map", disable=request.progress is None
    ) as progress:
        while start < len(items):
            study.load(items.row[start : start + size.value])
            done, _ = size.run(len(items) - start, explain)
            start += done
            progress.update(done)
            before = int(items.row[start]) if start < len(items) else len(study.samples)
            study.forget(before)
            scorer.forget(before)
    if given is not None:
        # Those that nothing else was explained of.
        for first in range(0, len(study.samples), study.data.batch_size):
            rows = np.arange(first, min(first + study.data.batch_size, len(study.samples)))
            study.load(rows)
            add_given(rows)
            study.forget(int(rows[-1]) + 1)
    return scorer
