"""What the other libraries for LRP make of a model: the share of relevance that arrives."""

import copy
import sys
import types
from dataclasses import replace
from typing import Any

import torch
from captum.attr import LRP
from torch import Tensor, nn
from torch.nn.functional import one_hot
from zennit.composites import EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer

from benchmarks.compatibility.cases import Case

# LXT's table for BERT, and with it all others, cannot be imported beside transformers 5.
_BERT = types.ModuleType("lxt.efficient.models.bert")
vars(_BERT).update(modeling_bert=_BERT, attnLRP={})
sys.modules.setdefault(_BERT.__name__, _BERT)


class _Logits(nn.Module):
    """A model with the rest of its arguments, from inputs to logits.

    A copy, whose biases are 0, as they take a share of relevance in LRP-epsilon.
    """

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.model = copy.deepcopy(case.model)
        self.case = [replace(case, model=self.model)]
        for name, one in self.model.named_parameters():
            one.data.mul_("bias" not in name)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.case[0].called(inputs=inputs)


def zennit(case: Case) -> Tensor:
    """EpsilonPlusFlat with the canonizer of ResNets, which merges batch norms of any network."""
    leaf = case.inputs.clone().requires_grad_()
    with EpsilonPlusFlat(canonizers=[ResNetCanonizer()]).context(_Logits(case)) as changed:
        logits = changed(leaf.clone())
        start = one_hot(logits.argmax(1), logits.shape[1]).to(logits)
        (gradient,) = torch.autograd.grad(logits, leaf, start)
    return gradient.flatten(1).sum(1)


def captum(case: Case) -> Tensor:
    """Return the share by Captum's ``LRP``, LRP-epsilon by default."""
    model = _Logits(case)
    logits, targets = model(case.inputs).max(1)
    relevance = LRP(model).attribute(case.inputs.clone().requires_grad_(), targets)
    found: Tensor = relevance.detach().flatten(1).sum(1) / logits
    return found


def lxt(case: Case) -> Tensor:
    """AttnLRP (``lxt.efficient``), which has a table of classes; they stay changed."""
    from lxt.efficient import monkey_patch

    model = _Logits(case)
    room: Any = sys.modules[type(getattr(case.model, "model", case.model)).__module__]
    monkey_patch(room)
    if hasattr(room, "ALL_ATTENTION_FUNCTIONS"):  # transformers 5 asks it by another method
        functions = type("Functions", (dict,), {"get_interface": dict.get})
        room.ALL_ATTENTION_FUNCTIONS = functions(room.ALL_ATTENTION_FUNCTIONS)
    leaf = case.inputs.clone().requires_grad_()
    logits = model(leaf.clone()).amax(1)
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    found: Tensor = ((gradient * leaf).flatten(1).sum(1) / logits).detach()
    return found


OTHERS = {"zennit": zennit, "captum": captum, "lxt": lxt}
