"""The models of the compatibility table, with random weights and inputs of their own size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.compatibility import other_domains as others

CLASSES = 10


@dataclass(frozen=True)
class Entry:
    """One model of the table.

    Attributes
    ----------
    library, name
        What the table calls it.
    build
        Makes it; its weights are torch's or the library's random ones.
    shape
        Of one input.
    note
        How it differs from the model of that name.
    """

    library: str
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    note: str = ""

    @property
    def key(self) -> str:
        """Name that is unique in the table."""
        return f"{self.library}:{self.name}"

    def make(self, batch: int, seed: int = 0) -> tuple[nn.Module, Tensor]:
        """Model in evaluation mode and standard normal inputs; global RNG state is kept.

        Weights that libraries start at zero (last norms of residual blocks, heads), where no
        relevance could pass, are drawn too.
        """
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = self.build().eval()
            for module in model.modules():
                weight = getattr(module, "weight", None)
                if isinstance(weight, nn.Parameter) and not weight.detach().any():
                    nn.init.normal_(weight, std=0.1)
            x = torch.randn(batch, *self.shape)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        return model, x


def _published(library: str, name: str, *shape: int, **options: Any) -> Entry:
    def build() -> nn.Module:
        import timm
        from torchvision import models

        create: Any = timm.create_model if library == "timm" else models.get_model
        model: nn.Module = create(name, num_classes=CLASSES, **options)
        return model

    note = f"{options['depth']} blocks" if "depth" in options else ""
    return Entry(library, name, build, shape, note)


# Name, image size, options. 128 pixels unless the model is made for one size or needs fewer.
TORCHVISION: list[tuple[str, int, dict[str, Any]]] = [
    ("alexnet", 128, {}),
    ("vgg16", 64, {"init_weights": False}),
    ("vgg16_bn", 64, {"init_weights": False}),
    ("resnet18", 128, {}),
    ("resnet50", 128, {}),
    ("resnet152", 64, {}),
    ("resnext50_32x4d", 128, {}),
    ("wide_resnet50_2", 64, {}),
    ("densenet121", 128, {}),
    ("squeezenet1_1", 128, {}),
    ("mobilenet_v2", 128, {}),
    ("mobilenet_v3_small", 128, {}),
    ("mobilenet_v3_large", 128, {}),
    ("shufflenet_v2_x1_0", 128, {}),
    ("mnasnet1_0", 128, {}),
    ("efficientnet_b0", 128, {}),
    ("efficientnet_v2_s", 64, {}),
    ("regnet_x_400mf", 128, {}),
    ("regnet_y_400mf", 128, {}),
    ("convnext_tiny", 64, {}),
    ("vit_b_16", 64, {"image_size": 64}),
    ("swin_t", 128, {}),
    ("swin_b", 64, {}),
    ("swin_v2_t", 128, {}),
    ("maxvit_t", 224, {}),
    ("inception_v3", 128, {"init_weights": False, "transform_input": True}),
    ("googlenet", 128, {"init_weights": False, "transform_input": True}),
]

TIMM: list[tuple[str, int, dict[str, Any]]] = [
    ("resnet26d", 128, {}),
    ("resnet26t", 128, {}),
    ("seresnet50", 128, {}),
    ("ecaresnet26t", 128, {}),
    ("skresnet18", 128, {}),
    ("resnest14d", 128, {}),
    ("resnetv2_50", 64, {}),
    ("nf_resnet26", 128, {}),
    ("vit_tiny_patch16_224", 224, {}),
    ("vit_large_patch16_224", 64, {"img_size": 64}),
    ("vit_small_patch14_dinov2", 112, {"img_size": 112}),
    ("deit_tiny_patch16_224", 224, {}),
    ("deit_tiny_distilled_patch16_224", 224, {}),
    ("deit3_small_patch16_224", 224, {}),
    ("beit_base_patch16_224", 224, {"depth": 4}),
    ("beitv2_base_patch16_224", 224, {"depth": 4}),
    ("eva02_tiny_patch14_224", 224, {}),
    ("cait_xxs24_224", 224, {}),
    ("xcit_nano_12_p16_224", 224, {}),
    ("pit_ti_224", 224, {}),
    ("swin_tiny_patch4_window7_224", 224, {}),
    ("swinv2_tiny_window8_256", 256, {}),
    ("twins_svt_small", 224, {}),
    ("mvitv2_tiny", 224, {}),
    ("convnext_atto", 128, {}),
    ("convnextv2_atto", 128, {}),
    ("efficientnet_b0", 128, {}),
    ("mobilenetv3_large_100", 128, {}),
    ("mobilenetv4_conv_small", 128, {}),
    ("ghostnet_100", 128, {}),
    ("repvgg_a0", 128, {}),
    ("dla34", 128, {}),
    ("hrnet_w18_small", 128, {}),
    ("mixer_s32_224", 224, {}),
    ("resmlp_12_224", 224, {}),
    ("gmixer_12_224", 224, {}),
    ("poolformer_s12", 128, {}),
    ("levit_128s", 224, {}),
    ("coatnet_nano_rw_224", 224, {}),
    ("maxvit_pico_rw_256", 256, {}),
    ("mobilevit_xxs", 128, {}),
    ("edgenext_xx_small", 128, {}),
    ("efficientformer_l1", 224, {}),
    ("fastvit_t8", 128, {}),
]

ENTRIES: dict[str, Entry] = {
    entry.key: entry
    for entry in [
        *(_published("torchvision", name, 3, size, size, **more)
          for name, size, more in TORCHVISION),
        replace(_published("torchvision", "r3d_18", 3, 8, 64, 64), name="video.r3d_18"),
        *(_published("timm", name, 3, size, size, **more) for name, size, more in TIMM),
        *(Entry(*given) for given in others.MODELS),
    ]
}  # fmt: skip
"""Every model of the table by its key."""

FAST = (
    "torchvision:squeezenet1_1",
    "torchvision:mobilenet_v3_small",
    "timm:mobilenetv4_conv_small",
    "timm:convnextv2_atto",
    "timm:levit_128s",
    "transformers:bert, sdpa",
    "transformers:vit, eager",
    "torch:nn.TransformerEncoder, padded",
    "torch:1-D convolutions",
)
"""Keys of the subset that ``--fast`` and the tests run."""
