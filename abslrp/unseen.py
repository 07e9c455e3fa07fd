"""What cannot be intercepted or has no rule, and what users are told of it.

Custom autograd functions, TorchScript functions, ``vmap`` and full backward hooks run where a
torch function mode sees nothing. What they return hangs on the input all the same, so that its
gradient would silently take the place of relevance; it is found by its history.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from abslrp.calls import call_site
from abslrp.operation import Operation, UncoveredError
from abslrp.record import Options
from abslrp.registry import RuleSet, name_of


def hangs_on(tensor: Tensor, inputs: Sequence[Tensor] | None, options: Options) -> bool:
    """Whether a tensor's history leads to one of the inputs, or to a call that was intercepted.

    Inputs that are None are not known; then only such calls tell.
    """
    waiting: list[Any] = [tensor.grad_fn]
    seen: set[Any] = {None}
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        operation = getattr(node, "operation", None)
        if isinstance(operation, Operation) and operation.options is options:
            return True
        leaf = getattr(node, "variable", None)
        if leaf is not None and inputs is not None and any(leaf is one for one in inputs):
            return True
        waiting.extend(one for one, _ in node.next_functions)
    return False


def explanation(tensor: Tensor) -> str:
    """Say what made such a tensor and what a user can do about it."""
    node: Any = tensor.grad_fn
    made_by = getattr(type(node), "_forward_cls", None)
    remedy = (
        "Write it with torch functions, or call it through a function that is wrapped by "
        "torch.overrides.wrap_torch_function, and register a rule for that with @abslrp.rule(...)"
    )
    if made_by is None:
        what = f"A call that autograd knows as {node.name()} (in TorchScript or vmap, perhaps)"
    elif made_by.__name__ == "BackwardHookFunction":
        what, remedy = "A module's full backward hook", "Remove it while explaining"
    else:
        what = f"The autograd function {made_by.__module__}.{made_by.__qualname__}"
    return (
        f"{what} is on the path from input to logits (its result is used at {call_site()}), and "
        f"cannot be intercepted. {remedy}, or use on_unknown='warn' to go on with its gradient."
    )


def without_rule(func: Callable[..., Any], rules: RuleSet) -> str:
    """Say that a function has no rule, and what a user can do about it."""
    name = name_of(func)
    return (
        f"{name} (called at {call_site()}) is on the path from input to logits, but the rule set "
        f"{rules.name!r} has no rule for it. Register one with @abslrp.rule({name}), "
        "or use on_unknown='warn' to go on with its gradient."
    )


def not_covered(error: UncoveredError, func: Callable[..., Any], rules: RuleSet) -> str:
    """Say which call a rule refused, and what a user can do about it."""
    name = name_of(func)
    return (
        f"{error} (called at {call_site()}). The rule set {rules.name!r} does not cover this call "
        f"of {name}. Register a rule with @abslrp.rule({name}, rules=...) in place of the one "
        "there is (`remove` it first), or use on_unknown='warn' to go on with its gradient."
    )
