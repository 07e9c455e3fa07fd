"""What relevance of tokens refuses, by name, and models whose samples cannot be followed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from abslrp.registry import RULE_SETS, RuleSet
from abslrp.text.propagate import token_relevance

IDS = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


class Bag(nn.Module):
    """Mean of embeddings, a hidden layer, logits."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding, self.out = nn.Embedding(10, 6), nn.Linear(6, 3)

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        share = attention_mask / attention_mask.sum(1, keepdim=True)
        logits: Tensor = self.out((share[:, None] @ self.embedding(input_ids))[:, 0].relu())
        return logits


class Padded(Bag):
    """Class 1 by the first feature, the others by the second; padding counts in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.out.bias.data.zero_()
        self.out.weight.data = torch.eye(3, 6)[[1, 0, 1]]
        self.embedding.weight.data.zero_()
        self.embedding.weight.data[1:, 0] = 1
        self.embedding.weight.data[:2, 1] = torch.tensor([3.0, 1.0])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, torch.ones_like(attention_mask))


class Unnamed(Bag):
    """As Hugging Face's CANINE, whose characters have several tables."""

    def get_input_embeddings(self) -> nn.Module:
        raise NotImplementedError


class OneByOne(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.embedding(input_ids)
        rows = zip(hidden.split(1), attention_mask.split(1), strict=True)
        return torch.cat([self.out(((m / m.sum())[:, None] @ h)[:, 0].relu()) for h, m in rows])


class Cut(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.out(self.embedding(input_ids).detach().mean(1))
        return logits


class Twice(Bag):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        both = self.embedding(input_ids) + self.embedding(input_ids.flip(1))
        logits: Tensor = self.out(both.mean(1))
        return logits


class WithoutIds(Bag):
    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        return self.embedding(tokens).mean(1)  # type: ignore[no-any-return]


class Hooked(Bag):
    def __init__(self) -> None:
        super().__init__()
        self.out.register_full_backward_hook(lambda *_: None)


def call(model: Any = None, **changes: Any) -> Tensor:
    given = {"input_ids": IDS, "attention_mask": MASK, **changes.pop("encoding", {})}
    encoding = changes.pop("instead", given)
    targets = changes.pop("targets", 1)
    return token_relevance((model or Bag()).eval(), encoding, targets, **changes).relevance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": nn.Linear(2, 2)}, "embedding: expected the module that looks tokens up"),
        ({"model": Unnamed()}, "embedding: expected the module that looks tokens up"),
        ({"embedding": nn.Identity()}, "embedding: expected a module with a weight, got Identity"),
        ({"instead": [IDS]}, "encoding: expected a mapping with input_ids"),
        ({"instead": {"attention_mask": MASK}}, "encoding: expected a mapping with input_ids"),
        ({"model": WithoutIds()}, "model: WithoutIds.forward takes no input_ids"),
        ({"encoding": {"input_ids": IDS[0]}}, r"expected input_ids of shape \(B, T\), got \(4,\)"),
        ({"encoding": {"input_ids": IDS[:0]}}, r"expected input_ids of shape \(B, T\)"),
        ({"encoding": {"input_ids": IDS.float()}}, "expected integer input_ids, got torch.float32"),
        ({"encoding": {"input_ids": [[1, 2], [3]]}}, "input_ids is no tensor.*padding=True"),
        ({"encoding": {"attention_mask": MASK[:, :3]}}, r"ids' shape \(2, 4\), got \(2, 3\)"),
        ({"model": Cut()}, "its logits do not depend on the embeddings"),
        ({"model": Twice()}, "look up the tokens' embeddings once"),
        (
            {"targets": [[0, 1], [1, 2]]},
            r"targets: expected one integer for each sample, .*got shape \(2, 2\)",
        ),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**arguments)


@pytest.mark.parametrize("rules", ["cLRP", "cRAP"])
def test_a_rule_set_goes_with_its_own_contrast(rules: str) -> None:
    """Contrastive sets: the map of the target less that of the others, as in abslrp.explain."""
    found = call(rules=rules)
    assert torch.equal(found, call(rules=rules, contrast="logits"))
    assert (found - call(rules=rules, contrast=None)).abs().max() > 1e-3
    # Of (1, 7, 2, padding), tokens 1, 7, 2 have a third of the target's map each, and token 1 has
    # all of the others', once the padding's three quarters are dropped.
    third = torch.full((3,), 1 / 3)
    for contrast in ("own", "streams"):
        padded = call(Padded(), rules=rules, contrast=contrast)[1, :3]
        torch.testing.assert_close(padded, third - torch.tensor([1.0, 0, 0]))
    copy = RuleSet("copy", RULE_SETS[rules], conserves=False)
    assert torch.allclose(found, call(rules=copy))


def test_full_backward_hooks_change_nothing() -> None:
    torch.testing.assert_close(call(Hooked()), call())


def test_lists_are_taken_for_tensors() -> None:
    lists = {"input_ids": IDS.tolist(), "attention_mask": MASK.tolist()}
    torch.testing.assert_close(call(instead=lists), call())


def test_samples_whose_axis_cannot_be_followed() -> None:
    torch.testing.assert_close(call(OneByOne()), call())


@pytest.mark.parametrize("name", ["target", "at", "samples", "model_kwargs", "reduce", "conserv"])
def test_options_that_texts_do_not_take_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: no option of texts, which take accelerate, att"):
        token_relevance(Bag().eval(), {"input_ids": IDS, "attention_mask": MASK}, 0, **{name: None})


def test_a_map_of_zeros_is_told() -> None:
    with pytest.warns(RuntimeWarning, match="a map is 0: the target and what it is contrasted"):
        token_relevance(Bag().eval(), {"input_ids": IDS, "attention_mask": MASK}, 1, against=1)


def test_a_parametrized_embedding_is_named() -> None:
    model = Bag().eval()
    nn.utils.parametrizations.weight_norm(model.embedding)
    with pytest.raises(ValueError, match="or remove its parametrizations, if it has any"):
        token_relevance(model, {"input_ids": IDS, "attention_mask": MASK}, 0)
    nn.utils.parametrize.remove_parametrizations(model.embedding, "weight")
    found = token_relevance(model, {"input_ids": IDS, "attention_mask": MASK}, 0).relevance
    assert found.abs().sum() > 0
