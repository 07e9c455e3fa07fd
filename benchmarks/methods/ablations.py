"""absLRP's three ablations on vision transformers (table 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import abslrp
from benchmarks.methods.lrp import ABSLRP, BATCH, SOURCE
from benchmarks.methods.registry import InapplicableError, method

_MISSING = {
    "attention": "the model has no attention",
    "relevance_at": "the model's first operation is no convolution of separate patches",
}


def _register(name: str, paper_name: str, **ablation: Any) -> Callable[..., Any]:
    """Register an ablation."""

    @method(
        name,
        family="vit",
        source=SOURCE,
        citation=ABSLRP.replace("eq. 12", "section on ablations, table 10"),
        paper=("vit",),
        paper_name=paper_name,
    )
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """AbsLRP with a part of its relevance left out; see :func:`abslrp.explain`."""
        try:
            return abslrp.explain(
                model, inputs, targets, batch_size=batch_size or BATCH, **ablation
            )
        except ValueError as error:
            option = next(iter(ablation))
            if str(error).startswith(f"{option}: ") and " needs a model " in str(error):
                raise InapplicableError(_MISSING[option]) from error
            raise

    return explain


patches = _register("absLRP-patches", "absLRP: patch relevance", relevance_at="patches")
values = _register("absLRP-values", "absLRP: value relevance", attention="values")
queries_keys = _register(
    "absLRP-queries-keys", "absLRP: query and key relevance", attention="queries_keys"
)
