"""Signs of token relevance on tiny trained models whose telling words are known."""

import pytest
import torch
from torch import nn

from abslrp import text


class Bag(nn.Module):
    """Mean over the tokens of a hidden layer; no attention."""

    def __init__(self):
        super().__init__()
        self.embedding, self.hidden, self.out = (
            nn.Embedding(22, 8),
            nn.Linear(8, 16),
            nn.Linear(16, 2),
        )

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        share = attention_mask / attention_mask.sum(1, keepdim=True)
        hidden = torch.relu(self.hidden(self.embedding(input_ids)))
        return self.out((share[:, None] @ hidden)[:, 0])


def sentences(count, generator):
    """Ids: 1 first, 2-11 neutral, 12-16 speak for class 1, 17-21 for class 0."""
    ids = torch.randint(2, 22, (count, 10), generator=generator)
    ids[:, 0] = 1
    score = ((ids >= 12) & (ids < 17)).sum(1) - (ids >= 17).sum(1)
    return ids[score != 0], (score[score != 0] > 0).long()


def trained(model, generator):
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        ids, labels = sentences(64, generator)
        result = model(ids, torch.ones_like(ids))
        loss = nn.functional.cross_entropy(getattr(result, "logits", result), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def test_sign_is_that_of_leaving_a_token_out():
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trained(Bag(), generator)
    ids, labels = sentences(200, generator)
    full = torch.ones_like(ids)
    found = text.token_relevance(model, {"input_ids": ids, "attention_mask": full})
    assert (found.targets == labels).float().mean() > 0.98

    def margin(mask):
        with torch.no_grad():
            logits = model(ids, mask)
        signs = found.targets * 2 - 1
        return (logits[:, 1] - logits[:, 0]) * signs

    whole = margin(full)
    effects = []
    for place in range(1, ids.shape[1]):
        mask = full.clone()
        mask[:, place] = 0
        effects.append(whole - margin(mask))
    effect = torch.stack(effects, 1)
    telling = ids[:, 1:] >= 12
    agree = effect.sign() == found.relevance[:, 1:].sign()
    assert agree[telling].float().mean() > 0.98


def test_a_tiny_bert_finds_the_telling_words():
    transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")
    config = transformers.BertConfig(
        vocab_size=22,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = trained(transformers.BertForSequenceClassification(config), generator)
    ids, _ = sentences(200, generator)
    relevance = text.token_relevance(model, {"input_ids": ids}, 1).relevance
    positive, negative = relevance[(ids >= 12) & (ids < 17)], relevance[ids >= 17]
    neutral = relevance[(ids > 1) & (ids < 12)]
    assert positive.mean() > 10 * neutral.mean().abs()
    assert negative.mean() < -10 * neutral.mean().abs()
