"""The evaluated study of a probe set that was made in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gae_metric.probe.errors import ProbeError
from gae_metric.study.study import Items, Study


class Built:
    """A study whose model work is done, with the interface of :class:`Recorded`.

    Parameters
    ----------
    study
        All of its samples have been loaded.
    items
        What is to be explained.
    """

    def __init__(self, study: Study, items: Items) -> None:
        self.study, self.items = study, items
        self.masking, self.mosaicking = study.masking, study.mosaicking
        self.mosaics, self.samples, self.outputs = study.mosaics, study.samples, study.outputs
        self.bad_input, self.bad_output = study.bad_input, study.bad_output
        self.one_class = study.one_class
        self.sample_targets: NDArray[np.int64] = study.targets[study.samples].numpy()
        self.targets: NDArray[np.int64] = self.sample_targets[items.row]

    def impact_signs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the sign of the impact maps of samples, int8 (n, C, ...)."""
        return self.study.impact_signs(rows)

    def quadrants(self, items: Items) -> Tensor:
        """Return the values of S in the quadrants of mosaics, float64 (n, 4)."""
        return self.study.quadrants(items)

    def inputs(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return inputs of consecutive items, float32 (stop - start, C, ...)."""
        with torch.no_grad():
            x, _ = self.study.inputs(self.items[start:stop])
        values: NDArray[Any] = x.to(torch.float32).cpu().numpy()
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))[0])
            sample = int(self.samples[self.items.row[start + row]])
            raise ProbeError(f"x_batch: the features of sample {sample} do not fit float32")
        return values
