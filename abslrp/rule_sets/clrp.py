"""Contrastive LRP (Gu et al., ACCV 2018), as its authors' code has it.

``JindongGu/Contrastive-LRP``: linear layers and convolutions share relevance by their positive
contributions, ``(x_i w_ij)+ / (sum_k (x_k w_kj)+ + 1e-9)``, without the bias; the convolution that
sees the image has the z-box from -2.1179 to 2.64, the ends of ImageNet's normalised range; max
pooling splits evenly between equal winners. The target's map starts at its absolute logit, the
other one at those of all other classes; each is scaled to sum 1, and they are subtracted.

The code is for VGG16. For other networks: a batch norm behind a linear map is one layer with it;
average pooling and residual additions are in proportion to signed contributions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.plan.accounts import Account, Custom, UncoveredError
from abslrp.rule_sets import alpha_beta, box
from abslrp.rule_sets.starts import publish
from abslrp.rules.pooling import axes_of
from abslrp.tape import Call, Value

EPSILON = 1e-9
LOW, HIGH = -2.1179, 2.64


def imagenet(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of ImageNet's normalised range."""
    return x.new_tensor(LOW), x.new_tensor(HIGH)


CLRP = publish(
    box.boxed("cLRP", alpha_beta.build(1, 0, EPSILON, biased=False), imagenet, EPSILON),
    contrast="logits",
)
"""Contrastive LRP, by its authors' code."""


@CLRP.rule(torch.ops.aten.max_pool2d_with_indices)
def max_pool2d(
    call: Call, input: Value, size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = 1,
    ceil_mode: bool = False,
) -> Account:  # fmt: skip
    """Evenly to equal winners, as the gradient of a window's maximum does."""
    size, stride, padding = ([*one] * (2 // len(one)) for one in (size, stride or size, padding))
    if set([dilation] if isinstance(dilation, int) else dilation) != {1}:
        raise UncoveredError("windows with gaps")

    def propagate(relevance: Tensor) -> list[Tensor | None]:
        with torch.enable_grad():
            x = input.tensor.detach().requires_grad_()
            more: list[int] = []
            for axis in (1, 0):  # as far as windows reach, with ceil_mode, too
                end = (call.output.shape[axis - 2] - 1) * stride[axis] + size[axis] - padding[axis]
                more += [padding[axis], max(0, end - x.shape[axis - 2])]
            windows = F.pad(x, more, value=-torch.inf)
            for axis in (0, 1):
                windows = windows.unfold(-2, size[axis], stride[axis])
            greatest = windows.amax((-1, -2))
        sent = [torch.autograd.grad(greatest, x, one, retain_graph=True)[0] for one in relevance]
        return [torch.stack(sent)]

    return Custom(propagate, axes=axes_of, nonnegative=input.nonnegative)
