"""AWQ weights that stay in 4 bits while a CPU computes with them, by PyTorch's int4 kernel.

The kernel (aten/src/ATen/native/cpu/int4mm_kernel.cpp) takes levels of 0..15 in an order that
depends on the processor, so they are packed where they are used, and computes
``(level - 8) * scale + offset``. AWQ's ``(level - zero) * scale`` is the same with
``offset = (8 - zero) * scale``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import init_empty_weights
from model_folder import Weights, read_config
from packing import AWQ_ORDER, unpack_int4
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

# Written in vector instructions for this type alone: in the others, which it takes too, a product
# of 4096 x 4096 took a hundred times as long. As exact as a dense product in bfloat16.
DTYPE = torch.bfloat16
# In these every linear is a torch.nn.Linear of transformers' own code.
ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")


class Int4Error(ValueError):
    """A model that cannot be loaded in 4 bits; the message says why."""


class Int4Linear(torch.nn.Module):
    """A linear of (out, in) weights in 4 bits, from bfloat16 (..., in) to bfloat16 (..., out)."""

    def __init__(
        self,
        qweight: torch.Tensor,
        qzeros: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> None:
        """
        Args:
            qweight: int32 (in, out / 8), qzeros: int32 (in / group, out / 8), scales:
                (in / group, out): as AWQ stores them, see packing.py.
            bias: (out).
        """
        super().__init__()
        levels = unpack_int4(qweight, AWQ_ORDER)
        self.group_size = levels.shape[0] // scales.shape[0]
        steps = scales.to(DTYPE)
        # of the rounded steps: weights near zero then keep their value
        offsets = (8 - unpack_int4(qzeros, AWQ_ORDER).float()) * steps.float()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(
            levels.t().contiguous().int(), 1
        )
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer(
            "steps_and_offsets",
            torch.stack([steps, offsets.to(DTYPE)], dim=-1).contiguous(),
            persistent=False,
        )
        self.register_buffer("bias", None if bias is None else bias.to(DTYPE), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1]).contiguous()
        outputs = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, self.packed, self.group_size, self.steps_and_offsets
        ).reshape(*inputs.shape[:-1], -1)
        return outputs if self.bias is None else outputs + self.bias


def load(folder: Path) -> PreTrainedModel:
    """A model of AWQ weights whose quantised linears compute in 4 bits, the rest in bfloat16.

    No weight is ever held dense but the matrix that is just being packed.

    Raises:
        Int4Error: of an architecture this was not made for, or the weights are not all there.
    """
    content = read_config(folder)
    if "auto_map" in content or content["architectures"][0] not in ARCHITECTURES:
        raise Int4Error(
            f"{folder}: {content['architectures'][0]} is not run in 4 bits on a CPU, "
            f"only {', '.join(ARCHITECTURES)} by the code of transformers."
        )
    config = AutoConfig.from_pretrained(folder)
    # transformers would look for a library with kernels for GPUs
    del config.quantization_config
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, torch_dtype=DTYPE)
    weights = Weights(folder)
    names = weights.names()
    quantised = {name.removesuffix(".qweight") for name in names if name.endswith(".qweight")}
    for name in sorted(quantised):
        parts = (weights[f"{name}.{part}"] for part in ("qweight", "qzeros", "scales"))
        bias = weights[f"{name}.bias"] if f"{name}.bias" in names else None
        model.set_submodule(name, Int4Linear(*parts, bias))
    dense = {
        name: weights[name].to(DTYPE) for name in names if name.rpartition(".")[0] not in quantised
    }
    unknown = model.load_state_dict(dense, strict=False, assign=True).unexpected_keys
    model.tie_weights()
    missing = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if unknown or missing:
        what = f"{unknown[0]} is unknown" if unknown else f"{missing[0]} is missing"
        raise Int4Error(f"{folder}: the weights do not fit the architecture: {what}.")
    return model.eval()
