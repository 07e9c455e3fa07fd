"""Explain all that a study needs, in chunks across samples, and score the maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from gae_metric.study.chunks import ChunkSize
from gae_metric.study.explaining import Explainer
from gae_metric.study.samples import Samples
from gae_metric.study.scoring import Scorer
from gae_metric.study.study import NONE, Items, Study


def explain_and_score(
    study: Study,
    explainer: Explainer,
    given: Samples | None,
    *,
    originals: bool,
    states: bool,
    chunk: int,
    quiet: bool,
    progress: str | None,
) -> Scorer:
    """Explain in chunks of a study's items, sample by sample, and let go of what is done.

    Parameters
    ----------
    study
        What is explained.
    explainer
        What explains.
    given
        Maps of the data set's samples, in place of explaining them.
    originals, states
        Whether maps of the samples, and of their perturbed states, are needed.
    chunk
        Inputs that are explained at a time.
    quiet
        Whether not to warn of lack of memory.
    progress
        Name on the progress bar; None for no bar.
    """
    scorer = Scorer(study)
    items = study.items(originals and given is None, states)
    size = ChunkSize(chunk, "explain_func", quiet)
    start = 0

    def add_given(rows: NDArray[np.int64]) -> None:
        if given is None:
            return
        rows = scorer.lacks(rows)
        none = np.full(len(rows), NONE)
        ready = study.ready(Items(rows, none, np.zeros_like(rows), none))
        if len(ready):
            maps = study.data.maps(given, study.samples[ready.row])
            scorer.add(ready, explainer.post_process(maps))

    def explain(count: int) -> None:
        ready = study.ready(items[start : start + count])
        add_given(ready.row)
        if len(ready):
            scorer.add(ready, explainer(*study.inputs(ready)))

    hidden = progress is None
    with tqdm(total=len(items), desc=progress, unit="map", disable=hidden) as bar:
        while start < len(items):
            study.load(items.row[start : start + size.value])
            done, _ = size.run(len(items) - start, explain)
            start += done
            bar.update(done)
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
