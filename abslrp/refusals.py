"""What users are told of a call that has no rule."""

from abslrp.names import public_name
from abslrp.plan.accounts import UncoveredError
from abslrp.registry import RuleSet
from abslrp.tape import Call


class UnknownOperationError(RuntimeError):
    """A call on the path from input to logits has no rule.

    The message names the operator, where it is called, and how to register a rule.

    Examples
    --------
    >>> import torch, abslrp
    >>> class Spectrum(torch.nn.Module):
    ...     def forward(self, x):
    ...         return torch.linalg.svdvals(x.flatten(2)).flatten(1)
    >>> try:
    ...     abslrp.explain(Spectrum().eval(), torch.rand(1, 3, 2, 2), [0])
    ... except abslrp.UnknownOperationError as error:
    ...     print(str(error).split()[0])
    torch.linalg.svdvals
    """


def no_rule(call: Call, rules: RuleSet) -> str:
    """Say that an operator has no rule, or none for this call, and what a user can do about it."""
    name = public_name(call.within or call.operator)
    place = f"called at {call.site}" + (f", in {call.module}" if call.module else "")
    warn = "or use on_unknown='warn' to go on with its gradient."
    if isinstance(call.trouble, UncoveredError):
        return (
            f"{name}: {call.trouble} ({place}). The rule set {rules.name!r} does not cover this "
            f"call of it. Register a rule with @abslrp.rule({name}, rules=...) in place of the one "
            f"there is (`remove` it first), {warn}"
        )
    remedy = next((f"{REMEDIES[part]}, r" for part in REMEDIES if part in name), "R")
    return (
        f"{name} ({place}) is on the path from input to logits, but the rule set "
        f"{rules.name!r} has no rule for it. {remedy}egister one with @abslrp.rule({name}), {warn}"
    )


REMEDIES = {
    "flex_attention": "Use scaled_dot_product_attention (attn_implementation='sdpa') in its place",
    "ops.quantized": "Explain the model as it was before it was quantised",
}
"""What to do in place of registering a rule, by a part of an operator's name."""
