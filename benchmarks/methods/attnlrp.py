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

from benchmarks.methods.attention_maps import BODIES
from benchmarks.methods.copies import Calls, base_name, is_active, working_copy
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
    attends: set[str] = set()

    def handle(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func in BODIES:
            with Calls(handle):  # so that each product and the softmax have their rule
                return BODIES[func](*args, **kwargs)
        name, active = base_name(func), sum(map(is_active, args))
        if active and name in ACTIVATIONS:
            return rules.identity_rule_implicit(lambda x: func(x, *args[1:], **kwargs), args[0])
        if active and name == "layer_norm":
            return _layer_norm(rules, *args, **kwargs)
        result = func(*args, **kwargs)
        if active and name == "softmax" and args[0].ndim > 2:
            attends.add(name)
            return rules.stop_gradient(result) if attention == "cp" else result
        return rules.divide_gradient(result, 2) if active > 1 and name in PRODUCTS else result

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        leaf = chunk.detach().clone().requires_grad_()
        with torch.enable_grad():
            with Calls(handle):
                logits = copied(leaf.clone())
            if not attends:
                raise InapplicableError("the model has no attention")
            (gradient,) = torch.autograd.grad(selected(logits, target).sum(), leaf)
        return gradient * chunk

    return explain


def _layer_norm(
    rules: Any,
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
    output: Tensor = centred / rules.stop_gradient(deviation)
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
