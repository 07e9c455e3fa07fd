"""Explanation functions made from others: remembered, of another network, or worse on purpose."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gae_metric.explainers.gradients import ExplainFunc
from gae_metric.functional.draws import content_generator
from gae_metric.study.conversion import as_maps
from gae_metric.study.explaining import tensor_explainer


@tensor_explainer
def brightness(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
    """Return the absolute input: a map that depends on the image and on no network."""
    return abs(inputs)


def of_network(explain: ExplainFunc, network: nn.Module) -> ExplainFunc:
    """Return maps of one network's own logits, whichever network is asked about."""

    @tensor_explainer
    def explained(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        return explain(network, inputs, targets, **kwargs)

    return explained


@dataclass
class Remembered:
    """Maps that are computed once: what makes them worse asks for the same ones many times.

    They are kept in memory by the input's content and its target, so this is for one network.
    """

    explain: ExplainFunc
    maps: dict[tuple[bytes, int], Tensor] = field(default_factory=dict)

    accepts_tensors = True

    @property
    def channels(self) -> int:
        """Channels of the maps; 0 before the first."""
        return max((one.shape[0] for one in self.maps.values()), default=0)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor, **kwargs: Any) -> Tensor:
        """Explain the inputs that have not been met."""
        keys = [
            (hashlib.blake2b(sample.tobytes(), digest_size=16).digest(), int(target))
            for sample, target in zip(inputs.detach().cpu().numpy(), targets, strict=True)
        ]
        new = [i for i, key in enumerate(keys) if key not in self.maps]
        if new:
            found = self.explain(model, inputs[new], targets[new], **kwargs)
            for i, one in zip(new, as_maps(found, inputs[new].shape, "explain"), strict=True):
                self.maps[keys[i]] = one.cpu()
        return torch.stack([self.maps[key] for key in keys]).to(inputs.device)


Array: TypeAlias = NDArray[Any]
Rng: TypeAlias = np.random.Generator
Change = Callable[[Array, Array, float, Rng], Array]


class Degradation(NamedTuple):
    """A way to make a map worse.

    Attributes
    ----------
    change
        Function of a map (C, H, W), the same image's map of a wrong class, the strength and a
        generator; a strength of 0 leaves the map as it is.
    strengths
        In ascending order, without 0.
    unit
        What a strength is a number of.
    channels
        Whether maps must have several channels for this to make them worse.
    """

    change: Change
    strengths: tuple[float, ...]
    unit: str
    channels: bool = False


def add_noise(a: Array, wrong: Array, strength: float, rng: Rng) -> Array:
    """Add Gaussian noise of ``strength`` standard deviations of the map."""
    return np.asarray(a + strength * a.std() * rng.standard_normal(a.shape))


def shift(a: Array, wrong: Array, strength: float, rng: Rng) -> Array:
    """Move the map right and down by a share of its sides, cyclically.

    Examples
    --------
    >>> shift(np.eye(4)[None, :1], np.zeros(1), 0.5, np.random.default_rng())
    array([[[0., 0., 1., 0.]]])
    """
    return np.roll(a, tuple(round(strength * side) for side in a.shape[1:]), axis=(1, 2))


def mix_classes(a: Array, wrong: Array, strength: float, rng: Rng) -> Array:
    """Replace a share of the map by that of the wrong class, both scaled to maximum 1."""
    return (1 - strength) * _scaled(a) + strength * _scaled(wrong)


def shuffle_channels(a: Array, wrong: Array, strength: float, rng: Rng) -> Array:
    """Give each channel's relevance to the next one, at a share of the pixels.

    The pixels of a smaller share are among those of a larger one.
    """
    return np.where(rng.random(a.shape[1:]) < strength, np.roll(a, 1, axis=0), a)


def _scaled(a: NDArray[Any]) -> NDArray[Any]:
    peak = a.max()
    return a / peak if peak > 0 else a


DEGRADATIONS: Mapping[str, Degradation] = {
    "noise": Degradation(add_noise, (0.25, 0.5, 1, 2, 4, 8), "standard deviations of the map"),
    "shift": Degradation(shift, (1 / 24, 1 / 12, 1 / 6, 1 / 3, 1 / 2), "share of each side"),
    "wrong class": Degradation(mix_classes, (0.25, 0.5, 0.75, 1), "share of the wrong class's map"),
    "channel shuffle": Degradation(
        shuffle_channels, (0.25, 0.5, 0.75, 1), "share of the pixels", channels=True
    ),
}
"""Ways to make maps worse, by name."""


def degraded(
    explain: ExplainFunc, how: Degradation, strength: float, classes: int, seed: int = 0
) -> ExplainFunc:
    """Return maps of an explanation function, each made worse by itself.

    What is drawn depends on the input and the seed alone, so that all strengths meet the same
    noise. The wrong class is half the number of classes further, cyclically.
    """

    @tensor_explainer
    def explained(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Any:
        others = (targets + classes // 2) % classes
        given = (explain(model, inputs, of, **kwargs) for of in (targets, others))
        checked = (as_maps(one, inputs.shape, "explain") for one in given)
        maps, wrong = (one.detach().cpu().double() for one in checked)
        changed = [
            how.change(a.numpy(), b.numpy(), strength, content_generator(x.numpy(), seed))
            for a, b, x in zip(maps, wrong, inputs.detach().cpu(), strict=True)
        ]
        return torch.as_tensor(np.stack(changed)).to(inputs)

    return explained
