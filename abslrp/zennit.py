"""absLRP, and every other rule set, for users of Zennit and ``quantus.explain(xai_lib="zennit")``.

Needs the extra ``zennit``. Zennit hooks modules where the engine intercepts functions, so a
model's additions must be modules: for torchvision's ResNets this is done here, for others pass a
canonizer. Importing this module registers the composite ``"abslrp"`` with Zennit.

What is equal to what, up to rounding, on networks whose activations, poolings, norms and sums
are modules (VGG and torchvision's ResNets are such):

| here | :func:`abslrp.explain` |
| --- | --- |
| `Gradient(model, AbsLRP())` from one-hot | `contrast=None` |
| `Gradient(model, AbsLRP(conserve=None))` | `conserve=None, contrast=None` |
| `Contrastive(model, AbsLRP())` from one-hot | the default, `contrast="streams"` |
| `AbsLRP(canonizers=[SequentialMergeBatchNorm()])` | the same, batch norms merged before |

Eq. 12 tells a network with merged batch norms from one with its own.

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

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

try:
    from zennit.attribution import Gradient
    from zennit.canonizers import AttributeCanonizer, Canonizer
    from zennit.composites import register_composite
    from zennit.core import Composite, Hook
    from zennit.layer import Sum
    from zennit.rules import Pass
    from zennit.torchvision import ResNetBasicBlockCanonizer, ResNetBottleneckCanonizer
    from zennit.types import Activation, AvgPool, BatchNorm, Linear
except ImportError as error:  # pragma: no cover - the extra is installed where this is tested
    raise ImportError(
        "abslrp.zennit needs the package zennit: pip install 'gae-metric[zennit]'"
    ) from error

from abslrp.contrast import Start, combine, starts
from abslrp.forward import Settings
from abslrp.plan.arrivals import Conserve
from abslrp.propagate import through
from abslrp.registry import RuleSet
from abslrp.rule_sets import own_contrast

HOOKED = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.Upsample,
    nn.Softmax,
)
"""Modules that get the engine's rule beside Zennit's linear, batch norm, pooling and sum."""


class EngineRule(Hook):  # type: ignore[misc]
    """The engine's rule for one module: its forward runs once more, intercepted.

    Parameters
    ----------
    rules
        Rule set, or its name.
    conserve
        ``"operation"``, ``"argument"`` or None (SPEC 1.3).
    """

    def __init__(self, rules: str | RuleSet = "absLRP", conserve: Conserve = "operation") -> None:
        super().__init__()
        self.rules = rules
        self.conserve = conserve

    def forward(self, module: nn.Module, input: tuple[Tensor, ...], output: Any) -> None:
        """Keep the module's input."""
        self.stored_tensors["input"] = input

    def backward(
        self, module: nn.Module, grad_input: tuple[Any, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor | None, ...]:
        """Relevance of the module's input from that of its output."""
        received = grad_output[0].detach()
        settings = Settings(self.rules, self.conserve)
        input = self.stored_tensors["input"][0]
        relevance = through(lambda x: _run(module, x), input, received, settings)
        return tuple(relevance if one.shape == relevance.shape else None for one in grad_input)

    def copy(self) -> EngineRule:
        """Return a hook of the same kind for another module."""
        return EngineRule(self.rules, self.conserve)


def _run(module: nn.Module, input: Tensor) -> Tensor:
    """Run a module's forward, the sum of two stacked tensors as the addition it stands for."""
    if isinstance(module, Sum) and input.shape[module.dim] == 2:
        first, second = input.unbind(module.dim)
        return first + second
    output: Tensor = module.forward(input)
    return output


class _Residuals(AttributeCanonizer):  # type: ignore[misc]
    """Turns the additions of torchvision's ResNet blocks into modules, where none has yet."""

    def __init__(self) -> None:
        super().__init__(self._attributes)

    @staticmethod
    def _attributes(name: str, module: nn.Module) -> dict[str, Any] | None:
        if "forward" in vars(module):  # another canonizer of the same kind was there first
            return None
        for canonizer in (ResNetBottleneckCanonizer(), ResNetBasicBlockCanonizer()):
            attributes: dict[str, Any] | None = canonizer.attribute_map(name, module)
            if attributes is not None:
                return attributes
        return None


@register_composite("abslrp")
class AbsLRP(Composite):  # type: ignore[misc]
    """Zennit composite that propagates relevance by the engine's rules.

    Parameters
    ----------
    conserve
        ``"operation"`` (default), ``"argument"`` or None (SPEC 1.3).
    canonizers
        Applied before those that turn the additions of torchvision's ResNets into modules,
        which are always there. A batch norm that a canonizer has merged passes relevance on.
    rules
        Rule set, or its name. The sets that merge batch norms (``"epsilon"``, ...) need
        Zennit's ``SequentialMergeBatchNorm`` here: a hook sees one module at a time.

    Raises
    ------
    ValueError
        If there is no such rule set, it has rules that depend on a module's place in the network
        (cLRP, RAP, cRAP, Chefer), or ``conserve`` is not as described.

    Notes
    -----
    Additions, poolings and norms that a model calls as functions keep their gradient, silently:
    Zennit cannot see them. :func:`abslrp.explain` handles or refuses them. Cost: one more
    forward pass of every hooked module for each backward pass.
    """

    def __init__(
        self,
        conserve: Conserve = "operation",
        canonizers: Sequence[Canonizer] | None = None,
        rules: str | RuleSet = "absLRP",
    ) -> None:
        self.rules = Settings(rules, conserve).table  # which checks both
        if not self.rules.by_module:
            raise ValueError(
                f"rules: {self.rules.name} has a rule of its own for the first layer, which a "
                "hook, that sees one module at a time, cannot tell; use abslrp.explain"
            )
        self.conserve = conserve
        given = list(canonizers or ())
        super().__init__(module_map=self.mapping, canonizers=[*given, _Residuals()])

    def mapping(self, context: dict[str, Any], name: str, module: nn.Module) -> Hook | None:
        """Choose a module's hook, None for those whose gradient routes relevance."""
        if isinstance(module, Activation) and not list(module.children()):
            return Pass()
        if isinstance(module, BatchNorm) and _is_identity(module):
            return Pass()
        if isinstance(module, (Linear, BatchNorm, AvgPool, Sum, *HOOKED)):
            return EngineRule(self.rules, self.conserve)
        return None


def _is_identity(norm: Any) -> bool:
    """Whether a canonizer has merged a batch norm into the layer before it."""
    return all(
        tensor is None or bool((tensor == value).all())
        for tensor, value in (
            (norm.running_mean, 0),
            (norm.running_var, 1),
            (norm.weight, 1),
            (norm.bias, 0),
        )
    )


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
        if contrast not in ("own", "streams", "signed", "logits", None):
            raise ValueError(
                f"contrast: expected 'own', 'streams', 'signed', 'logits' or None, got {contrast!r}"
            )
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
        targets = attr_output_fn(output).argmax(1)
        given = starts(output.detach(), targets, self.contrast)
        maps = [
            torch.autograd.grad(output, input, one, retain_graph=index + 1 < len(given))[0]
            for index, one in enumerate(given)
        ]
        return output, combine(torch.stack(maps), self.contrast)
