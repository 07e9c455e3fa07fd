"""Recurrent layers: torch writes them out step by step, but for one fused layer of a CPU's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from abslrp.registry import COMMON


@COMMON.decomposition("_pack_padded_sequence")
def packed(input: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Take the steps that are no padding, those of one time together."""
    there = lengths > torch.arange(int(lengths[0]))[:, None]
    time, sample = (one.to(input.device) for one in there.nonzero(as_tuple=True))
    return input[(sample, time) if batch_first else (time, sample)], there.sum(1)


@COMMON.decomposition("_pad_packed_sequence")
def padded(
    data: Tensor, sizes: Tensor, batch_first: bool, value: float, length: int
) -> tuple[Tensor, Tensor]:
    """Put the steps back, and padding where there are none."""
    there = sizes[:, None] > torch.arange(int(sizes[0]))
    time, sample = (one.to(data.device) for one in there.nonzero(as_tuple=True))
    shape = max(length, len(sizes)), there.shape[1], *data.shape[1:]
    result = torch.full(shape, value, dtype=data.dtype, device=data.device)
    result = result.index_put((time, sample), data)
    return result.transpose(0, 1) if batch_first else result, there.sum(0)


@COMMON.decomposition("mkldnn_rnn_layer")
def lstm_layer(
    input: Tensor, weight_x: Tensor, weight_h: Tensor, bias_x: Tensor, bias_h: Tensor,
    h: Tensor, c: Tensor, reverse: bool, *options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """One direction of one LSTM layer, of an input (T, B, F)."""
    h, c = h[0], c[0]
    before = F.linear(input, weight_x, bias_x).unbind(0)
    outputs = []
    for one in reversed(before) if reverse else before:
        i, f, g, o = (F.linear(h, weight_h, bias_h) + one).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        outputs.append(h)
    outputs = outputs[::-1] if reverse else outputs
    return torch.stack(outputs), h[None], c[None], input.new_empty(0)
