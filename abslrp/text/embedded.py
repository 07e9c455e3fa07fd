"""Texts as tensors of token embeddings, and a classifier that takes these as others take images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from abslrp.arguments import check_model
from abslrp.outputs import select_logits
from abslrp.text.encoding import inputs_of, kept_in, table_of


class OfEmbeddings(nn.Module):
    """A text classifier, as a model of token embeddings (B, E, T).

    Tokens that are the padding embedding are not attended: whatever masks a token by it takes the
    token out.

    Parameters
    ----------
    model
        Takes ``inputs_embeds`` (B, T, E) and ``attention_mask`` (B, T).
    padding
        (E, 1) embedding of the padding token.
    """

    padding: Tensor

    def __init__(self, model: nn.Module, padding: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("padding", padding, persistent=False)
        self.training = model.training

    def forward(self, x: Tensor) -> Any:
        """Return what the model does for embeddings (B, E, T)."""
        kept = (x != self.padding).any(1)
        # Something must be attended: of an empty text, one padding token.
        kept = torch.cat([kept[:, :1] | ~kept.any(1, keepdim=True), kept[:, 1:]], 1)
        return self.model(inputs_embeds=x.transpose(1, 2), attention_mask=kept.long())


class Embedded(NamedTuple):
    """Texts as token embeddings."""

    model: OfEmbeddings
    """Maps ``x`` to what the classifier returns for the texts."""
    x: Tensor
    """(N, E, T): E entries of T tokens, those of short texts filled up with padding."""
    padding: Tensor
    """(E, 1): the embedding of the padding token, which stands for a token that is masked."""


def embed(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    embedding: nn.Module | None = None,
    max_length: int | None = None,
) -> Embedded:
    """Embed texts, for methods and metrics of tensors: tokens are positions, entries channels.

    Parameters
    ----------
    model
        Hugging Face sequence classifier in evaluation mode, :class:`EncoderClassifier`, or any
        module that takes ``input_ids`` (B, T) or ``inputs_embeds`` (B, T, E), and
        ``attention_mask``.
    tokenizer
        The model's, with a padding token.
    texts
        N of them.
    embedding
        Module that looks tokens up; by default ``model.get_input_embeddings()``.
    max_length
        Tokens at which texts are cut; by default the tokenizer's limit. Of mosaics of four texts a
        model must take four times as many.

    Returns
    -------
    Embedded
        On the model's device, in its floating-point type.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model's logits for embeddings are not those for
        token ids, as of models that need the ids for more than their embeddings.

    Notes
    -----
    Cost: two forward passes, of the longest text.

    Examples
    --------
    >>> from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
    >>> from abslrp import text
    >>> tokenizer = AutoTokenizer.from_pretrained(text.packaged_minilm())
    >>> config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertForSequenceClassification(config).eval()
    >>> embed(model, tokenizer, ["a gripping film", "dull"]).x.shape
    torch.Size([2, 8, 5])
    """
    check_model(model)
    table = table_of(model, embedding).detach()
    if isinstance(texts, str) or not len(texts):
        raise ValueError(f"texts: expected a list of texts, got {texts!r}")
    if getattr(tokenizer, "pad_token_id", None) is None:
        raise ValueError("tokenizer: expected one with a padding token; set tokenizer.pad_token")
    encoding = tokenizer(
        list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt"
    )
    ids = encoding["input_ids"].to(table.device)
    kept = kept_in(ids, encoding["attention_mask"])
    padding = table[tokenizer.pad_token_id][:, None].clone()
    x = torch.where(kept[:, None], table[ids].transpose(1, 2), padding)
    found = Embedded(OfEmbeddings(model, padding), x, padding)
    longest = int(kept.sum(1).argmax())
    inputs = inputs_of(model, {k: v[longest : longest + 1] for k, v in encoding.items()}, x.device)
    with torch.no_grad():
        of_ids = select_logits(model(**{str(k): v for k, v in inputs.items()}), None, 1)
        of_embeddings = select_logits(found.model(x[longest : longest + 1]), None, 1)
    rounding = 3 * torch.finfo(of_ids.dtype).eps ** 0.5 * float(of_ids.abs().max())
    if not torch.allclose(of_ids, of_embeddings, rtol=0, atol=rounding):
        raise ValueError(
            "model: its logits for token embeddings are not those for the token ids, which it "
            "needs for more than their embeddings; abslrp.text.explain calls it with ids"
        )
    return found
