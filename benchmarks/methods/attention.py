"""Methods that read attention matrices: last-layer attention, rollout, TIBAV.

The class token's row is the row that the model's head reads: the rows of the last attention whose
gradient is not zero. With class token pooling that is the class token's alone, also where there
are registers beside it; with average pooling it is those of all tokens that are averaged, and
their mean is taken.
"""

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from abslrp import propagation
from abslrp.registry import RuleSet
from abslrp.rule_sets import epsilon
from abslrp.rules.decompositions import attention
from benchmarks.methods.copies import working_copy
from benchmarks.methods.registry import Explain, InapplicableError, method
from gae_metric.explainers.chunked_gradients import selected

#: More tokens than these before the patches' are not a class token and registers.
_MOST_PREFIX = 16


def _opened(func: types.FunctionType) -> Callable[..., Any]:
    """Return a function of torch that runs its body, whose calls a mode then sees.

    It asks first whether it is overridden; a copy whose globals say no goes straight to its body.
    """
    scope = dict(func.__globals__)
    scope.update(
        dict.fromkeys(("has_torch_function", "has_torch_function_unary"), lambda *_: False)
    )
    return types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__)


#: Attention functions, each as something that runs call by call.
BODIES: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: attention,
    F.multi_head_attention_forward: _opened(F.multi_head_attention_forward),  # type: ignore[arg-type]
}


class Attentions(TorchFunctionMode):
    """Collects the attention matrices of a forward pass.

    Attributes
    ----------
    maps
        Softmax outputs whose last two axes are of equal length, in order.
    grid
        Rows and columns of the last convolution's output before the first of them.
    called
        Called without arguments before each of them.

    Examples
    --------
    >>> layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    >>> x = torch.ones(1, 5, 8)
    >>> with Attentions() as attentions:
    ...     _ = layer(x, x, x, need_weights=False)
    >>> [tuple(one.shape) for one in attentions.maps]
    [(1, 2, 5, 5)]
    """

    def __init__(self, called: Callable[[], None] | None = None) -> None:
        super().__init__()
        self.maps: list[Tensor] = []
        self.grid: tuple[int, int] | None = None
        self.called = called

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in BODIES:
            with self:
                return BODIES[func](*args, **kwargs)
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if not isinstance(result, Tensor):
            return result
        if name == "conv2d" and not self.maps:
            self.grid = (result.shape[2], result.shape[3])
        if name == "softmax" and result.ndim > 2 and result.shape[-1] == result.shape[-2] > 1:
            if self.called is not None:
                self.called()
            self.maps.append(result)
        return result


@dataclass(frozen=True)
class Tokens:
    """How a model's tokens lie: ``prefix`` of them, then those of the grid, row by row."""

    #: Rows and columns.
    grid: tuple[int, int]
    #: Tokens before the patches': class token and registers.
    prefix: int

    @property
    def count(self) -> int:
        """Number of all tokens."""
        return self.prefix + self.grid[0] * self.grid[1]

    def features(self, values: Tensor) -> Tensor:
        """Return the patches' features as a map: (B, tokens, D) to (B, D, rows, columns)."""
        patches = values[:, self.prefix :]
        return patches.reshape(len(values), *self.grid, -1).permute(0, 3, 1, 2)


def tokens_of(
    found: Attentions, image: tuple[int, int], samples: int, grid: tuple[int, int] | None = None
) -> Tokens:
    """Tell how the tokens lie from the attention matrices of a forward pass.

    Parameters
    ----------
    found
        The attention matrices.
    image
        Height and width of the model's input.
    samples
        Number of samples of the forward pass.
    grid
        Rows and columns, if they are known. By default those of the last convolution before
        the first attention, else the grid of square patches that leaves fewest other tokens.

    Raises
    ------
    InapplicableError
        If there is no attention over one sequence of tokens, or no grid is found.
    InputError
        If ``grid`` has more positions than there are tokens.

    Examples
    --------
    >>> found = Attentions()
    >>> found.maps = [torch.ones(1, 2, 29, 29)]
    >>> tokens_of(found, (32, 48), samples=1)
    Tokens(grid=(4, 6), prefix=5)
    """
    if not found.maps:
        raise InapplicableError("the model has no attention over tokens")
    counts = {one.shape[-1] for one in found.maps}
    windows = any(one.ndim != 3 and one.shape[0] != samples for one in found.maps)
    if len(counts) > 1 or windows:
        raise InapplicableError(
            "the model's attention is not over one sequence of tokens (windows)"
        )
    (count,) = counts
    if grid is not None:
        rows, columns = grid
        if min(grid) < 1 or rows * columns > count:
            raise ValueError(
                f"grid: expected rows and columns of at most {count} tokens, got {grid}"
            )
        return Tokens((rows, columns), count - rows * columns)
    if found.grid is not None:
        prefix = count - found.grid[0] * found.grid[1]
        if 0 <= prefix <= _MOST_PREFIX:
            return Tokens(found.grid, prefix)
    height, width = image
    for prefix in range(_MOST_PREFIX + 1):
        for rows in range(1, count - prefix + 1):
            columns, rest = divmod(count - prefix, rows)
            if rest == 0 and height % rows == 0 and height * columns == width * rows:
                return Tokens((rows, columns), prefix)
    raise InapplicableError(
        f"the {count} tokens form no grid of square patches of the {height}x{width} image; "
        "give grid="
    )


