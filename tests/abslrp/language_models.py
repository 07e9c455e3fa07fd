"""Tiny random causal language models of transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

VOCABULARY = 40
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENDS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
}
EXPERTS: dict[str, Any] = {
    "moe_intermediate_size": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "GPT-2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, **ENDS)
    ),
    "Llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES)),
    "Qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, head_dim=8)),
    "Gemma3": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(
            **SIZES,
            head_dim=8,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
    "Phi-3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**SIZES)),
    "Mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**SIZES, num_local_experts=4)),
    "DeepSeek-V3": lambda: hf.DeepseekV3ForCausalLM(
        hf.DeepseekV3Config(**{**SIZES, "num_key_value_heads": 2}, **LATENT, **EXPERTS)
    ),
    "Mamba": lambda: hf.MambaForCausalLM(
        hf.MambaConfig(
            vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=2, **ENDS
        )
    ),
}


def make(name: str) -> nn.Module:
    """In evaluation mode, with weights that are larger than those before training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        try:
            model = MODELS[name]().eval()
        except AttributeError:
            pytest.skip(f"transformers {hf.__version__} has no {name}")
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.mul_(5)
    return model


def ids(count: int = 2, length: int = 9) -> torch.Tensor:
    """Draw tokens that are none of the special ones."""
    return torch.randint(3, VOCABULARY, (count, length), generator=torch.Generator().manual_seed(1))
