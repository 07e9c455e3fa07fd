"""Several inputs, keywords, and arrays of any kind: the same maps however they are given."""

from __future__ import annotations

import copy
from collections import UserDict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import abslrp


class Both(nn.Module):
    """Images and what is known of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pixels, self.facts = nn.Linear(12, 5), nn.Linear(2, 5)
        self.kinds, self.head = nn.Embedding(4, 5), nn.Linear(5, 3)

    def forward(
        self, image: Tensor, facts: Tensor, kind: Tensor | None = None, *, scale: float = 1.0,
        keep: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        image = image if keep is None else image * keep[:, None, None]
        found = self.pixels(image.flatten(1)) + self.facts(facts)
        if kind is not None:
            found = found + self.kinds(kind)
        logits: Tensor = self.head(torch.relu(found * scale))
        return logits


@pytest.fixture
def model() -> nn.Module:
    return Both().double().eval()


IMAGES = torch.rand(6, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
FACTS = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
KINDS = torch.tensor([0, 1, 2, 3, 0, 1])
TARGETS = [0, 1, 2, 0, 1, 2]


class Flat(nn.Module):
    """The same model, of one input."""

    def __init__(self, model: nn.Module, kind: Tensor | None = None) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, x: Tensor) -> Tensor:
        kind = None if self.kind is None else self.kind[: len(x)]
        logits: Tensor = self.model(x[:, :12].reshape(-1, 3, 4), x[:, 12:], kind)
        return logits


@pytest.mark.parametrize("contrast", ["streams", "signed", None])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 4, 6])
def test_several_inputs_share_one_total(model: nn.Module, contrast: Any, batch_size: Any) -> None:
    """They are as one input that the model takes apart."""
    joined = torch.cat([IMAGES.flatten(1), FACTS], 1)
    wanted = abslrp.explain(Flat(model, KINDS).eval(), joined, TARGETS, contrast=contrast)
    options = {"contrast": contrast, "batch_size": batch_size}
    found = abslrp.explain(model, (IMAGES, FACTS, KINDS), TARGETS, **options)
    assert found[2] is None
    torch.testing.assert_close(found[0].flatten(1), wanted[:, :12])
    torch.testing.assert_close(found[1], wanted[:, 12:])
    named = {"image": IMAGES, "facts": FACTS, "kind": KINDS}
    by_name = abslrp.explain(model, named, TARGETS, **options)
    assert list(by_name) == ["image", "facts"]
    torch.testing.assert_close(by_name["facts"], found[1])


def test_keywords_are_cut_with_the_inputs(model: nn.Module) -> None:
    keep = torch.tensor([1.0, 0.5, 1.0, 0.0, 1.0, 0.5], dtype=torch.float64)
    more = {"facts": FACTS, "scale": 2.0, "keep": keep}
    whole = abslrp.explain(model, IMAGES, TARGETS, model_kwargs=more, batch_size=6)
    parts = abslrp.explain(model, IMAGES, TARGETS, model_kwargs=more, batch_size=1)
    torch.testing.assert_close(parts, whole)
    assert not whole[3].any()
    assert whole[2].any()
    arrays = {**more, "facts": FACTS.numpy()[:, ::-1].copy()[:, ::-1]}
    again = abslrp.explain(model, IMAGES, TARGETS, model_kwargs=arrays)
    torch.testing.assert_close(again, whole)


class Gains(NamedTuple):
    gain: Tensor


class Attributes(dict[str, Any]):
    """A dict whose entries are attributes, too, as Hugging Face's outputs."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Entries(UserDict[str, Any]):
    """As Hugging Face's encodings."""

    __getattr__ = Attributes.__getattr__


@pytest.mark.parametrize("kind", [Gains, Attributes, Entries])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_what_is_nested_in_a_keyword_is_cut_and_keeps_its_type(kind: Any, batch_size: int) -> None:
    class Scaled(nn.Linear):
        def forward(self, x: Tensor, more: list[Any] | None = None) -> Tensor:
            assert more is not None
            more[0].gain.mul_(2)  # of a copy
            return super().forward(x * more[0].gain)

    model, x = Scaled(4, 3).double().eval(), torch.rand(3, 4, dtype=torch.double)
    gain = torch.rand(3, 4, dtype=torch.double)
    given, before = {"more": [kind(gain=gain)]}, gain.clone()
    found = abslrp.explain(model, x, 1, model_kwargs=given, batch_size=batch_size)
    assert torch.equal(gain, before)
    alone = [
        abslrp.explain(model, x[[i]], 1, model_kwargs={"more": [kind(gain=gain[[i]])]})
        for i in range(3)
    ]
    torch.testing.assert_close(found, torch.cat(alone))


