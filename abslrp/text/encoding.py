"""What a tokenizer returned, and numbers for its texts, checked and as tensors."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def columns_of(wanted: Tensor, kept: Tensor) -> Tensor:
    """Columns of the tokens that are the given ones of those kept, (B,) int64."""
    counts = kept.sum(1)
    wrong = (wanted < -counts) | (wanted >= counts)
    if wrong.any():
        raise ValueError(
            f"position: expected a token of a text of {int(counts[wrong][0])}, got "
            f"{int(wanted[wrong][0])}"
        )
    # Padding goes last, wherever it is.
    order = kept.logical_not().sort(dim=1, stable=True).indices
    return order.gather(1, (wanted % counts)[:, None])[:, 0]


def table_of(model: nn.Module, embedding: nn.Module | None) -> Tensor:
    """Return the weight of the word embedding."""
    if embedding is None:
        try:
            embedding = model.get_input_embeddings()  # type: ignore[operator]
        except (AttributeError, NotImplementedError) as error:  # as of Hugging Face's CANINE
            raise ValueError(
                "embedding: expected the module that looks tokens up, since "
                f"{type(model).__name__} names none by get_input_embeddings"
            ) from error
    weight = getattr(embedding, "weight", None)
    if not isinstance(weight, Tensor):
        raise ValueError(
            f"embedding: expected a module with a weight, got {type(embedding).__name__}"
        )
    return weight


def inputs_of(
    model: nn.Module, encoding: Mapping[str, Any], device: torch.device
) -> dict[int | str, Any]:
    """Return what of an encoding the model takes, on the model's device."""
    if not hasattr(encoding, "items") or "input_ids" not in encoding:
        raise ValueError(
            "encoding: expected a mapping with input_ids, as a tokenizer returns it, got "
            f"{type(encoding).__name__}"
        )
    signature = inspect.signature(model.forward).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.values())
    inputs: dict[int | str, Any] = {}
    for key, value in encoding.items():
        if key in NOT_INPUTS or not (anything or key in signature):
            continue
        inputs[key] = _tensor(key, value).to(device)
    ids = inputs.get("input_ids")
    if ids is None:
        raise ValueError(f"model: {type(model).__name__}.forward takes no input_ids")
    if ids.ndim != 2 or ids.numel() == 0:
        raise ValueError(f"encoding: expected input_ids of shape (B, T), got {tuple(ids.shape)}")
    if ids.is_floating_point():
        raise ValueError(f"encoding: expected integer input_ids, got {ids.dtype}")
    return inputs


NOT_INPUTS = frozenset((
    "special_tokens_mask", "offset_mapping", "length", "overflow_to_sample_mapping",
    "num_truncated_tokens", "overflowing_tokens", "labels",
))  # fmt: skip
"""What tokenizers return beside a model's inputs."""


def _tensor(key: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"encoding: {key} is no tensor, nor a rectangular list of numbers; use padding=True "
            "when the tokenizer is given several texts"
        ) from error


def kept_in(ids: Tensor, given: Any) -> Tensor:
    """Where there are tokens, not padding: (B, T) bool. The model need not take the mask."""
    if given is None:
        return torch.ones_like(ids, dtype=torch.bool)
    mask = _tensor("attention_mask", given).to(ids.device)
    if mask.shape != ids.shape:
        raise ValueError(
            f"encoding: expected an attention_mask of the ids' shape {tuple(ids.shape)}, got "
            f"{tuple(mask.shape)}"
        )
    return mask != 0
