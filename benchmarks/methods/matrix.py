"""Which method explains which model: tried on the spot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.methods import METHODS, Method
from benchmarks.models import load
from gae_metric.explainers.grad_cam import NotApplicableError
from gae_metric.inputs.models import LoadedModel
from gae_metric.study.conversion import as_maps
from gae_metric.study.logits import predictions

DIGITS = ("digits:vgg", "digits:resnet", "digits:vit")
"""The networks that the matrix is of by default."""

#: Options under which a trial takes a second, and says the same.
QUICK: dict[str, dict[str, Any]] = {
    "RISE": {"n_masks": 8},
    "IntegratedGradients": {"n_steps": 4},
    "SmoothGrad": {"n_samples": 4},
    "GradientSHAP": {"n_samples": 4},
}


@dataclass(frozen=True)
class Cell:
    """Whether a method explains a model.

    Attributes
    ----------
    applies
        True where it gave a map.
    reason
        Why it does not apply, or the error that it failed with; empty where it applies.
    failed
        Whether it should apply and did not.
    """

    applies: bool
    reason: str = ""
    failed: bool = False

    def __str__(self) -> str:
        return "yes" if self.applies else "failed" if self.failed else "-"


def tried(method: Method, loaded: LoadedModel) -> Cell:
    """Explain one image, noise, by a method, with few draws.

    Examples
    --------
    >>> from benchmarks.methods import find
    >>> tried(find("Rollout"), load("digits:vgg"))
    Cell(applies=False, reason='the model has no attention over tokens', failed=False)
    """
    side = loaded.preprocessing.size
    x = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    target = predictions(loaded.model, x).argmax(axis=1)
    try:
        maps = method(loaded.model, x, target, **QUICK.get(method.name, {}))
        finite = as_maps(maps, torch.Size(x.shape), method.name).isfinite().all()
    except NotApplicableError as error:
        return Cell(False, error.reason)
    except Exception as error:  # a matrix shows every failure, whatever it is
        return Cell(False, f"{type(error).__name__}: {error}", failed=True)
    return Cell(True) if finite else Cell(False, "the map is not finite", failed=True)


def compatibility(models: Sequence[str], progress: Callable[[str, str], None]) -> pd.DataFrame:
    """Return the matrix, a row for each model and method, with a cell's attributes and its text.

    Parameters
    ----------
    models
        Names as :func:`benchmarks.models.load` takes them.
    progress
        Called with the model and the method.
    """
    rows: list[dict[str, Any]] = []
    for spec in models:
        loaded = load(spec)
        for name, method in METHODS.items():
            progress(spec, name)
            cell = tried(method, loaded)
            row = {"model": spec, "method": name, "models": method.family, "source": method.source}
            rows.append({**row, "cell": str(cell), **vars(cell)})
    return pd.DataFrame(rows)
