"""Targets of any output, and relevance at modules and from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp import targets

B = 4  # the number of classes, of rows and of columns, too


def seeded(make: Callable[[], Any]) -> Any:
    torch.manual_seed(3)
    return make().double().eval()


def dense() -> Any:
    """(B, 3, 4, 4) to (B, 4, 4, 4)."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 4, 3, padding=1)
        )
    )


def rows(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(shape).random(shape))


IMAGES = rows(B, 3, 4, 4)
MASKS = rows(B, 4, 4) > 0.5
CLASSES = torch.tensor([0, 3, 1, 2])


def check(model: nn.Module, x: Tensor, target: Any, single: Callable[[int], Any]) -> None:
    """Maps of a batch are those of each sample alone, by a plain function, whatever the chunks."""
    wanted = torch.cat([abslrp.explain(model, x[i : i + 1], target=single(i)) for i in range(B)])
    assert wanted.abs().sum() > 0
    for batch_size in (None, 1, 3):
        got = abslrp.explain(model, x, target=target, batch_size=batch_size)
        torch.testing.assert_close(got, wanted)


def test_regions_of_dense_outputs() -> None:
    check(
        dense(), IMAGES, targets.region(MASKS, CLASSES),
        lambda i: lambda z: (z[:, CLASSES[i]] * MASKS[i]).flatten(1).sum(1),
    )  # fmt: skip
    check(
        dense(), IMAGES, targets.region(MASKS[0].int().numpy(), 2),
        lambda i: lambda z: (z[:, 2] * MASKS[0]).flatten(1).sum(1),
    )  # fmt: skip


@pytest.mark.parametrize("make", [targets.token, targets.box])
def test_tokens_and_boxes(make: Any) -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)))
    x = rows(B, 4, 4)
    places = [1, 3, 0, 2]
    check(model, x, make(places, CLASSES), lambda i: lambda z: z[:, places[i], CLASSES[i]])
    check(model, x, make(-1, 2), lambda i: lambda z: z[:, -1, 2])


def test_classes_and_differences() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4)))
    x = rows(B, 4)
    one = abslrp.explain(model, x, target=targets.logit(CLASSES))
    torch.testing.assert_close(one, abslrp.explain(model, x, CLASSES, contrast=None))
    check(
        model, x, targets.difference(CLASSES, 3 - CLASSES),
        lambda i: lambda z: z[:, CLASSES[i]] - z[:, 3 - CLASSES[i]],
    )  # fmt: skip


def test_a_difference_is_a_unit_of_both_weights() -> None:
    """Eq. 12 of ``a - b`` in two steps: first a+ and (-b)+, then each unit's own inputs."""
    model = nn.Linear(2, 2, bias=False).double().eval()
    model.weight.data = torch.tensor([[2.0, 1.0], [1.0, -3.0]], dtype=torch.double)
    x = torch.ones(1, 2).double()
    got = abslrp.explain(model, x, target=targets.difference(0, 1), conserve=None)
    # a = 3, b = -2, h = 5: 3/5 to a by (2, 1)/3, 2/5 to -b by (0, 3)/2.
    np.testing.assert_allclose(got, [[2 / 5, 1 / 5 + 3 / 5]], rtol=1e-8)


