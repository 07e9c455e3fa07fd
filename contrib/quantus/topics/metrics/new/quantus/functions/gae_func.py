"""This module contains the functions of Global Attribution Evaluation (GAE): masking, mosaics and scores."""

import hashlib
from collections import Counter
from importlib import util
from itertools import permutations, product
from typing import Callable, Dict, List, Sequence, Tuple

import numpy as np

if util.find_spec("torch"):
    import torch

# Added to every denominator.
EPSILON = 1e-9

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TIER = np.uint64(2**63)
_PLACES = np.array(list(permutations(range(4))))


def positive_map(a_batch: np.ndarray, shape: Sequence[int]) -> "torch.Tensor":
    """
    Take the positive part of attributions, scaled to maximum 1 in each sample.

    Parameters
    ----------
    a_batch: np.ndarray
        Attributions that broadcast to the shape.
    shape: sequence
        (B, ...) the shape of the inputs.

    Returns
    -------
    torch.Tensor
        float64 (B, ...), in [0, 1]; NaN throughout for a sample with a value that is not finite.
    """
    a = torch.tensor(np.broadcast_to(a_batch, shape)).double().flatten(1)
    positive = a.clamp(min=0)
    peak = positive.max(dim=1, keepdim=True).values
    finite = a.isfinite().all(dim=1, keepdim=True)
    scaled = (positive / peak.masked_fill(peak == 0, 1)).masked_fill(
        ~finite, float("nan")
    )
    return scaled.reshape(shape)


def local_consistency(
    logits: Callable,
    explain: Callable,
    x: "torch.Tensor",
    targets: "torch.Tensor",
    a: "torch.Tensor",
    steps: int,
    schedule: str,
) -> Dict[str, "torch.Tensor"]:
    """
    Compute Local Consistency and its parts (eq. 13 to 16).

    Features are masked with zeros step by step: the least relevant ones first, then, from the start, the most relevant
    ones. Relevance is the impact of a feature on the target's output, |x * d|output|/dx|, in the state before.

    Parameters
    ----------
    logits: callable
        Maps (B, ...) inputs to (B, K) logits.
    explain: callable
        Maps (B, ...) inputs, a np.ndarray, to their maps, as positive_map returns them.
    x: torch.Tensor
        (B, ...) inputs.
    targets: torch.Tensor
        int64 (B,) the classes whose outputs are followed.
    a: torch.Tensor
        (B, ...) the maps of x, as positive_map returns them.
    steps: int
        The number of states, at least 2.
    schedule: str
        "reranked": at state t, the share t/steps of all features that ranks first is masked, whether masked already or
        not, beside what is masked already. "uniform": 1/steps of the features, of those that are not masked yet.

    Returns
    -------
    dict
        lc_robustness, lc_faithfulness (in [-1, 1]) and local_consistency (in [0, 1]), float64 (B,) each; NaN for a
        sample with a feature, output or map that is not finite.
    """
    if steps < 2 or schedule not in ("reranked", "uniform"):
        raise ValueError(
            "Expected at least 2 steps and the schedule 'reranked' or 'uniform', "
            f"got steps={steps} and schedule={schedule!r}."
        )
    outputs = torch.empty(2, steps, len(x), dtype=torch.double)
    similarities = torch.ones_like(outputs)
    impacts = torch.zeros(2, len(x), x[0].numel(), dtype=torch.double)
    for order, sign in enumerate((-1, 1)):
        masked = torch.zeros_like(impacts[0], dtype=torch.bool, device=x.device)
        for state in range(steps):
            inputs = x.masked_fill(masked.view_as(x), 0)
            output, impact = _target_impact(logits, inputs, targets)
            outputs[order, state] = output.cpu()
            if state > 0:
                similarities[order, state] = _similarity(
                    a, explain(inputs.cpu().numpy())
                )
            shares = impact.cpu().double()
            total = shares.sum(1, keepdim=True)
            impacts[order] += shares / total.masked_fill(total == 0, 1)
            key = sign * impact
            if schedule == "uniform":
                key = key.masked_fill(masked, float("inf"))
            count = (state + 1) * key.shape[1] // steps
            masked = masked.scatter(1, _ranking(key, masked)[:, :count], True)

    bad = ~(outputs.isfinite().all(1).all(0) & impacts.isfinite().all(2).all(0))
    # Equation 14: whether the map changes as the output does.
    d_o = (outputs[0] - outputs[1])[1:] / (outputs[0, 0] + EPSILON)
    d_a = (similarities[0] - similarities[1])[1:]
    largest = d_o.abs().sum(0) + d_a.abs().sum(0) + EPSILON
    robustness = (1 - 2 * (d_o - d_a).abs().sum(0) / largest).clamp(min=-1)
    # Equation 15: whether the map lies where masking has an impact.
    lerf, morf = impacts / (impacts.sum(2, keepdim=True) + EPSILON)
    a = a.flatten(1)
    faithfulness = (a * (lerf - morf).sign()).sum(1) / (a.sum(1) + EPSILON)
    faithfulness = faithfulness.clamp(-1, 1)
    scores = {
        "lc_robustness": robustness,
        "lc_faithfulness": faithfulness,
        "local_consistency": ((robustness + faithfulness) / 2).clamp(min=0),
    }
    return {name: each.masked_fill(bad, float("nan")) for name, each in scores.items()}


