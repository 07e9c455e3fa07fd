"""What a model writes to after a call took it: the call counts with what was in it then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import abslrp

X = torch.rand(4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.3
WEIGHTS = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
TARGETS = [0, 1, 2, 0]


class Loop(nn.Module):
    """Three steps, each with a constant of its own: in memory that is used again, or new."""

    def __init__(self, step: Callable[..., Tensor], anew: bool) -> None:
        super().__init__()
        self.step, self.anew = step, anew
        self.parameter = nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
        self.register_buffer("kept", torch.zeros(4, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        memory = {"kept": self.kept, "parameter": self.parameter}
        memory |= {"place": torch.zeros(1, dtype=torch.long), "mask": torch.zeros(4, 4).bool()}
        for number, weight in enumerate(WEIGHTS):
            if self.anew:
                memory = {name: nn.Parameter(one.clone(), False) for name, one in memory.items()}
            x = torch.relu(self.step(x @ WEIGHTS[0], number, weight, **memory))
        return x.flatten(1)[:, :3]


def with_weights(x: Tensor, number: int, weight: Tensor, *, kept: Tensor, **memory: Any) -> Tensor:
    kept.copy_(weight)
    return F.linear(x, kept)


def with_data(
    x: Tensor, number: int, weight: Tensor, *, parameter: Tensor, **memory: Any
) -> Tensor:
    parameter.data = weight
    return F.linear(x, parameter)


def with_a_norm(x: Tensor, number: int, weight: Tensor, *, kept: Tensor, **memory: Any) -> Tensor:
    torch.mul(weight, 2, out=kept)
    return x + F.layer_norm(x, [4], kept[0].abs(), kept[1].abs())


def with_a_batch_norm(
    x: Tensor, number: int, weight: Tensor, *, kept: Tensor, **memory: Any
) -> Tensor:
    kept.copy_(weight.abs())
    return F.batch_norm(x, kept[0], kept[1], kept[2], kept[3])


def with_a_convolution(
    x: Tensor, number: int, weight: Tensor, *, kept: Tensor, **memory: Any
) -> Tensor:
    kept[:] = weight
    return F.conv1d(x, kept[..., None], kept[0])


def with_a_mask(x: Tensor, number: int, weight: Tensor, *, mask: Tensor, **memory: Any) -> Tensor:
    mask.zero_()
    mask[number] = True
    return torch.where(mask, x @ weight, x).masked_fill(mask.mT, 0.5)


def with_a_place(x: Tensor, number: int, weight: Tensor, *, place: Tensor, **memory: Any) -> Tensor:
    place.fill_(number)
    return x.index_copy(1, place, x[:, 3:] * 2) + x[:, place]


def with_what_takes_a_value(
    x: Tensor, number: int, weight: Tensor, *, kept: Tensor, **memory: Any
) -> Tensor:
    other = kept.new_full((len(x), 4, 4), 0.5)
    found = other @ x
    other[:, 0] = x[:, 0]
    return found + other


STEPS = [
    with_weights, with_data, with_a_norm, with_a_batch_norm, with_a_convolution, with_a_mask,
    with_a_place, with_what_takes_a_value,
]  # fmt: skip


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.filterwarnings("ignore:relevance")
def test_constants_that_are_written_to_later(step: Callable[..., Tensor], rules: str) -> None:
    found, wanted = (
        abslrp.explain(Loop(step, anew).eval(), X, TARGETS, rules=rules, contrast=None)
        for anew in (False, True)
    )
    assert wanted.abs().sum() > 0.1
    torch.testing.assert_close(found, wanted)


def test_gradients_with_constants_that_are_written_to_later() -> None:
    scale, found = torch.zeros(4, 4, dtype=torch.float64), []
    for memory in (scale, None):
        with abslrp.propagation():
            x = X[:, 0].clone().requires_grad_()
            h: Tensor = x
            for weight in WEIGHTS:
                h = F.linear(h, weight if memory is None else memory.copy_(weight))
            made = h.sum(1)
        found += torch.autograd.grad(made.sum(), x)
    torch.testing.assert_close(found[0], found[1])


def test_indices_of_a_pooling_that_are_written_to() -> None:
    class Pooled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found, places = F.max_pool2d(x[:, None], 2, return_indices=True)
            places.zero_()
            return found.flatten(1)

    plain = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.MaxPool2d(2), nn.Flatten()).eval()
    found, wanted = (
        abslrp.explain(model, X, TARGETS, contrast=None) for model in (Pooled().eval(), plain)
    )
    torch.testing.assert_close(found, wanted)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.ModuleList(nn.Linear(4, 4).double() for _ in range(3))
        for layer in self.layers:
            layer.weight.data.abs_()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x.flatten(1)[:, :3]


class Cast(Layers):
    """Weights are in another type but while their layer runs."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer.double()(x.double()))
            layer.float()
        return x.flatten(1)[:, :3]