def test_regression_and_several_inputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            number: Tensor = self.layer(torch.cat([x, y], 1))[:, 0]
            return number

    model = seeded(Both)
    model.layer.weight.data.abs_()
    model.layer.bias.data.abs_()
    got = abslrp.explain(model, (rows(B, 4), rows(B, 2)), lambda z: z)
    total = sum(one.sum(1) for one in got)
    torch.testing.assert_close(total, torch.ones(B, dtype=torch.double))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"targets: expected integers of shape \(4,\), got None"),
        ({"target": 3}, "target: expected a function of the output in place of targets, got int"),
        ({"targets": 0, "target": targets.logit(0)}, "got classes, too"),
        ({"target": lambda z: z}, r"one floating-point number for each of 4 .* got torch.float64 "),
        ({"target": lambda z: z.sum()}, "one floating-point number"),
        ({"target": lambda z: z.sum(1), "contrast": "signed"}, "nothing to be contrasted with"),
        ({"targets": 0, "batch_size": True}, "batch_size: expected a positive integer or None"),
        ({"targets": 0, "accelerate": "no"}, "accelerate: expected True or False, got 'no'"),
    ],
)
def test_what_is_no_target(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        abslrp.explain(nn.Linear(4, 3).double().eval(), rows(B, 4), **given)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, "u2", "u8"])
def test_classes_of_any_integers(kind: Any, wide: bool) -> None:
    """Of 8 bits they are no mask, also where there are as many classes as samples."""
    x = rows(B, 4)
    model = nn.Linear(4, 5 if wide else B).double().eval()
    classes = np.array(CLASSES.tolist(), kind) if isinstance(kind, str) else CLASSES.to(kind)
    found = abslrp.explain(model, x, target=targets.logit(classes))
    torch.testing.assert_close(found, abslrp.explain(model, x, CLASSES, contrast=None))


@pytest.mark.parametrize("make", [targets.logit, lambda one: targets.difference(0, one)])
@pytest.mark.parametrize("classes", [[0.0, 1.0], [True, False], "cat"])
def test_what_is_no_class_of_a_target(make: Any, classes: Any) -> None:
    with pytest.raises(ValueError, match="target: expected integers, got"):
        abslrp.explain(nn.Linear(4, 4).double().eval(), rows(2, 4), target=make(classes))


@pytest.mark.parametrize("count", [2, B + 1])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_data_of_another_number_of_samples(count: int, batch_size: Any) -> None:
    model, x, classes = nn.Conv1d(2, 3, 1).double().eval(), rows(B, 2, 2), [1] * count
    for target in (targets.region(torch.ones(count, 2), 1), targets.token(classes, 0)):
        with pytest.raises(ValueError, match=r"target: .* for each of 4 samples, .* got"):
            abslrp.explain(model, x, target=target, batch_size=batch_size)


IMAGE = torch.ones(B, 3, 8, 8, dtype=torch.double)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            targets.logit(9),
            r"target: expected integers from 0 to 3 for axis 1 .*\(4, 4, 8, 8\), got 9",
        ),
        (targets.region(torch.ones(8, 8), 9), "target: expected integers from 0 to 3 .* got 9"),
        (targets.difference([0, 1], 2), r"one for each of 4 samples, .* got \(2,\)"),
        (targets.token(-9, 1), "target: expected integers from 0 to 3 for axis 1 .* got -9"),
        (
            targets.region(torch.ones(16, 16), 1),
            r"mask: expected shape \(8, 8\) or \(4, 8, 8\), got \(16, 16\)",
        ),
    ],
)
def test_entries_that_an_output_does_not_have(target: Any, message: str) -> None:
    model = nn.Conv2d(3, 4, 3, padding=1).double().eval()
    with pytest.raises(ValueError, match=message):
        abslrp.explain(model, IMAGE, target=target)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["script", "part", "trace", "export"])
def test_modules_inside_of_programs(kind: str) -> None:
    model, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval(), torch.rand(2, 4)
    made: Any
    if kind == "script":
        made = torch.jit.script(model)
    elif kind == "part":
        made = nn.Sequential(torch.jit.script(model[0]), *model[1:]).eval()
    elif kind == "trace":
        made = torch.jit.trace(model, x)
    else:
        made = torch.export.export(model, (x,)).module()
    with pytest.raises(ValueError, match="scripted, traced and exported programs"):
        abslrp.explain(made, x, 0, at="0")


