"""What lmdeploy 0.7.3 can quantise and convert, checked before the slow part starts."""

from __future__ import annotations

import sys
from typing import Any

from architectures import ARCHITECTURES, Architecture

# lmdeploy/turbomind/deploy/converter.py: "Currently, only 128 is supported"
TURBOMIND_GROUP_SIZE = 128


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The layout of a model from its config.json; exits when it is not supported."""
    names = config.get("architectures") or ["(none)"]
    if names[0] not in ARCHITECTURES:
        sys.exit(
            f"quantization: model type {names[0]} is not supported; supported are "
            f"{', '.join(sorted(ARCHITECTURES))}. Choose another base model."
        )
    return ARCHITECTURES[names[0]]


def head_dim(config: dict[str, Any]) -> int:
    """Size of one attention head."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def check_quantizable(config: dict[str, Any], group_size: int) -> Architecture:
    """Exit unless every quantised matrix of this model splits into whole groups.

    The inputs of the linears are the hidden state (q, k, v, gate, up), the attention heads (o)
    and the intermediate state (down); each is cut into groups of `group_size` inputs. The packed
    words hold 8 outputs each.
    """
    architecture = architecture_of(config)
    size = head_dim(config)
    kv_heads = config.get("num_key_value_heads") or config["num_attention_heads"]
    inputs = {
        "hidden_size": config["hidden_size"],
        "num_attention_heads x head_dim": config["num_attention_heads"] * size,
        "intermediate_size": config["intermediate_size"],
    }
    for name, value in inputs.items():
        if value % group_size:
            sys.exit(
                f"quantization: {name} = {value} is not a multiple of the AWQ group size "
                f"{group_size}. Choose a base model whose sizes are, or another "
                "quantization.group_size."
            )
    if (kv_heads * size) % 8:
        sys.exit(
            f"quantization: num_key_value_heads x head_dim = {kv_heads * size} is not a multiple "
            "of 8, the number of 4-bit weights in one word. Choose another base model."
        )
    # The base of the rotary embedding is silently taken as 10000 by lmdeploy 0.7.3 when it is
    # not at the top level, where transformers 5 no longer writes it.
    if "rope_theta" not in config:
        sys.exit(
            "quantization: config.json has no top-level rope_theta (a model saved by "
            "transformers 5?); lmdeploy 0.7.3 would silently use 10000. Copy it there from "
            "rope_parameters."
        )
    return architecture


def check_convertible(config: dict[str, Any], group_size: int) -> Architecture:
    """Exit unless TurboMind (lmdeploy 0.7.3) can hold this AWQ model."""
    architecture = check_quantizable(config, group_size)
    if group_size != TURBOMIND_GROUP_SIZE:
        sys.exit(
            f"quantization: TurboMind only reads AWQ groups of {TURBOMIND_GROUP_SIZE}, not "
            f"{group_size}. Set quantization.group_size: {TURBOMIND_GROUP_SIZE}."
        )
    if head_dim(config) not in architecture.head_dims:
        allowed = " or ".join(map(str, architecture.head_dims))
        sys.exit(
            f"quantization: head_dim = {head_dim(config)}, but TurboMind only supports {allowed} "
            f"for {architecture.name}. Choose another base model."
        )
    return architecture
