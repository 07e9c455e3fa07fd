"""Explanations of texts: from a model, a tokenizer and sentences to the relevance of tokens."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from abslrp.contrast import OWN, Start
from abslrp.outputs import Output
from abslrp.plan.arrivals import Conserve
from abslrp.registry import RuleSet
from abslrp.text.propagate import TokenRelevance, one_each, token_relevance
from abslrp.text.result import TextRelevance
from abslrp.text.tokens import read_tokens

Text = str | tuple[str, str]


def explain(
    model: nn.Module,
    tokenizer_or_encoding: Any,
    texts: Text | Sequence[Text] | None = None,
    targets: Any = None,
    *,
    words: bool = False,
    batch_size: int | None = None,
    max_length: int | None = None,
    conserve: Conserve = "operation",
    contrast: Start | Literal["own"] = OWN,
    rules: str | RuleSet = "absLRP",
    on_unknown: Literal["error", "warn"] = "error",
    output: Output = None,
    embedding: nn.Module | None = None,
    labels: Sequence[str] | None = None,
) -> list[TextRelevance]:
    """Relevance of the tokens of texts for a classifier's decision.

    Parameters
    ----------
    model
        Hugging Face sequence classifier in evaluation mode, :class:`EncoderClassifier`, or any
        module that maps ``input_ids`` (B, T) to logits (B, N).
    tokenizer_or_encoding
        The model's tokenizer; or, without ``texts``, what a tokenizer returned.
    texts
        One text, or several; a text may be a pair ``(first, second)``.
    targets
        Class of each text, (B,) integers or one integer for all; by default the model's
        prediction.
    words
        Sum the tokens of each word of the tokenizer's (punctuation marks are words).
    batch_size
        Texts in one pass, padded on the right; by default all of them. It bounds memory and does
        not change results.
    max_length
        Tokens at which a text is cut, with a warning; by default the tokenizer's limit.
    conserve, contrast, rules, on_unknown, output
        As in :func:`abslrp.explain`.
    embedding
        Module that looks the tokens up; by default ``model.get_input_embeddings()``.
    labels
        Names of the classes; by default those of ``model.config.id2label``.

    Returns
    -------
    list of TextRelevance
        One per text, in their order. With ``contrast="streams"`` the relevance of a text is the
        difference of two shares: positive for the target, negative for the other classes.

    Raises
    ------
    ValueError
        If an argument is not as described, or the model is in training mode.
    UnknownOperationError
        If the model uses a torch function that has no rule.

    Notes
    -----
    Relevance is that of the word embedding, summed over its entries; position and type
    embeddings are constants (SPEC 1.2). Cost: one forward pass and one backward pass per start,
    two for ``"streams"``.

    Examples
    --------
    >>> from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification
    >>> from abslrp import text
    >>> tokenizer = AutoTokenizer.from_pretrained(text.packaged_minilm())
    >>> config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    >>> model = BertForSequenceClassification(config).eval()
    >>> one, two = text.explain(model, tokenizer, ["a gripping film", "dull"], words=True)
    >>> one.tokens, one.relevance.shape
    (('[CLS]', 'a', 'gripping', 'film', '[SEP]'), (5,))
    """
    options: dict[str, Any] = {
        "conserve": conserve,
        "contrast": contrast,
        "rules": rules,
        "on_unknown": on_unknown,
        "output": output,
        "embedding": embedding,
    }
    if hasattr(tokenizer_or_encoding, "items"):
        if texts is not None:
            raise ValueError("texts: expected None with an encoding, which holds the texts' tokens")
        found = _explain_encoding(
            model, tokenizer_or_encoding, targets, batch_size=batch_size, options=options
        )
    elif not callable(tokenizer_or_encoding):
        raise ValueError(
            "tokenizer_or_encoding: expected a tokenizer or what one returned, got "
            f"{type(tokenizer_or_encoding).__name__}"
        )
    else:
        found = _explain_texts(
            model,
            tokenizer_or_encoding,
            _as_texts(texts),
            targets,
            batch_size=batch_size,
            max_length=max_length,
            options=options,
        )
    found = [replace(one, label=_label(model, labels, one.target)) for one in found]
    return [one.grouped() for one in found] if words else found


def _explain_texts(
    model: nn.Module,
    tokenizer: Any,
    texts: list[Text],
    targets: Any,
    *,
    batch_size: int | None,
    max_length: int | None,
    options: dict[str, Any],
) -> list[TextRelevance]:
    chosen = None if targets is None else one_each(targets, len(texts))
    cut = _limit(model, tokenizer, max_length)
    found: list[TextRelevance] = []
    shortened: list[int] = []
    for rows in _chunks(len(texts), batch_size):
        chunk = texts[rows]
        pairs = [text for text in chunk if isinstance(text, tuple)]
        if pairs and len(pairs) < len(chunk):
            raise ValueError("texts: expected texts or pairs of texts, got both")
        arguments: list[Any] = list(map(list, zip(*pairs, strict=True))) if pairs else [chunk]
        # A lone text needs no padding, nor a tokenizer that has a padding token. On the left,
        # padding would move the positions, and with them the relevance.
        padding = {"padding": True, "padding_side": "right"} if len(chunk) > 1 else {}
        encoding = tokenizer(
            *arguments,
            **padding,
            truncation=cut is not None,
            max_length=cut,
            return_tensors="pt",
        )
        fast = getattr(encoding, "encodings", None) or []
        shortened += [rows.start + i for i, one in enumerate(fast) if one.overflowing]
        given = None if chosen is None else chosen[rows]
        result = token_relevance(model, encoding, given, **options)
        found += _results(encoding, result, tokenizer, chunk)
    if shortened:
        warnings.warn(f"texts: cut to max_length={cut} tokens: texts {shortened}", stacklevel=3)
    return found


def _explain_encoding(
    model: nn.Module,
    encoding: Any,
    targets: Any,
    *,
    batch_size: int | None,
    options: dict[str, Any],
) -> list[TextRelevance]:
    if "input_ids" not in encoding:
        raise ValueError(f"encoding: expected input_ids, got {sorted(encoding)}")
    samples = len(encoding["input_ids"])
    chosen = None if targets is None else one_each(targets, samples)
    parts = []
    for rows in _chunks(samples, batch_size):
        part = {
            key: value[rows] if hasattr(value, "__len__") and len(value) == samples else value
            for key, value in encoding.items()
        }
        given = None if chosen is None else chosen[rows]
        parts.append(token_relevance(model, part, given, **options))
    whole = TokenRelevance(*(torch.cat(values) for values in zip(*parts, strict=True)))
    return _results(encoding, whole, None, None)


def _results(
    encoding: Any,
    found: TokenRelevance,
    tokenizer: Any,
    texts: Sequence[Text] | None,
) -> list[TextRelevance]:
    ids = torch.as_tensor(encoding["input_ids"])
    mask = encoding.get("attention_mask")
    kept = torch.ones_like(ids) if mask is None else torch.as_tensor(mask)
    relevance, logits = found.relevance.cpu().numpy(), found.logits.float().cpu().numpy()
    results = []
    for row, target in enumerate(found.targets.tolist()):
        text = None if texts is None else texts[row]
        written = (text,) if isinstance(text, str) else text
        read = read_tokens(
            encoding, row, ids[row].tolist(), (kept[row] != 0).tolist(), tokenizer, written
        )
        results.append(
            TextRelevance(
                tokens=read.tokens,
                relevance=relevance[row, read.places],
                special=np.array(read.special, dtype=bool),
                target=target,
                logits=logits[row],
                words=read.words,
                spelled=read.spelled,
                pieces=read.pieces,
            )
        )
    return results


def _label(model: nn.Module, labels: Sequence[str] | None, target: int) -> str | None:
    if labels is None:
        names = getattr(getattr(model, "config", None), "id2label", None) or {}
        name: str | None = names.get(target)
        return name
    if target >= len(labels):
        raise ValueError(f"labels: expected a name for class {target}, got {len(labels)} names")
    return labels[target]


def _as_texts(texts: Text | Sequence[Text] | None) -> list[Text]:
    if isinstance(texts, str):
        return [texts]
    if isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts):
        raise ValueError(
            "texts: a tuple of two strings could be two texts or one pair; use [a, b] or [(a, b)]"
        )
    if texts is None or not hasattr(texts, "__len__") or len(texts) == 0:
        raise ValueError(f"texts: expected a text or a non-empty sequence of texts, got {texts!r}")
    listed = [tuple(text) if isinstance(text, list) else text for text in texts]
    for i, text in enumerate(listed):
        pair = isinstance(text, tuple) and len(text) == 2 and all(isinstance(t, str) for t in text)
        if not (isinstance(text, str) or pair):
            raise ValueError(
                f"texts: expected a string or a pair of strings at position {i}, got {text!r}"
            )
    return listed


def _chunks(samples: int, batch_size: int | None) -> list[slice]:
    step = samples if batch_size is None else int(batch_size)
    if step < 1:
        raise ValueError(f"batch_size: expected a positive integer or None, got {batch_size!r}")
    return [slice(i, min(i + step, samples)) for i in range(0, samples, step)]


def _limit(model: nn.Module, tokenizer: Any, max_length: int | None) -> int | None:
    if max_length is not None:
        return max_length
    limit = getattr(tokenizer, "model_max_length", None)
    # Tokenizers without a limit of their own say 1e30.
    return limit if limit is not None and limit < 10**9 else None
