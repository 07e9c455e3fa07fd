"""torch's own samples of its operators: relevance is right, or the call is refused by name.

Each sample is a network: its input, flat, is one row of a batch of two. In float64 relevance of a
non-negative start is non-negative, finite, the same in a batch and alone, and what does not arrive
was lost at calls that are known.
"""

from __future__ import annotations

import fnmatch
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import abslrp
from abslrp.plan.flows import Flow

SAMPLES = 6
"""Of each operator; they go from plain to odd."""

#: Names, or patterns of names, of operators by the reason why samples of them have no rule.
REFUSED = {
    "a factorisation, inverse, determinant or root of a matrix made of the input": (
        "linalg.* geqrf lu lu_unpack lu_solve matrix_exp ormqr triangular_solve pinverse cholesky* "
        "svd_lowrank pca_lowrank logdet qr svd* inverse det slogdet"
    ),
    "a special function that no layer computes": (
        "special.* i0 polygamma.* mvlgamma.* digamma lgamma nextafter ldexp frexp copysign igamma*"
    ),
    "neither a sum nor an entry of its own input: eq. 12 says nothing": (
        "atan2 hypot angle polar complex fmod remainder __rmod__ dist nn.functional.pdist "
        "logcumsumexp nn.functional.ctc_loss"
    ),
    "counts and random numbers": (
        "histogram* histc unique* normal* randint_like cauchy exponential geometric log_normal "
        "uniform random*"
    ),
    "labels and weights in one": "nn.functional.linear_cross_entropy.*",
    "reductions of a kind for which the entries' shares are not known": (
        "index_reduce.* scatter_reduce.prod _segment_reduce.* index_add scatter nanmedian "
        "masked.median nn.functional.fractional_max_pool* max_pool2d_with_indices_backward"
    ),
    "half of a spectrum, of several axes, conjugated": "fft.ihfft*",
    "memory that is resized": "resize_ resize_as_",
}

#: Operators whose result counts as constant.
CONSTANT = {
    "the denominator or spread of a norm (docs/limits.md)": (
        "*norm norm.* linalg.*norm linalg.norm.* *logsumexp rsqrt std* var* "
        "nn.functional.pairwise_distance nn.functional.triplet_margin_*"
    ),
    "a denominator, and the one unknown of a unit triangle": "linalg.solve_triangular",
    "it takes no entry but a shape, or steps; of a matrix the power of 0": (
        "*_like new_* fill zero_ heaviside bernoulli* masked.arg* _batch_norm_with_update addr "
        "linalg.matrix_power"
    ),
}

#: Operators some samples of which are an error of another kind.
IMPOSSIBLE = {
    "random in evaluation, too": (
        "nn.functional.*dropout* nn.functional.rrelu nn.functional.multi_head_attention_forward "
        "nn.functional.scaled_dot_product_attention"
    ),
    "statistics of the batch": "native_batch_norm nn.functional.batch_norm _native_batch_norm*",
    "memory of other samples": "as_strided*",
    "memory that is resized, which no gradient can be taken of": "resize_ resize_as_",
    "internal, with other outputs than its decomposition": "torch.ops.aten.*",
}

#: Operators of which some relevance is lost at the input itself, which is no call.
AT_THE_INPUT = {
    "that of its negative, where it is not below 0": (
        "nn.functional.binary_cross_entropy nn.functional.multilabel_soft_margin_loss polar"
    ),
}

#: Sums, moves, products, extremes and layers: each had been wrong once, or is the commonest.
FAST = [
    "add",
    "cat",
    "cumsum",
    "gather",
    "index_add",
    "index_put",
    "index_select",
    "matmul",
    "__rmatmul__",
    "max.reduction_no_dim",
    "scatter",
    "scatter_add",
    "sum",
    "where",
    "masked_fill",
    "unbind_copy",
    "permute_copy",
    "view_copy",
    "fft.hfft",
    "nn.functional.embedding",
    "nn.functional.embedding_bag",
    "nn.functional.avg_pool2d",
    "nn.functional.layer_norm",
    "nn.functional.fold",
    "nn.functional.conv2d",
    "exponential",
]


def listed(table: dict[str, str], name: str) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) for names in table.values() for pattern in names.split()
    )


def plain(given: Any) -> Any:
    if isinstance(given, Tensor):
        return given.detach()
    if type(given) in (list, tuple):
        return type(given)(plain(one) for one in given)
    return {key: plain(one) for key, one in given.items()} if isinstance(given, dict) else given


