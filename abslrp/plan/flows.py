"""What calls received of relevance and what they handed on, noted while it goes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from abslrp.plan.accounts import Routing
from abslrp.tape import Call


@dataclass
class Passage:
    """Relevance through one call.

    Attributes
    ----------
    call
        Without its values, so that their memory is free.
    moves
        Whether relevance follows elements: what does not go on is then of constants.
    taken, given
        Totals (S, batch) of what came to its outputs, and of what went to its inputs.
    """

    call: Call
    moves: bool
    taken: list[Tensor] = field(default_factory=list)
    given: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, call: Call) -> Passage:
        """Begin with nothing."""
        moves = call.account is None or isinstance(call.account, Routing)
        bare = replace(call, args=(), kwargs={}, inputs=[], outputs=[], results=(), account=None)
        return cls(bare, moves)

    @property
    def whole(self) -> bool:
        """Whether what came went on as it is: totals that nothing touched."""
        return [id(one) for one in self.taken] == [id(one) for one in self.given]

    @property
    def finite(self) -> bool:
        """Whether all that went on is finite."""
        return all(bool(one.isfinite().all()) for one in self.given)


@dataclass
class Flow:
    """What became of the relevance of one start.

    Attributes
    ----------
    started, arrived
        Absolute totals (S, batch) of the start, and of what relevance was wanted of.
    passages
        From the last call to the first.
    first
        Index of its first sample.
    """

    started: Tensor
    arrived: Tensor
    passages: list[Passage]
    first: int = 0

    def share(self, totals: Sequence[Tensor]) -> Tensor:
        """Return the sum of totals as a share of the start; two signs are added up."""
        if not totals:
            return torch.zeros_like(self.started)
        both = torch.stack(list(totals)).sum(0).reshape(-1, *self.started.shape).sum(0)
        return (both / self.started).masked_fill(self.started == 0, 0)

    def lost(self, passages: Sequence[Passage] | None = None) -> Tensor:
        """Return the share (S, batch) that does not go on, at some calls or at all."""
        every = self.passages if passages is None else passages
        taken = [one for passage in every for one in passage.taken]
        return self.share(taken) - self.share([one for each in every for one in each.given])
