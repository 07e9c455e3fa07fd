"""Relevance of the token embeddings of any model that looks its tokens up in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from abslrp.arguments import check_model, check_targets
from abslrp.batch import Batch
from abslrp.contrast import OWN, Start, combine, starts
from abslrp.forward import Pass, Settings, constants
from abslrp.outputs import Output, select_logits, taken
from abslrp.plan.arrivals import Conserve
from abslrp.propagate import by_rows
from abslrp.registry import RuleSet
from abslrp.rule_sets import own_contrast
from abslrp.tape import Place, Tape, Value
from abslrp.text.encoding import columns_of, inputs_of, kept_in, one_each, table_of


class TokenRelevance(NamedTuple):
    """Relevance of the tokens of a batch, in the layout of its encoding."""

    relevance: Tensor
    """(B, T), float32 at least; zero at padding."""
    targets: Tensor
    """(B,) int64: the classes that were explained."""
    logits: Tensor
    """(B, N)."""
    positions: Tensor | None = None
    """(B,) int64: the columns of the tokens whose logits these are; None where a text has one row
    of logits."""


class LookedUp(NamedTuple):
    """Embeddings that a table returned."""

    value: Value
    """(B, T', E) with T' >= T where the model pads its tokens, or (T, B, E)."""
    tokens_first: bool | None
    """None if they are those of other ids."""


def _looked_up(tape: Tape, weight: Tensor, ids: Tensor) -> list[LookedUp]:
    """Let what one embedding table returns be inputs, and return the list that they will be in.

    The model is called with its token ids, as its user calls it, and not with ``inputs_embeds``:
    some models derive position ids or the token to pool from the ids, and would otherwise
    compute something else for padded batches.
    """
    aten = torch.ops.aten
    found: list[LookedUp] = []

    def watch(operator: Any, args: Any, result: Any) -> None:
        looks = operator in (aten.embedding.default, aten.index.Tensor)
        if looks and args[0].data_ptr() == weight.data_ptr():
            looked = args[1] if operator is aten.embedding.default else args[1][0]
            first = _tokens_first(looked, ids)
            place = Place(len(ids), result.shape[-1]) if first else Place.of(result)
            found.append(LookedUp(tape.input(result, place), first))

    tape.watch = watch
    return found


def _tokens_first(looked: Tensor, ids: Tensor) -> bool | None:
    """Whether the tokens that are looked up are the given ones, transposed; None: other ones."""
    if looked.ndim == 2 and torch.equal(looked[:, : ids.shape[1]], ids):
        return False
    if torch.equal(looked, ids.T):
        return True
    return False if looked.shape == ids.shape else None  # ids that the model changed


def token_relevance(
    model: nn.Module,
    encoding: Mapping[str, Any],
    targets: Any = None,
    *,
    position: Any = None,
    against: Any = None,
    conserve: Conserve = "operation",
    contrast: Start | Literal["own"] = OWN,
    rules: str | RuleSet = "absLRP",
    on_unknown: Literal["error", "warn"] = "error",
    output: Output = None,
    embedding: nn.Module | None = None,
) -> TokenRelevance:
    """Relevance at the word embeddings, summed per token, for a class or for a token.

    Position and type embeddings are constants that are added (SPEC 1.2): they count in the
    denominators of eq. 12 and receive nothing.

    Parameters
    ----------
    model
        Hugging Face sequence classifier or language model, or any module in evaluation mode that
        maps ``input_ids`` (B, T) to logits (B, N), or (B, T, N) of each token.
    encoding
        What a tokenizer returned with ``return_tensors="pt"``: ``input_ids`` (B, T), optionally
        ``attention_mask`` (B, T), and other inputs. What ``model.forward`` does not take is left
        out.
    targets
        Class of each sample, (B,) integers or one integer for all; by default the model's
        prediction. Classes of a language model are token ids.
    position
        Of logits (B, T, N): the token of each sample, without padding, whose logits are explained,
        (B,) integers or one for all, negative ones from the end. By default the last, whose
        logits tell a causal language model's next token.
    against
        Class of each sample, as ``targets``, that the target is contrasted with, in place of all
        others.
    conserve, contrast, rules, on_unknown, output
        As in :func:`abslrp.explain`.
    embedding
        Module that looks the tokens up; by default ``model.get_input_embeddings()``.

    Returns
    -------
    TokenRelevance
        With ``contrast="streams"`` the relevance is a difference of two shares that sum to 1
        over the tokens of a sample.

    Raises
    ------
    ValueError
        If an argument is not as described, the model is in training mode, or the table is not
        looked up exactly once (encoder-decoder models).
    UnknownOperationError
        If the model uses a torch function that has no rule.

    Notes
    -----
    Cost: one forward pass and one backward pass per start, two for ``"streams"``.

    Examples
    --------
    >>> import torch
    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> config = BertConfig(
    ...     vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2
    ... )
    >>> model = BertForSequenceClassification(config).eval()
    >>> ids = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]])
    >>> mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    >>> found = token_relevance(model, {"input_ids": ids, "attention_mask": mask}, 1)
    >>> found.relevance.shape, found.relevance[1, 3].item()
    (torch.Size([2, 4]), 0.0)
    """
    check_model(model)
    table = table_of(model, embedding)
    inputs = inputs_of(model, encoding, table.device)
    batch, ids = Batch(inputs, ("input_ids",)), inputs["input_ids"]
    kept = kept_in(ids, encoding.get("attention_mask"))
    chosen, other = (
        None if one is None else one_each(one, len(ids), name).to(table.device)
        for one, name in ((targets, "targets"), (against, "against"))
    )
    begin: Start = own_contrast(rules) if contrast == "own" else contrast
    signed = begin == "signed" or (begin is None and other is not None)
    seen: list[tuple[Tensor, Tensor]] = []  # classes and logits of each call
    places: list[Tensor] = []  # where each row of logits (B, T, N) is taken

    def evaluated(rows: slice | list[int]) -> Tensor:
        logits = taken(batch.rows(rows).called(model), output)
        if isinstance(logits, Tensor) and logits.ndim == 3:
            places[:] = [columns_of(-1 if position is None else position, kept)]
            logits = logits[torch.arange(len(logits), device=logits.device), places[0][rows]]
        elif position is not None:
            raise ValueError("position: expected None for a model with one row of logits a text")
        return select_logits(logits, None, len(ids[rows]))

    def maps(rows: slice, settings: Settings) -> list[Tensor]:
        run = Pass(settings, signed=signed)
        try:
            leaves = _looked_up(run.tape, table, ids[rows])
            return [through(run, leaves, run.tape.noting(lambda: evaluated(rows)), rows)]
        finally:
            run.forget()

    def through(run: Pass, leaves: list[LookedUp], logits: Tensor, rows: slice) -> Tensor:
        if len(leaves) != 1 or leaves[0].tokens_first is None:
            raise ValueError(
                "model: expected its forward pass to look up the tokens' embeddings once, one for "
                f"each token, got {[tuple(one.value.shape) for one in leaves]} for ids "
                f"{tuple(ids[rows].shape)}; pass embedding= to name the module (a bag of "
                "embeddings that one call adds up is not covered, nor are encoder-decoder models)"
            )
        reason = constants(run.tape)
        nowhere = ValueError(f"model: its logits do not depend on the embeddings{reason}")
        value = run.tape.value(logits)
        if value is None:
            raise nowhere
        classes = logits.detach().argmax(1) if chosen is None else chosen[rows]
        check_targets(classes, logits)
        if other is not None:
            check_targets(other[rows], logits, "against")
        begun = starts(logits.detach(), classes, begin, None if other is None else other[rows])
        ((found,),) = run.relevance(value, [begun], [leaves[0].value])
        if found is None:
            raise nowhere
        seen.append((classes, logits.detach()))
        tokens = found.sum(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        tokens = tokens.mT if leaves[0].tokens_first else tokens
        return tokens[:, :, : ids.shape[1]]

    settings = Settings(rules, conserve, on_unknown, output)
    (both,) = by_rows(len(ids), maps, evaluated, settings, [ids.shape[1:]])
    # Before the streams are scaled, so that a model that pools padding cannot thin the shares.
    both = both.masked_fill(~kept, 0)
    classes, logits = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return TokenRelevance(combine(both, begin), classes, logits, *places)
