"""Texts as token embeddings: the same logits and relevance, and what GAE makes of them."""

import numpy as np
import pytest
import torch
from torch import nn

import abslrp
from abslrp import text
from gae_metric import GAE, LocalConsistency
from gae_metric.explainers import input_x_gradient, random_map, saliency

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]
GOOD, BAD = "abc", "def"


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]"
    )


def bert(positions=64):
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=positions,
        num_labels=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = transformers.BertForSequenceClassification(config).double().eval()
        for weight in made.parameters():
            nn.init.normal_(weight, std=0.5)
    return made


class Counting(nn.Module):
    """Positive are texts of more good words than bad ones; padding and others add nothing."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(len(WORDS), 6, padding_idx=0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            nn.init.normal_(self.table.weight, std=0.1)
        with torch.no_grad():
            self.table.weight[:4, :2] = 0
            self.table.weight[4:, :2] = 0.2
            self.table.weight[[WORDS.index(w) for w in GOOD], 0] = 2
            self.table.weight[[WORDS.index(w) for w in BAD], 1] = 2
        self.eval()

    def get_input_embeddings(self):
        return self.table

    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
        x = self.table(input_ids) if inputs_embeds is None else inputs_embeds
        seen = torch.relu(x[..., :2]) * attention_mask[..., None]
        return seen.sum(1)


TEXTS = ["a b g", "d e g h i", "c a a g h j i", "f d", "b h j", "g e f i h"]
LABELS = [0, 1, 0, 1, 0, 1]


def test_logits_are_those_of_the_texts(tokenizer):
    model = bert()
    found = text.embed(model, tokenizer, TEXTS)
    assert found.x.shape == (6, 8, 9)
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoding).logits
        torch.testing.assert_close(found.model(found.x).logits, logits)
        # Padding between tokens, or before them, is not attended.
        alone = text.embed(model, tokenizer, TEXTS[:1])
        torch.testing.assert_close(found.model(alone.x).logits, logits[:1])
    assert (found.x[0, :, 5:] == found.padding).all()


def test_a_text_of_padding_alone_has_logits(tokenizer):
    found = text.embed(bert(), tokenizer, TEXTS)
    empty = found.padding.expand_as(found.x)
    assert found.model(empty).logits.isfinite().all()


def test_relevance_is_that_of_the_tokens(tokenizer):
    model = bert()
    found = text.embed(model, tokenizer, TEXTS)
    relevance = abslrp.explain(found.model, found.x, LABELS).sum(1)
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    expected = text.token_relevance(model, encoding, LABELS).relevance
    torch.testing.assert_close(relevance, expected)


def test_a_model_that_needs_the_ids_is_refused(tokenizer):
    class Ids(Counting):
        def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None):
            more = 0 if input_ids is None else (input_ids == WORDS.index("[SEP]")).sum(1)[:, None]
            return super().forward(input_ids, attention_mask, inputs_embeds) + more

    with pytest.raises(ValueError, match="model: its logits for token embeddings are not those"):
        text.embed(Ids(), tokenizer, TEXTS)


def test_what_cannot_be_embedded_is_refused(tokenizer):
    with pytest.raises(ValueError, match="texts: expected a list of texts, got 'a b'"):
        text.embed(Counting(), tokenizer, "a b")
    without = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    without.pad_token = None
    with pytest.raises(ValueError, match="tokenizer: expected one with a padding token"):
        text.embed(Counting(), without, TEXTS)


def scores(metric, texts, labels, explain, tokenizer):
    found = text.embed(Counting(), tokenizer, texts)
    metric = metric(features="positions", mask_value=found.padding, disable_warnings=True)
    metric(found.model, found.x, labels, explain_func=explain)
    return metric.components


def sentences(**options):
    return GAE(interpolation="none", **options)


def test_gae_of_texts_ranks_methods(tokenizer):
    """The words decide, and words of the other class speak for nothing: the ends are known."""
    found = {
        explain.__name__: scores(sentences, TEXTS, LABELS, explain, tokenizer)
        for explain in (abslrp.explain, input_x_gradient, saliency, random_map)
    }
    gae = {name: table.gae.mean() for name, table in found.items()}
    assert gae["explain"] > 0.4
    assert gae["explain"] > gae["saliency"] + 0.2 > gae["random_map"] + 0.2
    assert gae["random_map"] < 0.02
    # The model is a sum over words.
    assert gae["explain"] == pytest.approx(gae["input_x_gradient"], abs=1e-3)


def test_the_score_of_a_text_does_not_depend_on_the_length_of_others(tokenizer):
    def short(**options):
        return LocalConsistency(**options)

    alone = scores(short, TEXTS[:1], LABELS[:1], input_x_gradient, tokenizer)
    among = scores(short, TEXTS, LABELS, input_x_gradient, tokenizer)
    np.testing.assert_allclose(among[:1], alone, atol=1e-5)
    assert abs(among.lc_robustness[0]) > 0.01


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_scores_do_not_depend_on_chunks_of_texts_and_mosaics(tokenizer, batch_size):
    expected = scores(sentences, TEXTS, LABELS, input_x_gradient, tokenizer)

    def small(**options):
        return GAE(interpolation="none", explain_batch_size=batch_size, **options)

    found = scores(small, TEXTS, LABELS, input_x_gradient, tokenizer)
    np.testing.assert_allclose(found, expected, atol=1e-5)