def test_predicted_classes_of_rows_that_are_one_sample() -> None:
    model, x = nn.Linear(4, 3).double().eval(), rows(B, 4)
    found = abslrp.explain(model, x, "predicted", samples="whole")
    wanted = abslrp.explain(model, x, model(x).argmax(1), samples="whole")
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("start", ["cat", torch.ones(B, 3, dtype=torch.complex64)])
def test_what_is_no_start(start: Any) -> None:
    with pytest.raises(ValueError, match="start: expected real numbers, got"):
        abslrp.relevance(nn.Linear(4, 3).double().eval(), rows(B, 4), start)


def test_data_of_samples_in_a_closure_is_not_taken_for_that_of_others() -> None:
    model, x, labels = nn.Linear(4, 4).double().eval(), rows(B, 4), CLASSES

    def closure(z: Tensor) -> Tensor:
        return z[torch.arange(len(labels)), labels]

    assert abslrp.explain(model, x, target=closure).shape == x.shape
    with pytest.raises((ValueError, IndexError)):
        abslrp.explain(model, x, target=closure, batch_size=2)


# Relevance at modules


def test_relevance_at_modules_is_conserved_and_of_their_shape() -> None:
    model = dense()
    for layer in (model[0], model[2]):
        layer.weight.data.abs_()
        layer.bias.data.abs_()
    found: Any = abslrp.explain(
        model, IMAGES.numpy(), target=targets.region(MASKS, 1), at=["0", "2"], batch_size=3
    )
    assert {name: one.shape for name, one in found.items()} == {
        "0": (4, 5, 4, 4), "2": (4, 4, 4, 4),
    }  # fmt: skip
    for one in found.values():
        assert isinstance(one, np.ndarray)
        np.testing.assert_allclose(one.sum((1, 2, 3)), 1)
    alone = abslrp.explain(model, IMAGES, target=targets.region(MASKS, 1), at="0")
    np.testing.assert_allclose(alone, found["0"])


@pytest.mark.parametrize("conserve", ["operation", None])
@pytest.mark.parametrize("split", ["0", "1"])
def test_relevance_to_a_module_and_on_from_there_is_relevance(conserve: Any, split: str) -> None:
    model, start = dense(), rows(B, 4, 4, 4) - 0.5
    options = {"conserve": conserve}
    inside = abslrp.relevance(model, IMAGES, start, at=split, **options)
    got = abslrp.relevance(model, IMAGES, inside, start_at=split, **options)
    torch.testing.assert_close(got, abslrp.relevance(model, IMAGES, start, **options))


def test_relevance_that_starts_at_the_model_itself() -> None:
    """Its name is the empty one."""
    model, start = dense(), rows(B, 4, 4, 4)
    got = abslrp.relevance(model, IMAGES, start, start_at="")
    torch.testing.assert_close(got, abslrp.relevance(model, IMAGES, start))


def test_relevance_of_a_unit_inside() -> None:
    """Of channel 2 alone: as of a network that ends there."""
    model = dense()
    start = torch.zeros(B, 5, 4, 4, dtype=torch.double)
    start[:, 2] = 1
    got = abslrp.relevance(model, IMAGES, start, start_at="1")
    torch.testing.assert_close(got, abslrp.relevance(model[:2].eval(), IMAGES, start))
    torch.testing.assert_close(got, abslrp.relevance(model, IMAGES, start[None], start_at="1")[0])


def test_streams_at_a_module() -> None:
    """Each stream is scaled to sum 1 there."""
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 4)))
    for parameter in model.parameters():
        parameter.data.abs_()
    x, hot = rows(B, 4), torch.eye(4).double()[CLASSES]
    got: Any = abslrp.explain(model, x, CLASSES, at=["0"])
    own, others = (abslrp.relevance(model, x, one, at="0") for one in (hot, (1 - hot) / 3))
    torch.testing.assert_close(got["0"], own - others)


