"""What one sample's logits owe to the others is refused; what only looks so is explained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import abslrp

X = torch.rand(4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) + 0.1


MEAN, VARIANCE = torch.arange(4.0).double() / 4, torch.arange(1.0, 5.0).double()
VECTOR = torch.arange(16.0).double() / 16 + 0.1


class Rows(nn.Module):
    """What is tried on (B, 4, 4), and a layer."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(16, 3).double()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.call(x).flatten(1))
        return logits


def routed(bound: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """Let experts of 2 and 3 take rows below and above a bound."""

    def call(x: Tensor) -> Tensor:
        out, high = torch.zeros_like(x), x.sum(-1) > bound(x)
        out[high], out[~high] = x[high] * 2, x[~high] * 3
        return out

    return call


def between(flags: Tensor) -> Tensor:
    """Move flags on by one sample, but for the first and the last, which have none."""
    return F.pad(flags[:-2].double(), (1, 1))[: len(flags)]


DECIDING = {
    "a mask": lambda x: x * (x > x.mean()),
    "a number": lambda x: x * x.max().item(),
    "a number by NumPy": lambda x: x * float(x.detach().numpy().max()),
    "an index": lambda x: x * F.one_hot(x.sum((1, 2)).argmax(), len(x))[:, None, None],
    "ranks": lambda x: x * (1 + x.sum((1, 2)).argsort().argsort())[:, None, None],
    "places of the largest": lambda x: x * (1 + x.topk(1, 0).indices),
    "rows that are chosen": routed(lambda x: x.sum(-1).min() * 1.5),
    "a count of whole numbers": lambda x: x * len((x * 10).long().unique()),
    "whole numbers in a table": lambda x: (
        x * torch.zeros(4, 4, 4, dtype=torch.long).copy_(9 * x).max()
    ),
    "a number that fills": lambda x: x * torch.zeros((), dtype=x.dtype).fill_(x.mean()),
    "copies by an index": lambda x: x.index_copy(0, torch.arange(len(x)).flip(0), x),
    "a softmax over them": lambda x: x.softmax(-3),
    "a sort of them": lambda x: x.msort(),
    "draws": lambda x: x * torch.bernoulli((x - x.mean()).clamp(min=0).sign()),
    "more than one sample has": lambda x: x * (x >= x.flatten().topk(20).values.min()),
    "neither first nor last": lambda x: x * (1 + between(x.sum((1, 2)) > 0))[:, None, None],
    "one sample, by little": lambda x: x.masked_fill(x == X[1].max(), x.mean()),
    # Constants that were made of entries.
    "a mean without gradient": lambda x: x - x.detach().mean(0),
    "the largest norm": lambda x: x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-6).max(),
    "a mean spread": lambda x: x / (1 + x.std(-1).mean(0)).unsqueeze(-1),
    "norms along another axis": lambda x: x * x.norm(dim=(1, 2)),
    "norms of pairs": lambda x: x * (x.norm(dim=(1, 2)) + x.norm(dim=(1, 2))[:, None]).mean(),
}


@pytest.mark.parametrize("name", DECIDING)
def test_samples_that_decide_for_one_another_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(Rows(DECIDING[name]).eval(), X, 0)


OWN = {
    "a mask": lambda x: x * (x > 0.5),
    "a count": lambda x: x * (1 + (x > 0.5).sum((1, 2), keepdim=True)),
    "an index": lambda x: x * (1 + F.one_hot(x.argmax(-1), 4)),
    "a mean without gradient": lambda x: x - x.detach().mean(1, keepdim=True),
    "a sort": lambda x: x.movedim(1, 0).msort().movedim(0, 1),
    "a norm": lambda x: x / x.norm(dim=-1).clamp(min=1e-6).unsqueeze(-1).expand_as(x),
    "a number that fills": lambda x: (
        x * 2 + torch.stack([torch.zeros(4, 4, dtype=x.dtype).fill_(one.sum()) for one in x])
    ),
    "all are finite": lambda x: x if bool(torch.isfinite(x).all()) else x * 0,
    "rows that are chosen": routed(lambda x: 2.0),
}


