"""What a rule says of a call: how relevance of the outputs becomes relevance of the inputs.

There are four forms, :class:`Diagonal`, :class:`Product`, :class:`Routing` and :class:`Split`;
``Passing`` is a diagonal without factors, and ``Constant`` says that no relevance is sent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from abslrp.plan.axes import aligned
from abslrp.plan.factors import Factor
from abslrp.plan.linear_maps import LinearMap
from abslrp.tape import Axes, Call, Value

A = TypeVar("A", bound="Account")


class UncoveredError(Exception):
    """A rule does not cover a call of its operator."""


@dataclass(kw_only=True)
class Account:
    """What all forms have.

    Attributes
    ----------
    axes
        Where each axis of an input is in the output.
    nonnegative
        Whether the output has no negative entry.
    conserves
        Whether the totals of samples are restored after it: not after what only moves relevance.
    rectifies
        Whether the output is the input wherever the output is positive.
    """

    axes: Axes = aligned
    nonnegative: bool = False
    conserves: bool = True
    rectifies: bool = False
    scale: Tensor | float | None = None
    """What the output is the input times, if that is all the call does."""
    constant: bool = False
    held: bool = False
    """Whether a constant is made of the input's entries, not of its shape or type alone."""
    negates: bool = False
    """Whether what is sent is relevance of an input's negative."""
    linear: LinearMap | None = None
    """The linear map with parameters that it is; None for all else."""
    contrary: Callable[[], Account] | None = None
    """What becomes of relevance of the output's negative, where it is another thing."""
    statement: Any = None
    """Of such a batch norm: what its rule says to the rule of the map; None for all else."""

    @property
    def leaks(self) -> bool:
        """Whether relevance of constants may end at it."""
        return isinstance(self, Routing) and not self.lossless


@dataclass
class Diagonal(Account):
    """``R_in = R_out`` times factors, summed where the input was broadcast.

    Attributes
    ----------
    input
        The value that relevance goes to.
    factors
        By which it is multiplied, entry by entry; none: relevance is unchanged.

    Examples
    --------
    Eq. 12 for a function of single entries, ``x+ / (|y| + 1e-9)``:

    >>> from abslrp.plan import Diagonal
    >>> from abslrp.plan.factors import inverse, positive
    >>> from abslrp.registry import RuleSet
    >>> mine = RuleSet("mine")
    >>> @mine.rule(torch.sin)
    ... def sine(call, input):
    ...     return Diagonal(input, [positive(input), inverse(call.output, 1e-9)])
    """

    input: Value
    factors: Sequence[Factor] = ()


@dataclass
class Term:
    """One transposed product, for the input's entries of one sign or for all.

    Attributes
    ----------
    weight
        From the map's weights to those that count, such as their positive part; by default all.
    sign
        1: for positive entries of the input, -1: for negative ones, 0: for all.
    """

    weight: Callable[[Tensor], Tensor] = torch.Tensor.detach
    """From the map's weights to those that count, by default all as they are."""
    sign: Literal[-1, 0, 1] = 0


@dataclass
class Product(Account):
    """``R_in = after * sum over terms of transposed(before * R_out)``.

    Attributes
    ----------
    input
        The value that relevance goes to.
    map
        The linear map, which has the weights and the transposed product.
    before, after
        Factors of relevance before and after the product.
    terms
        The products that are summed.
    """

    input: Value
    map: LinearMap
    before: Sequence[Factor] = ()
    terms: Sequence[Term] = (Term(),)
    after: Sequence[Factor] = ()


@dataclass
class Routing(Account):
    """Relevance follows the elements: the adjoint of a call that moves them.

    ``adjoint`` takes relevance (S, *shape) of S starts for each output, None where there is none,
    and returns that of each value among the inputs, in the order of ``Call.inputs``.
    """

    adjoint: Callable[[Sequence[Tensor | None]], Sequence[Tensor | None]]
    lossless: bool = False
    """Whether there is one input and one output, and every entry of the output comes from it."""
    window: Callable[[Tensor], Tensor] | None = None
    """From (S, *shape) of the input to the part of that memory that is the output's, if one is."""