def attend(model: nn.Module, x: Tensor) -> tuple[Tensor, Attentions]:
    """Run a model and collect its attention matrices.

    Returns
    -------
    The logits (B, N), and the matrices as nodes of their graph.
    """
    with torch.enable_grad(), Attentions() as found:
        # A leaf, so that a frozen model's matrices are part of a graph.
        logits = model(x.detach().clone().requires_grad_())
    return logits, found


def by_heads(values: Tensor, samples: int) -> Tensor:
    """Return a matrix of each head: (B, h, T, T), also from (B h, T, T)."""
    return values.reshape(samples, -1, *values.shape[-2:])


def token_grid(model: nn.Module, x: Tensor) -> tuple[int, int] | None:
    """Return rows and columns of the tokens; None where attention is not over one sequence."""
    with torch.no_grad(), Attentions() as found:
        model(x)
    try:
        return tokens_of(found, (x.shape[2], x.shape[3]), len(x)).grid
    except InapplicableError:
        return None


for_vit = functools.partial(method, family="vit", source="benchmarks", chunks=True)
VIT = ("vit",)

Grid: TypeAlias = "tuple[int, int] | None"

#: From the model, a chunk, its targets, its attention matrices (B, h, T, T) block by block and
#: their gradients, to values (B, T, T).
Combine = Callable[[nn.Module, Tensor, Tensor, list[Tensor], list[Tensor]], Tensor]


@for_vit(
    "LLAttention",
    "Chefer et al., CVPR 2021 (raw attention of the last block, mean over heads)",
    paper=VIT,
)
def last_layer_attention(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
    """Attention of the class token in the last block, the same for every target."""
    return _token_maps(model, grid, lambda model, x, target, maps, slopes: maps[-1].mean(1))


@for_vit(
    "Rollout", "Abnar and Zuidema, ACL 2020, as eq. 6 has it (rows not renormalised)", paper=VIT
)
def rollout(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
    """Product over blocks of I + E_h A (eq. 6), the same for every target."""
    return _token_maps(
        model, grid, lambda model, x, target, maps, slopes: _product([one.mean(1) for one in maps])
    )


def _tibav(name: str, rules: str | RuleSet, citation: str, *, paper: tuple[str, ...] = ()) -> None:
    """Register TIBAV with a rule set for the relevance of attention, from 1 at the target."""

    def product(
        model: nn.Module, x: Tensor, target: Tensor, maps: list[Tensor], slopes: list[Tensor]
    ) -> Tensor:
        relevances = attention_relevance(model, x, target, rules)
        return _product(
            [(g * r).clamp(min=0).mean(1) for g, r in zip(slopes, relevances, strict=True)]
        )

    @for_vit(name, citation, paper=paper)
    def explain(model: nn.Module, x: Tensor, *, grid: Grid = None) -> Explain:
        """Product over blocks of I + E_h (grad A * R^A)^+ (eq. 7)."""
        return _token_maps(model, grid, product)


_tibav("TIBAV", "Chefer", "Chefer et al., CVPR 2021 (eq. 7), by its authors' code", paper=VIT)
_tibav(
    "TIBAV-epsilon", epsilon.build(1e-9), "Chefer et al., CVPR 2021 (eq. 7), R by LRP-epsilon, 1e-9"
)


def attention_relevance(
    model: nn.Module, x: Tensor, target: Tensor, rules: str | RuleSet
) -> list[Tensor]:
    """Return the relevance of the attention matrices, block by block: (B, h, T, T)."""
    leaf = x.detach().clone()
    with propagation(rules, None, inputs=[leaf]) as context, Attentions() as found:
        logits = model(leaf)
        start = F.one_hot(target, logits.shape[1]).to(logits)
    relevances = context.relevance(logits, start, found.maps)
    return [
        by_heads(torch.zeros_like(matrix) if one is None else one, len(x))
        for one, matrix in zip(relevances, found.maps, strict=True)
    ]


def _product(blocks: list[Tensor]) -> Tensor:
    """Return the product of ``I + A``, the last block leftmost."""
    result = torch.eye(blocks[0].shape[-1]).to(blocks[0]).expand_as(blocks[0])
    for block in blocks:
        result = result + block @ result
    return result


def _token_maps(model: nn.Module, grid: Grid, combine: Combine) -> Explain:
    """Return the row that the head reads, as a map (B, 1, H, W), upsampled bilinearly."""
    copied = working_copy(model).eval()

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        logits, found = attend(copied, chunk)
        size = (chunk.shape[2], chunk.shape[3])
        tokens = tokens_of(found, size, len(chunk), grid)
        gradients = torch.autograd.grad(selected(logits, target).sum(), found.maps)
        maps = [by_heads(one.detach(), len(chunk)) for one in found.maps]
        slopes = [by_heads(one, len(chunk)) for one in gradients]
        read = _rows_read(slopes[-1])
        rows = combine(copied, chunk, target, maps, slopes)
        row = (read[:, :, None] * rows).sum(1) / read.sum(1, keepdim=True)
        return F.interpolate(
            tokens.features(row[..., None]), size=size, mode="bilinear", align_corners=False
        )

    return explain


def _rows_read(gradient: Tensor) -> Tensor:
    """Return 1 for each token whose attention the head reads, (B, T); the first if none."""
    read = (gradient != 0).any(-1).any(1)
    read[:, 0] |= ~read.any(1)
    return read.to(gradient.dtype)
