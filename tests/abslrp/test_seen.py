"""Whatever code a model is made of, the tape sees what it computes, and relevance goes through."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo import eval_frame
from torch.utils.checkpoint import checkpoint

import abslrp
from abslrp.registry import RULE_SETS

B = 4
"""Also the size of every axis of the inputs: no size may be taken for the batch's."""


class Model(nn.Module):
    """A layer, the code under test on (B, 4, 4), and a head."""

    def __init__(self, call: Callable[..., Tensor], parts: nn.Module | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Linear(4, 4).double()
            self.body.weight.data.abs_()
            self.heads = nn.LazyLinear(3).double()
            self.parts = parts.double() if parts is not None else nn.Identity()
            self.call = call
            self.eval()
            with torch.no_grad():
                self(torch.rand(B, 4, 4, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        made = (
            self.call(self.body(x))
            if isinstance(self.parts, nn.Identity)
            else self.call(self.parts, self.body(x))
        )
        logits: Tensor = self.heads(made.flatten(1))
        return logits


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build().eval()


class Steep(torch.autograd.Function):
    """SiLU with a gradient that would be seen in any map it leaked into."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 1000 * gradients[0]


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return torch.relu(x) + x


def sliced(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, :2] = torch.tanh(x[:, :2])
    out[:, 2:] = x[:, 2:] * 2
    return out


def through_views(x: Tensor) -> Tensor:
    out = x.clone()
    first, second = out[:, 0], out.transpose(1, 2)[:, 1]
    first.relu_()
    second.add_(1.0)
    return out


def in_two_parts(x: Tensor) -> Tensor:
    out = x.clone()
    left, right = out.chunk(2, -1)
    del out
    left.relu_()
    return torch.cat([left, right], -1)


def branching(x: Tensor) -> Tensor:
    return x.relu() if x.abs().sum().item() > 0 else x


def rotary(x: Tensor) -> Tensor:
    turn = torch.polar(torch.ones(2, dtype=x.dtype), torch.arange(2, dtype=x.dtype))
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], 2, 2))
    return torch.view_as_real(pairs * turn).flatten(2)


def attended(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x, x, x)[0]
    return result


def recurrent(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x)[0]
    return result


def sequence_first(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x.transpose(0, 1))[0].transpose(0, 1)
    return result


CALLS: dict[str, tuple[Any, ...]] = {
    "autograd function": (Steep.apply,),
    "checkpoint": (lambda x: checkpoint(torch.relu, x, use_reentrant=False),),
    "reentrant checkpoint": (lambda x: checkpoint(torch.relu, x, use_reentrant=True),),
    "script": (scripted,),
    "vmap": (torch.vmap(F.silu),),
    "slice assignment": (sliced,),
    "writes through views": (through_views,),
    "a view of what is gone": (in_two_parts,),
    "item": (branching,),
    "rotary": (rotary,),
    "einsum": (lambda x: torch.einsum("bij,bkj->bik", x, x),),
    "einsum trace": (lambda x: torch.einsum("bii->bi", x),),
    "index_add": (lambda x: torch.zeros_like(x).index_add(1, torch.tensor([0, 0, 1, 2]), x),),
    "scatter_add": (
        lambda x: torch.zeros_like(x).scatter_add(
            2, torch.zeros(x.shape, dtype=torch.long), x
        ),
    ),
    "attention": (attended, lambda: nn.MultiheadAttention(4, 2, batch_first=True)),
    "encoder": (
        lambda f, x: f(x),
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 1, enable_nested_tensor=False
        ),
    ),
    "weight norm": (
        lambda f, x: f(x), lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
    ),
    "spectral norm": (
        lambda f, x: f(x), lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)),
    ),
    "rms norm": (lambda f, x: f(x), lambda: nn.RMSNorm(4)),
    "LSTM": (recurrent, lambda: nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True)),
    "LSTM, sequence first": (sequence_first, lambda: nn.LSTM(4, 3)),
    "GRU": (recurrent, lambda: nn.GRU(4, 3, batch_first=True)),
    "RNN": (recurrent, lambda: nn.RNN(4, 8, batch_first=True)),
    "dense parallel": (lambda f, x: f(x), lambda: nn.DataParallel(nn.Linear(4, 4))),
}  # fmt: skip


def model_of(name: str) -> Model:
    call, *build = CALLS[name]
    return Model(call, seeded(build[0]) if build else None)


X = torch.rand(B, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) - 0.3
TARGETS = [0, 1, 2, 0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_what_models_do_is_seen(name: str) -> None:
    model = model_of(name)
    maps = abslrp.explain(model, X, TARGETS)
    assert torch.isfinite(maps).all()
    assert maps.abs().max() > 0
    # One sample alone has the map it has in the batch, whatever the sizes.
    for index in range(B):
        rows = slice(index, index + 1)
        alone = abslrp.explain(model, X[rows], TARGETS[rows])
        torch.testing.assert_close(maps[rows], alone, rtol=1e-9, atol=1e-12)
    defined = abslrp.explain(model, X, TARGETS, accelerate=False)
    torch.testing.assert_close(maps, defined, rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_relevance_is_conserved(name: str) -> None:
    start = torch.eye(3, dtype=torch.float64)[TARGETS]
    found = abslrp.relevance(model_of(name), X, start)
    assert (found >= 0).all()
    totals = found.flatten(1).sum(1)
    # What a constant of the model takes is lost (SPEC 1.3): never more than there was.
    assert (totals <= 1 + 1e-9).all()
    assert totals.max() > 0.1


SAME: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "autograd function": (Steep.apply, lambda x: x * torch.sigmoid(x)),
    "script": (scripted, lambda x: torch.relu(x) + x),
    "vmap": (torch.vmap(F.silu), F.silu),
    "writes through views": (
        through_views,
        lambda x: (
            torch.cat([F.relu(x[:, :1]), x[:, 1:]], 1)
            + torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=x.dtype) * torch.ones_like(x)
        ),
    ),
    "inference mode": (torch.inference_mode()(F.relu), F.relu),
    "a view of what is detached": (
        lambda x: x + 2 * x.detach().transpose(1, 2)[:, :4],
        lambda x: x + (2 * x).transpose(1, 2).detach(),
    ),
    "axes swapped in place": (lambda x: x.clone().swapaxes_(1, 2), lambda x: x.transpose(1, 2)),
    "index_reduce": (
        lambda x: torch.zeros_like(x).index_reduce(
            1, torch.tensor([0, 0, 1, 2]), x, "mean", include_self=False
        ),
        lambda x: torch.zeros_like(x).index_add(
            1, torch.tensor([0, 0, 1, 2]), x * torch.tensor([[0.5], [0.5], [1.0], [1.0]])
        ),
    ),
    "fill_ with an entry": (
        lambda x: torch.stack([x.new_zeros(4, 4).fill_(one.sum()) for one in x]),
        lambda x: x.sum((1, 2), keepdim=True).expand_as(x),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [one for one in SAME if one != "writes through views"])
def test_however_it_is_written(name: str) -> None:
    """The map is that of the same function in plain torch calls."""
    one, two = (abslrp.explain(Model(call), X, TARGETS) for call in SAME[name])
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_compiled_parts_run_as_they_were_written() -> None:
    plain = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    x = torch.rand(3, 4)
    wanted = abslrp.explain(plain, x, [0, 1, 2])
    part = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    part[0] = torch.compile(part[0], backend="eager")
    assert torch.equal(abslrp.explain(part, x, [0, 1, 2]), wanted)
    whole = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    whole.compile(backend="eager")
    assert torch.equal(abslrp.explain(whole, x, [0, 1, 2]), wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["scripted", "traced", "exported"])
@pytest.mark.parametrize("convolves", [False, True])
def test_graphs_of_a_model_are_explained_as_the_model(kind: str, convolves: bool) -> None:
    first = nn.Conv1d(1, 3, 3) if convolves else nn.Linear(4, 6)
    model = seeded(lambda: nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(6, 3)))
    x = torch.rand(3, 1, 4)
    wanted = abslrp.explain(model, x, [0, 1, 2])
    if kind == "scripted":
        graph: Any = torch.jit.script(model)
    elif kind == "traced":
        graph = torch.jit.trace(model, x)
    else:
        graph = torch.export.export(model, (x,)).module()
        graph.training = False
    torch.testing.assert_close(abslrp.explain(graph, x, [0, 1, 2]), wanted)


class Crossing(nn.Module):
    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call, self.head = call, seeded(lambda: nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.call(x))
        return logits


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x - x.mean(0),
        lambda x: torch.softmax(x @ x.T, 1) @ x,
        lambda x: x + x[:1],
        lambda x: x + x.mean(1),  # (B,) put on the features, as there are as many
        lambda x: x / x.amax(0),
        lambda x: nn.functional.normalize(x, dim=0),
        lambda x: x - x.logsumexp(0),
        lambda x: x / x.std(0, correction=0),
        lambda x: x - x.mean(0).detach(),
    ],
    ids=[
        *("mean", "attention over the batch", "a token of sample 0", "aligned", "extreme"),
        *("norm", "logarithm", "spread", "detached"),
    ],
)
@pytest.mark.parametrize(
    "options",
    [{}, {"conserve": None}, {"rules": "epsilon"}, {"rules": "alpha1beta0", "contrast": None}],
    ids=["absLRP", "nothing conserved", "epsilon", "alpha-beta"],
)
def test_samples_that_depend_on_one_another_are_refused(call: Any, options: Any) -> None:
    """Also where they do through what is held constant, or no total of a sample is taken."""
    torch.manual_seed(0)
    model = Crossing(call).eval()
    with pytest.raises(ValueError, match=r"samples depend on one another"):
        abslrp.explain(model, torch.rand(4, 4), [0, 1, 2, 0], **options)
    assert abslrp.explain(model, torch.rand(1, 4), 0, batch_size=1).shape == (1, 4)


@pytest.mark.parametrize(
    "beside",
    [
        lambda x: torch.lgamma(x.abs() + 1),
        lambda x: x.median(),
        lambda x: x.prod(),
        lambda x: x.kthvalue(2, 1, keepdim=True)[0] < x,
        lambda x: torch.cdist(x, torch.eye(3)).argmin(1),
        lambda x: x.std(),
    ],
    ids=["without a rule", "of all entries", "product", "threshold", "nearest", "spread"],
)
def test_what_does_not_reach_the_logits_needs_no_rule(beside: Callable[[Tensor], Tensor]) -> None:
    class Beside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = beside(x)
            return x * 2

    assert abslrp.explain(Beside().eval(), torch.rand(2, 3), [0, 1]).shape == (2, 3)


@pytest.mark.filterwarnings("ignore:relevance")
@pytest.mark.parametrize(
    "most",
    [
        lambda x: x.detach().max(),
        lambda x: x.max().item(),
        lambda x: float(x.detach().abs().max()),
        lambda x: x.detach().amax().expand(len(x), 1).clone(),
        lambda x: x.detach().amax(1, keepdim=True).roll(1, 0),
        lambda x: x.detach().sort(0)[0].amax(1, keepdim=True),
        lambda x: x.detach()[torch.zeros(len(x), dtype=torch.int64)].amax(1, keepdim=True),
        lambda x: x.detach().T.reshape(len(x), -1).amax(1, keepdim=True),
    ],
    ids=["detached", "item", "float", "expanded", "moved", "sorted", "indexed", "viewed"],
)
def test_constants_of_other_samples_that_move_no_logit_move_no_map(most: Any) -> None:
    """Softmax by hand, made safe by the largest score of all samples, or of another one."""

    def softmax(x: Tensor) -> Tensor:
        weights = torch.exp(x - most(x))
        return weights / weights.sum(1, keepdim=True)

    model, x = Crossing(softmax).double().eval(), torch.rand(4, 4, dtype=torch.double)
    with pytest.warns(UserWarning, match="explained one at a time"):
        found = abslrp.explain(model, x, [0, 1, 2, 0])
    alone = [abslrp.explain(model, x[[i]], target) for i, target in enumerate([0, 1, 2, 0])]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda x: x * torch.nn.functional.linear(x, torch.ones(4, 4).double()).sigmoid(),
        lambda x: x.sort(1)[0].roll(1, 1) + x.gather(1, x.argmax(1, keepdim=True)),
        lambda x: torch.nn.functional.max_pool1d(x[None].transpose(0, 1), 3, 1, 1)[:, 0].cumsum(1),
        lambda x: (x[:, :, None] @ x[:, None]).softmax(2).mean(1),
    ],
)
def test_constants_of_the_same_sample_are_followed(call: Callable[[Tensor], Tensor]) -> None:
    model, x = Crossing(lambda x: x + call(x.detach())).double().eval(), torch.rand(4, 4).double()
    found = abslrp.explain(model, x, [0, 1, 2, 0])
    alone = [abslrp.explain(model, x[[i]], target) for i, target in enumerate([0, 1, 2, 0])]
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-9, atol=1e-12)


def test_weak_dependence_is_refused() -> None:
    model = Crossing(lambda x: x + 0.01 * x.mean(0)).eval()
    with pytest.raises(ValueError, match=r"samples depend on one another"):
        abslrp.explain(model, torch.rand(4, 4) + torch.eye(4), [0, 1, 2, 0])


def test_an_input_from_elsewhere_that_is_cut_to_the_batch_is_refused() -> None:
    other = torch.arange(1.0, 7.0)[:, None]
    model = Crossing(lambda x: x * other[: len(x)]).eval()
    x = torch.rand(6, 4) + 1
    with pytest.raises(ValueError, match="depends on the sample's place in the batch"):
        abslrp.explain(model, x, 0, batch_size=3)
    assert abslrp.explain(model, x, 0).shape == (6, 4)


def test_what_is_cut_to_one_large_sample_at_a_time_is_refused() -> None:
    other = torch.arange(1.0, 4.0)[:, None]
    model = Crossing(lambda x: x.unflatten(1, (4, -1)).mean(2) * other[: len(x)]).eval()
    x = torch.rand(3, 2**20) + 1
    with pytest.raises(ValueError, match="depends on the sample's place in the batch"):
        abslrp.explain(model, x, 0)
    for size in (1, 3):
        assert abslrp.explain(model, x, 0, batch_size=size).shape == x.shape


def test_rows_of_a_graph_are_refused_by_name() -> None:
    adjacency = torch.ones(4, 4)
    model = Crossing(lambda x: adjacency @ x).eval()
    with pytest.raises(ValueError, match=r"depend on one another \(torch.matmul, called at"):
        abslrp.explain(model, torch.rand(4, 4), [0, 1, 2, 0])
    pooled = Crossing(lambda x: (adjacency @ x).mean(0, keepdim=True)).eval()
    with pytest.raises(ValueError, match=r"got torch.float32 \(1, 3\); .* samples='whole' of"):
        abslrp.explain(pooled, torch.rand(4, 4), 0)


def test_where_samples_are_lost_is_found_behind_many_residual_connections() -> None:
    """There are 2^60 ways back to that call."""

    class Deep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.cat([x[i : i + 1] for i in torch.arange(len(x)).tolist()[::-1]])
            h = h.flatten()[torch.arange(x.numel()).flip(0)].view(x.shape).flip(1)
            for _ in range(60):
                h = h * 0.5 + h.relu() * 0.5
            return h

    x = torch.rand(3, 4)
    alone = torch.cat([abslrp.explain(Deep().eval(), x[i : i + 1], 0) for i in range(3)])
    torch.testing.assert_close(abslrp.explain(Deep().eval(), x, 0), alone)


def test_a_gradient_taken_inside_is_refused_with_the_reason() -> None:
    class Force(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                z = x.detach().requires_grad_()
                return torch.autograd.grad((z**2).sum(), z)[0]

    with pytest.raises(abslrp.UnknownOperationError, match="takes a gradient in its forward pass"):
        abslrp.explain(Force().eval(), torch.rand(2, 3), [0, 1])


@pytest.mark.parametrize("name", ["vjp", "jacobian"])
def test_a_gradient_by_torchs_functions_is_refused(name: str) -> None:
    """Below autograd they find nothing to differentiate and return 0: other logits."""

    class Force(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found = getattr(torch.autograd.functional, name)(lambda z: (z**2).sum(), x)
            return x + (found[1] if name == "vjp" else found)

    model, x = Force().eval(), torch.rand(2, 3) + 1
    assert torch.allclose(model(x), 3 * x)
    with pytest.raises(abslrp.UnknownOperationError, match="takes a gradient in its forward pass"):
        abslrp.explain(model, x, [0, 1])


def test_a_gradient_by_torch_func_is_followed_as_it_is_written_out() -> None:
    """Of |W x|^2 it is a linear map: relevance of it is that of the map, without bias x df / f."""
    weight = torch.rand(4, 4, dtype=torch.float64)

    class Force(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = torch.func.grad(lambda z: (z @ weight).square().sum())(x)
            return found

    x, start = torch.rand(3, 4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[:3]
    matrix = 2 * weight @ weight.T
    wanted = x * matrix[:3] / (x @ matrix).diagonal()[:, None]
    torch.testing.assert_close(abslrp.relevance(Force().eval(), x, start), wanted)


def test_a_forward_gradient_is_refused_with_the_reason() -> None:
    class Force(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
                return x + torch.autograd.forward_ad.unpack_dual(dual**2).tangent

    with pytest.raises(abslrp.UnknownOperationError, match="takes a gradient in its forward pass"):
        abslrp.explain(Force().eval(), torch.rand(2, 3), [0, 1])


def test_that_an_activation_asks_for_a_gradient_changes_nothing() -> None:
    class Asking(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.clone().requires_grad_())

    model, x = Asking(3, 2).eval(), torch.rand(2, 3)
    plain = nn.Linear(3, 2).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(abslrp.explain(model, x, 0), abslrp.explain(plain, x, 0))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda h: h.new_zeros(len(h), 2).scatter(1, PAIRS[: len(h)], h, reduce="add"),
         r"torch.scatter: entries that are added up"),
        (lambda h: torch._foreach_mul([h], 2.0)[0], r"torch._foreach_mul \(called at"),
        (lambda h: (torch._foreach_mul_([h], 2.0), h)[1], r"torch._foreach_mul \(called at"),
    ],
)  # fmt: skip
def test_calls_without_a_rule_are_named(made: Any, message: str) -> None:
    class Net(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return made(super().forward(x))

    with pytest.raises(abslrp.UnknownOperationError, match=message):
        abslrp.explain(Net(4, 4).eval(), torch.rand(3, 4), 0)


PAIRS = torch.tensor([0, 1, 0, 1]).expand(3, 4)


def test_nothing_is_left_of_modes() -> None:
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

    class Raising(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        abslrp.explain(Raising().eval(), torch.rand(2, 3), 0)
    assert not _get_current_function_mode_stack()
    assert not _get_current_dispatch_mode_stack()
    assert torch.is_grad_enabled()
    x = torch.rand(2, requires_grad=True)
    (x * 2).sum().backward()
    assert torch.equal(x.grad, torch.full((2,), 2.0))


def test_a_plan_is_a_table() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    )
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model(torch.rand(1, 3, 6, 6))
    found = abslrp.plan(model, torch.rand(2, 3, 6, 6))
    assert list(found["call"]) == ["aten.linear", "aten.flatten", "aten.relu", "aten.conv2d"]
    assert list(found["module"]) == ["Linear", "Flatten", "ReLU", "Conv2d"]
    assert list(found["rule"]) == ["v3+ T(1/|v4| R)", "moved", "1", "|v0| T(1/|v1| R)"]
    # v3+ / |v1| is a mask, and totals are restored at the end alone.
    assert list(found["computed"]) == ["1/|v4|", "-", "-", "[v2 > 0]; |v0|; totals"]
    assert list(found["kept"]) == [16, 512, 0, 0]


@pytest.mark.parametrize("rules", RULE_SETS)
def test_a_plan_is_that_of_any_rule_set(rules: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    found = abslrp.plan(model, torch.rand(2, 4), rules=rules)
    assert len(found) == 4


def test_a_stabiliser_that_is_seen_is_not_cancelled() -> None:
    """``|v| / (|v| + 1)`` is not 1, in single precision neither."""
    from abslrp.plan import Diagonal
    from abslrp.plan.factors import inverse, magnitude
    from abslrp.registry import ABSLRP, RuleSet

    mine = RuleSet("mine", ABSLRP)

    @mine.rule(torch.relu)
    def damped(call: abslrp.Call, input: Any) -> Any:
        return Diagonal(input, [magnitude(input), inverse(input, 1.0)])

    x = torch.tensor([[1.0, 3.0]])
    model = Crossing(torch.relu)
    model.head = nn.Identity()
    for accelerate in (True, False):
        got = abslrp.relevance(
            model.eval(), x, torch.ones(1, 2), rules=mine, conserve=None, accelerate=accelerate
        )
        torch.testing.assert_close(got, torch.tensor([[0.5, 0.75]]))


def test_a_rule_of_ones_own_may_take_an_axis_away() -> None:
    from abslrp.registry import ABSLRP, RuleSet

    mine = RuleSet("mine", ABSLRP)
    calls: list[Any] = []

    @mine.rule(torch.ops.aten.sum)
    def spread(call: abslrp.Call, input: Any, *args: Any) -> Any:
        calls.append(call)
        return lambda relevance: relevance[:, None].expand(input.shape) / input.shape[1]

    class Summing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(1)

    x, R = torch.rand(3, 3, 3), torch.rand(3, 3)
    got = abslrp.relevance(Summing().eval(), x, R, rules=mine)
    torch.testing.assert_close(got, R[:, None].expand(3, 3, 3) / 3)
    assert calls


def test_what_only_lends_its_shape_makes_nothing_of_its_own() -> None:
    """A constant that is expanded as an activation is a constant."""
    model = Crossing(lambda x: x * torch.full((1, 4), 2.0).expand_as(x))
    plain = Crossing(lambda x: x * 2.0)
    x = torch.rand(4, 4)
    assert torch.equal(abslrp.explain(model.eval(), x, 1), abslrp.explain(plain.eval(), x, 1))


def test_lost_relevance_is_zero_by_every_entrance() -> None:
    """A target without any positive contribution: no entrance lets an internal error out."""
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[-1.0, -2.0], [1.0, 1.0]])
    x, start = torch.ones(1, 2), torch.tensor([[1.0, 0.0]])
    deep = nn.Sequential(nn.Linear(2, 2, bias=False), layer).eval()
    deep[0].weight.data = torch.eye(2)
    for model in (layer.eval(), deep):
        assert not abslrp.relevance(model, x, start).any()
        assert not abslrp.explain(model, x, 0, contrast=None).any()
        leaf = x.clone().requires_grad_()
        with abslrp.propagation(signed=False):
            logits = model(leaf)
        assert not torch.autograd.grad(logits, leaf, start)[0].any()


def fourier(x: Tensor) -> Tensor:
    """Mix as FNet does."""
    return torch.fft.fft2(x, dim=(1, 2)).real + torch.fft.irfft(torch.fft.rfft(x, dim=1), 4, dim=1)


def sampled(x: Tensor) -> Tensor:
    places = torch.linspace(-1, 1, 8, dtype=x.dtype).reshape(1, 2, 2, 2).expand(len(x), -1, -1, -1)
    return F.grid_sample(x[:, None], places, align_corners=True)[:, 0]


def distances(x: Tensor) -> Tensor:
    return torch.cdist(x, torch.eye(4, dtype=x.dtype) + 2.0)


def alike(x: Tensor) -> Tensor:
    return F.cosine_similarity(x[:, :, None], torch.eye(4, dtype=x.dtype) + 0.5, dim=-1)


def by_sparse(layout: str) -> Callable[[Tensor], Tensor]:
    def product(x: Tensor) -> Tensor:
        dense = torch.eye(4, dtype=x.dtype).roll(1, 0)
        weight = dense.to_sparse_csr() if layout == "csr" else dense.to_sparse()
        return torch.stack([weight @ one for one in x]) + (weight @ x.flatten(0, 1).T).T.view_as(x)

    return product


def reduced_by_index(x: Tensor) -> Tensor:
    index = torch.tensor([0, 1, 1, 0]).expand_as(x)
    return torch.zeros_like(x).scatter_reduce(2, index, x, "sum")


MORE: dict[str, Callable[[Tensor], Tensor]] = {
    "fft": fourier,
    "grid_sample": sampled,
    "cdist": distances,
    "cosine_similarity": alike,
    "sparse coo": by_sparse("coo"),
    "sparse csr": by_sparse("csr"),
    "scatter_reduce": reduced_by_index,
    "prod": lambda x: x.prod(1, keepdim=True) + x.cumprod(2),
    "norm": lambda x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
}


class Between(nn.Module):
    """What is tried, between an addition that keeps it positive and a linear layer."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.call, self.head = call, nn.LazyLinear(3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.call(x + 0.5).flatten(1))
        return logits


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", MORE)
def test_it_is_explained_sample_by_sample(name: str) -> None:
    """Relevance is conserved, has no negative part, and does not depend on the batch."""
    x = torch.rand(4, 4, 4, dtype=torch.float64)
    model = Between(MORE[name]).eval()
    targets = model(x).argmax(1).tolist()
    for given in ({}, {"accelerate": False}):
        maps = abslrp.explain(model, x, targets, contrast=None, **given)
        torch.testing.assert_close(maps.flatten(1).sum(1), torch.ones(4, dtype=x.dtype))
        assert (maps >= -1e-12).all()
        alone = [
            abslrp.explain(model, x[i : i + 1], targets[i], contrast=None, **given)
            for i in range(4)
        ]
        torch.testing.assert_close(maps, torch.cat(alone))


def test_a_lstm_in_float32_is_that_in_float64() -> None:
    """In float32 a CPU has a fused layer of its own."""
    torch.manual_seed(2)
    layer = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0][:, -1]

    model, x = Last().eval(), torch.rand(2, 4, 3)
    targets = model(x).argmax(1)  # an entry above 0 has relevance
    found = abslrp.explain(model, x, targets, contrast=None)
    assert found.abs().sum() > 0.1
    wide = abslrp.explain(model.double(), x.double(), targets, contrast=None)
    torch.testing.assert_close(found.double(), wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "back",
    [
        lambda x: torch.from_numpy(x.detach().numpy() * 2),
        lambda x: torch.tensor(x.tolist()) + x,
        lambda x: torch.as_tensor(np.asarray(x)) * 2 + x,
        lambda x: torch.from_dlpack(x.detach()) * 2 + x,
    ],
    ids=["from_numpy", "tolist", "asarray", "from_dlpack"],
)
def test_values_that_leave_torch_and_come_back_are_refused(back: Any) -> None:
    with pytest.raises(abslrp.UnknownOperationError, match=r"left torch .* came back"):
        abslrp.explain(Crossing(back).eval(), torch.rand(2, 4), [0, 1])


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda x: copy.deepcopy({"a": [x, x]})["a"][1],
        copy.copy,
        lambda x: x.new_empty(0).set_(x.untyped_storage(), 0, x.shape, x.stride()),
        lambda x: x.new_empty(0).set_(x.untyped_storage()).view(x.shape),
    ],
    ids=["deepcopy", "within", "copy", "set_", "whole"],
)
def test_copies_by_python_and_of_memory(copied: Callable[[Tensor], Tensor]) -> None:
    """Where nothing asks for a gradient torch allows them all."""
    x = torch.rand(3, 4, dtype=torch.double)
    model, plain = (
        Crossing(lambda x, by=by: by(torch.relu(x - 0.5)) + x.flip(1)).double().eval()  # type: ignore[misc]
        for by in (copied, torch.clone)
    )
    expected = abslrp.explain(plain, x, [0, 1, 2])
    torch.testing.assert_close(abslrp.explain(model, x, [0, 1, 2]), expected)
    across = Crossing(lambda x: x - copied(x).mean(0)).double().eval()
    with pytest.raises(ValueError, match="its samples depend on one another"):
        abslrp.explain(across, x, 0)


