"""Unchanged Hugging Face classes with random weights: attention kinds, masks, batches."""

import pytest
import torch

import abslrp
from abslrp import text

transformers = pytest.importorskip("transformers", reason="needs the extra 'text'")

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "num_labels": 3,
}
DISTIL = {
    "vocab_size": 50,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 32,
    "max_position_embeddings": 40,
    "num_labels": 3,
}
GPT2 = {
    "vocab_size": 50,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "num_labels": 3,
}
GROUPED = SIZES | {"num_key_value_heads": 1}
MODELS = {
    "Bert": SIZES,
    "DistilBert": DISTIL,
    "Roberta": SIZES,
    "Electra": SIZES | {"embedding_size": 32},
    "Albert": SIZES | {"embedding_size": 16},
    "GPT2": GPT2,
    "Llama": GROUPED,
}
LENGTHS = [9, 6, 1, 4]


def build(name, attention, seed=0):
    config = getattr(transformers, f"{name}Config")(**MODELS[name])
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
        except ValueError as error:
            # Before transformers 5 some, such as Electra, are written for eager attention only.
            if "does not support an attention implementation" not in str(error):
                raise
            pytest.skip(f"this transformers has no {attention} for {name}")
        for weight in model.parameters():
            if weight.ndim > 1:  # fresh Hugging Face weights are so small that logits are biases
                weight.data.mul_(4)
    assert model.config._attn_implementation == attention
    return model


def batch(left=False):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (len(LENGTHS), max(LENGTHS)), generator=generator)
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    mask = mask.flip(1) if left else mask
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
class TestSequenceClassifiers:
    def test_finite_nonzero_and_zero_at_padding(self, name, attention):
        encoding = batch()
        model = build(name, attention)
        kept = encoding["attention_mask"] == 1
        for contrast in ("streams", None):
            found = text.token_relevance(model, encoding, contrast=contrast)
            assert torch.isfinite(found.relevance).all()
            assert (found.relevance[~kept] == 0).all()
        # Not all: eq. 12 sends nothing to a token none of whose entries adds to a positive sum.
        assert (found.relevance[kept] > 0).float().mean() > 0.9

    def test_masks_alone_keep_relevance_from_padding(self, name, attention):
        # One stream, conserved: were relevance cut off at padding, these sums would fall short.
        encoding = batch()
        model = build(name, attention)
        found = text.token_relevance(model, encoding, contrast=None, conserve="operation")
        sums = found.relevance.sum(1)
        single = []
        for row, length in enumerate(LENGTHS):
            alone = {key: value[row : row + 1, :length] for key, value in encoding.items()}
            one = text.token_relevance(
                model, alone, found.targets[row : row + 1], contrast=None, conserve="operation"
            )
            single.append(one.relevance.sum())
        torch.testing.assert_close(sums, torch.stack(single), rtol=1e-4, atol=1e-5)

    def test_a_batch_with_padding_equals_single_texts(self, name, attention):
        encoding = batch()
        model = build(name, attention)
        found = text.token_relevance(model, encoding)
        for row, length in enumerate(LENGTHS):
            alone = {key: value[row : row + 1, :length] for key, value in encoding.items()}
            one = text.token_relevance(model, alone)
            assert one.targets[0] == found.targets[row]
            torch.testing.assert_close(
                one.relevance[0], found.relevance[row, :length], rtol=1e-4, atol=1e-5
            )

    def test_logits_and_default_targets_are_the_models(self, name, attention):
        model, encoding = build(name, attention), batch()
        found = text.token_relevance(model, encoding)
        with torch.no_grad():
            logits = model(**encoding).logits
        torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
        assert (found.targets == logits.argmax(1)).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("contrast", ["streams", "signed", None])
def test_eager_equals_sdpa(name, contrast):
    eager, sdpa = (
        text.token_relevance(build(name, attention), batch(), 1, contrast=contrast).relevance
        for attention in ("eager", "sdpa")
    )
    torch.testing.assert_close(eager, sdpa, rtol=1e-4, atol=1e-4 * eager.abs().max().item())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_left_padding_equals_single_texts(attention):
    # The positions are given: eq. 12 through a rotation depends on where it starts.
    model, encoding = build("Llama", attention), batch(left=True)
    encoding["position_ids"] = (encoding["attention_mask"].cumsum(1) - 1).clamp(min=0)
    found = text.token_relevance(model, encoding)
    for row, length in enumerate(LENGTHS):
        alone = {key: value[row : row + 1, -length:] for key, value in encoding.items()}
        one = text.token_relevance(model, alone)
        torch.testing.assert_close(
            one.relevance[0], found.relevance[row, -length:], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", ["Bert", "DistilBert", "Roberta"])
def test_equals_explaining_inputs_embeds(name):
    model = build(name, "sdpa")
    ids = batch()["input_ids"][:1]

    class Embedded(torch.nn.Module):
        def forward(self, embeddings):
            return model(inputs_embeds=embeddings).logits

    embeddings = model.get_input_embeddings()(ids).detach()
    whole = abslrp.explain(Embedded().eval(), embeddings, 2)
    found = text.token_relevance(model, {"input_ids": ids}, 2)
    torch.testing.assert_close(found.relevance, whole.sum(-1), rtol=1e-4, atol=1e-6)


def test_nothing_is_left_on_the_model():
    model = build("Bert", "sdpa")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    text.token_relevance(model, batch())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_encoder_decoders_are_refused():
    config = transformers.BartConfig(
        vocab_size=50,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        eos_token_id=2,
    )
    model = transformers.BartForSequenceClassification(config).eval()
    with pytest.raises(ValueError, match="look up the tokens' embeddings once"):
        text.token_relevance(model, {"input_ids": torch.tensor([[5, 6, 2]])})


def vit(attention):
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=4,
        num_labels=3,
    )
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(config).eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.mul_(4)
    return model


def test_vit_eager_equals_sdpa_and_batch_equals_single():
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    models = [vit(kind) for kind in ("eager", "sdpa")]
    # Before transformers 4.50 the classes of the two draw different weights from one seed.
    models[1].load_state_dict(models[0].state_dict())
    eager, sdpa = (abslrp.explain(model, images, [0, 1, 2]) for model in models)
    assert torch.isfinite(eager).all()
    assert (eager.abs().amax((1, 2, 3)) > 0).all()
    largest = eager.abs().max().item()
    torch.testing.assert_close(eager, sdpa, rtol=1e-4, atol=1e-4 * largest)
    for row in range(3):
        one = abslrp.explain(models[1], images[row : row + 1], row)
        torch.testing.assert_close(one[0], sdpa[row], rtol=1e-4, atol=1e-4 * largest)
