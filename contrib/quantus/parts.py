"""What of our code goes into Quantus, and where."""

from __future__ import annotations

import ast
import re
from typing import Any

from extract import Module, Part, class_value, parameter_defaults, parameter_docs, summary

#: The parts of ``quantus/functions/gae_func.py``, by our module, in order.
FUNCTIONS: dict[str, list[Part]] = {
    "gae_metric.functional.precision": [
        Part("EPSILON"),
        Part("wide_dtype"),
        Part("at_least_single"),
        Part("sum_per_sample"),
    ],
    "gae_metric.functional.selection": [Part("highest"), Part("_from_top")],
    "gae_metric.functional.baseline": [
        Part("masked_inputs", replace={", see :func:`mask_baseline`": ""}),
    ],
    "gae_metric.functional.masking": [
        Part("LERF"),
        Part("Schedule"),
        Part("SCHEDULES"),
        Part("MAX_STEPS"),
        Part("Trajectory"),
        Part("masking_trajectory", replace={", see :func:`mask_baseline`": ""}),
        Part("_run"),
        Part("_check"),
        Part("target_impact"),
        Part("check_classes"),
        Part("_key"),
        Part("_to_sum_one"),
    ],
    "gae_metric.functional.scores": [
        Part("positive_map"),
        Part("similarity"),
        Part("output_difference"),
        Part("local_robustness"),
        Part("local_faithfulness"),
        Part("local_consistency"),
        Part("contrastiveness"),
        Part("global_attribution"),
        Part("_broadcast"),
    ],
    "gae_metric.functional.draws": [
        Part("NEVER"),
        Part("_TIER"),
        Part("_GOLDEN"),
        Part("_PLACES"),
        Part("content_hashes"),
        Part("Candidates"),
        Part("take"),
        Part("_mixed"),
    ],
    "gae_metric.functional.mosaic_plan": [Part("draw_mosaics")],
    "gae_metric.functional.mosaic": [
        Part("Interpolation"),
        Part("INTERPOLATIONS"),
        Part("quadrants"),
        Part("_cut"),
        Part("mosaics"),
        Part("_shrink"),
        Part("quadrant_scores"),
        Part(
            "score_map",
            replace={
                ", centre_block: bool = False": "",
                "    centre_block: bool\n"
                "        Whether the 2x2 block in the centre (two values of a time series' middle) "
                "is 1, as in the\n        authors' code.\n": "",
                "    if centre_block:\n"
                "        middle = tuple(slice(-(-side // 2) - 1, -(-side // 2) + 1) "
                "for side in shape)\n        result[_everywhere(middle)] = 1\n": "",
            },
        ),
        Part("_everywhere"),
        Part("_integers"),
    ],
}

#: Our metrics: module, class, file name in Quantus.
METRICS = (
    ("gae_metric.metrics.local_consistency", "LocalConsistency", "local_consistency"),
    ("gae_metric.metrics.contrastiveness", "Contrastiveness", "contrastiveness"),
    ("gae_metric.metrics.gae", "GAE", "gae"),
)


def functions() -> str:
    """All extracted functions, one after the other."""
    definitions = []
    for name, parts in FUNCTIONS.items():
        module = Module(name)
        definitions += [module.part(part) for part in parts]
    return "\n\n".join(definitions)


def metric(module: str, name: str) -> dict[str, Any]:
    """Describe one of our metrics, for its template."""
    # What it shares with its own parts is defined one class up.
    owner = name if name != "LocalConsistency" else "_Local"
    defaults = parameter_defaults(module, f"{owner}.__init__")
    docs = parameter_docs(module, name)
    own = [each for each in ("steps", "schedule", "seed") if each in defaults]
    kinds = {"steps": "int", "schedule": "str", "seed": "int"}
    full = parameter_docs("gae_metric.metrics.local_consistency", "LocalConsistency")
    return {
        "name": name,
        "title": class_value(module, name, "name"),
        "category": class_value(module, name, "evaluation_category"),
        "data": _data_types(class_value(module, owner, "data_applicability")),
        "summary": re.sub(
            r":class:`(LocalRobustness|LocalFaithfulness)`", _plain_name, summary(module, name)
        ),
        "parameters": [
            {
                "name": each,
                "type": kinds[each],
                "default": defaults[each].replace("'", '"'),
                # GAE's own documentation refers to that of its parts.
                "doc": full[each] if "see :class:" in docs[each] else docs[each],
            }
            for each in own
        ],
    }


def _plain_name(match: re.Match[str]) -> str:
    """Name of a part that is no metric of its own in Quantus."""
    return {"LocalRobustness": "local robustness (eq. 14)"}.get(
        match[1], "local faithfulness (eq. 15)"
    )


def _data_types(name: str) -> list[str]:
    """Members of one of the sets of data types in ``gae_metric.metrics.attribution_metric``."""
    value = Module("gae_metric.metrics.attribution_metric").find(name)
    assert isinstance(value, ast.Assign)
    source = ast.unparse(value.value)
    found = re.findall(r"DataType\.(\w+)", source)
    for other in ("IMAGES_AND_SERIES",):
        if other in source and other != name:
            found += _data_types(other)
    order = ["IMAGE", "TIMESERIES", "TABULAR"]
    return [each for each in order if each in found]
