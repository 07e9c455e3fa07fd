"""What the tests of the sanity checks share: a network with little of everything."""

import functools

import torch

from benchmarks.sanity.case import Settings, open_case

QUICK = Settings(
    samples=8,
    steps=3,
    stages=2,
    mosaic_seeds=2,
    perturbations=1,
    lipschitz_samples=2,
    methods=("absLRP", "InputXGradient"),
)


@functools.cache
def quick_case():
    return open_case("digits:vgg", QUICK)


def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())