def test_several_inputs_of_one_sample_or_of_all_rows_as_one() -> None:
    """One row is its own whatever the sizes of its inputs, and so are all rows of one."""
    torch.manual_seed(0)
    layers = nn.ModuleDict({"a": nn.Linear(4, 5), "b": nn.Linear(2, 5), "head": nn.Linear(5, 3)})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers.double().eval()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            hidden = torch.relu(self.layers["a"](x) + self.layers["b"](y))
            logits: Tensor = self.layers["head"](hidden)
            return logits

    model, x, y = Both().eval(), torch.rand(3, 4).double(), torch.rand(3, 2).double()
    alone = [abslrp.explain(model, (x[i : i + 1], y[i : i + 1]), 0) for i in range(3)]
    whole = abslrp.explain(model, (x, y), 0, samples="whole")
    for k, found in enumerate(abslrp.explain(model, (x, y), 0)):
        torch.testing.assert_close(torch.cat([one[k] for one in alone]), found)
        torch.testing.assert_close(whole[k][range(3), range(3)], found)


def test_relevance_from_any_start_and_several_targets(model: nn.Module) -> None:
    start = torch.eye(3, dtype=torch.float64)[TARGETS]
    found = abslrp.relevance(model, (IMAGES, FACTS), start)
    wanted = abslrp.explain(model, (IMAGES, FACTS), TARGETS, contrast=None)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    both = abslrp.explain(model, (IMAGES, FACTS), [[0, 1]] * 6)
    assert [tuple(one.shape) for one in both] == [(6, 2, 3, 4), (6, 2, 2)]
    plan = abslrp.plan(model, (IMAGES, FACTS))
    assert len(plan) > 4


def test_an_input_that_is_not_used_has_zeros() -> None:
    class First(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a * 2

    a, b = abslrp.explain(First().eval(), (torch.rand(2, 3), torch.rand(2, 5)), [0, 1])
    assert a.any()
    assert b.shape == (2, 5)
    assert not b.any()


def test_channels_are_summed_for_each_input() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a.mean((2, 3)) + b.mean(2)

    inputs = (torch.rand(2, 3, 4, 4), torch.rand(2, 3, 5))
    whole = abslrp.explain(Two().eval(), inputs, [0, 1])
    found = abslrp.explain(Two().eval(), inputs, [0, 1], reduce="channels")
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("inputs", "more", "message"),
    [
        ((IMAGES, FACTS[:4]), None, r"the same number of samples in each, got \{0: 6, 1: 4\}"),
        ((KINDS,), None, "expected floating-point values"),
        ({"image": IMAGES}, {"image": IMAGES}, "image is one of the inputs already"),
        ((IMAGES, "facts"), None, r"inputs\[1\]: expected an array or a tensor, got str"),
        ((), None, "expected floating-point values, got none"),
        ((IMAGES, FACTS, KINDS), [FACTS], "model_kwargs: expected a mapping, got list"),
    ],
    ids=["sizes", "integers", "twice", "no array", "nothing", "no names"],
)
def test_inputs_that_do_not_fit_are_refused(
    model: nn.Module, inputs: Any, more: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        abslrp.explain(model, inputs, TARGETS, model_kwargs=more)


ARRAYS = np.random.default_rng(0).random((3, 1, 3, 4)).astype("f4")
WAYS: dict[str, Any] = {
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "other byte order": lambda a: a.astype(">f4"),
    "Fortran order": np.asfortranarray,
    "read only": lambda a: np.frombuffer(a.tobytes(), "f4").reshape(a.shape),
    "float64": lambda a: a.astype("f8"),
    "subclass": lambda a: a.view(np.recarray),
    "tensor": torch.from_numpy,
    "tensor subclass": lambda a: nn.Parameter(torch.from_numpy(a)),
}


def flat() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("way", WAYS)
def test_arrays_of_any_kind(way: str) -> None:
    wanted = abslrp.explain(flat(), ARRAYS, [0, 1, 2])
    given = WAYS[way](ARRAYS)
    found = abslrp.explain(flat(), given, [0, 1, 2])
    assert found.dtype == given.dtype
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [
        pd.DataFrame({"y": [0, 1, 2, 0]}, index=[7, 3, 9, 4])["y"].iloc[:3],
        np.array([2, 1, 0])[::-1],
        np.array([0, 1, 2], dtype=">i8"),
        np.array([0, 1, 2], dtype=np.uint16),
        np.array([0, 1, 2], dtype=np.uint64),
        [torch.tensor(0), torch.tensor(1), torch.tensor(2)],
        (0, 1, 2),
    ],
    ids=["pandas", "reversed", "other byte order", "uint16", "uint64", "tensors", "tuple"],
)
def test_labels_of_any_kind(labels: Any) -> None:
    wanted = abslrp.explain(flat(), ARRAYS, [0, 1, 2])
    np.testing.assert_array_equal(abslrp.explain(flat(), ARRAYS, labels), wanted)