@dataclass
class Split(Account):
    """Several inputs that share one total of relevance.

    Attributes
    ----------
    before
        Factors of relevance that all parts have.
    parts
        A :class:`Diagonal` or :class:`Product` for each input.
    """

    before: Sequence[Factor] = ()
    parts: Sequence[Diagonal | Product] = ()


@dataclass
class Custom(Account):
    """What a function makes of relevance (S, *shape) of S starts.

    ``propagate`` returns one tensor, or None, for each value among the inputs.
    """

    propagate: Callable[[Tensor], Sequence[Tensor | None]]


def passing(input: Value, **said: Any) -> Diagonal:
    """Return the account of a call that leaves relevance unchanged.

    Parameters
    ----------
    input
        The value that relevance goes to.
    **said
        Attributes of :class:`Account`, such as ``nonnegative=True``.

    Returns
    -------
    Diagonal
        Without factors.
    """
    return Diagonal(input, conserves=False, **said)


def signed(rule: Callable[..., A]) -> Callable[..., A]:
    """Let a rule without its own contrary have that of the other ``sign``, which is 1 or -1."""

    @functools.wraps(rule)
    def account(*args: Any, sign: int = 1, **kwargs: Any) -> A:
        found = rule(*args, sign=sign, **kwargs)
        found.contrary = found.contrary or (lambda: account(*args, sign=-sign, **kwargs))
        return found

    return account


@signed
def same(input: Value, *, sign: int = 1, **said: Any) -> Diagonal:
    """Relevance unchanged by a call that returns its input, or a multiple of it of some sign."""
    return passing(input, negates=sign < 0, **said)


def by_one_start(
    function: Callable[[Tensor], Any], call: Call
) -> Callable[[Tensor], list[Tensor | None]]:
    """Make a function of one start's relevance one of several starts'.

    It returns relevance of each value that a call took, or of each among its arguments, where one
    may be twice.
    """
    places = [call.inputs.index(one) for one in call.taken()]

    def all_starts(relevance: Tensor) -> list[Tensor | None]:
        sent = [function(one) for one in relevance]
        tuples = [one if isinstance(one, (tuple, list)) else (one,) for one in sent]
        found: list[Tensor | None] = [None] * len(call.inputs)
        into = range(len(found)) if len(tuples[0]) == len(found) else places
        if len(tuples[0]) != len(into):
            raise ValueError(
                f"rule: expected that of {call.name} to return relevance, or None, of each of "
                f"{len(into)} activations among the arguments, got {len(tuples[0])}"
            )
        for place, each in zip(into, zip(*tuples, strict=True), strict=True):
            if not any(one is None for one in each):
                _check_shape(call, each[0], call.inputs[place].shape)
                whole, before = torch.stack(each), found[place]
                found[place] = whole if before is None else before + whole
        return found

    return all_starts


def _check_shape(call: Call, sent: Any, shape: torch.Size) -> None:
    """Refuse what cannot be summed to relevance of an input."""
    own = tuple(sent.shape) if isinstance(sent, Tensor) else None
    sides = () if own is None else zip(reversed(own), reversed(shape), strict=False)
    if own is None or len(own) < len(shape) or any(b not in (1, a) for a, b in sides):
        raise ValueError(
            f"rule: expected that of {call.name} to return relevance of shape {tuple(shape)}, got "
            f"{own or type(sent).__name__}"
        )


def constant(*, held: bool = False, axes: Axes = aligned) -> Account:
    """Return the account of a call whose result counts as a constant, which gets no relevance.

    Parameters
    ----------
    held
        Whether the result is made of the input's entries, as a norm's denominator is, and not only
        of its shape or type.
    axes
        As in :class:`Account`.

    Returns
    -------
    Account
        Without an input.
    """
    return Account(constant=True, held=held, axes=axes)
