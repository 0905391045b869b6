"""Read a TurboMind workspace of lmdeploy 0.7.3 back, byte by byte.

Layout (lmdeploy/turbomind/deploy/module.py, target_model/base.py, one GPU, i.e. tp = 1):
`triton_models/weights/` holds `config.yaml` and one raw little-endian file per tensor. Linears are
stored (in, out). `w_qkv` is q, k and v side by side; q and k have the two halves of each head
interleaved (``permute_v2``: the engine rotates neighbouring channels, Hugging Face rotates the
first half against the second). Quantised linears have three files: qweight (int32, plain nibble
order), scales and zeros (float16).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from packing import PLAIN_ORDER, unpack_int4

WEIGHTS = Path("triton_models") / "weights"


class WorkspaceError(Exception):
    """The workspace is not what `lmdeploy convert` writes; the message says where."""


def undo_interleave(x: torch.Tensor, head_dim: int) -> torch.Tensor:
    """(..., heads * head_dim) from the engine's rotary order to Hugging Face's."""
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, head_dim // 2, 2)
    return x.transpose(-1, -2).reshape(shape)


class Workspace:
    """Tensors of a workspace in Hugging Face's order.

    Every file that is read is ticked off; `unread` names the others.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / WEIGHTS
        path = self.folder / "config.yaml"
        try:
            self.config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
            self.model: dict[str, Any] = self.config["model_config"]
            self.attention: dict[str, Any] = self.config["attention_config"]
        except FileNotFoundError:
            raise WorkspaceError(f"{path} is missing") from None
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise WorkspaceError(f"{path} cannot be understood ({error!r})") from None
        if self.model["tp"] != 1 or self.model["weight_type"] != "int4":
            raise WorkspaceError(
                f"{path}: tp {self.model['tp']}, weight_type {self.model['weight_type']}; only "
                "int4 for one GPU is read back"
            )
        self._seen = {"config.yaml"}

    @property
    def head_dim(self) -> int:
        return self.model["size_per_head"]

    @property
    def qkv_sizes(self) -> list[int]:
        """Outputs of q, k and v."""
        heads, kv_heads = self.model["head_num"], self.model["kv_head_num"]
        return [heads * self.head_dim, kv_heads * self.head_dim, kv_heads * self.head_dim]

    def unread(self) -> set[str]:
        """Files that no tensor was read from."""
        return {str(p.relative_to(self.folder)) for p in self.folder.rglob("*")} - self._seen

    def read(self, name: str, shape: tuple[int, ...], dtype: str = "<f2") -> torch.Tensor:
        """One file as a tensor; its size must fit `shape` exactly."""
        path = self.folder / name
        expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise WorkspaceError(f"{path} is missing") from None
        if size != expected:
            raise WorkspaceError(f"{path} has {size} bytes, {shape} needs {expected}")
        self._seen.add(name)
        return torch.from_numpy(np.fromfile(path, dtype=dtype)).reshape(shape)

    def linear(self, name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
        """Levels (in, out) uint8, scales and zeros (in / group, out) float16 of a linear."""
        groups = inputs // self.model["group_size"]
        words = self.read(f"{name}.0.qweight", (inputs, outputs // 8), "<i4")
        return {
            "levels": unpack_int4(words, PLAIN_ORDER),
            "scales": self.read(f"{name}.0.scales", (groups, outputs)),
            "zeros": self.read(f"{name}.0.zeros", (groups, outputs)),
        }

    def split_qkv(self, packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(..., q + k + v) -> q, k, v in Hugging Face's channel order."""
        q, k, v = packed.split(self.qkv_sizes, dim=-1)
        return undo_interleave(q, self.head_dim), undo_interleave(k, self.head_dim), v

    def layer(self, number: int) -> dict[str, dict[str, torch.Tensor]]:
        """The linears of a layer by role: q, k, v, output, gate, up, down."""
        hidden, inner = self.model["hidden_units"], self.model["inter_size"][number]
        attention, feed_forward = (f"layers.{number}.{x}" for x in ("attention", "feed_forward"))
        qkv = self.linear(f"{attention}.w_qkv", hidden, sum(self.qkv_sizes))
        parts = {kind: self.split_qkv(tensor) for kind, tensor in qkv.items()}
        linears = {
            role: {kind: tensors[i] for kind, tensors in parts.items()}
            for i, role in enumerate("qkv")
        }
        linears["output"] = self.linear(f"{attention}.wo", self.qkv_sizes[0], hidden)
        linears["gate"] = self.linear(f"{feed_forward}.w1", hidden, inner)
        linears["up"] = self.linear(f"{feed_forward}.w3", hidden, inner)
        linears["down"] = self.linear(f"{feed_forward}.w2", inner, hidden)
        return linears

    def biases(self, number: int) -> dict[str, torch.Tensor]:
        """Attention biases of a layer by role (q, k, v, output); empty when there are none."""
        if not self.model["attn_bias"]:
            return {}
        attention = f"layers.{number}.attention"
        q, k, v = self.split_qkv(self.read(f"{attention}.w_qkv.0.bias", (sum(self.qkv_sizes),)))
        output = self.read(f"{attention}.wo.0.bias", (self.model["hidden_units"],))
        return {"q": q, "k": k, "v": v, "output": output}
