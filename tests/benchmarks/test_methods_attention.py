"""Attention methods against transformers written out, and grids of any kind."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from benchmarks.methods import METHODS, InapplicableError
from benchmarks.methods.attention import attention_relevance
from benchmarks.methods.attention_maps import Attentions, Tokens, attend, tokens_of
from benchmarks.methods.cam import cam_layer
from benchmarks.methods.copies import OutOfPlace
from gae_metric.errors import InputError
from tests.benchmarks import naive_vit as naive
from tests.naive import tibav, vit

TARGETS = torch.tensor([0, 3, 1])


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def model():
    return naive.tiny()


def naive_blocks(model, x):
    logits, blocks, _ = naive.forward(model, x)
    scores = logits.gather(1, TARGETS[:, None]).sum()
    gradients = torch.autograd.grad(scores, [b["A"] for b in blocks])
    return logits, [b["A"].detach() for b in blocks], gradients


def test_the_naive_forward_is_the_model(model):
    close(naive.forward(model, naive.images())[0].detach(), model(naive.images()))


def test_last_layer_attention(model):
    x = naive.images()
    _, maps, _ = naive_blocks(model, x)
    close(METHODS["LLAttention"](model, x, TARGETS), naive.to_image(maps[-1].mean(1)[:, 0]))


def test_rollout_is_equation_6(model):
    x = naive.images()
    _, maps, _ = naive_blocks(model, x)
    first, last = (torch.eye(7).double() + one.mean(1) for one in maps)
    close(METHODS["Rollout"](model, x, TARGETS), naive.to_image((last @ first)[:, 0]))


def test_relevance_of_attention_is_lrp_written_out(model):
    ours = attention_relevance(model, naive.images(), TARGETS, "alpha1beta0")
    theirs = naive.attention_relevance(model, naive.images(), TARGETS)
    assert len(ours) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert other.abs().max() > 1e-3
        close(one, other.detach())


@pytest.mark.parametrize("make", [naive.tiny, vit.small_vit])
def test_tibav_is_its_authors_code(make):
    model = make()
    height, width = model.patch_embed.img_size
    x = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(7)).double()
    rows, columns = model.patch_embed.grid_size
    for targets in (TARGETS, (TARGETS + 1) % 4):
        tokens = torch.stack(
            [tibav.tibav(model, x[i : i + 1], int(t)) for i, t in enumerate(targets)]
        )
        expected = F.interpolate(
            tokens.reshape(3, 1, rows, columns),
            size=(height, width),
            mode="bilinear",
            align_corners=False,
        )
        ours = METHODS["TIBAV"](model, x, targets)
        # The code adds its 1e-9 whatever the sign of what it divides by, and in more places.
        apart = (ours - expected).abs().amax((1, 2, 3)) / expected.abs().amax((1, 2, 3))
        assert apart.max() < 1e-5


def test_the_two_rows_of_tibav_differ():
    x = naive.images()
    one, other = (METHODS[name](naive.tiny(), x, TARGETS) for name in ("TIBAV", "TIBAV-epsilon"))
    assert (one - other).abs().max() > 1e-3 * one.abs().max()


def test_class_token_beside_registers(model):
    """timm's registers lie between the class token and the patches; the head reads token 0."""
    registers = naive.tiny(reg_tokens=3)
    x = naive.images()
    _, found = attend(registers, x)
    assert tokens_of(found, (16, 24), 3) == Tokens((2, 3), prefix=4)
    row = found.maps[-1].detach().mean(1)[:, 0, 4:].reshape(3, 1, 2, 3)
    expected = F.interpolate(row, size=(16, 24), mode="bilinear", align_corners=False)
    close(METHODS["LLAttention"](registers, x, TARGETS), expected)


def test_average_pooling_has_the_mean_of_the_rows_that_are_averaged():
    pooled = naive.tiny(class_token=False, global_pool="avg", reg_tokens=2)
    x = naive.images()
    _, found = attend(pooled, x)
    rows = found.maps[-1].detach().mean(1)[:, 2:, 2:].mean(1)
    grid = rows.reshape(3, 1, 2, 3)
    expected = F.interpolate(grid, size=(16, 24), mode="bilinear", align_corners=False)
    close(METHODS["LLAttention"](pooled, x, TARGETS), expected)


