"""Zennit's composite EpsilonPlusFlat, on any CNN whose operations Zennit has rules for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.copies import (
    Calls,
    base_name,
    check_same,
    is_active,
    running_modules,
    working_copy,
)
from benchmarks.methods.registry import InapplicableError, explain_chunks, method

_REFUSED = frozenset(
    {
        "layer_norm",
        "group_norm",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "softmax",
    }
)
_POOLS = frozenset({"avg_pool2d", "adaptive_avg_pool2d", "mean"})


@method(
    "EpsilonPlusFlat",
    family="cnn",
    source="Zennit",
    citation="Kohlbrenner et al., IJCNN 2020, as Zennit has it (Anders et al., arXiv:2106.13200)",
)
def epsilon_plus_flat(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    epsilon: float = 1e-6,
    batch_size: int | None = None,
    **kwargs: Any,
) -> Any:
    """LRP with the flat rule in the first layer, z+ in convolutions, epsilon in linear layers.

    Batch norms are merged into the layer whose output they take, additions are Zennit's ``Sum``.
    """
    from zennit.attribution import Gradient
    from zennit.canonizers import NamedMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat

    def prepare(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        modular = Modular(model, x)

        def explain(chunk: Tensor, target: Tensor) -> Tensor:
            merge = NamedMergeBatchNorm(modular.norms)
            composite = EpsilonPlusFlat(epsilon=epsilon, canonizers=[merge])
            with torch.enable_grad(), Gradient(modular, composite) as attributor:
                leaf = chunk.clone().requires_grad_()
                one_hot = lambda logits: F.one_hot(target, logits.shape[1]).to(logits)  # noqa: E731
                _, relevance = attributor(leaf, one_hot)
            maps: Tensor = relevance.detach()
            return maps

        return explain

    return explain_chunks(model, inputs, targets, batch_size, prepare)


class Modular(nn.Module):
    """A working copy whose additions and average poolings are modules, as Zennit needs them.

    :attr:`norms` are the names of linear layers and of the batch norms that take their outputs, as
    Zennit's ``NamedMergeBatchNorm`` takes them.

    Parameters
    ----------
    model
        The original.
    x
        One sample, which the model is run on to see its calls.

    Raises
    ------
    InapplicableError
        If the model has operations that no rule of Zennit's is for.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.model = working_copy(model)
        self.sums = nn.ModuleList()
        self.pools = nn.ModuleList()
        self.eval()
        # For each addition and pooling in order: its module, None where it is one already.
        self._modules_of_calls: list[nn.Module | None] = []
        self._learning = True
        self._position = 0
        self.norms: list[tuple[list[str], str]] = []
        with running_modules(self.model) as self._running, self._pairing():
            check_same(model, self, x)
        self._learning = False

    def forward(self, x: Tensor) -> Any:
        """Run the copy, its additions and poolings going to the modules."""
        self._position = 0
        with Calls(self._handle):
            return self.model(x.clone())

    @contextmanager
    def _pairing(self) -> Iterator[None]:
        """Collect the batch norms that take a linear layer's output as it is."""
        from zennit.types import BatchNorm, Linear

        outputs: list[tuple[str, Tensor]] = []

        def made(name: str) -> Any:
            return lambda module, args, output: outputs.append((name, output))

        def taken(norm: str) -> Any:
            return lambda module, args: self.norms.extend(
                ([name], norm) for name, output in outputs if output is args[0]
            )

        handles = []
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                handles.append(module.register_forward_hook(made(name)))
            elif isinstance(module, BatchNorm):
                handles.append(module.register_forward_pre_hook(taken(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _handle(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = base_name(func)
        active = [one for one in args if is_active(one)]
        if self._learning and (
            (name in _REFUSED and active) or (name in ("mul", "matmul") and len(active) > 1)
        ):
            what = "products of two activations" if len(active) > 1 and name == "mul" else name
            raise InapplicableError(f"Zennit has no rule for {what}")
        addition = name == "add" and len(active) == 2 and not kwargs
        pooling = name in _POOLS and bool(active) and active[0].ndim == 4
        if not (addition or pooling):
            return func(*args, **kwargs)
        if self._learning:
            self._modules_of_calls.append(self._module_of(name, args[1:], kwargs))
        self._position += 1
        module = self._modules_of_calls[self._position - 1]
        if module is None:
            return func(*args, **kwargs)
        if addition:
            both = torch.broadcast_tensors(*args)  # type: ignore[no-untyped-call]
            return module(torch.stack(both, dim=-1))
        result: Tensor = module(args[0])
        return result if result.ndim != 4 or not _drops_axes(name, kwargs) else result.flatten(1)

    def _module_of(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> nn.Module | None:
        from zennit.layer import Sum
        from zennit.types import AvgPool

        if name == "add":
            made: nn.Module = Sum()
            self.sums.append(made)
            return made
        if self._running and isinstance(self._running[-1], AvgPool):
            return None
        if name == "mean":
            axes = args[0] if args else kwargs.get("dim")
            if not isinstance(axes, (tuple, list)) or sorted(a % 4 for a in axes) != [2, 3]:
                raise InapplicableError(f"Zennit has no rule for a mean over {axes}")
            made = nn.AdaptiveAvgPool2d(1)
        elif name == "adaptive_avg_pool2d":
            made = nn.AdaptiveAvgPool2d(args[0] if args else kwargs["output_size"])
        else:
            made = nn.AvgPool2d(*args, **kwargs)
        self.pools.append(made)
        return made


def _drops_axes(name: str, kwargs: dict[str, Any]) -> bool:
    """Whether a mean leaves out the axes that it is over."""
    return name == "mean" and not kwargs.get("keepdim", False)
