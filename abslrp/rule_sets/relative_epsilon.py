"""Eq. 12 with an epsilon relative to a layer's outputs, for activations far below 1e-9."""

from typing import Any

import torch
from torch import Tensor

from abslrp.plan.factors import Factor, Line, computed
from abslrp.registry import ABSLRP, Rule, RuleSet
from abslrp.rules.absolute import EPSILON
from abslrp.tape import Value


def build(epsilon: float = EPSILON) -> RuleSet:
    """Build absLRP with ``epsilon mean|h|`` in the place of epsilon.

    The mean is over the entries of one sample in the output h of a call. Maps do not change when
    all activations of a layer are multiplied by a constant.

    Parameters
    ----------
    epsilon
        Share of the mean, > 0.

    Returns
    -------
    RuleSet
        A rule set to be passed as ``rules``. Its factors do not cancel, so that it is slower than
        absLRP. Bicubic interpolation and sums at indices keep 1e-9.

    Raises
    ------
    ValueError
        If ``epsilon`` is not above 0.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.rule_sets import relative_epsilon
    >>> model = torch.nn.Linear(2, 3, bias=False).double().eval()
    >>> x, rules = torch.tensor([[1.0, 2.0]]).double(), relative_epsilon.build()
    >>> before = abslrp.explain(model, x, [0], rules=rules)
    >>> _ = model.weight.data.mul_(1e-20)
    >>> torch.allclose(abslrp.explain(model, x, [0], rules=rules), before)
    True
    """
    if not epsilon > 0:
        raise ValueError(f"epsilon: expected a number above 0, got {epsilon}")
    return _Relative(epsilon)


class _Relative(RuleSet):
    def __init__(self, epsilon: float) -> None:
        super().__init__(f"absLRP, relative epsilon={epsilon:g}", ABSLRP)
        self.epsilon = epsilon

    def find(self, function: Any) -> Rule | None:
        rule = super().find(function)
        if rule is None or rule.decomposes:
            return rule
        return Rule(lambda *args, **kwargs: self._changed(rule.function(*args, **kwargs)))

    def _changed(self, account: Any) -> Any:
        """Put the relative epsilon into an account, its parts, and that of its negative."""
        for name in ("factors", "before"):
            if given := getattr(account, name, ()):
                changed = [self._inverse(one) if one.kind == "inverse" else one for one in given]
                setattr(account, name, changed)
        for part in getattr(account, "parts", ()):  # of a user's rule
            self._changed(part)
        if contrary := getattr(account, "contrary", None):
            account.contrary = lambda: self._changed(contrary())
        return account

    def _inverse(self, factor: Factor) -> Factor:
        """``1 / (|h| + epsilon mean|h|)``."""
        of: Any = factor.value
        value: Value = of.value if isinstance(of, Line) else of

        def share() -> Tensor:
            given, place = of.tensor, value.place  # which is known once the rule has said axes
            h = given.abs().to(torch.promote_types(given.dtype, torch.float32))
            if place is None:
                mean = h.mean()
            else:
                total = place.totals(h[None])
                mean = place.spread(total * total.numel() / h.numel(), h.shape)[0]
            least = torch.finfo(h.dtype).tiny
            shares: Tensor = (h + (self.epsilon * mean).to(h.dtype)).clamp(min=least).reciprocal()
            return shares

        return computed(share)
