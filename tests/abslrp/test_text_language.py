"""Causal language models: any token's logits, contrast of two tokens, LXT's rules, and names."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("transformers", reason="needs the extra 'text'")

import abslrp
from abslrp import text
from abslrp.plan import blocks
from abslrp.rule_sets import epsilon
from abslrp.text.propagate import token_relevance
from tests.abslrp import language_models as models


@pytest.fixture(scope="module", params=models.MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return models.make(request.param)


def test_relevance_is_conserved_and_causal(model: nn.Module) -> None:
    """Texts of different lengths in a batch and alone, from the last token and from another."""
    ids, mask = models.ids(), torch.ones(2, 9).long()
    mask[1, 6:] = 0
    encoding = {"input_ids": ids, "attention_mask": mask}
    found = token_relevance(model, encoding, [3, 4], contrast=None)
    assert found.positions is not None
    assert found.positions.tolist() == [8, 5]
    assert (found.relevance >= 0).all()
    for row, length in enumerate((9, 6)):
        # A router's logits, or a gate's, may all be below 0, through which eq. 12 sends nothing.
        embeddings = model.get_input_embeddings()(ids[[row], :length]).detach()  # type: ignore[operator]
        lost = abslrp.audit(Embedded(model, length - 1), embeddings, [3 + row]).lost
        assert -1e-4 < lost < 0.5
        assert float(found.relevance[row].sum()) + lost == pytest.approx(1, abs=1e-4)
    assert (found.relevance[1, 6:] == 0).all()
    alone = token_relevance(model, {"input_ids": ids[1:, :6]}, 4, contrast=None)
    torch.testing.assert_close(alone.relevance, found.relevance[1:, :6], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(alone.logits, found.logits[1:], rtol=1e-3, atol=1e-4)

    earlier = token_relevance(model, encoding, ids[:, 4], position=[3, -3], contrast=None)
    assert earlier.positions is not None
    assert earlier.positions.tolist() == [3, 3]
    assert (earlier.relevance[:, 4:] == 0).all()
    assert (earlier.relevance[:, :4].sum(1) > 0.5).all()
    cut = token_relevance(model, {"input_ids": ids[:, :4]}, ids[:, 4], contrast=None)
    torch.testing.assert_close(earlier.relevance[:, :4], cut.relevance, rtol=1e-3, atol=1e-5)


def test_attention_by_rows(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for long texts: one row of each head's weights at a time."""
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    experts = any("expert" in name for name, _ in model.named_modules())  # in float32 alone
    model = model if experts else copy.deepcopy(model).double()
    mask = torch.ones(2, 9).long()
    mask[1, 6:] = 0
    encoding = {"input_ids": models.ids(), "attention_mask": mask}
    seen: list[int] = []
    sent = blocks.Blocks.sent

    def noted(self: blocks.Blocks, *args: Any) -> Any:
        seen.append(self.rows)
        return sent(self, *args)

    monkeypatch.setattr(blocks.Blocks, "sent", noted)
    found, expected = (
        token_relevance(model, encoding, [3, 4], against=[7, 8], accelerate=accelerate).relevance
        for accelerate in (True, False)
    )
    rtol, atol = (1e-3, 1e-5) if experts else (1e-9, 1e-12)
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)
    assert set(seen) == (set() if "Mamba" in type(model).__name__ else {1})


def test_two_tokens_are_contrasted(model: nn.Module) -> None:
    encoding = {"input_ids": models.ids()}
    one = token_relevance(model, encoding, [3, 5], against=[7, 8])
    other = token_relevance(model, encoding, [7, 8], against=[3, 5])
    torch.testing.assert_close(one.relevance, -other.relevance, rtol=1e-4, atol=1e-6)
    assert one.relevance.abs().max() > 1e-3
    # As a model that returns those two logits only.
    encoding = {"input_ids": models.ids()[:1]}
    two = token_relevance(model, encoding, 0, output=lambda result: result.logits[:, -1, [3, 7]])
    torch.testing.assert_close(one.relevance[:1], two.relevance, rtol=1e-3, atol=1e-5)


