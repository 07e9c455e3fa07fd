"""absLRP with a relative epsilon: by hand, of any scale, each sample alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import abslrp
from abslrp.rule_sets import relative_epsilon

RULES = relative_epsilon.build()


def _relevance(model, x, start, rules, **options):
    return abslrp.relevance(model, x, start, rules=rules, conserve=None, **options)


@pytest.mark.parametrize("accelerate", [True, False])
def test_by_hand(accelerate):
    model = nn.Linear(2, 2, bias=False).double().eval()
    model.weight.data = torch.tensor([[3.0, -1.0], [1.0, 3.0]]).double()
    # Of sample 0, h = (2, 4) and its mean is 3; of sample 1, h = (-8, 4), of size 6.
    x, start = torch.tensor([[1.0, 1.0], [-2.0, 2.0]]).double(), torch.ones(2, 2).double()
    given = _relevance(model, x, start, relative_epsilon.build(0.5), accelerate=accelerate)
    # R_i = sum_j (x_i w_ij)+ / (|h_j| + 0.5 mean|h|) R_j, eq. 12.
    expected = torch.tensor([[3 / 3.5 + 1 / 5.5, 3 / 5.5], [0.0, 6 / 7.0]], dtype=torch.float64)
    torch.testing.assert_close(given, expected, rtol=1e-14, atol=0)


class _Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.head = nn.Linear(6, 4, bias=False)

    def forward(self, x):
        a = self.a(x)
        return self.head((a @ a.mT @ self.b(x) + 2 * x).mean(1))


def _convolutions():
    return nn.Sequential(
        *[nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.GELU(), nn.Conv2d(6, 4, 3)],
        *[nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 4, bias=False)],
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize(
    ("build", "shape"), [(_convolutions, (3, 2, 8, 8)), (_Products, (3, 5, 6))]
)
def test_any_scale(build, shape, accelerate, dtype):
    torch.manual_seed(0)
    model, x = build().to(dtype).eval(), torch.randn(shape, dtype=dtype)
    options = {"rules": RULES, "accelerate": accelerate}
    whole = abslrp.explain(model, x, [0, 1, 2], **options)
    size = float(whole.abs().max())
    bound = 1e4 * torch.finfo(dtype).eps * size
    alone = [abslrp.explain(model, x[k : k + 1], [k], **options) for k in range(3)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=bound)
    with torch.no_grad():
        list(model.parameters())[-1].mul_(1e-20)  # the logits', far below 1e-9
    small = abslrp.explain(model, x, [0, 1, 2], **options)
    torch.testing.assert_close(small, whole, rtol=0, atol=bound)
    # The letter of eq. 12 weighs the classes that are contrasted with by their logits' sizes.
    assert float((abslrp.explain(model, x, [0, 1, 2]) - whole).abs().max()) > 0.01 * size


def test_the_limit_of_large_activations_is_the_letter():
    torch.manual_seed(0)
    model, x = _convolutions().double().eval(), torch.randn(3, 2, 8, 8).double()
    whole = abslrp.explain(model, x, [0, 1, 2], rules=RULES)
    torch.testing.assert_close(abslrp.explain(model, x, [0, 1, 2]), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits(dtype):
    model = nn.Linear(3, 2, bias=False).to(dtype).eval()
    model.weight.data = torch.tensor([[1.0, 2.0, -1.0], [2.0, 1.0, 1.0]]).to(dtype) * 2**-20
    x = torch.tensor([[1.0, 2.0, 4.0]]).to(dtype)
    given = abslrp.explain(model, x, [0], rules=RULES, contrast=None)
    # (1, 4, 0) / 5, where 1 / h is 2^20 and float16 ends at 2^16
    torch.testing.assert_close(given, torch.tensor([[0.2, 0.8, 0.0]]).to(dtype), rtol=0.01, atol=0)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_no_epsilon(epsilon):
    with pytest.raises(ValueError, match="epsilon: expected a number above 0"):
        relative_epsilon.build(epsilon)
