"""LRP with the rule sets of :mod:`abslrp`, for any model, and absLRP's ablations (table 10).

Zennit has LRP-epsilon, LRP-alpha-beta and EpsilonPlusFlat, but sees modules only: a model's
additions, functions and attention would have to be rewritten, architecture by architecture. On
networks that Zennit handles the maps agree with Zennit's. No kept library has cLRP, RAP and cRAP.
"""

from typing import Any

from torch import nn

import abslrp
from abslrp.rule_sets import epsilon
from benchmarks.methods.registry import BATCH, Family, InapplicableError, method

VUKADIN = "Vukadin et al., ACM TIST 15(3), 2024"
ABSLRP = f"{VUKADIN} (eq. 12)"
ABLATIONS = f"{VUKADIN} (section on ablations, table 10)"

#: What a model lacks that an option needs.
_MISSING = {
    "attention": "the model has no attention",
    "relevance_at": "the model's first operation is no convolution of separate patches",
}


def _register(
    name: str, citation: str, fixed: dict[str, Any], family: Family = "any", **row: Any
) -> None:
    """Register :func:`abslrp.explain` with some of its options."""

    @method(name, citation, family, source="abslrp", **row)
    def explain(
        model: nn.Module, inputs: Any, targets: Any, *, batch_size: int | None = None, **kwargs: Any
    ) -> Any:
        """Relevance of the input; see :func:`abslrp.explain`."""
        try:
            return abslrp.explain(model, inputs, targets, batch_size=batch_size or BATCH, **fixed)
        except ValueError as error:
            option, _, problem = str(error).partition(": ")
            if option in _MISSING and " needs a model " in f" {problem}":
                raise InapplicableError(_MISSING[option]) from error
            raise


BACH = "Bach et al., PLOS ONE 10(7), 2015"
NAM = "Nam et al., AAAI 2020"
GU = "Gu et al., ACCV 2018"
CNN = ("cnn",)
VIT = ("vit",)

_register("LRP-epsilon", f"{BACH} (epsilon 1e-6, as Zennit's)", {"rules": "epsilon"}, paper=CNN)
_register("LRP-epsilon-0.1", f"{BACH} (epsilon 0.1, as TorchLRP's)", {"rules": epsilon.build(0.1)})
_register("LRP-alpha1beta0", BACH, {"rules": "alpha1beta0"}, paper=CNN)
_register("LRP-alpha2beta1", BACH, {"rules": "alpha2beta1"}, paper=CNN)
_register("cLRP", f"{GU}, by its authors' code", {"rules": "cLRP"}, paper=CNN)
_register(
    "LRP-alpha1beta0-contrastive",
    f"{BACH}, absLRP's two streams",
    {"rules": "alpha1beta0", "contrast": "streams"},
)
_register("RAP", f"{NAM}, by its authors' code", {"rules": "RAP"}, paper=CNN)
_register("RAP-eq5", f"{NAM}, as eq. 5 of the paper has it", {"rules": "RAP-eq5"})
_register("cRAP", f"{NAM}, from the two starts of {GU}", {"rules": "cRAP"}, paper=CNN)
_register(
    "EpsilonPlusFlat",
    "Kohlbrenner et al., IJCNN 2020, as Zennit has it (Anders et al., arXiv:2106.13200)",
    {"rules": "EpsilonPlusFlat"},
)
_register(
    "absLRP-signed", f"{ABSLRP}, one pass from +1 and -1/N as its text", {"contrast": "signed"}
)
for _name, _what, _fixed in (
    ("absLRP-patches", "patch relevance", {"relevance_at": "patches"}),
    ("absLRP-values", "value relevance", {"attention": "values"}),
    ("absLRP-queries-keys", "query and key relevance", {"attention": "queries_keys"}),
):
    _register(_name, ABLATIONS, _fixed, "vit", paper=VIT, paper_name=f"absLRP: {_what}")


@method("absLRP", ABSLRP, "any", source="abslrp", paper=("cnn", "vit"))
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
    options = {"conserve": conserve, "contrast": contrast}
    return abslrp.explain(model, inputs, targets, batch_size=batch_size or BATCH, **options)