def test_in_one_pass_the_other_token_starts_from_minus_one() -> None:
    model, encoding = models.make("Llama").double(), {"input_ids": models.ids()}
    given = [
        token_relevance(model, encoding, 3, rules="epsilon", against=against).relevance
        for against in (None, 7)
    ]
    other = token_relevance(model, encoding, 7, rules="epsilon").relevance
    torch.testing.assert_close(given[1], given[0] - other)
    assert (given[1] - given[0]).abs().max() > 1e-3
    signed = token_relevance(model, encoding, 3, contrast="signed", against=7).relevance
    start = torch.zeros(2, models.VOCABULARY).double()
    start[:, 3], start[:, 7] = 1, -1
    wrapped = Embedded(model, 8)
    inputs = model.get_input_embeddings()(encoding["input_ids"]).detach()  # type: ignore[operator]
    expected = abslrp.relevance(wrapped, inputs, start).sum(2)
    torch.testing.assert_close(signed, expected)


class Embedded(nn.Module):
    """From embeddings to the logits of a position."""

    def __init__(self, model: nn.Module, position: int) -> None:
        super().__init__()
        self.model, self.position = model.eval(), position
        self.eval()

    def forward(self, embeddings: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs_embeds=embeddings).logits
        return logits[:, self.position]


@pytest.mark.parametrize("position", [2, 8])
@pytest.mark.parametrize("name", ["GPT-2", "Llama", "Mamba"])
def test_is_relevance_of_the_embeddings(name: str, position: int) -> None:
    model, ids = models.make(name).double(), models.ids()
    embeddings = model.get_input_embeddings()(ids).detach()  # type: ignore[operator]
    expected = abslrp.explain(Embedded(model, position), embeddings, [3, 4])
    found = token_relevance(model, {"input_ids": ids}, [3, 4], position=position).relevance
    torch.testing.assert_close(found, expected.sum(2).to(found.dtype), rtol=1e-3, atol=1e-6)


def by_lxt(name: str, ids: Tensor, target: int) -> Tensor:
    """What LXT's maps for Llama and Qwen3 patch, patched here by hand on one copy's modules.

    LXT itself does not import beside transformers 5.
    """
    from benchmarks.methods.attnlrp import lxt_rules

    rules: Any = lxt_rules()
    model: Any = models.make(name).double()

    def norm(layer: Any) -> Any:
        def forward(h: Tensor) -> Tensor:
            deviation = (h.square().mean(-1, keepdim=True) + layer.variance_epsilon).sqrt()
            scaled: Tensor = h / deviation.detach() * layer.weight
            return scaled

        return forward

    for key, module in model.named_modules():
        if isinstance(module, type(model.model.norm)):
            module.forward = norm(module)
        if key.endswith("act_fn"):
            plain = module.forward
            module.forward = lambda h, f=plain: rules.identity_rule_implicit(f, h)
        if key.endswith(("q_proj", "k_proj", "v_proj")):
            by = 2 if key.endswith("v_proj") else 4
            module.register_forward_hook(lambda _, given, h, by=by: rules.divide_gradient(h, by))
        if key.endswith("down_proj"):
            module.register_forward_pre_hook(lambda _, given: rules.divide_gradient(given[0], 2))
    embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings).logits[:, -1, target]
    (gradient,) = torch.autograd.grad(logits.sum(), embeddings)
    relevance: Tensor = (gradient * embeddings).sum(-1) / logits[:, None]
    return relevance.detach()


@pytest.mark.parametrize("name", ["Llama", "Qwen3"])
def test_lrp_epsilon_is_lxts_attn_lrp(name: str) -> None:
    """LXT has epsilon -> 0, and starts from the logit."""
    pytest.importorskip("lxt.explicit", reason="lxt (extra 'benchmarks') is not installed")
    ids = models.ids()
    expected = by_lxt(name, ids, 3)
    model = models.make(name).double()
    found = token_relevance(model, {"input_ids": ids}, 3, rules=epsilon.build(1e-12)).relevance
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_experts_are_products_of_their_own_rows() -> None:
    """By eq. 12 to the letter as experts that are called one by one, whose sums are restored."""
    model: Any = models.make("Mixtral")
    options: Any = {"conserve": None, "contrast": None}
    found = token_relevance(model, {"input_ids": models.ids(1)}, 3, **options).relevance
    if not hasattr(model, "set_experts_implementation"):
        pytest.skip("transformers 4 calls experts one by one")
    model.set_experts_implementation("eager")
    eager = token_relevance(model, {"input_ids": models.ids(1)}, 3, **options).relevance
    assert (found - eager).abs().max() < 1e-3 * eager.abs().max()


