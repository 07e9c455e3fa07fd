"""Contrastive LRP (Gu et al., ACCV 2018), as its authors' code has it.

``JindongGu/Contrastive-LRP``: linear layers and convolutions share relevance by their positive
contributions, ``(x_i w_ij)+ / (sum_k (x_k w_kj)+ + 1e-9)``, without the bias; the convolution that
sees the image has the z-box from -2.1179 to 2.64, the ends of ImageNet's normalised range; max
pooling splits evenly between equal winners. The target's map starts at its absolute logit, the
other one at those of all other classes; each is scaled to sum 1, and they are subtracted.

The code is for VGG16. For other networks: a batch norm behind a linear map is one layer with it;
average pooling and residual additions are in proportion to signed contributions.
"""

from typing import Any

import torch
import torch.nn.functional as F

from abslrp.rule_sets import alpha_beta
from abslrp.rule_sets.composites import composite, first_convolution
from abslrp.rule_sets.layers import z_box
from abslrp.rule_sets.starts import publish

EPSILON = 1e-9

_base = alpha_beta.build(1, 0, EPSILON, biased=False)

_box = z_box(-2.1179, 2.64, EPSILON)

CLRP = publish(composite([(first_convolution, _box)], _base, "cLRP"), contrast="logits")
"""Contrastive LRP, by its authors' code."""

_max_pool3d = torch.ops.aten.max_pool3d_with_indices


@CLRP.decomposition(torch.ops.aten.max_pool2d_with_indices)
def max_pool2d(
    x: Any, size: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), *rest: Any
) -> Any:
    """Write windows out: the gradient of their maximum is shared evenly by equal winners."""
    given = (size, stride or size, padding, dilation)
    size, stride, padding, dilation = ([*one] * (2 // len(one)) for one in given)
    deep = ([1, *size], [1, *stride], [0, *padding], [1, *dilation], *rest)
    # Over three axes it is a call like any other; two of a detached copy would be asked about.
    greatest, places = _max_pool3d(x.unsqueeze(-3), *deep)
    span = [gap * (width - 1) + 1 for gap, width in zip(dilation, size, strict=True)]
    more: list[int] = []
    for axis in (-1, -2):  # as far as windows reach: beyond the end with ceil_mode, or short of it
        end = (greatest.shape[axis] - 1) * stride[axis] + span[axis] - padding[axis]
        more += [padding[axis], end - x.shape[axis]]
    x = F.pad(x, more, value=-torch.inf)
    for axis in (0, 1):
        x = x.unfold(-2, span[axis], stride[axis])[..., :: dilation[axis]]
    return x.amax((-1, -2)), places.squeeze(-3)
