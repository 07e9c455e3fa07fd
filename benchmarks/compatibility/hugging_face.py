"""Tiny configurations of Hugging Face's classes: images, video, audio, texts, language models."""

import dataclasses
import re
from contextlib import ExitStack
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto import configuration_auto, modeling_auto

from benchmarks.compatibility.cases import BATCH, CLASSES, Case, logits

KINDS = {
    "image": "IMAGE_CLASSIFICATION", "video": "VIDEO_CLASSIFICATION",
    "audio": "AUDIO_CLASSIFICATION", "text": "SEQUENCE_CLASSIFICATION", "causal": "CAUSAL_LM",
}  # fmt: skip
TOKENS, VOCABULARY = 12, 99

# What a field of a configuration becomes, by the first pattern that its name has.
_SIZES: list[tuple[str, int]] = [
    ("vocab_size", VOCABULARY), ("pad_token_id$", 0), ("_token_id$", 1), ("image_size", 64),
    ("(num_|n_|_)layers?$|^depth$|num_(hidden_|encoder_)?blocks$", 2), ("num_frames", 4),
    ("n_group|topk_group|shared_experts$", 1), ("experts_per_tok|top_?k|moe_k", 2), ("experts$", 4),
    ("(kv|key_value|key)_heads|num_query_groups", 2), ("heads?$", 4), ("window", 4), ("state", 8),
    ("head_dim|rotary_dim|d_kv|d_head|_head_size$|kv_channels", 8), ("_rank$", 16),
    ("intermediate|ffn|d_ff|n_inner|hidden_dim|mlp_dim|feed_forward", 64),
    ("hidden_size|d_model|n_embd|^dim$|_dim$|embedding_size|n_embed|width$", 32),
    ("position_embeddings|n_positions|n_ctx|seq_len", 64),
]  # fmt: skip
# Those that go with any others, where all together build no model.
_FEW = 5
_ROTARY = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
# What a rule by names cannot know: fields that must fit one another.
_OWN: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "reformer": {"axial_pos_embds": False, "is_decoder": True},
    "zamba": {"num_hidden_layers": 8}, "zamba2": {"num_hidden_layers": 54},
    "esm": {"vocab_size": VOCABULARY, "pad_token_id": 0},
    "xmod": {"default_language": "en_XX"}, "t5": {"decoder_start_token_id": 0},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROTARY}},
    "gemma3n_text": {"num_kv_shared_layers": 0}, "deepseek_v2": {"num_experts_per_tok": 2},
    "lfm2_moe": {"layer_types": ["full_attention", "conv"]},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4},
    "lilt": {"hidden_size": 24, "channel_shrink_ratio": 2},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8}},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    **{key: {"head_dim": 8} for key in ("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral")},
}  # fmt: skip


def of_transformers() -> list[str]:
    """Return every class for these tasks: ``kind/type of model``."""
    return [f"{kind}/{name}" for kind in KINDS for name in _classes(kind)]


def _classes(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = vars(modeling_auto)[f"MODEL_FOR_{KINDS[kind]}_MAPPING_NAMES"]
    return found


def tiny(config: Any, sizes: list[tuple[str, int]], name: str = "") -> dict[str, Any]:
    """Return the fields of a small model of a configuration's class."""
    found: dict[str, Any] = {}
    for one in dataclasses.fields(config):
        value = one.default_factory() if callable(one.default_factory) else one.default
        size = next((size for pattern, size in sizes if re.search(pattern, one.name)), None)
        part = getattr(config, "sub_configs", {}).get(one.name)
        if dataclasses.is_dataclass(part):
            found[one.name] = tiny(part, sizes, getattr(part, "model_type", ""))
        elif one.name in ("depths", "num_blocks", "layers") and isinstance(value, list | tuple):
            found[one.name] = [1] * len(value)
        elif type(value) is int and size is not None:
            free = re.search("token_id|^vocab_size$", one.name)
            found[one.name] = size if free else min(size, value)
    if "kv_lora_rank" in found:  # latent attention has no groups of heads
        found["num_key_value_heads"] = 4
    return found | _OWN.get(name, {})


class FromEmbeddings(nn.Module):
    """A model of token ids as a function of the embeddings that it looks up."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, embeddings: Tensor | None = None, **kwargs: Any) -> Any:
        """Return what the model returns, or without embeddings those (2, T, C) it looks up."""
        seen: list[Tensor] = []

        def given(module: nn.Module, ids: Any, found: Any) -> Any:
            if isinstance(found, tuple):  # with the scale of quantised ones
                return given(module, ids, found[0]), *found[1:]
            seen.append(found)
            if embeddings is None or found.numel() != embeddings.numel():
                return found
            return embeddings if found.shape == embeddings.shape else embeddings.transpose(0, 1)

        table: Any = self.model.get_input_embeddings()  # type: ignore[operator]
        with ExitStack() as hooks:
            for one in self.model.modules():  # encoders and decoders have their own of one weight
                if one is table or (type(one) is type(table) and one.weight is table.weight):
                    hooks.enter_context(one.register_forward_hook(given))
            result = self.model(**kwargs)
        if embeddings is not None:
            return result
        return seen[0] if len(seen[0]) == BATCH else seen[0].transpose(0, 1)


def from_transformers(name: str) -> Case:
    """Return a class of Hugging Face with a tiny configuration: ``kind/type of model``."""
    kind, name = name.split("/")
    try:
        case = _built(kind, name, _SIZES)
        case.called()
    except Exception:
        if kind in ("text", "causal"):  # the others would be large
            raise
        return _built(kind, name, _SIZES[:_FEW])
    return case


def _built(kind: str, name: str, sizes: list[tuple[str, int]]) -> Case:
    config_class: Any = configuration_auto.CONFIG_MAPPING[name]
    config = config_class(**tiny(config_class, sizes, name))
    tokens = kind in ("text", "causal")
    for one in (config, config.get_text_config()) if tokens else (config,):
        one.use_cache, one.pad_token_id = False, 0
        one.num_labels = CLASSES

    def build() -> tuple[nn.Module, Any]:
        names = _classes(kind)[name]
        made = getattr(transformers, names if isinstance(names, str) else names[0])
        part = kind == "causal" and isinstance(config.get_text_config(), made.config_class)
        model = made(config.get_text_config() if part else config)
        if not tokens:
            return model, _shape(model, kind)
        words = min(VOCABULARY, vars(config.get_text_config()).get("vocab_size", VOCABULARY))
        ids = torch.randint(5, words, (BATCH, TOKENS))
        ids[:, -1] = 1  # the end, which some look for
        whole = FromEmbeddings(model.eval())
        return whole, {"inputs": whole(input_ids=ids).detach().clone(), "input_ids": ids}

    return Case.of(build, output=(lambda one: one.logits[:, -1]) if kind == "causal" else logits)


def _shape(model: Any, kind: str) -> tuple[int, ...]:
    given = vars(getattr(model.config, "vision_config", model.config))
    if kind == "audio":
        frames = given.get("max_length") or 2 * given.get("max_source_positions", 48)
        waves = model.main_input_name == "input_values" and "max_length" not in given
        shape = (frames, given.get("num_mel_bins", 64))
        if model.config.model_type == "whisper":  # channels first
            return shape[::-1]
        return (4000,) if waves else shape
    size = given.get("image_size", 64)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    image = (given.get("num_channels", 3), *sides)
    return (given["num_frames"], *image) if kind == "video" else image
