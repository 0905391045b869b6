"""Which matrices a decoder layer has, and how AWQ's smoothing couples them.

The coupling is that of lmdeploy 0.7.3, lmdeploy/lite/quantization/awq.py, ``NORM_FCS_MAP`` and
``FC_FCS_MAP``. Which sizes of them can be quantised: base_models/limits.py.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Architecture:
    """Tensor names of one model type; those inside a layer are relative to `layers.N.`."""

    name: str
    embeddings: str
    head: str
    attention_norm: str
    feed_forward_norm: str
    # ("q", "k", "v"), or one matrix that holds the three, see `fuse_qkv`
    qkv: tuple[str, ...]
    output: str
    gate: str
    up: str
    down: str
    # linear -> linear that reads its output channel by channel, smoothed together
    chains: dict[str, str]
    layers: str = "model.layers"
    final_norm: str = "model.norm.weight"

    @property
    def norm_to_linears(self) -> dict[str, tuple[str, ...]]:
        """Norm -> linears that read its output."""
        return {self.attention_norm: self.qkv, self.feed_forward_norm: (self.gate, self.up)}

    @property
    def linears(self) -> tuple[str, ...]:
        """All linears of one layer, which are the quantised ones."""
        return (*self.qkv, self.output, self.gate, self.up, self.down)


def fuse_qkv(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kv_heads: int, head_dim: int
) -> torch.Tensor:
    """InternLM2's `wqkv` from q, k, v, all (..., channels).

    Its channels are, per key/value head: the query heads that share it, the key, the value
    (lmdeploy/turbomind/deploy/source_model/internlm2.py takes it apart the same way).
    """
    leading = q.shape[:-1]
    parts = [x.reshape(*leading, kv_heads, -1, head_dim) for x in (q, k, v)]
    return torch.cat(parts, dim=-2).reshape(*leading, -1)


def _llama_like(name: str) -> Architecture:
    return Architecture(
        name=name,
        embeddings="model.embed_tokens.weight",
        head="lm_head.weight",
        attention_norm="input_layernorm",
        feed_forward_norm="post_attention_layernorm",
        qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        output="self_attn.o_proj",
        gate="mlp.gate_proj",
        up="mlp.up_proj",
        down="mlp.down_proj",
        chains={"self_attn.v_proj": "self_attn.o_proj", "mlp.up_proj": "mlp.down_proj"},
    )


_INTERNLM2 = Architecture(
    name="InternLM2ForCausalLM",
    embeddings="model.tok_embeddings.weight",
    head="output.weight",
    attention_norm="attention_norm",
    feed_forward_norm="ffn_norm",
    qkv=("attention.wqkv",),
    output="attention.wo",
    gate="feed_forward.w1",
    up="feed_forward.w3",
    down="feed_forward.w2",
    chains={"feed_forward.w3": "feed_forward.w2"},
)

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        _llama_like("LlamaForCausalLM"),
        _llama_like("Qwen2ForCausalLM"),
        _llama_like("MistralForCausalLM"),
        _INTERNLM2,
    )
}


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The layout of a model from its config.json; exits when it is not known."""
    name = (config.get("architectures") or ["(none)"])[0]
    if name not in ARCHITECTURES:
        sys.exit(
            f"quantization: the architecture {name} is not among {', '.join(ARCHITECTURES)}. "
            "Choose another base model."
        )
    return ARCHITECTURES[name]
