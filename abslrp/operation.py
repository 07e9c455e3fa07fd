"""One intercepted call, as a rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from abslrp.postponed_gain import PostponedGain
from abslrp.record import Options, Postponed, Record
from abslrp.registry import Function, name_of

MAX_CLAIMED = 5
"""Operations in a row that may take over the factor of the one before them (float range)."""


class UncoveredError(Exception):
    """Raised by a rule for a call that it does not cover; the engine tells what to do about it."""


class Operation:
    """A call of a torch function on the path from the input to the logits.

    Rules get it as their first argument.

    Attributes
    ----------
    function, args, kwargs
        The intercepted call; constants (parameters) come detached.
    active
        The tensors among the arguments that relevance flows to, in order.
    output
        The call's result, once :meth:`forward` has run.
    inplace
        Whether the call overwrites its first argument: then a rule takes what it needs of that
        argument's values before it calls :meth:`forward`.
    fresh
        A rule sets it where every tensor that its backward function returns is newly made or
        the relevance it was given by :meth:`scaled`, so that it may be overwritten.

    Notes
    -----
    ``args``, ``kwargs``, ``active`` and ``output`` are dropped once the rule has returned: what
    its backward function needs of them, that holds itself.
    """

    def __init__(
        self,
        function: Function,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        active: list[Tensor],
        records: list[Record],
        options: Options,
        *,
        inplace: bool,
    ) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = kwargs
        self.active = active
        self.records = records
        self.options = options
        self.inplace = inplace
        self.output: Tensor | None = None
        self.passes = False
        self.rectifies = False
        self.settles = options.defers
        self.output_nonnegative = False
        self.record: Record | None = None
        self.fresh = False
        self.owns_relevance = False
        self.postponed: Postponed | None = None
        self.run = 0

    # -- for rules ---------------------------------------------------------------------------
    @property
    def name(self) -> str:
        """Name of the function that a user can look up, for messages."""
        return name_of(self.function)

    def forward(self) -> Tensor:
        """Run the call as it stands, once, and return its result.

        Returns
        -------
        Tensor
            The call's output, of which later calls of this method give the same tensor.

        Notes
        -----
        Cost: the intercepted function once, which is the model's own forward pass. The engine
        calls it where the rule did not.
        """
        if self.output is None:
            self.output = self.function(*self.args, **self.kwargs)
        return self.output

    def is_active(self, value: Any) -> bool:
        """Whether relevance flows to this argument.

        Parameters
        ----------
        value
            One of the call's arguments, which need not be a tensor.

        Returns
        -------
        bool
            True for those in :attr:`active`, told by identity; False for constants.

        Examples
        --------
        A product in which a constant gets nothing, and two operands half each:

        >>> import torch, abslrp
        >>> from abslrp.registry import ABSLRP, RuleSet
        >>> halves = RuleSet("halves", ABSLRP)
        >>> @halves.rule(torch.mul)
        ... def mul(operation, input, other):
        ...     active = sum(operation.is_active(one) for one in (input, other))
        ...     return lambda relevance: (relevance / active,) * active
        >>> x = torch.ones(1, 2, requires_grad=True)
        >>> with abslrp.propagation(halves, None):
        ...     y = torch.mul(x, torch.tensor([2.0, 3.0]))
        >>> torch.autograd.grad(y.sum(), x)[0]
        tensor([[1., 1.]])
        """
        return any(value is tensor for tensor in self.active)

    def is_nonnegative(self, tensor: Tensor) -> bool:
        """Whether the tensor is known, without looking, to have no negative entry.

        Parameters
        ----------
        tensor
            One of :attr:`active`.

        Returns
        -------
        bool
            True after a ReLU, a softmax and what keeps their sign; False where it is not known.

        Notes
        -----
        Cost: none. Eq. 12 needs one transposed product in place of two where this is True.
        """
        return any(
            tensor is one and record.nonnegative
            for one, record in zip(self.active, self.records, strict=True)
        )

    def keeps_sign(self) -> None:
        """Declare that the output has no negative entry if no active input has one.

        Examples
        --------
        >>> import torch, abslrp
        >>> from abslrp.registry import COMMON
        >>> @abslrp.rule(torch.frac)
        ... def frac(operation, input):
        ...     operation.keeps_sign()
        ...     return abslrp.passes(operation)
        >>> COMMON.remove(torch.frac)
        """
        self.output_nonnegative = all(record.nonnegative for record in self.records)

    def scaled(self, relevance: Tensor, gain: Tensor) -> Tensor:
        """``relevance * gain``, in place where nothing else can see this relevance.

        Parameters
        ----------
        relevance
            What the backward function was given. It may be overwritten, so this is its last use.
        gain
            Of the same shape.

        Returns
        -------
        Tensor
            The product.
        """
        # A gain may leave float16's range, which the product in float32 does not.
        narrow = relevance.dtype == torch.float16
        return relevance.mul_(gain) if self.owns_relevance and not narrow else relevance * gain

    def postpone(self, compute: Callable[[Tensor], Tensor]) -> Postponed:
        """Compute a factor of the relevance from the output once its consumer is known.

        Parameters
        ----------
        compute
            From the call's output to the factor, such as ``h -> 1 / (|h| + epsilon)``.

        Returns
        -------
        Postponed
            Its ``factor()``, called by the backward function, is the factor, or None where the
            consumer has taken it over (:meth:`claim`).

        Notes
        -----
        Cost: one more run of the call where a second consumer turns up, so that the first gives
        the factor back.
        """
        again = None if self.claimed else partial(self.function, *self.args, **self.kwargs)
        return self._waiting(Postponed(self.forward(), compute, again))

    def postpone_gain(
        self, compute: Callable[[Tensor], Tensor], join: Callable[[Tensor], Tensor]
    ) -> Postponed:
        """Compute an elementwise gain once it is known whether a product takes it in.

        Parameters
        ----------
        compute
            ``compute(h)`` is the gain, for the call's output ``h``.
        join
            ``join(x)`` for ``x = relu(h)`` is ``x`` times the gain.

        Returns
        -------
        Postponed
            As from :meth:`postpone`; the consumer takes the gain in by :meth:`joined`.

        Notes
        -----
        Cost: as of :meth:`postpone`.
        """
        again = partial(self.function, *self.args, **self.kwargs)
        return self._waiting(PostponedGain(self.forward(), compute, again, join))

    def _waiting(self, postponed: Postponed) -> Postponed:
        self.postponed = postponed
        postponed.run = self.run
        # Relevance has to be normalised somewhere, and only that of a whole tensor can be.
        most = self.run >= MAX_CLAIMED
        if not self.options.fuses or most or self.forward().dtype == torch.float16:
            postponed.factor()
        return postponed

    def claim(self, tensor: Tensor, undo: Callable[[Tensor], None]) -> Tensor | None:
        """Take over the postponed factor of the operation that made ``tensor``, if there is one.

        Parameters
        ----------
        tensor
            One of :attr:`active`.
        undo
            ``undo(h)`` takes the factor out of this rule again, where another consumer of the
            tensor turns up.

        Returns
        -------
        Tensor or None
            That operation's output ``h``, or None if there is no factor to claim. A rule that gets
            it must include the factor in the relevance it returns for the tensor.
        """
        postponed = self._before(tensor)
        return None if postponed is None else self._taken(postponed, postponed.claim(undo))

    def joined(self, tensor: Tensor) -> Tensor | None:
        """Return ``tensor`` times the gain of the norm before it, if that waits to be taken in.

        Parameters
        ----------
        tensor
            One of :attr:`active`.

        Returns
        -------
        Tensor or None
            The product, or None if no gain waits. A rule that gets it multiplies relevance by it in
            place of ``tensor``, whose sign it has where it is not 0; what it holds may still change
            until the forward pass is over.
        """
        postponed = self._before(tensor)
        return None if postponed is None else self._taken(postponed, postponed.joined(tensor))

    def _before(self, tensor: Tensor) -> Postponed | None:
        """Return the factor that an active tensor's maker left to its first consumer, this one."""
        for one, record in zip(self.active, self.records, strict=True):
            maker = record.operation
            if one is tensor and record.consumers == 0 and maker is not None:
                return maker.postponed
        return None

    def _taken(self, postponed: Postponed, taken: Tensor | None) -> Tensor | None:
        if taken is not None:
            self.run = postponed.run + 1
        return taken

    @property
    def claimed(self) -> bool:
        """Whether this operation has taken over the factor of the one before it."""
        return self.run > 0

    def scratch(self, like: Tensor, slot: int = 0) -> Tensor:
        """Return uninitialised memory shaped like a tensor, for use within the rule's forward.

        It is reused by the next operation: fresh memory for every temporary costs more than the
        arithmetic on it.

        Parameters
        ----------
        like
            Tensor whose shape, type and device the memory has.
        slot
            Number of the piece of memory, for rules that need several at once.

        Returns
        -------
        Tensor
            A tensor of any content. The backward function must not keep it.
        """
        return self.options.scratch(like, slot)

    # -- for the engine ----------------------------------------------------------------------
    def release(self) -> None:
        """Drop the call's tensors; what the rule needs, its backward function holds."""
        self.args = ()
        self.kwargs = {}
        self.active = []
        self.output = None


def passes(operation: Operation) -> Callable[[Tensor], tuple[Tensor | None, ...]]:
    """Declare that an operation hands its relevance on unchanged; the rule of eq. 2.

    Parameters
    ----------
    operation
        The rule's first argument. Its first active input gets all relevance and must have the
        output's shape.

    Returns
    -------
    callable
        The backward function that the rule returns.

    Notes
    -----
    Cost: none; the engine does not even normalise what passes.

    Examples
    --------
    >>> import torch, abslrp
    >>> from abslrp.registry import COMMON
    >>> @abslrp.rule(torch.special.sinc)
    ... def sinc(operation, input):
    ...     return abslrp.passes(operation)
    >>> COMMON.remove(torch.special.sinc)
    """
    operation.passes = True
    return lambda relevance: (relevance,)
