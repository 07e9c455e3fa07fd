"""SPEC 1.3: conservation as a wrapper around an operation's raw rule, in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from tests.naive.contributions import Array, divide
from tests.naive.products import Step

Conserve: TypeAlias = Literal["operation", "argument"] | None
RawRule: TypeAlias = Callable[[Array], list[Array]]


def per_sample(R: Array, batch: int) -> Array:
    """Sum per sample (batch,): axis 0 holds each sample's rows one after the other."""
    sums: Array = R.reshape(batch, -1).sum(axis=1)
    return sums


def scale_samples(R: Array, factor: Array) -> Array:
    """Multiply each sample's rows by its factor (batch,)."""
    return (R.reshape(len(factor), -1) * factor[:, None]).reshape(R.shape)


def renormalise_operation(raw: list[Array], received: Array, batch: int) -> list[Array]:
    """One common factor per sample, so that all inputs together sum to what ``received`` sums to.

    Both are non-negative. Where nothing was sent, nothing is: SPEC 1.3's second leak.
    """
    sent = np.zeros(batch)
    for r in raw:
        sent += per_sample(r, batch)
    factor = divide(per_sample(received, batch), sent)
    return [scale_samples(r, factor) for r in raw]


def renormalise_argument(raw: list[Array], batch: int) -> list[Array]:
    """Every operand on its own to absolute sum 1 per sample (all zero stays so)."""
    return [scale_samples(r, divide(np.ones(batch), per_sample(np.abs(r), batch))) for r in raw]


def propagate(
    raw_rule: RawRule, R: Array, conserve: Conserve = "operation", batch: int | None = None
) -> list[Array]:
    """Relevance of an operation's inputs from that of its output under a kind of conservation.

    ``raw_rule`` maps output relevance to eq. 12's relevance of each input that is an activation.
    R is split into R^+ and R^-; "operation" conserves each. ``batch`` is the number of samples
    where axis 0 of R holds several rows per sample.
    """
    batch = len(R) if batch is None else batch
    if conserve is None:
        return raw_rule(R)
    R_positive, R_negative = np.maximum(R, 0.0), np.maximum(-R, 0.0)
    positive, negative = raw_rule(R_positive), raw_rule(R_negative)
    if conserve == "operation":
        positive = renormalise_operation(positive, R_positive, batch)
        negative = renormalise_operation(negative, R_negative, batch)
        return [p - n for p, n in zip(positive, negative, strict=True)]
    return renormalise_argument([p - n for p, n in zip(positive, negative, strict=True)], batch)


def conserving_step(conserve: Conserve, batch: int | None = None) -> Step:
    """The ``step`` of rules.attention and rules.multi_head_attention for a kind of conservation."""
    return partial(propagate, conserve=conserve, batch=batch)
