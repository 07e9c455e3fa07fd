"""SPEC 1.2, operations that act element by element, and normalisations, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.naive.contributions import EPSILON, Array, Share, absolute_share


def unbroadcast(R: Array, shape: Sequence[int]) -> Array:
    """Sum relevance over the axes along which an operand of ``shape`` was broadcast."""
    while R.ndim > len(shape):
        R = R.sum(axis=0)
    for axis, size in enumerate(shape):
        if size == 1 and R.shape[axis] != 1:
            R = R.sum(axis=axis, keepdims=True)
    return R


def add(a: Array, b: Array, R: Array, share: Share = absolute_share) -> tuple[Array, Array]:
    """Residual addition: R_a = a^+ s, R_b = b^+ s with s = R / (|a + b| + 1e-9)."""
    wide_a, wide_b = np.broadcast_arrays(a, b)
    z = np.stack([wide_a, wide_b], axis=-1)
    messages = share(z, 0.0, R)
    return unbroadcast(messages[..., 0], a.shape), unbroadcast(messages[..., 1], b.shape)


def add_constant(x: Array, constant: Array, R: Array, share: Share = absolute_share) -> Array:
    """The constant counts in h only: R_x = x^+ R / (|x + c| + 1e-9)."""
    wide, c = np.broadcast_arrays(x, constant)
    return unbroadcast(share(wide[..., None], c, R)[..., 0], x.shape)


def subtract(a: Array, b: Array, R: Array, share: Share = absolute_share) -> tuple[Array, Array]:
    """a - b is the addition of the negated operand: R_b = (-b)^+ s."""
    return add(a, -b, R, share)


def activation(R: Array) -> Array:
    """Relevance of g(h) is relevance of h (eq. 2: R_j belongs to a_j = g(h_j))."""
    unchanged: Array = R.copy()
    return unchanged


def multiply_constant(x: Array, R: Array) -> Array:
    """One-to-one: unchanged, whatever the constant; summed where x was broadcast."""
    return unbroadcast(R.copy(), x.shape)


def multiply_negative(x: Array, R: Array) -> Array:
    """By a constant below 0: eq. 12 of one weight, which passes where the product is positive."""
    return np.where(x < 0.0, R, 0.0)


def gate(x: Array, g: Array, R: Array) -> tuple[Array, Array]:
    """Elementwise product of two activations: R to each operand where x g > 0, else 0."""
    message = np.where(x * g > 0.0, R, 0.0)
    return unbroadcast(message, x.shape), unbroadcast(message, g.shape)


def softmax(x: Array, R: Array) -> Array:
    """Denominator held constant: R_x = x^+ R."""
    return np.maximum(x, 0.0) * R


def softmax_forward(x: Array, axis: int) -> Array:
    """exp(x) / sum(exp(x)) along one axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    total: Array = e / e.sum(axis=axis, keepdims=True)
    return total


def two_layers(
    x: Array, mean: Array, sigma: Array, weight: Array | None, bias: Array | None, R: Array
) -> Array:
    """h1 = (x - mu) / sigma with contribution x / sigma, then h2 = h1 w + b with h1 w; eq. 12 each.

    All parameters are broadcastable to ``x``. Without a weight there is only the first layer.
    """
    h1 = (x - mean) / sigma
    if weight is not None:
        contribution = h1 * weight
        h2 = contribution + (0.0 if bias is None else bias)
        R = np.maximum(contribution, 0.0) / (np.abs(h2) + EPSILON) * R
    return np.maximum(x / sigma, 0.0) / (np.abs(h1) + EPSILON) * R


def two_layers_forward(
    x: Array, mean: Array, sigma: Array, weight: Array | None, bias: Array | None
) -> Array:
    """((x - mu) / sigma) w + b."""
    h = (x - mean) / sigma
    if weight is not None:
        h = h * weight
    return h if bias is None else h + bias


def _by_channel(v: Array | None, ndim: int) -> Array | None:
    return None if v is None else v.reshape(1, -1, *[1] * (ndim - 2))


def batch_norm_statistics(
    x: Array, mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array | None, Array | None]:
    """(mu, sigma, w, b) of batch norm in eval mode, per channel (axis 1)."""
    mu = mean.reshape(1, -1, *[1] * (x.ndim - 2))
    sigma = np.sqrt(var.reshape(mu.shape) + eps)
    return mu, sigma, _by_channel(weight, x.ndim), _by_channel(bias, x.ndim)


def layer_norm_statistics(
    x: Array, axes: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array | None, Array | None]:
    """(mu, sigma, w, b) of layer norm over the last ``axes`` axes (biased variance)."""
    last = tuple(range(x.ndim - axes, x.ndim))
    mu: Array = x.mean(axis=last, keepdims=True)
    sigma = np.sqrt(((x - mu) ** 2).mean(axis=last, keepdims=True) + eps)
    return mu, sigma, weight, bias


def group_norm_statistics(
    x: Array, groups: int, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array | None, Array | None]:
    """(mu, sigma, w, b) of group norm: channels (axis 1) in consecutive groups."""
    mu, sigma = np.zeros_like(x), np.zeros_like(x)
    size = x.shape[1] // groups
    for b in range(len(x)):
        for g in range(groups):
            part = x[b, g * size : (g + 1) * size]
            m = part.mean()
            mu[b, g * size : (g + 1) * size] = m
            sigma[b, g * size : (g + 1) * size] = np.sqrt(((part - m) ** 2).mean() + eps)
    return mu, sigma, _by_channel(weight, x.ndim), _by_channel(bias, x.ndim)


def rms_norm_statistics(
    x: Array, axes: int, weight: Array | None, eps: float
) -> tuple[Array, Array, Array | None, Array | None]:
    """(mu = 0, sigma = root mean square, w, no bias) over the last ``axes`` axes."""
    last = tuple(range(x.ndim - axes, x.ndim))
    sigma = np.sqrt((x**2).mean(axis=last, keepdims=True) + eps)
    return np.zeros_like(sigma), sigma, weight, None


def batch_norm(
    x: Array,
    mean: Array,
    var: Array,
    weight: Array | None,
    bias: Array | None,
    R: Array,
    eps: float = 1e-5,
) -> Array:
    """Batch norm (eval): two layers with the running statistics."""
    return two_layers(x, *batch_norm_statistics(x, mean, var, weight, bias, eps), R)


def layer_norm(
    x: Array, axes: int, weight: Array | None, bias: Array | None, R: Array, eps: float = 1e-5
) -> Array:
    """Layer norm over the last ``axes`` axes: two layers, mean and variance held constant."""
    return two_layers(x, *layer_norm_statistics(x, axes, weight, bias, eps), R)


def group_norm(
    x: Array, groups: int, weight: Array | None, bias: Array | None, R: Array, eps: float = 1e-5
) -> Array:
    """Group norm: two layers, mean and variance held constant."""
    return two_layers(x, *group_norm_statistics(x, groups, weight, bias, eps), R)


def rms_norm(x: Array, axes: int, weight: Array | None, R: Array, eps: float = 1e-5) -> Array:
    """RMS norm: the same two layers with mu = 0."""
    return two_layers(x, *rms_norm_statistics(x, axes, weight, eps), R)
