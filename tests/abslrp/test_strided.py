"""Views by strides, and what is constant in memory that holds activations, too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import abslrp


def _net(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.LazyLinear(3)

        def forward(self, x):
            return self.head(torch.relu(function(self.conv(x))).flatten(1))

    return Net


def _columns(v):
    """Return im2col of windows of 2, whose entries are picked one by one."""
    rows = [v[:, :, i : i + 5, j : j + 5] for i in range(2) for j in range(2)]
    return torch.stack(rows, 2)


def _columns_by_strides(v):
    b, c, h, w = v.stride()
    size = (*v.shape[:2], 2, 2, 5, 5)
    return v.as_strided(size, (b, c, h, w, h, w), v.storage_offset()).flatten(2, 3)


def _in_place(v):
    w = v.clone(memory_format=torch.preserve_format)
    return w.as_strided_(w.shape, w.stride())


def _written(v):
    w = (v * 1).transpose(1, 2)
    w.as_strided(w.shape, w.stride())[:, 0] *= 2
    return w


def _written_plainly(v):
    w = (v * 1).transpose(1, 2)
    return torch.cat([w[:, :1] * 2, w[:, 1:]], 1)


SAME = [
    (lambda v: v.as_strided(v.shape, v.stride()), lambda v: v),
    (lambda v: v[:, 1:].as_strided((len(v), 3, 6, 6), v.stride(), v[:, 1:].storage_offset()),
     lambda v: v[:, 1:]),
    (lambda v: v.permute(0, 3, 1, 2).as_strided(v.shape, v.stride()), lambda v: v),
    (_columns_by_strides, _columns),
    (_in_place, lambda v: v),
    (_written, _written_plainly),
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"accelerate": False}, {"conserve": None}])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("pair", SAME)
def test_strides_are_those_of_the_memory(pair, order, options):
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8).double().contiguous(memory_format=order)
    nets = [_net(function)().double().eval() for function in pair]
    nets[0](x)  # the sizes of lazy layers
    nets[1].load_state_dict(nets[0].state_dict())
    assert torch.equal(nets[0](x), nets[1](x))
    found, expected = (abslrp.explain(net, x, [0, 1], **options) for net in nets)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


class _Cell(nn.Module):
    def __init__(self, own):
        super().__init__()
        torch.manual_seed(1)
        self.cell, self.head, self.own = nn.GRUCell(8, 8), nn.Linear(8, 3), own

    def step(self, x, h):
        cell, h = self.cell, x.new_zeros(len(x), 8) if h is None else h
        a, b, c = F.linear(x, cell.weight_ih, cell.bias_ih).chunk(3, 1)
        d, f, g = F.linear(h, cell.weight_hh, cell.bias_hh).chunk(3, 1)
        r, z = torch.sigmoid(d + a), torch.sigmoid(f + b)
        n = torch.tanh(c + g * r)
        return (h - n) * z + n

    def forward(self, x):
        h = None
        for t in range(2):
            h = (self.step if self.own else self.cell)(x[:, t], h)
        return self.head(h)


def test_a_gru_cell_is_what_it_is_written_out():
    torch.manual_seed(0)
    x, start = torch.randn(3, 5, 8).double(), torch.rand(3, 3).double()
    found, expected = (
        abslrp.relevance(_Cell(own).double().eval(), x, start) for own in (False, True)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_each_write_to_memory_is_looked_at_once(monkeypatch):
    """Of a loop that writes its steps to one tensor, not all earlier ones at each step."""
    filled = []
    monkeypatch.setattr(torch.Tensor, "fill_", _counting(torch.Tensor.fill_, filled))

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.head = nn.RNNCell(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            written, h = x.new_empty(len(x), x.shape[1], 8), x.new_zeros(len(x), 8)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
                written[:, t] = h
            return self.head(written.mean(1))

    torch.manual_seed(0)
    model, x = Steps().double().eval(), torch.rand(2, 24, 8).double()
    found = abslrp.explain(model, x, [0, 1])
    assert 0 < len(filled) <= 24
    alone = [abslrp.explain(model, x[i : i + 1], i) for i in range(2)]
    torch.testing.assert_close(found, torch.cat(alone))


def _counting(function, calls):
    def counted(*args):
        calls.append(args)
        return function(*args)

    return counted


def _beside(x):
    """Return activations times what lies beside them in memory, which is a constant."""
    buffer = torch.full((len(x), 2, 4), 0.5, dtype=x.dtype)
    view = buffer[:, 1]
    buffer[:, 0] = x
    return x * view


def _after(x):
    buffer = torch.full((len(x), 2, 4), 0.5, dtype=x.dtype)
    buffer[:, 0] = x
    return buffer[:, 0] * 2 + buffer[:, 1]


def _over(x):
    buffer = torch.zeros(len(x), 2, 4, dtype=x.dtype)
    buffer[:] = x[:, None]
    buffer[:, 1] = 0.5
    return buffer[:, 0] * buffer[:, 1]


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (_beside, lambda x: x * torch.full_like(x, 0.5)),
        (_after, lambda x: x * 2 + torch.full_like(x, 0.5)),
        (_over, lambda x: x * torch.full_like(x, 0.5)),
    ],
)
@pytest.mark.parametrize("conserve", ["operation", None])
def test_what_lies_beside_activations_is_constant(function, plain, conserve):
    class Net(nn.Module):
        def __init__(self, function):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last, self.function = nn.Linear(6, 4), nn.Linear(4, 3), function
            for one in (self.first, self.last):  # so that relevance is lost nowhere
                one.weight.data.abs_()

        def forward(self, x):
            return self.last(self.function(torch.relu(self.first(x))))

    torch.manual_seed(0)
    x = torch.rand(3, 6).double()
    found, expected = (
        abslrp.explain(Net(one).double().eval(), x, [0, 1, 2], conserve=conserve)
        for one in (function, plain)
    )
    assert (expected.abs().sum(1) > 0.01).all()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