WORDS = ["<pad>", "<s>", "</s>", "paris", "is", "in", "france", "spain", "madrid", "un", "##der"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    import transformers as hf
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    words = {word: index for index, word in enumerate(WORDS)}
    core = Tokenizer(kinds.WordPiece(words, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    # Without types of tokens, for which GPT-2 has the same table: transformers 4 would give them.
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


class TestTexts:
    def test_tokens_by_name(self, tokenizer: Any) -> None:
        model, texts = models.make("Llama"), ["madrid is in", "is in"]
        found = text.explain(model, tokenizer, texts, ["spain", "france"], against="paris")
        assert [one.label for one in found] == ["spain", "france"]
        assert [one.target for one in found] == [7, 6]
        assert found[1].tokens == ("is", "in")
        (alone,) = text.explain(model, tokenizer, "is in", 6, against=3)
        torch.testing.assert_close(
            torch.tensor(alone.relevance), torch.tensor(found[1].relevance), rtol=1e-3, atol=1e-5
        )

    def test_what_a_token_of_the_text_was_predicted_from(self, tokenizer: Any) -> None:
        model, words = models.make("GPT-2"), ["madrid is in spain"] * 3
        options: Any = {"position": [0, 1, 2], "contrast": None}
        found = text.explain(model, tokenizer, words, ["is", "in", "spain"], **options)
        for length, one in enumerate(found, 1):
            assert (one.relevance[length:] == 0).all()
            assert (one.relevance[:length] != 0).all()
        assert "spain" in text.to_html(found)

    def test_the_prediction_by_default(self, tokenizer: Any) -> None:
        (found,) = text.explain(models.make("Qwen3"), tokenizer, "madrid is in")
        assert found.target == found.logits.argmax()
        assert found.label == tokenizer.decode([found.target])
        encoding = tokenizer(["madrid is in"], return_tensors="pt")
        (encoded,) = text.explain(models.make("Qwen3"), encoding)
        assert encoded.label is None
        assert (encoded.relevance == found.relevance).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"targets": "under"}, "targets: expected a label or a text of one token in 'under'"),
            ({"targets": ""}, "targets: expected a label or a text of one token in ''$"),
            ({"against": 40}, "against: expected classes from 0 to 39, got 40"),
            ({"against": [[1]]}, "against: expected one integer for each sample"),
            ({"position": 2}, "position: expected a token of a text of 2, got 2"),
            ({"position": -3}, "position: expected a token of a text of 2, got -3"),
            ({"position": 0.5}, "position: expected integers"),
        ],
    )
    def test_what_is_refused(self, tokenizer: Any, options: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            text.explain(models.make("Llama"), tokenizer, "is in", **options)

    def test_a_classifier_has_labels_and_no_positions(self, tokenizer: Any) -> None:
        import transformers as hf

        names = {"bad": 0, "good": 1}
        config = hf.LlamaConfig(
            **models.SIZES, label2id=names, id2label={i: name for name, i in names.items()}
        )
        model = hf.LlamaForSequenceClassification(config).eval()
        (found,) = text.explain(model, tokenizer, "is in", "good")
        assert (found.target, found.label) == (1, "good")
        with pytest.raises(ValueError, match="position: expected None for a model with one row"):
            text.explain(model, tokenizer, "is in", position=1)


def test_a_token_classifier_has_classes_of_each_token() -> None:
    import transformers as hf

    config = hf.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=3
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = hf.BertForTokenClassification(config).eval()
    for weight in model.parameters():
        weight.data.mul_(5 if weight.ndim > 1 else 1)
    (found,) = text.explain(model, {"input_ids": [[3, 4, 5]]}, targets=2, position=1)
    assert found.label == "LABEL_2"
    assert (found.relevance != 0).all()
    assert F.softmax(torch.tensor(found.logits), 0).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["Llama", "Phi-3", "Mamba"])
def test_samples_are_followed_in_one_pass(name: str) -> None:
    """Also where a slice is empty, as what Phi-3's rotary embedding leaves alone."""
    model, calls = models.make(name), []
    model.register_forward_hook(lambda *_: calls.append(1))
    token_relevance(model, {"input_ids": models.ids(3)}, 3)
    assert calls == [1]


def test_many_slices_of_a_value_keep_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mamba takes its states step by step: memory grows with the length, not with its square."""
    from abslrp.plan.propagation import Propagation

    waiting, plain = [], Propagation._call

    def counted(self: Propagation, call: Any) -> None:
        plain(self, call)
        waiting.append(max(map(len, self.arrivals._arrived.values()), default=0))

    monkeypatch.setattr(Propagation, "_call", counted)
    token_relevance(models.make("Mamba"), {"input_ids": models.ids(1, 20)}, 3)
    assert max(waiting) == 1
