"""A norm's gain that waits for the product after its ReLU, to be one factor with its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from abslrp.record import Postponed

if TYPE_CHECKING:
    from abslrp.operation import Operation

__all__ = ["PostponedGain"]


def _done(output: Tensor) -> Tensor:
    raise AssertionError("a gain is computed once")


class PostponedGain(Postponed):
    """The whole gain of an elementwise operation, until the first consumer of its output is known.

    If that is a ReLU, also one in place, and what follows a product, then that multiplies its own
    relevance by input times gain: one multiplication for both. Any other consumer has the gain
    computed.

    Parameters
    ----------
    output
        ``h`` of the operation.
    compute
        ``compute(h)``: the gain.
    again
        Computes ``h`` once more, which costs an elementwise pass.
    join
        ``join(x)`` for ``x = relu(h)``: ``x * compute(h)``, which is 0 where ``x`` is.
    """

    def __init__(
        self,
        output: Tensor,
        compute: Callable[[Tensor], Tensor],
        again: Callable[[], Tensor],
        join: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(output, compute, again)
        self._join: Callable[[Tensor], Tensor] | None = join
        self._waits = True
        self._rectified = False

    @property
    def pending(self) -> bool:
        """Whether the gain is neither computed nor joined with a product's input."""
        return self._waits

    def factor(self) -> Tensor | None:
        """Return the gain; None if a product has joined it with its input."""
        if self._waits:
            if self._output is None:
                assert self._again is not None
                self._output = self._again()
            self._factor = self._compute(self._output)
            self._waits, self._output = False, None
            # They hold the operation's input.
            self._again = self._join = None
            self._compute = _done
        return self._factor

    def claim(self, undo: Callable[[Tensor], None]) -> Tensor | None:
        """Refuse: there is no ``h`` of a product here."""
        return None

    def before_overwriting(self, *, rectifies: bool) -> None:
        """Let a ReLU overwrite ``h``, which can be had again; compute the gain before others do."""
        if rectifies:
            self._output = None
        else:
            self.factor()

    def travel(self, operation: Operation) -> bool:
        """Go on through a ReLU."""
        if not operation.rectifies:
            return False
        self._rectified, self._output = True, None
        return True

    def joined(self, x: Tensor) -> Tensor | None:
        """Return input times gain to a product whose input ``x`` is, or None."""
        if not (self._waits and self._rectified):
            return None
        assert self._join is not None
        whole = self._join(x)
        self._waits = False
        self._undo = whole.copy_
        return whole

    def consumed_again(self, tensor: Tensor) -> None:
        """Give the product its input back: relevance will come from a second consumer, too."""
        if self._undo is not None:
            assert self._again is not None
            self._output = self._again()
            self._undo(torch.relu(self._output))
            self._undo, self._waits = None, True
        self.factor()