def test_an_exported_module_is_explained_as_what_it_was_exported_from() -> None:
    model, x = flat(), torch.from_numpy(ARRAYS)
    exported = torch.export.export(model, (x,)).module()
    found = abslrp.explain(exported, x, [0, 1, 2])
    torch.testing.assert_close(found, abslrp.explain(model, x, [0, 1, 2]))


def test_a_frozen_module_is_explained_as_what_it_was_made_from() -> None:
    """It has no mode."""
    model, x = flat(), torch.from_numpy(ARRAYS)
    found = abslrp.explain(torch.jit.freeze(torch.jit.script(model)), x, [0, 1, 2])
    torch.testing.assert_close(found, abslrp.explain(model, x, [0, 1, 2]))


def test_nested_keywords_are_cut_with_the_inputs() -> None:
    class Nested(nn.Linear):
        def forward(self, x: Tensor, more: dict[str, Any]) -> Tensor:
            return super().forward(x * more["by"][0] + more["shift"])

    model, x, by = Nested(4, 3).eval(), torch.rand(3, 4), torch.tensor([[1.0], [2.0], [3.0]])
    more: dict[str, Any] = {"more": {"by": [by], "shift": 0.5}}
    whole, parts = (
        abslrp.explain(model, x, [0, 1, 2], model_kwargs=more, batch_size=size) for size in (3, 1)
    )
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("samples", [2, 4, 8])
def test_a_keyword_of_all_samples_may_have_as_many_rows(samples: int, batch_size: Any) -> None:
    """A mask of T x T tokens for T samples is not cut, and what has a row for each beside it is."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.query, self.head = nn.Linear(3, 3).double(), nn.Linear(3, 5).double()

        def forward(self, x: Tensor, mask: Tensor, more: dict[str, Tensor]) -> Tensor:
            scores = self.query(x) @ x.mT + mask
            result: Tensor = self.head((scores.softmax(-1) @ x * more["gain"]).mean(1))
            return result * more["by"][:, None]

    model = Attention().eval()
    torch.manual_seed(1)
    x = torch.rand(samples, samples, 3, dtype=torch.float64)
    mask = torch.full((samples, samples), -9.0, dtype=torch.float64).triu(1)
    gain, by = torch.rand(3, dtype=torch.float64), torch.arange(1.0, samples + 1)

    def kwargs(rows: slice) -> dict[str, Any]:
        return {"mask": mask, "more": {"gain": gain, "by": by[rows]}}

    wanted = [
        abslrp.explain(model, x[i : i + 1], 1, model_kwargs=kwargs(slice(i, i + 1)))
        for i in range(samples)
    ]
    given = kwargs(slice(None))
    found = abslrp.explain(model, x, 1, model_kwargs=given, batch_size=batch_size)
    torch.testing.assert_close(found, torch.cat(wanted), rtol=0, atol=1e-9)
    start = torch.rand(samples, 5, dtype=torch.float64)
    apart = [
        abslrp.relevance(model, x[[i]], start[[i]], model_kwargs=kwargs(slice(i, i + 1)))
        for i in range(samples)
    ]
    whole = abslrp.relevance(model, x, start, model_kwargs=given)
    torch.testing.assert_close(whole, torch.cat(apart), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("a number without axes", torch.tensor(0.5), lambda x, t: x * 0.5),
        ("its array", np.array(0.5), lambda x, t: x * 0.5),
        ("a complex table", torch.polar(torch.ones(2), torch.rand(2)).to(torch.complex128),
         lambda x, t: torch.view_as_real(torch.view_as_complex(x.view(-1, 2, 2)) * t).flatten(1)),
        ("nothing", torch.zeros(0, 4), lambda x, t: x),
    ],
)  # fmt: skip
def test_other_arguments_are_of_any_shape_and_type(name: str, value: Any, plain: Any) -> None:
    class Net(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.head, self.function = nn.Linear(4, 3).double(), function

        def forward(self, x: Tensor, t: Any = value) -> Tensor:
            result: Tensor = self.head(self.function(x, t))
            return result

    def taking(x: Tensor, t: Any) -> Tensor:
        assert isinstance(t, Tensor)
        if t.is_complex():
            result: Tensor = plain(x, t)
        else:
            result = x * t if t.ndim == 0 else x + t.sum()
        return result

    x = torch.rand(3, 4, dtype=torch.float64)
    found = abslrp.explain(Net(taking).eval(), x, [0, 1, 2], model_kwargs={"t": value})
    expected = abslrp.explain(Net(plain).eval(), x, [0, 1, 2])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_weights_that_are_loaded_layer_by_layer() -> None:
    """They are on the device "meta" in between; the inputs stay where they are."""

    class Offloaded(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.kept = copy.deepcopy(self.state_dict())
            self.to("meta")

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.kept["weight"], self.kept["bias"])

    assert abslrp.explain(Offloaded().eval(), torch.rand(2, 4), [0, 1]).shape == (2, 4)
