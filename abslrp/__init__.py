"""Relative Absolute Magnitude LRP (absLRP) for any PyTorch model.

>>> import torch, abslrp
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> abslrp.explain(model, torch.rand(2, 3, 2, 2), [0, 1]).shape
torch.Size([2, 3, 2, 2])
"""

import types as _types
from typing import Any as _Any

from abslrp import plan as _plan
from abslrp import rule_sets as _rule_sets
from abslrp import rules as _rules
from abslrp import targets
from abslrp.context import propagation
from abslrp.explain import explain, relevance
from abslrp.graphs import GraphExplainer
from abslrp.inspection import audit
from abslrp.inspection import table as _table
from abslrp.plan import passing
from abslrp.refusals import UnknownOperationError
from abslrp.registry import RuleSet, rule
from abslrp.tape import Call

__all__ = [
    "Call",
    "GraphExplainer",
    "RuleSet",
    "UnknownOperationError",
    "audit",
    "explain",
    "passing",
    "propagation",
    "relevance",
    "rule",
    "targets",
]


class _CallablePlan(_types.ModuleType):
    """The room ``plan``, which prints a model's plan when it is called."""

    def __call__(self, model: _Any, inputs: _Any, **options: _Any) -> _Any:
        return _table(model, inputs, **options)


_plan.__class__ = _CallablePlan
del _plan, _rule_sets, _rules
