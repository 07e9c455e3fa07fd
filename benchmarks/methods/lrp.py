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
from abslrp.registry import RuleSet
from abslrp.rule_sets import epsilon
from benchmarks.methods.registry import method

SOURCE = "abslrp"
#: Samples at a time where the caller does not say.
BATCH = 16

ABSLRP = "Vukadin et al., ACM TIST 15(3), 2024 (eq. 12; defaults: SPEC 1.3, 1.4)"


def _register(
    name: str,
    rules: str | RuleSet,
    citation: str,
    *,
    contrast: Any = "own",
    paper: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Register a rule set."""

    @method(name, family="any", source=SOURCE, citation=citation, paper=paper)
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Relevance of the input by one rule set, from where it starts."""
        return abslrp.explain(
            model, inputs, targets, rules=rules, contrast=contrast, batch_size=batch_size or BATCH
        )

    return explain


BACH = "Bach et al., PLOS ONE 10(7), 2015"
NAM = "Nam et al., AAAI 2020"
GU = "Gu et al., ACCV 2018"
CNN = ("cnn",)

lrp_epsilon = _register("LRP-epsilon", "epsilon", f"{BACH} (epsilon 1e-6, as Zennit's)", paper=CNN)
lrp_epsilon_large = _register(
    "LRP-epsilon-0.1", epsilon.build(0.1), f"{BACH} (epsilon 0.1, as TorchLRP's)"
)
lrp_alpha1beta0 = _register("LRP-alpha1beta0", "alpha1beta0", BACH, paper=CNN)
lrp_alpha2beta1 = _register("LRP-alpha2beta1", "alpha2beta1", BACH, paper=CNN)
clrp = _register("cLRP", "cLRP", f"{GU}, by its authors' code", paper=CNN)
lrp_contrastive = _register(
    "LRP-alpha1beta0-contrastive",
    "alpha1beta0",
    f"{BACH}, absLRP's two streams",
    contrast="streams",
)
rap = _register("RAP", "RAP", f"{NAM}, by its authors' code", paper=CNN)
rap_eq5 = _register("RAP-eq5", "RAP-eq5", f"{NAM}, as eq. 5 of the paper has it")
crap = _register("cRAP", "cRAP", f"{NAM}, from the two starts of {GU}", paper=CNN)
abs_lrp_signed = _register(
    "absLRP-signed", "absLRP", f"{ABSLRP}, one pass from +1 and -1/N as its text", contrast="signed"
)


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
