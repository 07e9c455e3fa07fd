"""Scores of Quantus's metrics on MNIST and its public names, as JSON; run by ``compare.py``.

``python scores.py ASSETS OUT`` with the Quantus to look at first on PYTHONPATH. It knows nothing of
the change, so that it runs before and after it.
"""

from __future__ import annotations

import inspect
import json
import random
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from quantus.functions.mosaic_func import mosaic_creation
from quantus.helpers.model.models import LeNet

SAMPLES = 8
#: Parameters that keep metrics fast on images of 28 by 28.
PARAMETERS: dict[str, dict[str, Any]] = {
    "FaithfulnessCorrelation": {"nr_runs": 10, "subset_size": 56},
    "FaithfulnessEstimate": {"features_in_step": 56},
    "PixelFlipping": {"features_in_step": 56},
    "RegionPerturbation": {"patch_size": 7, "regions_evaluation": 4},
    "Monotonicity": {"features_in_step": 56},
    "MonotonicityCorrelation": {"nr_samples": 3, "features_in_step": 56},
    "Selectivity": {"patch_size": 7},
    "SensitivityN": {"features_in_step": 56},
    "IROF": {},
    "ROAD": {"percentages": [1, 5, 20, 50, 80]},
    "Infidelity": {"n_perturb_samples": 3},
    "Sufficiency": {},
    "Continuity": {"nr_steps": 10},
    "LocalLipschitzEstimate": {"nr_samples": 3},
    "MaxSensitivity": {"nr_samples": 3},
    "AvgSensitivity": {"nr_samples": 3},
    "Consistency": {},
    "RelativeInputStability": {"nr_samples": 3},
    "RelativeOutputStability": {"nr_samples": 3},
    "RelativeRepresentationStability": {"nr_samples": 3},
    "PointingGame": {},
    "TopKIntersection": {"k": 50},
    "RelevanceMassAccuracy": {},
    "RelevanceRankAccuracy": {},
    "AttributionLocalisation": {},
    "AUC": {},
    "Sparseness": {},
    "Complexity": {},
    "EffectiveComplexity": {},
    "MPRT": {},
    "SmoothMPRT": {"nr_samples": 2},
    "EfficientMPRT": {},
    "RandomLogit": {"num_classes": 10},
    "Completeness": {},
    "NonSensitivity": {},
    "InputInvariance": {},
}


def main(assets: Path, out: Path) -> None:
    """Write scores and names."""
    warnings.simplefilter("ignore")
    if not hasattr(np, "trapz"):
        # Quantus calls it; NumPy 2.4 no longer has it.
        setattr(np, "trapz", np.trapezoid)  # noqa: B010 (NumPy's types do not know it)
    model = LeNet()
    model.load_state_dict(torch.load(assets / "mnist", map_location="cpu", weights_only=True))
    model.eval()
    x = np.loadtxt(assets / "mnist_x").reshape(-1, 1, 28, 28)[:SAMPLES]
    y = np.loadtxt(assets / "mnist_y").astype(int)[:SAMPLES]
    s = (x > 0.5).astype(int)
    maps = quantus.explain(model, x, y, method="Saliency")
    found: dict[str, Any] = {"scores": {}, "names": _names()}
    for name, parameters in PARAMETERS.items():
        metric = getattr(quantus, name)
        for method in ("Saliency", "InputXGradient"):
            for given in (False, True):
                call = {"x_batch": x, "y_batch": y, "s_batch": s, "explain_func": quantus.explain}
                call["a_batch"] = maps if given else None
                call["explain_func_kwargs"] = {"method": method}
                if given and method != "Saliency":
                    continue
                key = f"{name}, {method}, {'given' if given else 'explained'}"
                found["scores"][key] = _score(partial(metric, **parameters), model, call)
    # Mosaics of two samples of a class and two others, as Focus wants them.
    mosaics, _, _, positions, classes = mosaic_creation(x, y, mosaics_per_class=2, seed=777)
    call = {
        # LeNet takes 28 x 28: every other pixel.
        "x_batch": mosaics[:, :, ::2, ::2],
        "y_batch": np.array(classes),
        "custom_batch": positions,
        "explain_func": quantus.explain,
        "explain_func_kwargs": {"method": "InputXGradient"},
    }
    found["scores"]["Focus, InputXGradient, explained"] = _score(quantus.Focus, model, call)
    out.write_text(json.dumps(found), encoding="utf-8")


def _score(make: Callable[[], Any], model: torch.nn.Module, call: dict[str, Any]) -> Any:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (Quantus draws from it)
    torch.manual_seed(0)
    try:
        return _plain(make()(model=model, **call))
    except Exception as error:  # an error is a result too
        return f"{type(error).__name__}: {error}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return float(value) if isinstance(value, (int, float, np.number, np.bool_)) else str(value)


def _names() -> dict[str, str]:
    """Public names, and methods of public classes, with their signatures, which hold defaults."""
    names = {}
    for name in dir(quantus):
        value = getattr(quantus, name)
        if name.startswith("_") or inspect.ismodule(value):
            continue
        names[name] = _signature(value)
        if inspect.isclass(value) and value.__module__.startswith("quantus."):
            for method, function in inspect.getmembers(value, inspect.isfunction):
                names[f"{name}.{method}"] = _signature(function)
    return names


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value)) if callable(value) else type(value).__name__
    except (TypeError, ValueError):
        return type(value).__name__


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
