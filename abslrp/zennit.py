"""absLRP, and every other rule set, for users of Zennit and ``quantus.explain(xai_lib="zennit")``.

Needs the extra ``zennit``. Importing this module registers the composite ``"abslrp"`` with Zennit.
The engine follows the whole model, whatever it is made of, so that no canonizer is needed; what is
computed equals :func:`abslrp.explain`, up to rounding:

| here | :func:`abslrp.explain` |
| --- | --- |
| `Gradient(model, AbsLRP())` from one-hot | `contrast=None` |
| `Gradient(model, AbsLRP(conserve=None))` | `conserve=None, contrast=None` |
| `Contrastive(model, AbsLRP())` from one-hot | the default, `contrast="streams"` |
| `AbsLRP(canonizers=[SequentialMergeBatchNorm()])` | the same, batch norms merged before |

Eq. 12 tells a network with merged batch norms from one with its own. Zennit's own composites for
any model are rule sets, see :mod:`abslrp.rule_sets.composites`.

Examples
--------
>>> import torch
>>> from zennit.attribution import Gradient
>>> from abslrp.zennit import AbsLRP
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> with Gradient(model.eval(), AbsLRP()) as attributor:
...     logits, relevance = attributor(torch.rand(2, 4), torch.eye(3)[[0, 2]])
>>> relevance.shape
torch.Size([2, 4])

With Quantus: ``quantus.explain(model, x, y, xai_lib="zennit", attributor=Contrastive,
composite=AbsLRP, composite_kwargs={"conserve": "operation"})``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

try:
    from zennit.attribution import Gradient
    from zennit.canonizers import Canonizer
    from zennit.composites import register_composite
    from zennit.core import Composite, Hook, RemovableHandle
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ImportError(
        "abslrp.zennit needs the package zennit: pip install 'gae-metric[zennit]'"
    ) from error

from abslrp.arguments import check_choice
from abslrp.context import propagation
from abslrp.contrast import Start, combine, starts
from abslrp.forward import Settings
from abslrp.plan.accounts import Account, passing
from abslrp.plan.arrivals import Conserve
from abslrp.registry import RuleSet
from abslrp.rule_sets import own_contrast
from abslrp.rules import normalization
from abslrp.tape import Call
from abslrp.tape.values import tensors_in

_LOCK = threading.RLock()


class _Forward:
    """A module's forward, by the rules that are registered: they may come and go in any order."""

    def __init__(self, module: nn.Module) -> None:
        self.own, self.forward = vars(module).get("forward"), module.forward
        self.rules: list[EngineRule] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        active = [one for one in reversed(self.rules) if one.active]
        if not active:
            return self.forward(*args, **kwargs)
        # The last one, of this thread if there is any.
        rule = max(active, key=lambda one: one.thread == threading.get_ident())
        # A module may write to what it is given.
        given = [one.clone() if isinstance(one, Tensor) else one for one in args]
        # Not what it has itself: a canonizer may leave weights that are no parameters.
        inputs = [one for one in tensors_in([given, kwargs]) if one.requires_grad] or None
        with propagation(rule.rules, rule.conserve, inputs=inputs):
            return self.forward(*given, **kwargs)


class EngineRule(Hook):  # type: ignore[misc]
    """The engine's rules for all that a module does: a layer, a block, or a whole model.

    Parameters
    ----------
    rules
        Rule set, or its name.
    conserve
        ``"operation"``, ``"argument"`` or None, as in :func:`abslrp.explain`.
    """

    def __init__(self, rules: str | RuleSet = "absLRP", conserve: Conserve = "operation") -> None:
        super().__init__()
        self.rules = rules
        self.conserve = conserve

    def register(self, module: nn.Module) -> RemovableHandle:
        """Let gradients of a module's outputs be relevances of its inputs."""
        with _LOCK:
            own = vars(module).get("forward")
            self.wrapped = own if isinstance(own, _Forward) else _Forward(module)
            self.module, self.thread = module, threading.get_ident()
            self.wrapped.rules.append(self)
            module.forward = self.wrapped
        return RemovableHandle(self)

    def remove(self) -> None:
        """Put the module's own forward back, if no other rule needs it."""
        with _LOCK:
            self.wrapped.rules.remove(self)
            if self.wrapped.rules or vars(self.module).get("forward") is not self.wrapped:
                return
            if self.wrapped.own is None:
                del self.module.forward
            else:
                self.module.forward = self.wrapped.own

    def copy(self) -> EngineRule:
        """Return a hook of the same kind for another module."""
        return EngineRule(self.rules, self.conserve)


@register_composite("abslrp")
class AbsLRP(Composite):  # type: ignore[misc]
    """Zennit composite that propagates relevance by the engine's rules, through any model.

    Parameters
    ----------
    conserve
        ``"operation"`` (default), ``"argument"`` or None, as in :func:`abslrp.explain`.
    canonizers
        Applied before. A batch norm that one of them has merged passes relevance on.
    rules
        Rule set, or its name.

    Raises
    ------
    ValueError
        If there is no such rule set, or ``conserve`` is not as described.

    Notes
    -----
    Cost: as :func:`abslrp.relevance`, but that relevance is taken to have both signs.
    """

    def __init__(
        self,
        conserve: Conserve = "operation",
        canonizers: Sequence[Canonizer] | None = None,
        rules: str | RuleSet = "absLRP",
    ) -> None:
        self.rules = Settings(rules, conserve).table  # which checks both
        rule = EngineRule(_merged(self.rules) if canonizers else self.rules, conserve)
        super().__init__(lambda context, name, module: None if name else rule, canonizers)


def _merged(rules: RuleSet) -> RuleSet:
    """Return the rules by which what is left of a merged batch norm passes relevance on."""
    table = RuleSet(rules.name, rules, conserves=rules.conserves)

    def norm(call: Call, norm: normalization.Norm) -> Account:
        rest = [one for one in (norm.mean, norm.bias) if one is not None]
        left = norm.batch and not any(one.any() for one in rest)
        return passing(norm.input) if left else rules.account(call)

    normalization.register(table, norm)
    return table


class Contrastive(Gradient):  # type: ignore[misc]
    """Zennit attributor with the contrast of a rule set, absLRP's two streams by default.

    Called as Zennit's ``Gradient``, with a one-hot output attribution: the class it marks is
    explained.

    Parameters
    ----------
    model, composite, attr_output
        As for ``zennit.attribution.Gradient``.
    contrast
        ``"streams"``, ``"signed"``, ``"logits"`` or None; by default that of the
        composite's rule set.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: Composite | None = None,
        attr_output: Tensor | Callable[[Tensor], Tensor] | None = None,
        contrast: Start | str = "own",
    ) -> None:
        super().__init__(model, composite, attr_output)
        check_choice("contrast", contrast, "own", "streams", "signed", "logits", None)
        self.contrast: Any = (
            own_contrast(getattr(composite, "rules", "absLRP")) if contrast == "own" else contrast
        )

    def grad(
        self, input: Tensor, attr_output_fn: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Output, and the map of the class that the output attribution is highest for."""
        if not input.requires_grad:
            input.requires_grad = True
        output = self.model(input)
        given = starts(output.detach(), attr_output_fn(output).argmax(1), self.contrast)
        maps = [
            torch.autograd.grad(output, input, one, retain_graph=index + 1 < len(given))[0]
            for index, one in enumerate(given)
        ]
        return output, combine(torch.stack(maps), self.contrast)