def real_rotary(x: Tensor) -> Tensor:
    angle = torch.arange(2, dtype=x.dtype)
    a, b = x.view(*x.shape[:-1], 2, 2).unbind(-1)
    p = a * angle.cos() - b * angle.sin()
    q = a * angle.sin() + b * angle.cos()
    return torch.stack([p, q], -1).flatten(2)


@pytest.mark.parametrize("rules", ["absLRP", "epsilon"])
def test_complex_rotary_embeddings_are_as_real_ones(rules: str) -> None:
    x = torch.rand(2, 4, 4, dtype=torch.float64) - 0.3
    found, wanted = (
        abslrp.explain(Between(one).eval(), x, [0, 1], rules=rules) for one in (rotary, real_rotary)
    )
    torch.testing.assert_close(found, wanted)


def test_values_may_leave_torch_for_good() -> None:
    def looked_at(x: Tensor) -> Tensor:
        assert x.detach().numpy().shape == (2, 4)
        return x * 2

    assert abslrp.explain(Crossing(looked_at).eval(), torch.rand(2, 4), [0, 1]).shape == (2, 4)


@pytest.mark.filterwarnings("ignore:flex_attention called")
def test_flex_attention_is_refused_with_what_to_use() -> None:
    flex = pytest.importorskip("torch.nn.attention.flex_attention", reason="of torch 2.5")

    def attention(x: Tensor) -> Tensor:
        q = x[:, None, :, None].expand(-1, -1, -1, 16).contiguous()
        return flex.flex_attention(q, q, q)[:, 0, :, 0]

    with pytest.raises(abslrp.UnknownOperationError, match="sdpa"):
        abslrp.explain(Crossing(attention).eval(), torch.rand(2, 4), [0, 1])


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_refused_by_name() -> None:
    part = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})
    with pytest.raises(abslrp.UnknownOperationError, match=r"quantized.*before it was quantised"):
        abslrp.explain(Crossing(part).eval(), torch.rand(2, 4), [0, 1])


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda x: x.view(len(x), 2, 2).norm(dim=-1),
    "logsumexp": lambda x: x.view(len(x), 2, 2).logsumexp(-1),
    "heaviside": lambda x: torch.heaviside(x, torch.zeros(())),  # which torch writes out
    "Tensor.item": lambda x: torch.tensor([[one.item() for one in row] for row in x]),
}


