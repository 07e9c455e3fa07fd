"""Attention of long sequences is written out some rows at a time: the same map, in less memory."""

import gc
import itertools
import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import abslrp
from abslrp.plan import Diagonal, blocks
from abslrp.registry import ABSLRP, RuleSet
from abslrp.rule_sets import relative_epsilon

pytestmark = pytest.mark.filterwarnings("ignore:relevance. (all|about)")
T = 13
SAMPLES, HEADS = 3, 4
generator = torch.Generator().manual_seed(0)
SOME = torch.rand(T, T, generator=generator) > 0.3
MASKS = {
    "none": None,
    "some": SOME,
    "blind": SOME & (torch.arange(T) != 4)[:, None],
    "a column": torch.rand(SAMPLES, 1, 1, T, generator=generator) > 0.3,
    "added": torch.randn(1, 1, T, T, generator=generator, dtype=torch.float64),
    "one row": torch.randn(1, T, generator=generator, dtype=torch.float64),
}


class Net(torch.nn.Module):
    """Two layers of attention, residual."""

    def __init__(self, keys: int = HEADS, sign: int = 1, **options):
        super().__init__()
        self.keys, self.sign, self.options = keys, sign, options
        self.query = torch.nn.Linear(8, 8 * HEADS)
        self.key, self.value = torch.nn.Linear(8, 8 * keys), torch.nn.Linear(8, 8 * keys)
        self.out, self.head = torch.nn.Linear(8 * HEADS, 8), torch.nn.Linear(8, 3)

    def attended(self, x):
        def heads(linear):
            return linear(x).unflatten(-1, (-1, 8)).transpose(-3, -2)

        shared = {} if self.keys == HEADS else {"enable_gqa": True}
        mixed = F.scaled_dot_product_attention(
            heads(self.query), heads(self.key), heads(self.value), **shared, **self.options
        )
        return mixed.transpose(-3, -2).flatten(-2)

    def forward(self, x):
        for _ in range(2):
            x = x + torch.relu(self.out(self.sign * self.attended(x)))
        return self.head(x.mean(1))


class Learned(Net):
    """Queries, or values, are parameters."""

    def __init__(self, constant: str):
        super().__init__()
        setattr(self, constant, torch.nn.Parameter(torch.randn(HEADS * 8)))
        self.constant = constant

    def attended(self, x):
        def heads(name):
            one = getattr(self, name)
            every = one.expand(*x.shape[:2], -1) if name == self.constant else one(x)
            return every.unflatten(-1, (-1, 8)).transpose(-3, -2)

        mixed = F.scaled_dot_product_attention(*map(heads, ("query", "key", "value")))
        return mixed.transpose(-3, -2).flatten(-2)


class Itself(Net):
    """Queries, keys and values are one tensor of three axes."""

    def attended(self, x):
        x = self.query(x)
        return F.scaled_dot_product_attention(x, x, x)


def made(net, seed=0):
    torch.manual_seed(seed)
    for one in net.parameters():
        torch.nn.init.normal_(one, std=0.4)
    return net.double().eval()


def data(samples=SAMPLES, length=T):
    x = torch.randn(samples, length, 8, generator=torch.Generator().manual_seed(1))
    return x.double(), torch.arange(samples) % 3


@pytest.fixture
def few(monkeypatch) -> Iterator[list[int]]:
    """Let five rows of weights be made at once; returns how many rows each call had."""
    rows: list[int] = []
    sent = blocks.Blocks.sent

    def noted(self, *args):
        rows.append(self.rows)
        return sent(self, *args)

    monkeypatch.setattr(blocks.Blocks, "sent", noted)
    monkeypatch.setattr(blocks, "AT_ONCE", 5 * SAMPLES * HEADS * T)
    return rows


def check(net, x, targets, **options):
    found = abslrp.explain(net, x, targets, **options)
    expected = abslrp.explain(net, x, targets, accelerate=False, **options)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert expected.abs().max() > 0


CONSERVES = ("operation", "argument", None)


@pytest.mark.parametrize(
    ("mask", "conserve", "contrast"), [*itertools.product(MASKS, CONSERVES, ("streams", None))]
)
def test_masks(few, mask, conserve, contrast):
    net = made(Net(attn_mask=MASKS[mask]))
    check(net, *data(), conserve=conserve, contrast=contrast)
    assert set(few) == {5}


