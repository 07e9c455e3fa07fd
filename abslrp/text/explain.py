"""Explanations of texts: from a model, a tokenizer and sentences to the relevance of tokens."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from abslrp.arguments import one_each, step_of
from abslrp.losses import noted, warn_of_losses
from abslrp.text.propagate import STARTS, token_relevance
from abslrp.text.result import TextRelevance
from abslrp.text.tokens import kept, read_tokens

Text = str | tuple[str, str]


def explain(
    model: nn.Module,
    tokenizer_or_encoding: Any,
    texts: Text | Sequence[Text] | None = None,
    targets: Any = None,
    *,
    against: Any = None,
    position: Any = None,
    words: bool = False,
    batch_size: int | None = None,
    max_length: int | None = None,
    labels: Sequence[str] | None = None,
    **options: Any,
) -> list[TextRelevance]:
    """Relevance of the tokens of texts for a class, or for a token that a model predicts.

    Parameters
    ----------
    model
        Hugging Face sequence classifier or language model in evaluation mode,
        :class:`EncoderClassifier`, or any module that maps ``input_ids`` (B, T) to logits (B, N),
        or (B, T, N) of each token.
    tokenizer_or_encoding
        The model's tokenizer; or, without ``texts``, what a tokenizer returned.
    texts
        One text, or several; a text may be a pair ``(first, second)``.
    targets
        Class of each text, (B,) integers or one integer for all; by default the model's
        prediction. Of a language model: token ids, or texts of one token each.
    against
        As ``targets``: what each target is contrasted with, in place of all other classes.
    position
        Of logits (B, T, N): the token whose logits are explained, (B,) integers or one for all,
        negative ones from the end; by default the last.
    words
        Sum the tokens of each word of the tokenizer's (punctuation marks are words).
    batch_size
        Texts in one pass, padded on the right; by default all of them. It bounds memory and does
        not change results.
    max_length
        Tokens at which a text is cut, with a warning; by default the tokenizer's limit.
    labels
        Names of the classes; by default those of ``model.config.id2label``, or the tokens.
    **options
        ``contrast``, ``embedding`` and others of :func:`abslrp.text.propagate.token_relevance`.

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
    embeddings are constants. Cost: one forward pass and one backward pass per start,
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
    encoded = hasattr(tokenizer_or_encoding, "items")
    if encoded and texts is not None:
        raise ValueError("texts: expected None with an encoding, which holds the texts' tokens")
    if encoded and "input_ids" not in tokenizer_or_encoding:
        raise ValueError(f"encoding: expected input_ids, got {sorted(tokenizer_or_encoding)}")
    if not encoded and not callable(tokenizer_or_encoding):
        raise ValueError(
            "tokenizer_or_encoding: expected a tokenizer or what one returned, got "
            f"{type(tokenizer_or_encoding).__name__}"
        )
    tokenizer = None if encoded else tokenizer_or_encoding
    listed = [] if encoded else _as_texts(texts)
    samples = len(tokenizer_or_encoding["input_ids"] if encoded else listed)
    classes = (("targets", targets), ("against", against))
    each = {key: _classes(one, model, tokenizer, key) for key, one in classes}
    each["position"] = position
    given = {key: one_each(one, samples, key) for key, one in each.items() if one is not None}
    cut = _limit(tokenizer, max_length)
    flows = noted([])
    results: list[TextRelevance] = []
    every: list[Tensor] = []
    shortened: list[int] = []
    step = step_of(batch_size, samples)
    for first in range(0, samples, samples if encoded else step):
        rows = slice(first, samples if encoded else first + step)
        whole = tokenizer_or_encoding if encoded else _encoding(tokenizer, listed[rows], cut)
        fast = [] if encoded else getattr(whole, "encodings", None) or []
        shortened += [first + i for i, one in enumerate(fast) if one.overflowing]
        chosen: dict[str, Any] = {key: one[rows] for key, one in given.items()}
        found = token_relevance(
            model, whole, **chosen, **options, batch_size=step, flows=flows, first=first
        )
        every += found.relevance.cpu()
        relevance, logits = found.relevance.cpu().numpy(), found.logits.float().cpu().numpy()
        for i, target in enumerate(found.targets.tolist()):
            read = read_tokens(whole, i, tokenizer, None if encoded else listed[rows][i])
            named = tokenizer if found.positions is not None else None
            read |= {"relevance": relevance[i, kept(whole, i)], "target": target}
            label = _label(model, labels, named, target, len(logits[i]))
            one = TextRelevance(**read, logits=logits[i], label=label)
            results.append(one.grouped() if words else one)
    warn_of_losses(flows, STARTS, [every], more=".")
    if shortened:
        warnings.warn(f"texts: cut to max_length={cut} tokens: texts {shortened}", stacklevel=2)
    return results


def _encoding(tokenizer: Any, texts: list[Text], cut: int | None) -> Any:
    """Return what a tokenizer makes of some texts."""
    pairs = [text for text in texts if isinstance(text, tuple)]
    if pairs and len(pairs) < len(texts):
        raise ValueError("texts: expected texts or pairs of texts, got both")
    arguments: list[Any] = list(map(list, zip(*pairs, strict=True))) if pairs else [texts]
    # A lone text needs no padding, nor a tokenizer that has a padding token. On the left,
    # padding would move the positions, and with them the relevance.
    padding = {"padding": True, "padding_side": "right"} if len(texts) > 1 else {}
    return tokenizer(
        *arguments, **padding, truncation=cut is not None, max_length=cut, return_tensors="pt"
    )


def _classes(given: Any, model: nn.Module, tokenizer: Any, name: str) -> Any:
    """Return the numbers of classes that are given by name: labels, or texts of one token."""
    if isinstance(given, (list, tuple)):
        return [_classes(one, model, tokenizer, name) for one in given]
    if not isinstance(given, str):
        return given
    labels = getattr(getattr(model, "config", None), "label2id", None) or {}
    if given in labels:
        return labels[given]
    if given.lower() in map(str.lower, labels):  # which is no token
        raise ValueError(f"{name}: expected one of the labels {[*labels]}, got {given!r}")
    ids = [] if tokenizer is None else tokenizer(given, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        tokens = f", got {tokenizer.convert_ids_to_tokens(ids)}" if ids else ""
        raise ValueError(f"{name}: expected a label or a text of one token in {given!r}{tokens}")
    unknown = getattr(tokenizer, "unk_token", None)
    if ids[0] == getattr(tokenizer, "unk_token_id", None) and given != unknown:
        raise ValueError(f"{name}: the tokenizer does not know {given!r}")
    return ids[0]


def _label(
    model: nn.Module, labels: Sequence[str] | None, tokenizer: Any, target: int, classes: int
) -> str | None:
    """Return a class's name, or the token if a tokenizer is given that tells them."""
    names: Any = getattr(getattr(model, "config", None), "id2label", None) or {}
    if labels is not None:
        if target >= len(labels):
            raise ValueError(f"labels: expected a name for class {target}, got {len(labels)} names")
        return labels[target]
    if tokenizer is not None and len(names) != classes:
        token: str = tokenizer.decode([target])
        return token
    return names.get(target) if len(names) in (0, classes) else None


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


def _limit(tokenizer: Any, max_length: int | None) -> int | None:
    if max_length is not None:
        return max_length
    limit = getattr(tokenizer, "model_max_length", None)
    # Tokenizers without a limit of their own say 1e30.
    return limit if limit is not None and limit < 10**9 else None
