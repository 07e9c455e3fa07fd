"""Attention matrices of any model, taken from the torch functions that compute them.

No model class is known: inside :class:`Attentions`, scaled dot product attention and multi-head
attention are written out, and every softmax over a square matrix of tokens is an attention matrix,
whose gradient (and, inside :class:`abslrp.propagation`, relevance) can be asked for.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from abslrp.plan.blocks import whole
from abslrp.rules.decompositions import attention
from benchmarks.methods.registry import InapplicableError

#: Rows and columns of tokens.
Grid: TypeAlias = "tuple[int, int] | None"

#: More tokens than these before the patches' are not a class token and registers.
_MOST_PREFIX = 16


def _opened(func: types.FunctionType) -> Callable[..., Any]:
    """Return a function of torch that runs its body, whose calls a mode then sees.

    It asks first whether it is overridden; a copy whose globals say no goes straight to its body.
    """
    asked = ("has_torch_function", "has_torch_function_unary")
    scope = {**func.__globals__, **dict.fromkeys(asked, lambda *_: False)}
    return types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__)


#: Attention functions, each as something that runs call by call.
BODIES: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: lambda *args, **kwargs: whole(*attention(*args, **kwargs)),
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
        self.grid: Grid = None
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
        return values[:, self.prefix :].reshape(len(values), *self.grid, -1).permute(0, 3, 1, 2)


def tokens_of(found: Attentions, image: tuple[int, int], samples: int, grid: Grid = None) -> Tokens:
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
            wanted = f"rows and columns of at most {count} tokens"
            raise ValueError(f"grid: expected {wanted}, got {grid}")
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


def token_grid(model: nn.Module, x: Tensor) -> Grid:
    """Return rows and columns of the tokens; None where attention is not over one sequence."""
    with torch.no_grad(), Attentions() as found:
        model(x)
    try:
        return tokens_of(found, (x.shape[2], x.shape[3]), len(x)).grid
    except InapplicableError:
        return None