@pytest.mark.filterwarnings("ignore:.*one at a time:UserWarning")
@pytest.mark.parametrize("name", OWN)
def test_what_samples_decide_for_themselves_is_explained(name: str) -> None:
    model = Rows(OWN[name]).eval()
    found = abslrp.explain(model, X, [0, 1, 2, 0])
    each = [abslrp.explain(model, X[i : i + 1], i % 3) for i in range(4)]
    torch.testing.assert_close(found, torch.cat(each))


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_logits_whose_rows_are_classes_are_refused(rules: str) -> None:
    """There are as many classes as samples."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), Turned()).double().eval()
    with pytest.raises(ValueError, match=r"samples along the first axis, got \(4, 4\)"):
        abslrp.explain(model, X, 0, rules=rules)
    assert abslrp.explain(model[:2].eval(), X, 0, rules=rules).shape == X.shape


class Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.t()


def test_a_plan_says_where_samples_are_lost() -> None:
    model = Rows(lambda x: x.roll(1, 0)).eval()
    with pytest.raises(Exception, match=r"which sample each entry is of \(aten.roll, called at"):
        abslrp.plan(model, X)


@pytest.mark.parametrize("pool", [F.avg_pool1d, F.max_pool1d])
def test_a_window_over_samples_is_refused(pool: Callable[..., Tensor]) -> None:
    model = Rows(lambda x: pool(x.flatten(1).t(), 3, 1, 1).t()).eval()
    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(model, X, 0)


def filled(x: Tensor, value: float) -> Tensor:
    """Fill entries that no relevance reaches."""
    return torch.cat([x[..., :1], x.index_fill(2, torch.tensor([0]), value)[..., 1:]], 2)


FOLLOWED = {
    "overlapping patches": lambda x: F.fold(F.unfold(x[:, None], 3, padding=1), 4, 3, padding=1),
    "complex numbers": lambda x: torch.view_as_real(torch.view_as_complex(x.view(-1, 4, 2, 2))),
    "a number at an index": lambda x: filled(x, 5),
    "a truth value at an index": lambda x: filled(x, True),
    "a norm of samples that are channels": lambda x: F.batch_norm(
        x.reshape(1, -1, 4), None, None, training=True
    ).view_as(x),
    "layer norm": lambda x: F.layer_norm(x, [4]),
    "layer norm of two axes": lambda x: F.layer_norm(x, [4, 4]),
    "group norm": lambda x: F.group_norm(x, 2),
    "instance norm": F.instance_norm,
    "RMS norm": lambda x: F.rms_norm(x, [4, 4]),
    "batch norm, samples last": lambda x: F.batch_norm(
        x.movedim(0, 2), MEAN, VARIANCE, training=False
    ).movedim(2, 0),
    "softmax, samples last": lambda x: x.movedim(0, 2).softmax(-2).movedim(2, 0),
    "a product, samples beside rows": lambda x: (
        (x.movedim(0, 1).reshape(-1, 4) @ VECTOR.view(4, 4)).view(4, -1, 4).movedim(0, 1)
    ),
    "a product of two, by broadcasting": lambda x: x[:, None] @ x[..., None],
    "extremes, samples last": lambda x: torch.cat(
        [x.movedim(0, 2).topk(3, -2)[0], x.movedim(0, 2).amax(-2, keepdim=True)], -2
    ).movedim(2, 0),
    "parts, samples last": lambda x: torch.cat(x.movedim(0, 2).split([1, 3], -2)[::-1], 1).movedim(
        2, 0
    ),
    "entries, samples beside them": lambda x: torch.cat(x.movedim(0, 1).unbind(), 1),
    "an entry, samples last": lambda x: x.movedim(0, 2).select(-2, 1).movedim(1, 0).repeat(1, 4),
    "largest at an index": lambda x: x.scatter_reduce(
        1, torch.tensor([1, 0, 3, 2]).view(1, 4, 1).expand(x.shape), x, "amax"
    ),
    "whole rounds of samples": lambda x: (
        torch.cat(
            [
                x.movedim(0, 1).reshape(-1, 4)[2 * len(x) :],
                x.movedim(0, 1).reshape(-1, 4)[: 2 * len(x)],
            ]
        )
        .view(4, -1, 4)
        .movedim(0, 1)
    ),
    "an instance norm by statistics, samples last": lambda x: F.instance_norm(
        x.movedim(0, 2), MEAN, VARIANCE, use_input_stats=False
    ).movedim(2, 0),
    "a product with a vector": lambda x: torch.cat(
        [(x.flatten(1) @ VECTOR)[:, None], x.flatten(1)[:, 1:]], 1
    ),
    "a vector's product, samples last": lambda x: (VECTOR[:4] @ x.movedim(0, 2)).t().repeat(1, 4),
    "complex numbers by their bits": lambda x: x.view(torch.complex128).view(torch.float64),
    "sums by an index": lambda x: x.index_add(1, torch.tensor([1, 0, 3, 2]), x, alpha=0.5),
}


@pytest.mark.parametrize("alpha", [1, 2, 0.5])
def test_sums_by_an_index_of_other_samples_are_refused(alpha: float) -> None:
    index = torch.tensor([1, 0, 3, 2])
    model = Rows(lambda x: x.index_add(0, index[: len(x)] % len(x), x, alpha=alpha)).eval()
    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(model, X, 0)


@pytest.mark.parametrize("way", ["amax", "amin"])
@pytest.mark.parametrize("name", ["scatter_reduce", "index_reduce"])
def test_extremes_by_an_index_of_other_samples_are_refused(name: str, way: str) -> None:
    """Also where each row is among those that it is the extreme of."""

    def beside(x: Tensor) -> Tensor:
        index = torch.arange(1, len(x) + 1).clamp(max=len(x) - 1)
        if name == "index_reduce":
            return x.index_reduce(0, index, x, way)
        return x.scatter_reduce(0, index.view(-1, *[1] * (x.ndim - 1)).expand_as(x), x, way)

    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(Rows(beside).eval(), X, 0)


@pytest.mark.parametrize("conserve", ["operation", None])
def test_a_product_with_itself_mixes_samples(conserve: Any) -> None:
    def squared(x: Tensor) -> Tensor:
        h = x[:, 0, : len(x)]
        return torch.cat([h @ h] * 4, 1)

    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(Rows(squared).eval(), X, 0, conserve=conserve)


NOTHING: dict[str, Callable[[Tensor], Tensor]] = {
    "index_add": lambda x: x.index_add(1, torch.zeros(0, dtype=torch.long), x[:, :0]),
    "scatter_add": lambda x: x.scatter_add(1, torch.zeros(len(x), 0, 4).long(), x[:, :0]),
    "index_put": lambda x: x.index_put(
        (torch.arange(len(x))[:, None], torch.zeros(len(x), 0).long()), x[:, :0], accumulate=True
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_is_added(name: str) -> None:
    found = abslrp.explain(Rows(NOTHING[name]).eval(), X, [0, 1, 2, 0])
    expected = abslrp.explain(Rows(lambda x: x).eval(), X, [0, 1, 2, 0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FOLLOWED)
def test_samples_are_followed_in_one_pass(name: str) -> None:
    model = Rows(FOLLOWED[name]).eval()
    found = abslrp.explain(model, X, [0, 1, 2, 0])
    each = [abslrp.explain(model, X[i : i + 1], i % 3) for i in range(4)]
    torch.testing.assert_close(found, torch.cat(each))


def test_it_is_told_once_that_samples_are_explained_one_at_a_time() -> None:
    model = Rows(lambda x: torch.cat([one * 2 for one in x.split(1)])).eval()
    with pytest.warns(UserWarning, match=r"explained one at a time") as told:
        found = abslrp.explain(model, X, 0)
    assert len(told) == 1
    assert "torch.split" in str(told[0].message)
    torch.testing.assert_close(found, abslrp.explain(Rows(lambda x: x * 2).eval(), X, 0))


def test_alone_every_sample_has_the_logits_of_the_batch() -> None:
    """The last sample's are the same alone, the first one's are not."""

    def call(x: Tensor) -> Tensor:
        parts = x.split(1)
        return torch.cat([one * 2 if len(parts) > 1 and one is parts[0] else one for one in parts])

    with pytest.raises(ValueError, match="samples depend on one another"):
        abslrp.explain(Rows(call).eval(), X, 0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    "call",
    [lambda x: x * (x > 0.5), lambda x: torch.cat([one * 2 for one in x.split(1)])],
    ids=["a mask", "one at a time"],
)
@pytest.mark.filterwarnings("ignore:.*one at a time:UserWarning")
def test_a_sample_that_is_not_finite_depends_on_no_other(call: Callable[[Tensor], Tensor]) -> None:
    x = X.clone()
    x[3, 0, 0] = torch.nan
    found, wanted = (abslrp.explain(Rows(call).eval(), one, 0) for one in (x, X))
    torch.testing.assert_close(found[:3], wanted[:3])
    assert found[3].isnan().any()


@pytest.mark.parametrize("size", [1, 1e-4])
def test_a_random_model_is_not_said_to_mix_samples(size: float) -> None:
    model = Rows(lambda x: x * (x > 0.5) + size * torch.rand_like(x)).eval()
    assert abslrp.explain(model, X, 0).shape == X.shape


@pytest.mark.parametrize("size", [0.1, 1e-4])
@pytest.mark.parametrize(
    "call", [lambda x: torch.cat(x.split(1)), lambda x: x - x.detach().mean(0)], ids=["cut", "mean"]
)
def test_a_random_model_whose_samples_are_lost_is_said_to_be_random(
    size: float, call: Callable[[Tensor], Tensor]
) -> None:
    model = Rows(lambda x: call(x) + size * torch.rand_like(x)).eval()
    with pytest.raises(ValueError, match=r"it is random.*each entry is of \(torch.*batch_size=1"):
        abslrp.explain(model, X, 0)
    assert abslrp.explain(model, X, 0, batch_size=1).shape == X.shape


def listed(x: Tensor) -> Tensor:
    return torch.tensor(x.amax((0, 2)).tolist(), dtype=x.dtype)[:, None]


def pairs(x: Tensor) -> Tensor:
    largest = x.amax((1, 2))
    return (largest + largest[:, None])[:, :, None]


def part(x: Tensor) -> Tensor:
    """Write to a part of memory that is read as a whole."""
    memory = torch.zeros(9, 4, 4, dtype=x.dtype)
    memory[: len(x)] = x
    return memory.sum(0).amax(-1, keepdim=True)


SHIFTS: dict[str, Callable[[Tensor], Any]] = {
    "quantiles": lambda x: x.quantile(0.9, dim=0).amax(-1)[:, None],
    "an einsum of two": lambda x: torch.einsum("btc,bsc->ts", x, x).amax(-1)[:, None],
    "an einsum of three": lambda x: torch.einsum(
        "btc,bsc,c->ts", x, x, torch.ones(4, dtype=x.dtype)
    ).amax(-1)[:, None],
    "what has no rule": lambda x: x.amax(-1, keepdim=True).logcumsumexp(0),
    "a product so far": lambda x: x.amax(-1, keepdim=True).cumprod(0),
    "a list": listed,
    "a number in a list": lambda x: x.max().tolist(),
    "an array": lambda x: torch.tensor(x.amax((0, 2)).numpy())[:, None],
    "a number of a list": lambda x: float(np.max(x.tolist())),
    "pairs": pairs,
    "a part of memory": part,
}


@pytest.mark.filterwarnings("ignore:.*one at a time:UserWarning")
@pytest.mark.parametrize("name", SHIFTS)
def test_constants_of_several_samples_that_move_no_logit_move_no_map(name: str) -> None:
    """What is taken off before a softmax moves no logit, and a map it does."""

    def call(x: Tensor) -> Tensor:
        powers = torch.exp(x - SHIFTS[name](x.detach()))
        return powers / powers.sum(-1, keepdim=True)

    model = Rows(call).eval()
    found = abslrp.explain(model, X, [0, 1, 2, 0])
    each = [abslrp.explain(model, X[i : i + 1], i % 3) for i in range(4)]
    torch.testing.assert_close(found, torch.cat(each))


OWN_CONSTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sums of products": lambda x: torch.einsum("btc,bsc->bts", x, x).amax(-1, keepdim=True),
    "a spectrum": lambda x: torch.fft.rfft(x, dim=1).abs().mean(1, keepdim=True),
    "quantiles": lambda x: x.quantile(0.5, dim=1, keepdim=True),
    "a copy": lambda x: torch.empty_like(x).copy_(x),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", OWN_CONSTANTS)
def test_constants_of_one_sample_each_are_followed(name: str) -> None:
    model = Rows(lambda x: x + OWN_CONSTANTS[name](x.detach())).eval()
    found = abslrp.explain(model, X, [0, 1, 2, 0])
    each = [abslrp.explain(model, X[i : i + 1], i % 3) for i in range(4)]
    torch.testing.assert_close(found, torch.cat(each))


@pytest.mark.parametrize("contrast", ["streams", "signed"])
@pytest.mark.parametrize("name", ["product", "quotient"])
def test_a_constant_factor_of_a_sample_is_no_factor_of_all(name: str, contrast: Any) -> None:
    """Of a sample alone it is one number, which may be below 0."""

    def call(x: Tensor) -> Tensor:
        factor = (x - X.mean()).detach().sum((1, 2), keepdim=True)
        return x * factor if name == "product" else x / factor

    model = Rows(call).eval()
    signs = (X - X.mean()).sum((1, 2)) > 0
    assert signs.unique().numel() == 2
    found = abslrp.explain(model, X, [0, 1, 2, 0], contrast=contrast)
    each = [abslrp.explain(model, X[i : i + 1], i % 3, contrast=contrast) for i in range(4)]
    torch.testing.assert_close(found, torch.cat(each))


class Packed(nn.Module):
    """A recurrent network on sequences of different lengths."""

    def __init__(self, kind: str, packs: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.cells = getattr(nn, kind)(4, 3, 2, batch_first=True, bidirectional=True).double()
            self.head = nn.Linear(6, 3).double()
        self.packs = packs

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if not self.packs:
            return self.head(self.cells(x)[0].sum(1))  # type: ignore[no-any-return]
        rows = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        hidden, found = pad_packed_sequence(self.cells(rows)[0], batch_first=True, total_length=4)
        assert torch.equal(found, lengths)
        return self.head(hidden.sum(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences_are_what_is_packed(kind: str) -> None:
    """By eq. 12 to the letter as each sequence by itself, cut to its length."""
    lengths, start = torch.tensor([3, 1, 4, 2]), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]
    given: dict[str, Any] = {"conserve": None, "model_kwargs": {"lengths": lengths}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = abslrp.relevance(Packed(kind, True).eval(), X, start, **given)
    for i, length in enumerate(lengths.tolist()):
        rows = slice(i, i + 1)
        more = {**given, "model_kwargs": {"lengths": lengths[rows]}}
        alone = abslrp.relevance(Packed(kind, False).eval(), X[rows, :length], start[rows], **more)
        torch.testing.assert_close(found[rows, :length], alone)
        assert not found[i, length:].any()
    assert found.any()


def test_maps_of_packed_sequences_are_those_of_each_alone() -> None:
    model, lengths = Packed("GRU", True).eval(), np.array([3, 1, 4, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = abslrp.explain(model, X, 0, model_kwargs={"lengths": lengths})
        for i in range(4):
            alone = {"model_kwargs": {"lengths": lengths[i : i + 1]}}
            one = abslrp.explain(model, X[i : i + 1], 0, **alone)
            torch.testing.assert_close(found[i : i + 1], one)