def torchvision_vit():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torchvision.models.VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=4)
        nn.init.normal_(model.heads.head.weight)
    return model.eval()


def unfused(model):
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


needs_lxt = pytest.mark.skipif(
    not METHODS["AttnLRP"].installed, reason="lxt (extra 'benchmarks') is not installed"
)


@pytest.mark.parametrize(
    "name", ["LLAttention", "Rollout", "TIBAV", pytest.param("AttnLRP", marks=needs_lxt)]
)
def test_attention_is_found_however_it_is_computed(name, model):
    x = naive.images()
    ours = METHODS[name](unfused(naive.tiny()), x, TARGETS)
    # timm scales the queries where the fused function scales the product: another stabiliser.
    torch.testing.assert_close(ours, METHODS[name](model, x, TARGETS), rtol=1e-6, atol=1e-9)


def test_multi_head_attention_of_torch():
    """torchvision's encoder; the weights that torch itself returns are the same."""
    model = torchvision_vit()
    x = naive.images()[:, :, :, :16].float()
    seen = []
    layer = model.encoder.layers[-1].self_attention

    def keep(module, args, kwargs, output):
        q, k, v = args
        with torch.no_grad():
            handle.remove()
            seen.append(module(q, k, v, need_weights=True)[1])

    handle = layer.register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        model(x)
    expected = seen[0][:, 0, 1:].reshape(3, 1, 2, 2)
    expected = F.interpolate(expected, size=(16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(METHODS["LLAttention"](model, x, TARGETS), expected)
    found = cam_layer(OutOfPlace(model, x[:1]), x[:1])
    assert found.name == "encoder.layers.encoder_layer_1.ln_1"
    assert found.tokens == Tokens((2, 2), prefix=1)


def test_attention_over_windows_is_refused():
    model = torchvision.models.swin_t(num_classes=3).eval()
    x = torch.randn(1, 3, 64, 64)
    with pytest.raises(InapplicableError, match="windows"):
        METHODS["Rollout"](model, x, 0)
    assert cam_layer(OutOfPlace(model, x), x).name == "permute"


def test_grid_and_layer_can_be_given(model):
    x = naive.images()
    for name in ("Rollout", "GradCAM"):
        found = METHODS[name](model, x, TARGETS)
        close(METHODS[name](model, x, TARGETS, grid=(2, 3)), found)
        other = METHODS[name](model, x, TARGETS, grid=(3, 2))
        assert (other - found).abs().max() > 0.01 * found.abs().max()
        with pytest.raises(ValueError, match="grid: expected rows and columns of at most 7"):
            METHODS[name](model, x, TARGETS, grid=(4, 2))
    by_default = METHODS["LayerCAM"](model, x, TARGETS)
    close(METHODS["LayerCAM"](model, x, TARGETS, layer="blocks.1.norm1"), by_default)
    close(METHODS["LayerCAM"](model, x, TARGETS, layer=model.blocks[1].norm1), by_default)
    other = METHODS["LayerCAM"](model, x, TARGETS, layer="blocks.0")
    assert (other - by_default).abs().max() > 0.01 * by_default.abs().max()
    with pytest.raises(InputError, match=r"no module 'blocks.7'; did you mean"):
        METHODS["LayerCAM"](model, x, TARGETS, layer="blocks.7")
    with pytest.raises(InputError, match="Linear is not a module of the model"):
        METHODS["LayerCAM"](model, x, TARGETS, layer=nn.Linear(1, 1))
    with pytest.raises(InputError, match="layer: expected an output"):
        METHODS["LayerCAM"](model, x, TARGETS, layer="head")


@pytest.mark.parametrize(
    ("count", "image", "expected"),
    [
        (197, (224, 224), Tokens((14, 14), 1)),
        (201, (224, 224), Tokens((14, 14), 5)),
        (578, (384, 384), Tokens((24, 24), 2)),
        (19, (32, 144), Tokens((2, 9), 1)),
        (196, (224, 224), Tokens((14, 14), 0)),
    ],
)
def test_grids_without_a_convolution(count, image, expected):
    found = Attentions()
    found.maps = [torch.empty(1, 1, count, count)]
    assert tokens_of(found, image, 1) == expected


def test_no_grid():
    found = Attentions()
    found.maps = [torch.empty(1, 1, 23, 23)]
    with pytest.raises(InapplicableError, match="give grid="):
        tokens_of(found, (224, 37), 1)


def test_attn_lrp_is_lxt_s_explicit_rules():
    """LXT's functions, which propagate relevance one by one, called directly."""
    lf = pytest.importorskip(
        "lxt.explicit.functional", reason="lxt (extra 'benchmarks') is not installed"
    )
    from lxt.explicit.rules import epsilon_lrp, identity

    model = naive.tiny(seed=2)
    x = naive.images().requires_grad_()
    embedded = epsilon_lrp(model.patch_embed.proj, 1e-12, x).flatten(2).mT
    tokens = torch.cat([model.cls_token.expand(3, -1, -1), embedded], 1)
    tokens = lf.add2(tokens, model.pos_embed, epsilon=1e-12)

    def linear(h, layer):
        return lf.linear_epsilon(h, layer.weight, layer.bias, 1e-12)

    for block in model.blocks:
        norm = block.norm1
        h = lf.layer_norm(tokens, norm.weight, norm.bias, norm.eps)
        q, k, v = (naive.split(one) for one in linear(h, block.attn.qkv).chunk(3, -1))
        scores = lf.matmul(q, k.mT, epsilon=1e-12)
        scale = math.sqrt(q.shape[-1])
        o = lf.matmul(lf.softmax(identity(lambda s, c=scale: s / c, scores), -1), v, epsilon=1e-12)
        tokens = lf.add2(tokens, linear(naive.join(o), block.attn.proj), epsilon=1e-12)
        norm = block.norm2
        h = lf.layer_norm(tokens, norm.weight, norm.bias, norm.eps)
        h = identity(F.gelu, linear(h, block.mlp.fc1))
        tokens = lf.add2(tokens, linear(h, block.mlp.fc2), epsilon=1e-12)
    read = lf.layer_norm(tokens, model.norm.weight, model.norm.bias, model.norm.eps)[:, 0]
    logits = linear(read, model.head)
    start = F.one_hot(TARGETS, 4).to(logits) * logits
    (expected,) = torch.autograd.grad(logits, x, start.detach())
    ours = METHODS["AttnLRP"](model, naive.images(), TARGETS)
    # LXT stabilises layer norm by 1e-6 whatever is asked for.
    assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_cp_lrp_is_lxt_s_patched_torchvision_vit():
    """What LXT's map for torchvision patches, patched here by hand on one copy's modules."""
    pytest.importorskip("lxt.explicit", reason="lxt (extra 'benchmarks') is not installed")
    from benchmarks.methods.attnlrp import lxt_rules

    rules = lxt_rules()
    model = torchvision_vit().double()
    x = naive.images()[:, :, :, :16]
    ours = METHODS["AttnLRP"](model, x, TARGETS, attention="cp")
    for module in model.modules():
        if isinstance(module, nn.GELU):
            module.forward = lambda h: rules.identity_rule_implicit(F.gelu, h)
        elif isinstance(module, nn.LayerNorm):
            module.forward = lambda h, m=module: (
                (h - h.mean(-1, keepdim=True))
                / (h.var(-1, keepdim=True, unbiased=False) + m.eps).sqrt().detach()
                * m.weight
                + m.bias
            )
        elif isinstance(module, nn.MultiheadAttention):
            original = module.forward
            module.forward = lambda q, k, v, f=original, **kwargs: f(
                q.detach(), k.detach(), v, **kwargs
            )
    leaf = x.clone().requires_grad_()
    model(leaf).gather(1, TARGETS[:, None]).sum().backward()
    close(ours, (leaf.grad * x).detach())


@needs_lxt
def test_a_wrong_kind_of_attention_is_refused():
    with pytest.raises(ValueError, match="attention: expected 'attnlrp' or 'cp', got 'x'"):
        METHODS["AttnLRP"](naive.tiny(), naive.images(), TARGETS, attention="x")
