"""Tokens that a model pads, puts first, or takes from a table by an index, are the same tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abslrp.rule_sets import alpha_beta, epsilon
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


class Selected(Pooling):
    def forward(self, input_ids: Tensor) -> Tensor:
        rows = torch.index_select(self.table.weight, 0, input_ids.flatten())
        logits: Tensor = self.head(torch.tanh(rows.view(*input_ids.shape, 6)).sum(1))
        return logits


class Reversed(Pooling):
    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids.flip(1))


class Rolled(Pooling):
    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids.roll(1, 1))


class Shifted(Pooling):
    """A token at each step given those before, the first given a start."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(F.pad(input_ids[:, :-1], (1, 0), value=1))


class Unknown(Pooling):
    """Of a table of ten tokens, of which the last is what is not known."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return super().forward(input_ids.clamp(max=9))


@pytest.mark.parametrize("kind", [Rolled, Shifted])
def test_tokens_that_are_looked_up_in_another_order_are_refused(kind: type[Pooling]) -> None:
    with pytest.raises(ValueError, match="one for each token and in order, got 1 calls"):
        token_relevance(kind().eval(), {"input_ids": torch.tensor([[3, 3, 3], [3, 4, 5]])}, 1)


def test_ids_that_a_model_replaces_keep_their_places() -> None:
    """Also by one that the text has already."""
    model = Unknown().eval()
    found = token_relevance(model, {"input_ids": torch.tensor([[12, 9, 4], [4, 12, 15]])}, 1)
    wanted = token_relevance(model, {"input_ids": torch.tensor([[9, 9, 4], [4, 9, 9]])}, 1)
    torch.testing.assert_close(found.relevance, wanted.relevance)


@pytest.mark.parametrize("ids", [[[3, 4, 5], [6, 7, 8], [9, 2, 1]], [[3, 4, 5, 6], [7, 8, 9, 1]]])
@pytest.mark.parametrize("kind", [Padded, TokensFirst, Indexed, Selected, Reversed])
def test_the_same_tokens_have_the_same_relevance(kind: type[Pooling], ids: list[list[int]]) -> None:
    """With as many tokens as texts, too."""
    encoding = {"input_ids": torch.tensor(ids)}
    wanted = token_relevance(Pooling().eval(), encoding, 1).relevance
    found = token_relevance(kind().eval(), encoding, 1).relevance
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted)


class Bag(Pooling):
    """A bag for each text, of the tokens that are no padding."""

    def __init__(self, mode: str = "mean") -> None:
        super().__init__()
        self.table, self.mode = nn.EmbeddingBag.from_pretrained(self.table.weight, mode=mode), mode

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.table(input_ids)))
        return logits


class WrittenOut(Bag):
    def forward(self, input_ids: Tensor) -> Tensor:
        rows = F.embedding(input_ids, self.table.weight)
        bags = rows.amax(1) if self.mode == "max" else getattr(rows, self.mode)(1)
        logits: Tensor = self.head(torch.tanh(bags))
        return logits


class Ragged(Bag):
    """Of flat tokens without padding, and where each text begins."""

    def forward(self, input_ids: Tensor) -> Tensor:
        there = input_ids > 0
        offsets = F.pad(there.sum(1).cumsum(0)[:-1], (1, 0))
        logits: Tensor = self.head(torch.tanh(self.table(input_ids[there], offsets)))
        return logits


@pytest.mark.parametrize(
    "rules", ["absLRP", epsilon.build(1e-12), alpha_beta.build(1, 0, epsilon=1e-12)]
)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_of_embeddings_is_its_rows(mode: str, rules: Any) -> None:
    encoding = {"input_ids": torch.tensor([[3, 4, 5, 6], [7, 8, 9, 1]])}
    bag, rows = Bag(mode).double().eval(), WrittenOut(mode).double().eval()
    found = token_relevance(bag, encoding, [0, 2], rules=rules)
    wanted = token_relevance(rows, encoding, [0, 2], rules=rules)
    torch.testing.assert_close(found.relevance, wanted.relevance)
    assert found.relevance.abs().max() > 0.1


def test_bags_of_different_lengths() -> None:
    """Samples are then explained one by one."""
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
    encoding = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    found = token_relevance(Ragged().eval(), encoding, against=[0, 1], contrast="signed")
    for i, count in enumerate([4, 2]):
        row = {"input_ids": ids[i : i + 1, :count]}
        target = int(found.targets[i])
        alone = token_relevance(Bag().eval(), row, target, against=i, contrast="signed")
        torch.testing.assert_close(found.relevance[i : i + 1, :count], alone.relevance)
        torch.testing.assert_close(found.logits[i : i + 1], alone.logits)
        assert target == alone.logits.argmax()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_texts_are_explained_some_at_a_time(batch_size: int) -> None:
    encoding = {"input_ids": torch.tensor([[3, 4, 5], [6, 7, 8], [9, 2, 1]])}
    wanted = token_relevance(Pooling().eval(), encoding)
    found = token_relevance(Pooling().eval(), encoding, batch_size=batch_size)
    torch.testing.assert_close(found.relevance, wanted.relevance)
    torch.testing.assert_close(found.logits, wanted.logits)
    assert torch.equal(found.targets, wanted.targets)


def test_what_constants_take_is_told_of() -> None:
    class Marked(Pooling):
        def forward(self, input_ids: Tensor) -> Tensor:
            marks = torch.full((len(input_ids), 3, 6), 0.5)
            rows = torch.cat([self.table(input_ids).abs(), marks], 1)
            logits: Tensor = self.head(rows.sum(1))
            return logits

    with pytest.warns(RuntimeWarning, match=r"is lost .*torch.cat.*constants") as caught:
        token_relevance(Marked().eval(), {"input_ids": torch.tensor([[3, 4, 5]])}, 0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