class Sample(nn.Module):
    """An operator of parts of each row, whose results are the row's outputs."""

    def __init__(self, operator: Any, sample: Any) -> None:
        super().__init__()
        self.operator, self.input = operator, sample.input
        self.args, self.kwargs = plain(sample.args), plain(sample.kwargs)

    def tensors(self) -> list[Any]:
        return list(self.input) if isinstance(self.input, (list, tuple)) else [self.input]

    def of(self, row: Tensor) -> Tensor:
        sizes = [one.numel() for one in self.tensors()]
        parts = [
            part.view(one.shape)
            for part, one in zip(torch.split(row, sizes), self.tensors(), strict=True)
        ]
        several = isinstance(self.input, (list, tuple))
        result = self.operator(parts if several else parts[0], *self.args, **self.kwargs)
        made = [
            torch.view_as_real(one) if one.is_complex() else one
            for one in (result if isinstance(result, (list, tuple)) else [result])
            if isinstance(one, Tensor) and (one.is_floating_point() or one.is_complex())
        ]
        return torch.cat([one.flatten() for one in made])

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.of(row) for row in x])

    def rows(self) -> Tensor | None:
        """Two rows; None where there is nothing to be explained, or no function of a row."""
        tensors = self.tensors()
        if not tensors or any(
            not isinstance(one, Tensor) or one.dtype != torch.float64 or one.layout != torch.strided
            for one in tensors
        ):
            return None
        flat = torch.cat([one.detach().flatten() for one in tensors])
        x = torch.stack([flat, flat.flip(0) * 0.5 + 0.1])
        try:
            with torch.no_grad():
                first, again = self(x), self(x)
        except Exception:  # of another device, or of no use with a row of other values
            return None
        usable = first.is_floating_point() and first.numel() and bool(first.isfinite().all())
        return x if x.numel() and usable and torch.equal(first, again) else None


def outcome(name: str, model: Sample, x: Tensor, flows: list[Flow]) -> str:
    """Explain a sample and check what comes of it, or say how it is refused."""
    with torch.no_grad():
        logits = model(x)
    start = torch.rand(logits.shape, dtype=logits.dtype) + 0.1
    flows.clear()
    try:
        together = abslrp.relevance(model, x, start)
    except abslrp.UnknownOperationError:
        return "refused"
    except (ValueError, RuntimeError) as error:
        return "constant" if "do not depend" in str(error) else "impossible"
    shares = torch.cat([flow.arrived / flow.started + flow.lost() for flow in flows], 1)
    alone = torch.cat([abslrp.relevance(model, x[i : i + 1], start[i : i + 1]) for i in (0, 1)])
    # Casts to 16 bits within a model round as coarsely as that.
    tolerance = 1e-2 if "half" in str(model.operator) or "float" in str(model.operator) else 1e-8
    assert together.isfinite().all()
    assert together.min() >= 0
    torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)
    if listed(AT_THE_INPUT, name):
        return "right"
    torch.testing.assert_close(
        shares, torch.ones_like(shares), rtol=tolerance, atol=tolerance, check_dtype=False
    )
    return "right"


def samples(names: Any = None) -> Iterator[tuple[str, Sample, Tensor]]:
    pytest.importorskip("expecttest")
    flags = torch.backends.flags_frozen.__globals__
    before = flags["__allow_nonbracketed_mutation_flag"]
    from torch.testing._internal import common_methods_invocations

    # For the whole process, its import forbids flags of back ends to be set.
    flags["__allow_nonbracketed_mutation_flag"] = before
    operators: Any = common_methods_invocations.op_db
    count = SAMPLES if names is None else 2
    for info in operators:
        name = ".".join(one for one in (info.name, info.variant_test_name) if one)
        if (names is None or name in names) and torch.float64 in info.supported_dtypes("cpu"):
            torch.manual_seed(0)
            for _, sample in zip(
                range(count), info.sample_inputs("cpu", torch.float64), strict=False
            ):
                model = Sample(info.op, sample).eval()
                x = model.rows()
                if x is not None:
                    yield name, model, x


def check(names: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    tables = {"refused": REFUSED, "constant": CONSTANT, "impossible": IMPOSSIBLE}
    flows: list[Flow] = []
    module = sys.modules["abslrp.explain"]
    monkeypatch.setattr(module, "warn_of_losses", flows.extend)
    counts = dict.fromkeys(["right", *tables], 0)
    wrong: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model, x in samples(names):
            try:
                kind = outcome(name, model, x, flows)
            except Exception as error:  # all of them are listed at the end
                kind = f"{type(error).__name__}: {error}"
            if kind not in counts or (kind in tables and not listed(tables[kind], name)):
                wrong.append(f"{name}: {kind[:200]}")
            else:
                counts[kind] += 1
    assert not wrong, "\n".join(sorted(set(wrong)))
    return counts


def test_common_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(FAST, monkeypatch)["right"] > 30


@pytest.mark.slow
def test_every_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = check(None, monkeypatch)
    # With torch 2.14: 1,858 samples are right, 516 refused, 182 constant, 53 impossible.
    assert counts["right"] > 2 * (counts["refused"] + counts["constant"] + counts["impossible"])
