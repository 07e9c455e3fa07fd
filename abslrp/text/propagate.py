"""Relevance of the token embeddings of any model that looks its tokens up in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abslrp.arguments import check_model, one_each
from abslrp.batch import Batch
from abslrp.classes import maps_of
from abslrp.contrast import OWN, Start
from abslrp.forward import Settings
from abslrp.losses import noted, warn_of_losses, warn_of_padding
from abslrp.outputs import Output, select_logits, taken
from abslrp.tape import Place, Tape, Value
from abslrp.tape.place import LostPlaceError, SamplesMixedError
from abslrp.tape.place_by_numbers import place_of
from abslrp.text.encoding import columns_of, inputs_of, kept_in, table_of

STARTS = ("the target", "what it is contrasted with")


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


@dataclass(frozen=True)
class Tokens(Batch):
    """Token ids, and of the embeddings that the model looks up for them the relevance is wanted.

    The model is called with its ids, as its user calls it, and not with ``inputs_embeds``: some
    models derive position ids or the token to pool from the ids, and would otherwise compute
    something else for padded batches.

    Attributes
    ----------
    table
        Weight of the word embedding.
    kept
        Where there are tokens, not padding: (B, T) bool.
    position
        Of the tokens whose logits are explained, where each has some: (B,).
    positioned
        Whether a user said which.
    looked
        The tokens whose embeddings were looked up, by one call each; None: of other ids.
    ranks
        Number of axes of what the model returned.
    """

    table: Tensor = field(kw_only=True)
    kept: Tensor = field(kw_only=True)
    position: Tensor = field(kw_only=True)
    positioned: bool = False
    looked: list[Tensor | None] = field(default_factory=list)
    ranks: set[int] = field(default_factory=set)

    features = "embeddings"

    def rows(self, rows: slice | list[int]) -> Tokens:
        """Return some of the texts."""
        given = super().rows(rows).given
        return replace(self, given=given, kept=self.kept[rows], position=self.position[rows])

    def leaves(self, tape: Tape, *, whole: bool) -> list[Value]:
        """Return the embeddings, once the model has looked them up."""
        found: list[Value] = []
        self.looked.clear()

        def looked_up(indices: Tensor, embeddings: Tensor) -> None:
            tokens = _tokens(indices, self.tensors[0], self.kept)
            self.looked.append(tokens)
            found.append(tape.input(embeddings, self._place(tokens, embeddings)))

        tape.rows_of, tape.looked_up = self.table, looked_up
        return found

    def _place(self, tokens: Tensor | None, embeddings: Tensor) -> Place | None:
        """Return where the texts are in embeddings."""
        if tokens is None:
            return None
        samples = tokens.div(self.kept.shape[1], rounding_mode="floor").flatten()
        try:
            batch, inner = place_of(samples, len(self))
        except (LostPlaceError, SamplesMixedError):
            return None
        alike = samples.numel() % (batch * inner) == 0  # of as many tokens each
        return Place(batch, inner * embeddings.shape[-1]) if alike else None

    def logits(
        self, model: Any, output: Output, samples: int | None, *, dense: bool = False
    ) -> Tensor:
        """Return the logits of each text: of one token, where all tokens have some."""
        logits = taken(self.called(model), output)
        if len(self.looked) != 1 or self.looked[0] is None:
            raise ValueError(
                "model: expected its forward pass to look up the tokens' embeddings once, one for "
                f"each token and in order, got {len(self.looked)} calls for ids "
                f"{tuple(self.kept.shape)}; pass embedding= to name the module, or remove its "
                "parametrizations, if it has any (encoder-decoder models are not covered)"
            )
        if isinstance(logits, Tensor) and logits.ndim == 3:
            self.ranks.add(logits.ndim)
            columns = columns_of(self.position, self.kept)
            logits = logits[torch.arange(len(logits), device=logits.device), columns]
        elif self.positioned:
            raise ValueError("position: expected None for a model with one row of logits a text")
        return select_logits(logits, None, samples, dense=dense)

    def maps(
        self, found: Sequence[Tensor | None], values: Sequence[Value], starts: int
    ) -> list[Tensor]:
        """Return relevance (S, B, T) of the tokens, none of padding."""
        (embeddings,), (tokens,) = found, self.looked
        assert embeddings is not None
        assert tokens is not None
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        relevance = embeddings.sum(-1, dtype=wide).flatten(1)
        flat = relevance.new_zeros(starts, self.kept.numel() + 1)  # at -1, that of no token
        flat[:, tokens.flatten()] = relevance
        every = flat[:, :-1].view(starts, *self.kept.shape)
        if noted(every) is not None:
            warn_of_padding(every, self.kept)
        # Before the streams are scaled, so that a model that pools padding cannot thin the shares.
        return [every.masked_fill(~self.kept, 0)]


HIDDEN = {"flows", "first"}
OPTIONS = HIDDEN | {"conserve", "rules", "attention", "on_unknown", "output", "accelerate"}
"""Of :class:`abslrp.forward.Settings`."""


def _tokens(looked: Tensor, ids: Tensor, kept: Tensor) -> Tensor | None:
    """Return the number of the token that each id is of, -1 for padding of the model's own.

    None if they are those of other tokens.
    """
    numbers = torch.arange(ids.numel(), device=ids.device).view(ids.shape)
    for one in (numbers, numbers.T, numbers.flatten(), numbers[kept], numbers.flip(1)):
        if one.shape == looked.shape and torch.equal(ids.flatten()[one], looked):
            return one
    if looked.ndim == 2 and torch.equal(looked[:, : ids.shape[1]], ids):
        return F.pad(numbers, (0, looked.shape[1] - ids.shape[1]), value=-1)
    if looked.shape != ids.shape:
        return None
    # Ids that the model changed, but not for another one of the text, which it moved.
    changed, rows = looked != ids, numbers[:, :1] << 32
    return None if torch.isin((looked + rows)[changed], (ids + rows)[changed]).any() else numbers


def token_relevance(
    model: nn.Module,
    encoding: Mapping[str, Any],
    targets: Any = None,
    *,
    position: Any = None,
    against: Any = None,
    contrast: Start | Literal["own"] = OWN,
    embedding: nn.Module | None = None,
    batch_size: int | None = None,
    **options: Any,
) -> TokenRelevance:
    """Relevance at the word embeddings, summed per token, for a class or for a token.

    Position and type embeddings are constants that are added: they count in the
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
    against, contrast, batch_size
        As in :func:`abslrp.explain`.
    embedding
        Module that looks the tokens up, one by one or a bag at a time; by default
        ``model.get_input_embeddings()``.
    **options
        ``conserve``, ``rules``, ``attention``, ``on_unknown``, ``output`` and ``accelerate`` of
        :func:`abslrp.explain`.

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
    Cost: one forward pass and one backward pass per start, two for ``"streams"``. A warning tells
    where relevance is lost, as in :func:`abslrp.explain`.

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
    if unknown := sorted(set(options) - OPTIONS):
        raise ValueError(
            f"{unknown[0]}: no option of texts, which take {', '.join(sorted(OPTIONS - HIDDEN))}; "
            "abslrp.explain takes others, of embeddings"
        )
    table = table_of(model, embedding)
    seen: dict[int, Tensor] = {}
    settings = Settings(**{"flows": noted([table]), **options}, logits=seen)
    inputs = inputs_of(model, encoding, table.device)
    kept = kept_in(inputs["input_ids"], encoding.get("attention_mask"))
    place = one_each(-1 if position is None else position, len(kept), "position").to(kept.device)
    batch = Tokens(
        inputs, ("input_ids",), table=table, kept=kept, position=place,
        positioned=position is not None,
    )  # fmt: skip
    chosen = None if targets is None else one_each(targets, len(kept)).to(table.device)
    (relevance,) = maps_of(
        model, batch, "predicted" if chosen is None else chosen, contrast, settings,
        against=against, batch_size=len(kept) if batch_size is None else batch_size,
    )  # fmt: skip
    if "flows" not in options:
        warn_of_losses(settings.flows, STARTS, [relevance], more=".")
    logits = torch.cat([seen[first] for first in sorted(seen)]).detach()
    chosen = logits.argmax(1) if chosen is None else chosen
    columns = columns_of(place, kept) if batch.ranks else None
    return TokenRelevance(relevance, chosen, logits, columns)