def _target_impact(
    logits: Callable, x: "torch.Tensor", targets: "torch.Tensor"
) -> Tuple["torch.Tensor", "torch.Tensor"]:
    """Compute the targets' outputs (B,) and the features' impacts on them (B, D)."""
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        # A copy, for models that overwrite their input.
        output = logits(leaf.clone()).gather(1, targets[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(output.abs().sum(), leaf)
    wide = torch.promote_types(x.dtype, torch.float32)
    return output.detach(), (x.to(wide) * gradient.to(wide)).abs().flatten(1)


def _ranking(key: "torch.Tensor", first: "torch.Tensor") -> "torch.Tensor":
    """Rank the features, highest first; ties by what is to come first, then by place."""
    # Stable sorts, the last criterion first.
    rank = first.byte().sort(dim=1, descending=True, stable=True).indices
    key = key.gather(1, rank)
    return rank.gather(1, key.sort(dim=1, descending=True, stable=True).indices)


def _similarity(a: "torch.Tensor", b: "torch.Tensor") -> "torch.Tensor":
    """Compute the similarity of positive maps (eq. 13)."""
    a, b = a.flatten(1), b.flatten(1)
    return 1 - (a - b).abs().sum(1) / (a.sum(1) + b.sum(1) + EPSILON)


def contrastiveness(
    logits: Callable,
    explain: Callable,
    x: "torch.Tensor",
    mosaic_batch: np.ndarray,
    label_batch: np.ndarray,
    place_batch: np.ndarray,
) -> "torch.Tensor":
    """
    Compute Contrastiveness (eq. 17): the mean of the score map S, weighted by the map of a mosaic.

    Parameters
    ----------
    logits: callable
        Maps (B, ...) inputs to (B, K) logits.
    explain: callable
        Maps (B, ...) inputs, a np.ndarray, to their maps, as positive_map returns them.
    x: torch.Tensor
        (B, ...) the samples themselves.
    mosaic_batch: np.ndarray
        (B, ...) their mosaics.
    label_batch: np.ndarray
        (B, 4) the classes in the quadrants of the mosaics.
    place_batch: np.ndarray
        (B, 4) 1 where the sample itself is, 0 elsewhere.

    Returns
    -------
    torch.Tensor
        float64 (B,), in [0, 1]; NaN where a logit is NaN or infinite, a map is not finite, or the mosaic shows one
        class only.
    """
    labels, places = torch.tensor(label_batch), torch.tensor(place_batch).bool()
    with torch.no_grad():
        of_classes = logits(x).cpu().double().gather(1, labels)
    of_sample = of_classes[places][:, None]
    # 2 s[c_n] / s[c_p] - 1, at most 1, of softmax values s.
    scores = 2 * (of_classes - of_sample).clamp(max=0).exp() - 1
    a = explain(mosaic_batch)
    inside = [a[(..., *place)].flatten(1).sum(1) for place in _quadrants(a.shape[2:])]
    mean = (scores * torch.stack(inside, 1)).sum(1) / (a.flatten(1).sum(1) + EPSILON)
    bad = ~of_sample.isfinite() | (of_classes == float("inf"))
    bad = bad.any(1) | (labels == labels[:, :1]).all(1)
    return mean.clamp(0, 1).masked_fill(bad, float("nan"))


def _quadrants(shape: Sequence[int]) -> List[Tuple[slice, ...]]:
    """Cut an image (H, W) into quadrants or a time series (L,) into quarters; the first ones are longer if need be."""
    parts = {1: 4, 2: 2}.get(len(shape), 0)
    if not parts or min(shape) < parts:
        raise ValueError(
            f"Mosaics need images of at least 2 x 2 or time series of at least 4, got {tuple(shape)}."
        )
    cuts = []
    for side in shape:
        edges = [side // parts * k + min(k, side % parts) for k in range(parts + 1)]
        cuts.append([slice(start, stop) for start, stop in zip(edges, edges[1:])])
    return list(product(*cuts))


def contrastive_mosaic_creation(
    images: np.ndarray, labels: np.ndarray, seed: int = 0
) -> Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Build the mosaics of Contrastiveness: each sample with three others, each shrunk to a quarter of its size.

    Which others, and where, depends on the seed and the contents of the samples, not on their order. At least one is of
    another class, if there is any. A sample with a value that is not finite stands in its own mosaic only.

    Parameters
    ----------
    images: np.ndarray
        (N, C, H, W) images or (N, C, L) time series, at least 4.
    labels: np.ndarray
        (N,) their classes.
    seed: int
        The seed.

    Returns
    -------
    mosaics: np.ndarray
        Of the shape of images.
    indices: np.ndarray
        (N, 4) the samples in the quadrants: top left, top right, bottom left, bottom right.
    mosaic_labels: np.ndarray
        (N, 4) their classes.
    places: np.ndarray
        (N, 4) 1 where the sample itself is, 0 elsewhere.

    Examples
    --------
        >> images = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((1, 1, 2, 2))
        >> mosaics, indices, _, _ = contrastive_mosaic_creation(images, np.arange(4))
        >> (mosaics.reshape(4, 4) == indices).all()
        True
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if len(images) < 4:
        raise ValueError(f"Mosaics need at least 4 samples, got {len(images)}.")
    indices, places = _draw(images, labels, seed)
    mosaics = np.empty_like(images)
    for k, place in enumerate(_quadrants(images.shape[2:])):
        part = images[indices[:, k]]
        for axis, cut in enumerate(place, start=2):
            size = cut.stop - cut.start
            part = part.take(np.arange(size) * part.shape[axis] // size, axis=axis)
        mosaics[(..., *place)] = part
    return mosaics, indices, labels[indices], places


def _draw(
    images: np.ndarray, labels: np.ndarray, seed: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Draw indices and places, (N, 4) each: each sample orders the others by a hash of the seed, its content and theirs."""
    contents = np.array(
        [_hash((np.asarray(each, dtype="<f4") + 0.0).tobytes()) for each in images]
    )
    # Samples of the same content are numbered; all but the first come after the others.
    numbers = np.zeros(len(images), dtype=np.uint64)
    seen: "Counter[int]" = Counter()
    for i in np.lexsort((labels, contents)):
        numbers[i] = seen[contents[i]]
        seen[contents[i]] += 1
    own = _mix(contents ^ _hash(f"{seed},mosaic,0".encode()))
    others = _mix(contents + numbers * _GOLDEN)
    usable = np.isfinite(images).reshape(len(images), -1).all(axis=1)
    drawn = np.empty((len(images), 4), dtype=int)
    for i in range(len(images)):
        keys = (_mix(own[i] ^ others) >> np.uint64(1)) | _TIER * (numbers > 0)
        same = contents == contents[i]
        copies = contents[i] + (numbers[same] - (numbers[same] > numbers[i])) * _GOLDEN
        keys[same] = (_mix(own[i] ^ _mix(copies)) >> np.uint64(1)) | _TIER
        ranked = np.argsort(keys, kind="stable")
        ranked = ranked[usable[ranked] & (ranked != i)]
        chosen, different = ranked[:3], ranked[labels[ranked] != labels[i]]
        if len(different) and (labels[chosen] == labels[i]).all():
            chosen = np.append(chosen[:2], different[0])
        # Where there are too few, one stands there again, or the sample itself.
        drawn[i] = [i, *chosen, *[*chosen[:1], i][:1] * 3][:4]
    places = _PLACES[(_mix(own + _GOLDEN) % np.uint64(24)).astype(int)]
    indices = np.empty_like(drawn)
    np.put_along_axis(indices, places, drawn, axis=1)
    return indices, (np.arange(4) == places[:, :1]).astype(int)


def _hash(data: bytes) -> np.uint64:
    """Hash bytes to a number, the same on every machine."""
    return np.uint64(
        int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
    )


def _mix(words: np.ndarray) -> np.ndarray:
    """Mix numbers as SplitMix64 does (Steele et al., 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        words = (words ^ (words >> np.uint64(shift))) * np.uint64(factor)
    return words
