"""What Quantus 0.6.0 needs of NumPy and newer ones no longer have, for its own modules alone.

``np.NaN`` went with NumPy 2.0 (``Continuity``), ``np.trapz`` with 2.4 (areas under curves), and
from 2.4 on ``np.divide`` warns of a ``where`` without ``out``, which ``normalise_by_negative``
turns into an error. ``tests/gae_metric/test_newer_numpy.py`` fails once Quantus needs this no more.
"""

from importlib import import_module
from typing import Any

import numpy as np

#: Modules of Quantus, and what they use of older NumPys.
MODULES = {
    "quantus.helpers.utils": "np.trapz",
    "quantus.metrics.robustness.continuity": "np.NaN",
    "quantus.functions.normalise_func": "where=a_max != 0)",
}


class _Older:
    """NumPy, with what it had."""

    NaN = np.nan
    trapz = staticmethod(vars(np).get("trapezoid") or vars(np)["trapz"])

    @staticmethod
    def divide(a: Any, b: Any, **options: Any) -> Any:
        """Divide; where nothing is divided it is 0, and not what the memory held."""
        out = np.zeros(np.broadcast(a, b).shape, np.result_type(a, b, np.float16))
        return np.divide(a, b, **{"out": out, **options})

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def mend() -> None:
    """Give Quantus's modules what they need."""
    for name in MODULES:
        vars(import_module(name))["np"] = _Older()
