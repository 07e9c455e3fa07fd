"""Relative Absolute Magnitude LRP (absLRP) for any PyTorch model.

>>> import torch, abslrp
>>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
>>> abslrp.explain(model, torch.rand(2, 3, 2, 2), [0, 1]).shape
torch.Size([2, 3, 2, 2])
"""

from abslrp import rule_sets as _rule_sets
from abslrp import rules as _rules
from abslrp.engine import UnknownOperationError, propagation
from abslrp.explain import explain, relevance
from abslrp.graphs import GraphExplainer
from abslrp.operation import Operation, passes
from abslrp.registry import RuleSet, rule

__all__ = [
    "GraphExplainer",
    "Operation",
    "RuleSet",
    "UnknownOperationError",
    "explain",
    "passes",
    "propagation",
    "relevance",
    "rule",
]
del _rule_sets, _rules
