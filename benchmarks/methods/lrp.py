"""LRP with the rule sets of :mod:`abslrp`, for any model.

Zennit has LRP-epsilon and LRP-alpha-beta, but sees modules only: a model's additions, functions
and attention would have to be rewritten, architecture by architecture. On networks that Zennit
handles the maps agree with Zennit's. No kept library has cLRP, RAP and cRAP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import abslrp
from benchmarks.methods.registry import method

SOURCE = "abslrp"
#: Samples at a time where the caller does not say.
BATCH = 16

ABSLRP = "Vukadin et al., ACM TIST 15(3), 2024 (eq. 12; defaults: SPEC 1.3, 1.4)"


def _register(name: str, rules: str, citation: str) -> Callable[..., Any]:
    """Register a rule set."""

    @method(name, family="any", source=SOURCE, citation=citation, paper=("cnn",))
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Relevance of the input by one rule set, from 1 at the target's logit."""
        return abslrp.explain(model, inputs, targets, rules=rules, batch_size=batch_size or BATCH)

    return explain


lrp_epsilon = _register(
    "LRP-epsilon", "epsilon", "Bach et al., PLOS ONE 10(7), 2015 (epsilon 1e-6, as Zennit's)"
)
lrp_alpha1beta0 = _register("LRP-alpha1beta0", "alpha1beta0", "Bach et al., PLOS ONE 10(7), 2015")
lrp_alpha2beta1 = _register("LRP-alpha2beta1", "alpha2beta1", "Bach et al., PLOS ONE 10(7), 2015")
clrp = _register("cLRP", "cLRP", "Gu et al., ACCV 2018 (underlying rule alpha1-beta0)")
rap = _register("RAP", "RAP", "Nam et al., AAAI 2020")
crap = _register("cRAP", "cRAP", "Nam et al., AAAI 2020, with the start of Gu et al., ACCV 2018")


@method("absLRP", family="any", source=SOURCE, citation=ABSLRP, paper=("cnn", "vit"))
def abs_lrp(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    conserve: Any = "operation",
    contrast: Any = "streams",
    batch_size: int | None = None,
    **kwargs: Any,
) -> Any:
    """Relative absolute magnitude LRP; options as in :func:`abslrp.explain`."""
    return abslrp.explain(
        model,
        inputs,
        targets,
        conserve=conserve,
        contrast=contrast,
        batch_size=batch_size or BATCH,
    )
