"""AttnLRP with the rules of LXT (package ``lxt``), for any vision transformer.

LXT replaces methods of classes, for the whole process, and knows torchvision's ViT and some
language models. Here its rules are applied to torch functions instead: no class is
changed, and the model may be any.
"""

import functools
import importlib.util
import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.methods.attention_maps import BODIES
from benchmarks.methods.copies import base_name, is_active, out_of_place, working_copy
from benchmarks.methods.registry import Explain, InapplicableError, method
from gae_metric.explainers.chunked_gradients import selected

ACTIVATIONS = frozenset({"gelu", "relu", "silu", "tanh", "sigmoid", "mish", "hardswish", "elu"})
PRODUCTS = frozenset({"matmul", "bmm", "mm", "mul", "einsum"})


@method(
    "AttnLRP",
    family="vit",
    source="LXT",
    citation="Achtibat et al., ICML 2024 (epsilon -> 0; LXT's example tunes Zennit's gamma, too)",
    chunks=True,
)
def attnlrp(
    model: nn.Module, x: Tensor, *, attention: Literal["attnlrp", "cp"] = "attnlrp"
) -> Explain:
    """Input times gradient, the gradient modified by LXT's rules.

    Activation functions have the identity rule, layer norm's deviation is a constant, products of
    activations give half to each. ``attention="cp"`` is CP-LRP inside attention, as LXT's map for
    torchvision's ViT has it: no relevance through queries and keys.
    """
    if attention not in ("attnlrp", "cp"):
        raise ValueError(f"attention: expected 'attnlrp' or 'cp', got {attention!r}")
    rules = lxt_rules()
    copied = working_copy(model).eval()

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        leaf = chunk.detach().clone().requires_grad_()
        with torch.enable_grad():
            with _Rules(rules, attention) as applied:
                logits = copied(leaf.clone())
            if not applied.attends:
                raise InapplicableError("the model has no attention")
            (gradient,) = torch.autograd.grad(selected(logits, target).sum(), leaf)
        return gradient * chunk

    return explain


class _Rules(TorchFunctionMode):
    """Applies LXT's rules to the calls of a forward pass."""

    def __init__(self, rules: Any, attention: str) -> None:
        super().__init__()
        self.rules = rules
        self.attention = attention
        self.attends = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func, args, kwargs = out_of_place(func, args, kwargs or {})
        active = [one for one in args if is_active(one)]
        if func in BODIES:
            with self:  # so that each product and the softmax have their rule
                return BODIES[func](*args, **kwargs)
        name = base_name(func)
        if not active:
            return func(*args, **kwargs)
        if name in ACTIVATIONS:
            return self.rules.identity_rule_implicit(
                lambda x: func(x, *args[1:], **kwargs), args[0]
            )
        if name == "layer_norm":
            return self._layer_norm(*args, **kwargs)
        if name == "softmax" and args[0].ndim > 2:
            self.attends = True
            result = func(*args, **kwargs)
            return self.rules.stop_gradient(result) if self.attention == "cp" else result
        if name in PRODUCTS and len(active) > 1:
            return self.rules.divide_gradient(func(*args, **kwargs), 2)
        return func(*args, **kwargs)

    def _layer_norm(
        self,
        input: Tensor,
        normalized_shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Layer norm whose deviation has no gradient."""
        axes = tuple(range(-len(normalized_shape), 0))
        centred = input - input.mean(axes, keepdim=True)
        deviation = (centred.square().mean(axes, keepdim=True) + eps).sqrt()
        output: Tensor = centred / self.rules.stop_gradient(deviation)
        output = output if weight is None else output * weight
        return output if bias is None else output + bias


@functools.cache
def lxt_rules() -> Any:
    """Return LXT's module of rules.

    It is loaded by itself: its package imports every language model that it patches, and fails
    where transformers has moved one.
    """
    found = importlib.util.find_spec("lxt")
    folders = () if found is None else found.submodule_search_locations or ()
    files = [file for one in folders if (file := Path(one, "efficient", "rules.py")).is_file()]
    if not files:
        raise InapplicableError("the package lxt (2.0 or later) is not installed")
    return SimpleNamespace(**runpy.run_path(str(files[0])))
