"""RISE (Petsiuk et al. 2018); neither Captum, pytorch-grad-cam nor Zennit has it."""

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.methods.registry import Explain, method
from gae_metric.errors import check_integer


@method(
    "RISE",
    family="any",
    source="benchmarks",
    citation="Petsiuk et al., BMVC 2018 (4000 masks of 7x7 cells, half of them kept)",
    chunks=True,
)
def rise(
    model: nn.Module,
    x: Tensor,
    *,
    n_masks: int = 4000,
    cells: int = 7,
    keep: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
) -> Explain:
    """Mean of random masks weighted by the target's probability on the masked input, (B, 1, H, W).

    The same masks serve every sample, so that maps depend on (sample, seed) alone. Cost:
    ``n_masks`` forward passes of each sample, ``batch_size`` (default 64) at a time.
    """
    check_integer("n_masks", n_masks)
    check_integer("cells", cells)
    if not 0 < keep <= 1:
        raise ValueError(f"keep: expected a share in (0, 1], got {keep!r}")

    def explain(chunk: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros(len(chunk), 1, *chunk.shape[2:], dtype=torch.float64)
        masks = random_masks(n_masks, (chunk.shape[2], chunk.shape[3]), cells, keep, seed)
        with torch.no_grad():
            while some := list(itertools.islice(masks, batch_size or 64)):
                mask = torch.stack(some).to(chunk)
                for i, one in enumerate(chunk):
                    scores = model(one * mask).softmax(1)[:, target[i]].double()
                    total[i] += (scores[:, None, None, None] * mask.double()).sum(0).cpu()
        return (total / (n_masks * keep)).to(chunk)

    return explain


def random_masks(
    n: int, size: tuple[int, int], cells: int, keep: float, seed: int
) -> Iterator[Tensor]:
    """Draw RISE's masks (1, H, W) in [0, 1]: coarse cells, upsampled and randomly shifted.

    Examples
    --------
    >>> masks = torch.stack(list(random_masks(200, (16, 24), cells=4, keep=0.5, seed=0)))
    >>> masks.shape, round(float(masks.mean()), 1)
    (torch.Size([200, 1, 16, 24]), 0.5)
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = (math.ceil(side / cells) for side in size)
    larger = ((cells + 1) * height, (cells + 1) * width)
    for _ in range(n):
        coarse = (torch.rand(1, 1, cells, cells, generator=generator) < keep).float()
        up = F.interpolate(coarse, size=larger, mode="bilinear")
        top = int(torch.randint(0, height, (), generator=generator))
        left = int(torch.randint(0, width, (), generator=generator))
        yield up[0, :, top : top + size[0], left : left + size[1]]
