"""Zennit's composite EpsilonPlusFlat, on any CNN whose operations Zennit has rules for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.copies import Unrolled, is_active
from benchmarks.methods.registry import Explain, InapplicableError, by_chunks, method

_REFUSED = frozenset(
    {"layer_norm", "group_norm", "softmax"}
    | {"scaled_dot_product_attention", "multi_head_attention_forward"}
)


@method(
    "EpsilonPlusFlat",
    family="cnn",
    source="Zennit",
    citation="Kohlbrenner et al., IJCNN 2020, as Zennit has it (Anders et al., arXiv:2106.13200)",
)
@by_chunks
def epsilon_plus_flat(model: nn.Module, x: Tensor, *, epsilon: float = 1e-6) -> Explain:
    """LRP with the flat rule in the first layer, z+ in convolutions, epsilon in linear layers.

    Batch norms are merged into the layer whose output they take, additions are Zennit's ``Sum``.
    """
    from zennit.attribution import Gradient
    from zennit.canonizers import NamedMergeBatchNorm
    from zennit.composites import EpsilonPlusFlat

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


class Modular(Unrolled):
    """A working copy whose additions and average poolings are modules, as Zennit needs them.

    :attr:`norms` are the names of linear layers and of the batch norms that take their outputs, as
    Zennit's ``NamedMergeBatchNorm`` takes them.

    Raises
    ------
    InapplicableError
        If the model has operations that no rule of Zennit's is for.
    """

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        self.norms: list[tuple[list[str], str]] = []
        #: Average poolings that are modules already, and are running.
        self._pooling: list[nn.Module] = []
        builders = {"add": _sum, "mean": self._mean, "avg_pool2d": self._pool(nn.AvgPool2d)}
        builders["adaptive_avg_pool2d"] = self._pool(nn.AdaptiveAvgPool2d)
        super().__init__(model, x, builders, _refuse)
        self.model = self.inner

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Collect the batch norms that take a linear layer's output as it is."""
        from zennit.types import AvgPool, BatchNorm, Linear

        outputs: list[tuple[str, Tensor]] = []

        def made(name: str) -> Any:
            return lambda module, args, output: outputs.append((name, output))

        def taken(norm: str) -> Any:
            return lambda module, args: self.norms.extend(
                ([name], norm) for name, output in outputs if output is args[0]
            )

        with ExitStack() as hooks:
            for name, module in self.inner.named_modules(prefix="model"):
                if isinstance(module, Linear):
                    hooks.enter_context(module.register_forward_hook(made(name)))
                elif isinstance(module, BatchNorm):
                    hooks.enter_context(module.register_forward_pre_hook(taken(name)))
                elif isinstance(module, AvgPool):
                    begun = module.register_forward_pre_hook(
                        lambda one, _: self._pooling.append(one)
                    )
                    hooks.enter_context(begun)
                    ended = module.register_forward_hook(lambda *_: self._pooling.clear())
                    hooks.enter_context(ended)
            yield

    def _pool(self, kind: Callable[..., nn.Module]) -> Any:
        def build(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
            return None if args[0].ndim != 4 or self._pooling else kind(*args[1:], **kwargs)

        return build

    def _mean(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
        if args[0].ndim != 4 or self._pooling:
            return None
        axes = args[1] if len(args) > 1 else kwargs.get("dim")
        if not isinstance(axes, (tuple, list)) or sorted(a % 4 for a in axes) != [2, 3]:
            raise InapplicableError(f"Zennit has no rule for a mean over {axes}")
        kept = kwargs.get("keepdim", False)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Identity() if kept else nn.Flatten())


def _sum(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> nn.Module | None:
    return None if kwargs or sum(map(is_active, args)) != 2 else _Sum()


class _Sum(nn.Module):
    """Zennit's sum, of two terms side by side."""

    def __init__(self) -> None:
        from zennit.layer import Sum

        super().__init__()
        self.sum = Sum()

    def forward(self, *terms: Tensor) -> Any:
        both = torch.broadcast_tensors(*terms)  # type: ignore[no-untyped-call]
        return self.sum(torch.stack(both, dim=-1))


def _refuse(name: str, args: tuple[Any, ...]) -> None:
    product = name in ("mul", "matmul") and sum(map(is_active, args)) > 1
    if name in _REFUSED or product:
        what = "products of two activations" if product and name == "mul" else name
        raise InapplicableError(f"Zennit has no rule for {what}")