@pytest.mark.parametrize(
    "net", [Net(is_causal=True), Net(2), Net(1, is_causal=True), Net(scale=0.7)],
    ids=["causal", "two share a key", "one key", "scale"],
)  # fmt: skip
def test_kinds(few, net):
    check(made(net), *data())
    assert few


def test_one_tensor_three_times(monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    check(made(Itself()), *data())


@pytest.mark.parametrize("constant", ["query", "key", "value"])
def test_constants(few, constant):
    check(made(Learned(constant), seed=1), *data())
    assert few


def test_relevance_of_the_negative(few):
    """It is told by the definition, before any block is made."""
    check(made(Net(sign=-1)), *data())
    assert not few


def test_samples_along_axes_of_one_size(monkeypatch):
    """Samples, heads and positions are as many; each sample has its map alone."""
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    net, (x, targets) = made(Net()), data(HEADS, HEADS)
    together = abslrp.explain(net, x, targets)
    for i in range(len(x)):
        alone = abslrp.explain(net, x[i : i + 1], targets[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)


def test_no_score_is_positive(few):
    """What reaches the weights is lost in the softmax, and is not given to the values."""
    net = made(Net(attn_mask=torch.full((T, T), -100.0, dtype=torch.float64)))
    check(net, *data(), contrast=None)
    assert few


class Written(Net):
    """What attention took is overwritten later: a mask that is narrowed, keys in one memory."""

    def __init__(self, what: str):
        super().__init__()
        self.what, self.keys = what, torch.nn.Parameter(torch.randn(2, HEADS, T, 8))

    def forward(self, x):
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        memory = torch.empty_like(self.keys[0])
        for one in self.keys:
            memory.copy_(one)
            query = self.query(x).unflatten(-1, (-1, 8)).transpose(-3, -2)
            keys = memory.expand(query.shape) if self.what == "keys" else query
            given = {"attn_mask": mask} if self.what == "mask" else {}
            mixed = F.scaled_dot_product_attention(query, keys, query, **given)
            x = x + self.out(mixed.transpose(-3, -2).flatten(-2))
            mask.triu_(-2)
        return self.head(x.mean(1))


@pytest.mark.parametrize("what", ["mask", "keys"])
def test_constants_are_those_of_the_call(few, what):
    check(made(Written(what)), *data())
    assert few


@pytest.mark.parametrize("act", [torch.sigmoid, torch.exp])
@pytest.mark.parametrize("conserve", CONSERVES)
def test_what_reaches_rows_that_see_nothing_is_lost(few, act, conserve):
    class Padded(Net):
        def forward(self, x):
            return self.head(act(self.attended(x)).mean(1)[:, :8])

    seen = torch.ones(T, T, dtype=torch.bool)
    seen[:4] = seen[:, :4] = False
    net = made(Padded(attn_mask=seen))
    x, targets = data()
    check(net, x, targets, contrast=None, conserve=conserve)
    if conserve == "operation":
        assert few
        found = abslrp.explain(net, x, targets, contrast=None).flatten(1).sum(1)
        assert (found < 0.99).all()


def test_a_factor_of_all_entries(few):
    """An epsilon relative to a sample's mean is none relative to that of five rows."""
    net = made(Net())
    check(net, *data(), contrast=None, rules=relative_epsilon.build(1e-2))
    assert few


class Mean(torch.nn.Module):
    """All keys are alike, so that each row is the mean of the values."""

    def forward(self, x):
        same = x.new_zeros(x.shape)
        return F.scaled_dot_product_attention(same, same, x).flatten(1)


def test_a_sum_of_many_blocks_has_more_digits_than_bfloat16(monkeypatch):
    """Each of 512 values gets 1 / 512 of each of 512 rows; in bfloat16 256 + 1 is 256."""
    monkeypatch.setattr(blocks, "AT_ONCE", 1)  # row by row
    x = torch.ones(1, 512, 2, dtype=torch.bfloat16)
    found = abslrp.relevance(Mean().eval(), x, torch.ones(1, 1024), conserve=None)
    assert torch.equal(found.float(), torch.ones(1, 512, 2))


def test_rows_that_are_samples(few):
    """Where keys are patterns that the model holds."""

    class Lookup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patterns = torch.nn.Parameter(torch.randn(2000, 8))
            self.head = torch.nn.Linear(8, 3)

        def forward(self, x):
            patterns = self.patterns[None]
            return self.head(F.scaled_dot_product_attention(x[None], patterns, patterns)[0])

    x, targets = data(20, 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="model: it cannot be told")
        check(made(Lookup()), x[:, 0], targets, contrast=None)
    assert not few


@pytest.mark.parametrize("rules", ["epsilon", "alpha1beta0", "RAP", "Chefer"])
def test_other_rule_sets(few, rules):
    net, (x, targets) = made(Net()), data()
    check(net, x, targets, rules=rules)


def test_a_rule_that_is_a_function_of_relevance(few):
    """It may do with five rows what it does not do with thirteen."""
    rules = RuleSet("largest", ABSLRP)

    @rules.rule("softmax _softmax")
    def softmax(call, input, dim, *args):
        return lambda relevance: (relevance * (relevance == relevance.amax()),)

    check(made(Net()), *data(), rules=rules, contrast=None)
    assert few


def test_a_rule_with_factors(few):
    rules = RuleSet("passing", ABSLRP)
    rules.rule("softmax _softmax")(lambda call, scores, dim, *args: Diagonal(scores))
    check(made(Net()), *data(), rules=rules)
    assert few


@pytest.mark.parametrize("attention", ["values", "queries_keys"])
def test_ablations(few, attention):
    check(made(Net()), *data(), attention=attention)
    assert not few


class Largest(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(one, torch.Tensor):
                self.entries = max(self.entries, one.numel())
        return result


def test_no_tensor_is_square_in_the_length():
    """As it is: 2,048 positions have 17 million weights."""
    net, (x, targets) = made(Net(is_causal=True)).float(), data(1, 2048)
    with Largest() as largest:
        found = abslrp.explain(net, x.float(), targets)
    starts = 2
    assert blocks.AT_ONCE // 2 <= largest.entries <= starts * blocks.AT_ONCE
    assert bool(found.isfinite().all())


def test_nothing_is_kept_of_blocks(monkeypatch):
    """Not even until the garbage is collected."""
    kept, noted = [], blocks.Blocks._noted

    def counted(self, rows):
        if rows.start in (1, 11):  # the search is slow
            alive = [one for one in gc.get_objects() if type(one) is torch.Tensor]
            kept.append(sum(one.shape[-2:] == (1, 12) for one in alive))
            del alive
        return noted(self, rows)

    net, (x, targets) = made(Net()), data(1, 12)
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    monkeypatch.setattr(blocks.Blocks, "_noted", counted)
    gc.collect()
    gc.disable()
    try:
        abslrp.explain(net, x, targets)
    finally:
        gc.enable()
    assert len(kept) == 2 * 2  # the second and the last block of each layer
    assert 1 <= max(kept) <= 2 * kept[0]


class Biased(Net):
    """A mask that is made of the input."""

    def attended(self, x):
        q = self.query(x).unflatten(-1, (-1, 8)).transpose(-3, -2)
        return F.scaled_dot_product_attention(q, q, q, q @ q.mT).transpose(-3, -2).flatten(-2)


class Other(Net):
    """Keys have fewer axes than queries."""

    def attended(self, x):
        x = self.query(x)
        return F.scaled_dot_product_attention(x[None], x, x)[0]


@pytest.mark.parametrize("net", [Biased, Other])
def test_what_is_not_made_by_blocks(few, net, monkeypatch):
    """Relevance goes to the mask, too, and samples are along another axis of keys."""
    monkeypatch.setattr(blocks, "AT_ONCE", 1)
    check(made(net()), *data())
    assert not few


def test_samples_that_are_rows_of_four_axes(few):
    class Lookup(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patterns = torch.nn.Parameter(torch.randn(1, 1, 2000, 8))
            self.head = torch.nn.Linear(8, 3)

        def forward(self, x):
            mixed = F.scaled_dot_product_attention(x[None, None], self.patterns, self.patterns)
            return self.head(mixed[0, 0])

    x, targets = data(20, 1)
    check(made(Lookup()), x[:, 0], targets, contrast=None)
    assert not few
