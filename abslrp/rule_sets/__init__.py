"""Rule sets beside absLRP, one module each; importing this package registers them.

A module that defines a rule set and publishes it (:func:`abslrp.rule_sets.starts.publish`) is all
that a new one takes: every module of this package is imported.

| `rules` | rule | start by default |
| --- | --- | --- |
| `epsilon` | LRP-epsilon, :mod:`abslrp.rule_sets.epsilon` | target |
| `alpha1beta0` | LRP-alpha-beta, :mod:`abslrp.rule_sets.alpha_beta` | target |
| `alpha2beta1` | LRP-alpha-beta | target |
| `cLRP` | Gu et al.'s code, :mod:`abslrp.rule_sets.clrp` | target less others, from logits |
| `RAP` | Nam et al.'s code, :mod:`abslrp.rule_sets.rap` | target |
| `cRAP` | that of `RAP` | target less others, from logits |
| `RAP-eq5` | equation 5 of the paper | target |
| `Chefer` | Chefer et al.'s code, :mod:`abslrp.rule_sets.chefer` | target |
| `EpsilonPlusFlat`, `EpsilonGammaBox` | Zennit's, :mod:`abslrp.rule_sets.composites` | target |

Their relevance has both signs and is not renormalised: ``conserve`` has no effect on them. The
start is 1 at the target; times the logit, it is the start that much of the literature uses.
"""

import importlib
import pkgutil

from abslrp.rule_sets.starts import own_contrast, publish

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["own_contrast", "publish"]
