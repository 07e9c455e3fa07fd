"""Tokens, words, batches and errors of abslrp.text."""

import builtins

import numpy as np
import pytest
import torch
from torch import nn

from abslrp import text

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "grip", "##ping", "film", "dull", "don", "'", "t"]


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=16,
    )


@pytest.fixture(scope="module")
def model():
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=2,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = transformers.BertForSequenceClassification(config).eval()
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.data.mul_(10)
    return made


TEXTS = ["A Gripping film", "dull", "Don't film a film, a dull dull film"]


class TestExplain:
    def test_labels_in_another_case_are_no_tokens(self, model, tokenizer):
        message = r"targets: expected one of the labels \['negative', 'positive'\], got 'Positive'"
        with pytest.raises(ValueError, match=message):
            text.explain(model, tokenizer, TEXTS, "Positive")

    def test_tokens_specials_and_labels(self, model, tokenizer):
        one = text.explain(model, tokenizer, TEXTS)[0]
        assert one.tokens == ("[CLS]", "a", "grip", "##ping", "film", "[SEP]")
        assert one.special.tolist() == [True, False, False, False, False, True]
        assert one.words == (None, 0, 1, 1, 2, None)
        assert one.label == ("negative", "positive")[one.target]
        assert one.target == one.logits.argmax()
        assert one.probabilities.sum() == pytest.approx(1, abs=1e-6)
        assert np.isfinite(one.relevance).all()
        assert (one.relevance != 0).all()

    def test_words_are_sums_spelled_as_written(self, model, tokenizer):
        tokens = text.explain(model, tokenizer, TEXTS[0])[0]
        words = text.explain(model, tokenizer, TEXTS[0], words=True)[0]
        assert words.tokens == ("[CLS]", "A", "Gripping", "film", "[SEP]")
        assert words.special.tolist() == [True, False, False, False, True]
        expected = [*tokens.relevance[:2], tokens.relevance[2:4].sum(), *tokens.relevance[4:]]
        np.testing.assert_allclose(words.relevance, expected, rtol=1e-6)
        assert words.grouped().tokens == words.tokens

    @pytest.mark.parametrize("batch_size", [None, 1, 2])
    def test_batches_equal_single_texts(self, model, tokenizer, batch_size):
        together = text.explain(model, tokenizer, TEXTS, batch_size=batch_size)
        for alone, one in zip(TEXTS, together, strict=True):
            (single,) = text.explain(model, tokenizer, alone)
            assert single.tokens == one.tokens
            assert single.target == one.target
            np.testing.assert_allclose(single.relevance, one.relevance, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(single.logits, one.logits, rtol=1e-4, atol=1e-6)

    def test_padding_is_on_the_right_whatever_the_tokenizer_does(self, model, tokenizer):
        expected = text.explain(model, tokenizer, TEXTS)
        tokenizer.padding_side = "left"
        try:
            found = text.explain(model, tokenizer, TEXTS)
        finally:
            tokenizer.padding_side = "right"
        for a, b in zip(found, expected, strict=True):
            assert a.tokens == b.tokens
            assert (a.relevance == b.relevance).all()

    def test_streams_of_two_classes_are_opposite(self, model, tokenizer):
        negative = text.explain(model, tokenizer, TEXTS, 0)
        positive = text.explain(model, tokenizer, TEXTS, [1, 1, 1])
        for a, b in zip(negative, positive, strict=True):
            np.testing.assert_allclose(a.relevance, -b.relevance, atol=1e-6)
            assert abs(a.relevance.sum()) < 1e-5
            assert (a.label, b.label) == ("negative", "positive")

    def test_an_encoding_gives_what_its_texts_give(self, model, tokenizer):
        encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
        for batch_size in (None, 2):
            found = text.explain(model, encoding, batch_size=batch_size)
            for a, b in zip(found, text.explain(model, tokenizer, TEXTS), strict=True):
                assert a.tokens == b.tokens
                assert a.special.tolist() == b.special.tolist()
                np.testing.assert_allclose(a.relevance, b.relevance, rtol=1e-4, atol=1e-6)
        assert found[0].grouped().tokens == ("[CLS]", "a", "gripping", "film", "[SEP]")

    def test_a_plain_mapping(self, model):
        found = text.explain(model, {"input_ids": [[2, 4, 3], [2, 7, 0]]})
        assert found[0].tokens == ("2", "4", "3")
        with pytest.raises(ValueError, match="which word a token belongs to"):
            found[0].grouped()

    def test_pairs(self, model, tokenizer):
        (one,) = text.explain(model, tokenizer, [("A film", "Dull film")], words=True)
        assert one.tokens == ("[CLS]", "A", "film", "[SEP]", "Dull", "film", "[SEP]")

    def test_names_of_classes(self, model, tokenizer):
        (one,) = text.explain(model, tokenizer, "dull", 1, labels=["bad", "good"])
        assert one.label == "good"
        with pytest.raises(ValueError, match="labels"):
            text.explain(model, tokenizer, "dull", 1, labels=["bad"])

    def test_long_texts_are_cut_with_a_warning(self, model, tokenizer):
        with pytest.warns(UserWarning, match=r"cut to max_length=16 tokens: texts \[1\]"):
            found = text.explain(model, tokenizer, ["a", "film " * 30, "dull"], batch_size=1)
        assert len(found[1].tokens) == 16

    def test_the_generator_is_left_alone(self, model, tokenizer):
        before = torch.random.get_rng_state()
        text.explain(model, tokenizer, TEXTS)
        assert torch.equal(before, torch.random.get_rng_state())


class Pooling(nn.Module):
    """Logits that are the mean over all tokens' embeddings, padding included."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(torch.rand(len(WORDS), 2) + 0.1)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids):
        return self.embedding(input_ids).mean(1)


def test_padding_has_no_relevance_even_where_the_model_pools_it(tokenizer):
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    kept = encoding["attention_mask"] == 1
    with pytest.warns(RuntimeWarning, match=r"relevance: about \d+ % of a text's is at padding"):
        found = text.token_relevance(Pooling().eval(), encoding, 0)
    assert (found.relevance[~kept] == 0).all()
    positive = found.relevance.clamp(min=0).sum(1)
    torch.testing.assert_close(positive, -found.relevance.clamp(max=0).sum(1), rtol=1e-4, atol=1e-6)


class TestErrors:
    @pytest.mark.parametrize("texts", [None, [], [3], ("a", "b"), [("a", "b", "c")], ["a", None]])
    def test_texts(self, model, tokenizer, texts):
        with pytest.raises(ValueError, match="texts: "):
            text.explain(model, tokenizer, texts)

    def test_texts_beside_an_encoding(self, model, tokenizer):
        with pytest.raises(ValueError, match="texts: expected None"):
            text.explain(model, tokenizer("a", return_tensors="pt"), "a")

    def test_texts_and_pairs(self, model, tokenizer):
        with pytest.raises(ValueError, match="got both"):
            text.explain(model, tokenizer, ["a", ("a", "film")])

    def test_targets(self, model, tokenizer):
        with pytest.raises(ValueError, match="targets: expected classes from 0 to 1, got 2"):
            text.explain(model, tokenizer, TEXTS, [0, 1, 2])
        with pytest.raises(ValueError, match=r"targets: expected shape \(3,\)"):
            text.explain(model, tokenizer, TEXTS, [0, 1])

    def test_tokenizer(self, model):
        with pytest.raises(ValueError, match="tokenizer_or_encoding"):
            text.explain(model, 3, TEXTS)

    def test_batch_size(self, model, tokenizer):
        with pytest.raises(ValueError, match="batch_size"):
            text.explain(model, tokenizer, TEXTS, batch_size=0)

    def test_training_mode(self, model, tokenizer):
        model.train()
        try:
            with pytest.raises(ValueError, match="training mode"):
                text.explain(model, tokenizer, TEXTS)
        finally:
            model.eval()

    def test_ragged_encoding(self, model, tokenizer):
        with pytest.raises(ValueError, match=r"input_ids is no tensor.*padding=True"):
            text.token_relevance(model, tokenizer(TEXTS))

    def test_mask_of_another_shape(self, model):
        encoding = {"input_ids": torch.ones(1, 3).long(), "attention_mask": torch.ones(1, 1, 3, 3)}
        with pytest.raises(ValueError, match="attention_mask of the ids' shape"):
            text.token_relevance(model, encoding)

    def test_a_model_without_input_embeddings(self, tokenizer):
        with pytest.raises(ValueError, match="embedding: expected the module"):
            text.explain(nn.Linear(2, 2).eval(), tokenizer, "a")

    def test_another_table(self, model, tokenizer):
        with pytest.raises(ValueError, match="look up the tokens' embeddings once"):
            text.explain(model, tokenizer, "a", embedding=nn.Embedding(3, 3))

    def test_a_function_without_a_rule(self, tokenizer):
        class Odd(Pooling):
            def forward(self, input_ids):
                return torch.lgamma(super().forward(input_ids))

        import abslrp

        with pytest.raises(abslrp.UnknownOperationError, match="lgamma"):
            text.explain(Odd().eval(), tokenizer, "a")

    def test_result_shapes(self):
        with pytest.raises(ValueError, match="relevance: expected shape"):
            text.TextRelevance(("a",), np.zeros(2), np.zeros(1, bool), 0, np.zeros(2))

    @pytest.mark.parametrize(
        ("weight", "bias", "pooling", "match"),
        [
            (torch.ones(8), None, "mean", "weight"),
            (torch.ones(2, 9), None, "mean", "weight"),
            (torch.ones(2, 8), torch.ones(3), "mean", "bias"),
            (torch.ones(2, 8), None, "max", "pooling"),
        ],
    )
    def test_heads(self, model, weight, bias, pooling, match):
        with pytest.raises(ValueError, match=match):
            text.EncoderClassifier(model.bert, weight, bias, pooling=pooling)

    def test_transformers_absent(self, monkeypatch, tmp_path):
        original = builtins.__import__

        def without(name, *args, **kwargs):
            if name == "transformers":
                raise ImportError(name)
            return original(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ImportError, match=r"pip install 'gae-metric\[text\]'"):
            text.load_classifier(tmp_path, tmp_path / "head.safetensors")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_encoder_with_a_head(model, tokenizer, pooling):
    weight = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    classifier = text.EncoderClassifier(model.bert, weight, torch.ones(2), pooling=pooling).eval()
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model.bert(**encoding).last_hidden_state
        for row, length in enumerate(encoding["attention_mask"].sum(1)):
            pooled = hidden[row, :length].mean(0) if pooling == "mean" else hidden[row, 0]
            logits = classifier(**encoding)[row]
            torch.testing.assert_close(logits, weight @ pooled + 1, rtol=1e-4, atol=1e-5)
    together = text.explain(classifier, tokenizer, TEXTS)
    for one, alone in zip(together, TEXTS, strict=True):
        single = text.explain(classifier, tokenizer, alone)[0]
        np.testing.assert_allclose(single.relevance, one.relevance, rtol=1e-4, atol=1e-6)