@pytest.mark.parametrize("head", HEADS)
def test_a_result_that_counts_as_constant_is_named(head: str) -> None:
    class Head(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return HEADS[head](x)

    with pytest.raises(ValueError, match=rf"what torch\.\S*{head} returns counts as constant"):
        abslrp.explain(Head().eval(), torch.rand(2, 4), [0, 1])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_line_leaves_nothing() -> None:
    """It is raised at every seventh line of Python that an explanation runs."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True), nn.Linear(3, 3)).eval()
    x = torch.rand(1, 2)
    wanted = abslrp.explain(model, x, 0)

    def state() -> list[Any]:
        exclude = torch._C._dispatch_tls_local_exclude_set()
        stacks = torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack()
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        return [*stacks, str(exclude), *modes, getattr(eval_frame, "_stance", None)]

    def lines(stop: int) -> int:
        """Explain, interrupted at the line of a number; return how many lines there were."""
        count = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            count += event == "line"
            if event == "line" and count == stop:
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            abslrp.explain(model, x, 0)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        return count

    expected = state()
    for stop in range(1, lines(0), 7):
        lines(stop)
        assert state() == expected, stop
    assert torch.equal(abslrp.explain(model, x, 0), wanted)
    other = threading.Thread(target=abslrp.explain, args=(model, x, 0), daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()  # a lock would be held for ever


def test_rows_of_a_graph_are_explained_as_one_sample() -> None:
    """As a model whose only sample is the whole graph, for each node of it."""
    torch.manual_seed(4)
    neighbours = torch.softmax(torch.rand(5, 5, dtype=torch.float64), 1)
    first, last = (nn.Linear(4, 8, dtype=torch.float64), nn.Linear(8, 3, dtype=torch.float64))

    class Nodes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return neighbours @ last((neighbours @ first(x)).relu())

    class One(nn.Module):
        def __init__(self, node: int) -> None:
            super().__init__()
            self.node = node

        def forward(self, x: Tensor) -> Tensor:
            return Nodes()(x[0])[self.node][None]

    x = torch.rand(5, 4, dtype=torch.float64)
    targets = Nodes()(x).argmax(1).tolist()
    for contrast in (None, "streams", "signed"):
        maps = abslrp.explain(Nodes().eval(), x, targets, samples="whole", contrast=contrast)
        for node, target in enumerate(targets):
            alone = abslrp.explain(One(node).eval(), x[None], target, contrast=contrast)[0]
            torch.testing.assert_close(maps[node], alone)
    pooled = {"output": lambda logits: logits.mean(0, keepdim=True)}
    assert abslrp.explain(Nodes().eval(), x, 0, samples="whole", **pooled).shape == (1, 5, 4)
    with pytest.raises(ValueError, match="samples: expected 'rows' or 'whole'"):
        abslrp.explain(Nodes().eval(), x, 0, samples="row")


NEGATIVES: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": lambda z: torch.cat([-z, z], 1),
    "times -1": lambda z: torch.cat([z * -1, z], 1),
    "over -2": lambda z: torch.cat([z / -2, z], 1) * torch.tensor([2.0, 1.0], dtype=z.dtype),
    "squeezed": lambda z: torch.stack([-z.squeeze(-1), z.squeeze(-1)], 1),
    "twice": lambda z: torch.cat([-z, -torch.neg(z)], 1),
    "copied": lambda z: torch.cat([-(z.clone().contiguous() * 3) / 3, z], 1),
}


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("contrast", ["streams", "signed", None])
@pytest.mark.parametrize("name", NEGATIVES)
def test_two_classes_of_one_logit_are_as_two_units(
    name: str, contrast: Any, accelerate: bool
) -> None:
    """Relevance of ``-z`` goes to what makes ``-z`` larger, as by weights ``-w``."""
    torch.manual_seed(5)
    one = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1)).double().eval()
    two = nn.Sequential(one[0], one[1], nn.Linear(16, 2)).double().eval()
    with torch.no_grad():
        two[2].weight.copy_(torch.cat([-one[2].weight, one[2].weight]))
        two[2].bias.copy_(torch.cat([-one[2].bias, one[2].bias]))
    x = torch.rand(4, 6, dtype=torch.float64)
    options = {"contrast": contrast, "accelerate": accelerate}
    for target in (0, 1):
        found = abslrp.explain(one, x, target, output=NEGATIVES[name], **options)
        torch.testing.assert_close(found, abslrp.explain(two, x, target, **options))


def test_the_negative_of_a_sum_is_the_sum_of_the_negatives() -> None:
    first, second = (seeded(lambda: nn.Linear(4, 3)).double() for _ in range(2))

    class Sums(nn.Module):
        def __init__(self, negated: bool) -> None:
            super().__init__()
            self.negated = negated

        def forward(self, x: Tensor) -> Tensor:
            a, b = first(x), second(x.flip(1))
            return -(a - b) if self.negated else b - a

    x = torch.rand(3, 4, dtype=torch.float64)
    found, wanted = (abslrp.explain(Sums(one).eval(), x, 1, contrast=None) for one in (True, False))
    torch.testing.assert_close(found, wanted)


def test_the_negative_of_an_activation_has_relevance_only_above_0() -> None:
    class Apart(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([-(x - 0.5).square().sum(1), -x[:, 0]], 1)

    x = torch.tensor([[-0.5, 0.25]])
    assert not abslrp.explain(Apart().eval(), x, 0, contrast=None).any()
    assert abslrp.explain(Apart().eval(), x, 1, contrast=None).tolist() == [[1.0, 0.0]]
    assert not abslrp.explain(Apart().eval(), -x, 1, contrast=None).any()


@pytest.mark.parametrize(
    ("call", "plain"),
    [
        (lambda x, y: x.clamp(min=y), torch.maximum),
        (lambda x, y: x.clamp_max(y), torch.minimum),
        (lambda x, y: torch.full((), 0.1).clamp(max=y), lambda x, y: torch.minimum(x * 0 + 0.1, y)),
    ],
)
def test_bounds_that_are_activations_take_part(call: Any, plain: Any) -> None:
    x = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
    found, wanted = (
        abslrp.explain(Crossing(lambda x, one=one: one(*x.chunk(2, 1))).eval(), x, 0, contrast=None)
        for one in (call, plain)
    )
    torch.testing.assert_close(found, wanted)


def test_an_exponent_that_is_an_activation_is_refused() -> None:
    with pytest.raises(abslrp.UnknownOperationError, match="exponents that are activations"):
        abslrp.explain(Crossing(lambda x: x ** (x + 1)).eval(), torch.rand(2, 4), 0)


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("product", [torch.mul, torch.bmm])
def test_the_negative_of_a_product_counts_with_opposite_weights(
    product: Callable[[Tensor, Tensor], Tensor], accelerate: bool
) -> None:
    """``c - ab`` has relevance for a and b as ``c + ab'`` has, where b' are opposite constants."""
    made = torch.Generator().manual_seed(4)
    weight = torch.randn(2, 3, 3, dtype=torch.float64, generator=made)
    x = torch.randn(2, 3, 3, dtype=torch.float64, generator=made)

    class Left(nn.Module):
        def __init__(self, sign: int) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            if self.sign < 0:
                return (0 - product(x, y)).flatten(1)
            return product(x, -y.detach()).flatten(1)

    start = torch.eye(9, dtype=torch.float64)[:2] + 0.1
    options = {"conserve": None, "accelerate": accelerate}
    found, _ = abslrp.relevance(Left(-1).eval(), (x, weight), start, **options)
    wanted, _ = abslrp.relevance(Left(1).eval(), (x, weight), start, **options)
    if product is torch.mul:  # by a constant all passes; of two activations what agrees
        wanted = wanted * (x * -weight > 0)
    torch.testing.assert_close(found, wanted)
    assert found.any()
