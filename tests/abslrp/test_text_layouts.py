"""Tokens that a model pads, puts first, or takes from a table by an index, are the same tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abslrp.text.propagate import token_relevance


class Pooling(nn.Module):
    """The mean of embeddings, classified."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(20, 6), nn.Linear(6, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.table(input_ids)).sum(1))
        return logits


class Padded(Pooling):
    """To a window of eight tokens, whose padding counts as nothing."""

    def forward(self, input_ids: Tensor) -> Tensor:
        ids = F.pad(input_ids, (0, 8 - input_ids.shape[1]))
        there = torch.arange(8) < input_ids.shape[1]
        found = torch.tanh(self.table(ids)) * there[:, None]
        logits: Tensor = self.head(found.sum(1))
        return logits


class TokensFirst(Pooling):
    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.table(input_ids.T.contiguous())).sum(0))
        return logits


class Indexed(Pooling):
    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.table.weight[input_ids]).sum(1))
        return logits


@pytest.mark.parametrize("ids", [[[3, 4, 5], [6, 7, 8], [9, 2, 1]], [[3, 4, 5, 6], [7, 8, 9, 1]]])
@pytest.mark.parametrize("kind", [Padded, TokensFirst, Indexed])
def test_the_same_tokens_have_the_same_relevance(kind: type[Pooling], ids: list[list[int]]) -> None:
    """With as many tokens as texts, too."""
    encoding = {"input_ids": torch.tensor(ids)}
    wanted = token_relevance(Pooling().eval(), encoding, 1).relevance
    found = token_relevance(kind().eval(), encoding, 1).relevance
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted)


def test_a_bag_of_embeddings_is_refused() -> None:
    class Bag(Pooling):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.EmbeddingBag(20, 6)

        def forward(self, input_ids: Tensor) -> Tensor:
            logits: Tensor = self.head(self.table(input_ids))
            return logits

    with pytest.raises(ValueError, match="a bag of embeddings that one call adds up"):
        token_relevance(Bag().eval(), {"input_ids": torch.tensor([[1, 2]])}, 0)