class Numbers(nn.Module):
    """Logits that are sums of single numbers of each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0))
        self.two = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0))

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.one(x), self.two(x)
        return torch.stack([one, two, one + two], 1)


@pytest.mark.parametrize("contrast", ["streams", "signed", None])
def test_modules_of_one_number_for_each_sample(contrast: Any) -> None:
    model, x, at = seeded(Numbers), rows(3, 3, 2, 2), ["one", "two"]
    for parameter in model.parameters():
        parameter.data.abs_()
    got: Any = abslrp.explain(model, x, [0, 1, 2], at=at, contrast=contrast)
    for row in range(3):
        alone: Any = abslrp.explain(model, x[row : row + 1], row, at=at, contrast=contrast)
        for name in at:
            torch.testing.assert_close(got[name][row : row + 1], alone[name])
    sums: Any = abslrp.explain(model, x, [0, 1, 2], at=at, contrast=contrast, reduce="channels")
    torch.testing.assert_close(sums, got)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer(self.layer(x)).T.T)
        return y


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"at": "nothing"}, "the model has no module 'nothing', but those of named_modules"),
        ({"at": 3}, "at: expected a module's name, or a list of names, got 3"),
        ({"at": "layer"}, "'layer' returned 2 times"),
        ({"at": ["unused"]}, "'unused' returned 0 times"),
    ],
)
def test_modules_that_have_no_relevance(given: Any, message: str) -> None:
    model = Twice().double().eval()
    with pytest.raises(ValueError, match=message):
        abslrp.explain(model, rows(B, 4), 0, **given)
    assert not any(one._forward_hooks for one in model.modules())


@dataclasses.dataclass
class Found:
    mask: Tensor
    features: Tensor


class Returning(nn.Module):
    """A layer that returns what it makes in some form, and a head that takes it from there."""

    def __init__(self, form: Callable[[Tensor], Any], features: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.part = nn.Module()
        self.part.layer = nn.Linear(4, 4)
        self.part.forward = lambda x: form(self.part.layer(x))
        self.head, self.features = nn.Linear(4, 3), features

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.features(self.part(x)))
        return y


@pytest.mark.parametrize(
    ("form", "features"),
    [
        (lambda y: Found(y > 0, y), lambda found: found.features),
        (lambda y: (y > 0, y), lambda found: found[1]),
        (lambda y: {"mask": y > 0, "features": y}, lambda found: found["features"]),
    ],
    ids=["dataclass", "tuple", "mapping"],
)
def test_modules_that_return_a_mask_first(form: Any, features: Any) -> None:
    model = seeded(lambda: Returning(form, features))
    found = abslrp.explain(model, rows(B, 4), 0, at="part")
    torch.testing.assert_close(found, abslrp.explain(model, rows(B, 4), 0, at="part.layer"))


def test_modules_that_return_nothing_of_the_inputs() -> None:
    model = seeded(lambda: Returning(lambda y: y > 0, lambda found: found.double()))
    message = "depends on the inputs; 'part' returned 1 times, but no such tensor"
    with pytest.raises(ValueError, match=message):
        abslrp.explain(model, rows(B, 4), 0, at="part")


def test_modules_that_only_lend_their_weights() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.head = (
                nn.MultiheadAttention(4, 2, batch_first=True),
                nn.Linear(4, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.attention(x, x, x)[0].mean(1))
            return y

    with pytest.raises(ValueError, match=r"out_proj' returned 0 times; .*only lend their weights"):
        abslrp.explain(seeded(Attention), rows(B, 3, 4), 0, at="attention.out_proj")


def test_outputs_whose_first_axis_is_not_the_samples() -> None:
    model = seeded(lambda: nn.TransformerEncoderLayer(4, 2, 8))

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = model, nn.Linear(4, 3).double()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.layer(x.transpose(0, 1)).mean(0))
            return y

    with pytest.raises(ValueError, match="expected outputs with the samples along the first axis"):
        abslrp.explain(Sequence().eval(), rows(B, 4, 4), 0, at="layer")