class Loaded(Layers):
    """Weights are there only while their layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.stored = [layer.weight.data for layer in self.layers]
        for layer in self.layers:
            layer.weight.data = torch.empty(0, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        for layer, weight in zip(self.layers, self.stored, strict=True):
            layer.weight.data = weight
            x = torch.relu(layer(x))
            layer.weight.data = torch.empty(0, dtype=torch.float64)
        return x.flatten(1)[:, :3]


@pytest.mark.parametrize("kind", [Cast, Loaded])
def test_weights_that_are_there_while_their_layer_runs(kind: type[Layers]) -> None:
    found, wanted = (
        abslrp.explain(model, X, TARGETS, contrast=None)
        for model in (kind().eval(), Layers().eval())
    )
    assert wanted.abs().sum() > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_an_activation_whose_data_is_replaced() -> None:
    class Replaced(nn.Module):
        def __init__(self, by_data: bool) -> None:
            super().__init__()
            self.by_data = by_data

        def forward(self, x: Tensor) -> Tensor:
            made, other = x.clone(), torch.relu(x @ WEIGHTS[0])
            if self.by_data:
                made.data = other
            else:
                made = other
            return (made * 2).flatten(1)[:, :3]

    found, wanted = (abslrp.explain(Replaced(one).eval(), X, TARGETS) for one in (True, False))
    torch.testing.assert_close(found, wanted)


class Alias(nn.Module):
    """What is tried on (B, 4, 4), and a layer."""

    def __init__(self, call: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.call(x * 1)
        return (found @ WEIGHTS[0]).flatten(1)[:, :3]


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "data": lambda x: x.data.zero_(),
    "a part of data": lambda x: x.data[:, 0].fill_(2),
    "a detached alias": lambda x: x.detach().mul_(-1),
    "a detached view": lambda x: x.view(-1).detach().fill_(3),
    "out": lambda x: torch.zeros(x.shape, out=x.detach()),
}


@pytest.mark.parametrize("name", WRITES)
def test_calls_before_a_write_through_an_alias(name: str) -> None:
    def written(x: Tensor) -> Tensor:
        found = x @ WEIGHTS[1]
        WRITES[name](x)
        return found

    found, wanted = (
        abslrp.explain(Alias(one).eval(), X, TARGETS, contrast=None)
        for one in (written, lambda x: x @ WEIGHTS[1])
    )
    torch.testing.assert_close(found, wanted)


def attended(x: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
    scores = x @ x.mT
    return torch.softmax(fill(scores), -1) @ x


def after(x: Tensor, write: Callable[[Tensor], Any]) -> Tensor:
    write(x)
    return x


CLOSED = torch.ones(4, 4).triu(1).bool()
PASSED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "clamp": (lambda x: after(x, lambda x: x.data.clamp_(0)), torch.relu),
    "scale": (lambda x: after(x, lambda x: x.detach().mul_(2)), lambda x: x * 2),
    "zeros": (
        lambda x: after(x, lambda x: x.data[..., 0].zero_()),
        lambda x: F.pad(x[..., 1:], (1, 0)),
    ),
    "mask": (
        lambda x: attended(x, lambda s: after(s, lambda s: s.data.masked_fill_(CLOSED, -1e9))),
        lambda x: attended(x, lambda s: s.masked_fill(CLOSED, -1e9)),
    ),
    "round": (
        lambda x: after(x, lambda x: setattr(x, "data", (x.data * 4).round() / 4)),
        lambda x: (x * 4).round() / 4,
    ),
}  # fmt: skip


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("name", PASSED)
def test_relevance_passes_what_an_alias_writes_as_gradients_do(name: str, accelerate: bool) -> None:
    found, wanted = (
        abslrp.explain(Alias(one).eval(), X, TARGETS, contrast=None, accelerate=accelerate)
        for one in PASSED[name]
    )
    assert wanted.abs().sum() > 0.1
    torch.testing.assert_close(found, wanted)


class Negated(nn.Module):
    """Writes constants to half of its activations, changes these, and turns the sign of two."""

    def __init__(self, write: bool) -> None:
        super().__init__()
        self.write, self.head = write, nn.Linear(4, 2, dtype=torch.float64)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0, -1.0, -1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        if self.write:
            z = x * 1.0
            z[:, 2:] = 0.3
            z[:, 2:] -= 0.2
            z[:, 1:3] *= -1
        else:
            tenths = torch.full_like(x[:, :1], 0.1)
            z = torch.cat([x[:, :1], -x[:, 1:2], -tenths, tenths], 1)
        logits: Tensor = self.head(z)
        return logits


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("conserve", ["operation", None])
def test_signs_that_turn_beside_constants_that_are_written_to(
    conserve: Any, accelerate: bool
) -> None:
    """What makes the negative of a positive entry larger is no positive contribution of it."""
    x, start = torch.tensor([[0.5, 0.9, 0.2, 0.7]]).double(), torch.tensor([[1.0, 0.0]]).double()
    given: dict[str, Any] = {"conserve": conserve, "accelerate": accelerate}
    found, wanted = (
        abslrp.relevance(Negated(write).eval(), x, start, **given) for write in (True, False)
    )
    torch.testing.assert_close(found, wanted)
    if conserve is None:  # of the logit 0.5 + 0.9 + 0.1 + 0.1
        torch.testing.assert_close(found, torch.tensor([[0.5 / 1.6, 0, 0, 0]]).double())


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.data.sub_(x.data.mean(0)),
        lambda x: x.detach().copy_(x.data.flip(0).clone()),
        lambda x: setattr(x, "data", x.data / x.data.max()),
    ],
)
def test_samples_that_are_mixed_through_an_alias_are_refused(write: Any) -> None:
    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(Alias(lambda x: after(x, write)).eval(), X, TARGETS)


def test_arguments_that_a_model_writes_to_stay_as_they_were() -> None:
    class Counting(nn.Linear):
        def forward(self, x: Tensor, count: Tensor, more: dict[str, Tensor]) -> Tensor:
            more["by"].mul_(2)
            return super().forward(x * count.add_(1) * more["by"])

    model, x, count = Counting(4, 3).eval(), torch.rand(3, 4), torch.ones(3, 1, dtype=torch.long)
    by = torch.ones(())
    found = [
        abslrp.explain(model, (x, count), [0, 1, 2], model_kwargs={"more": {"by": by}})[0]
        for _ in range(2)
    ]
    assert count.flatten().tolist() == [1, 1, 1]
    assert by == 1
    assert torch.equal(found[0], found[1])


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("decides", [False, True])
def test_hooks_on_activations_that_have_no_gradient(asks: bool, decides: bool) -> None:
    """Models keep gradients for class activation maps, whether or not one is taken."""

    class Hooked(Layers):
        def forward(self, x: Tensor) -> Tensor:
            x = x.requires_grad_() if asks else x
            for layer in self.layers:
                x = torch.relu(layer(x))
                x.register_hook(print).remove()
                x.retain_grad()
            return x.flatten(1)[:, :3] * (2 if decides and x.max() > 9 else 1)

    found, wanted = (
        abslrp.explain(model.eval(), X, TARGETS, contrast=None) for model in (Hooked(), Layers())
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "write",
    [
        lambda x: torch.mul(x, 3.0, out=torch.empty(0)),
        lambda x: torch.zeros(2, 2).copy_(x.mul(3.0)[0]),
    ],
    ids=["an empty tensor", "a row for all"],
)
def test_what_is_written_may_have_another_shape(write: Callable[[Tensor], Tensor]) -> None:
    """``out=`` grows if it is empty; what is copied is repeated: relevance 1 is of one entry."""

    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return write(x)[:1]

    x = torch.tensor([[2.0, 1.0]])
    found = abslrp.relevance(Writes().eval(), x, torch.tensor([[1.0, 0.0]]), conserve=None)
    assert found.tolist() == [[1.0, 0.0]]


def test_a_weight_of_one_entry_is_that_of_the_call() -> None:
    """It turns negative later: relevance would be none."""

    class Turning(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            weight = torch.ones(1, 1)
            h = F.linear(x, weight)
            weight.fill_(-1.0)
            return h

    found = abslrp.relevance(Turning().eval(), torch.tensor([[2.0]]), torch.ones(1, 1))
    assert found.tolist() == [[1.0]]
