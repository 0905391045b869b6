"""Computing in 4 bits on a CPU gives what the same weights give dense, and holds no dense copy."""

from __future__ import annotations

from pathlib import Path

import int4_model
import pytest
import torch
import verify_awq
from int4_model import Int4Linear
from model_folder import Weights
from packing import AWQ_ORDER, dequantize, pack_int4
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

GROUP = 128
IDS = torch.randint(4, 320, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("tokens", "inner", "outer"), [(1, 256, 128), (7, 128, 384), (40, 512, 64)]
)
def test_linear_equals_the_dense_one(tokens: int, inner: int, outer: int, bias: bool) -> None:
    random = torch.Generator().manual_seed(0)
    levels = torch.randint(0, 16, (inner, outer), generator=random, dtype=torch.uint8)
    zeros = torch.randint(0, 16, (inner // GROUP, outer), generator=random, dtype=torch.uint8)
    scales = (torch.rand(zeros.shape, generator=random) * 0.02 + 0.001).half()
    added = torch.randn(outer, generator=random) if bias else None
    linear = Int4Linear(pack_int4(levels, AWQ_ORDER), pack_int4(zeros, AWQ_ORDER), scales, added)
    inputs = torch.randn(2, tokens, inner, generator=random).bfloat16()

    wanted = inputs.double() @ dequantize(levels, zeros, scales, GROUP).double()
    wanted += 0 if added is None else added
    found = linear(inputs)
    assert found.shape == wanted.shape
    # half a unit in the last of bfloat16's places, twice: of the weights, and of the result
    assert (found.double() - wanted).norm() <= 2**-8 * wanted.norm()


@pytest.mark.parametrize("name", ["chain", "qwen2_chain", "mistral_chain"])
def test_model_equals_the_dequantised_one(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Of what LMDeploy has quantised."""
    chain = request.getfixturevalue(name)
    verify_awq.verify(chain.merged, chain.awq, tmp_path)
    dense = AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.float32)
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    model = int4_model.load(chain.awq)
    with torch.no_grad():
        wanted, same_type, found = (m(IDS).logits.float() for m in (dense, rounded, model))
    # as near to 32 bits as the same weights, dense, in the type that the kernel computes in
    assert (found - wanted).norm() <= 2 * (same_type - wanted).norm()
    assert (found - wanted).norm() <= 0.03 * wanted.norm()


def test_no_dense_copy_stays(qwen2_chain) -> None:
    model = int4_model.load(qwen2_chain.awq)
    weights = Weights(qwen2_chain.awq)
    quantised = [name.removesuffix(".qweight") for name in weights.names() if "qweight" in name]
    assert len(quantised) == 7 * model.config.num_hidden_layers
    held = {*model.parameters(), *model.buffers()}
    for name in quantised:
        linear = model.get_submodule(name)
        assert isinstance(linear, Int4Linear)
        inner, words = weights.shape(f"{name}.qweight")
        sizes = {key: value.nbytes for key, value in linear.named_buffers()}
        # half a byte a weight; a step and an offset of two bytes a group
        assert sizes.pop("packed") == inner * 8 * words / 2
        assert sizes.pop("steps_and_offsets") == inner / GROUP * 8 * words * 4
        assert set(sizes) <= {"bias"}
        assert not list(linear.parameters())
        held -= set(linear.buffers())
    rest = [name for name in weights.names() if name.rpartition(".")[0] not in quantised]
    # nothing but what is not quantised, in two bytes, and the frequencies of the positions
    frequencies = [buffer for name, buffer in model.named_buffers() if "inv_freq" in name]
    expected = sum(2 * torch.Size(weights.shape(name)).numel() for name in rest)
    assert sum(tensor.nbytes for tensor in held) == expected + sum(f.nbytes for f in frequencies)


def test_own_code_is_refused(internlm2_chain) -> None:
    with pytest.raises(int4_model.Int4Error, match="InternLM2ForCausalLM is not run in 4 bits"):
        int4_model.load(internlm2_chain.awq)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_weights_that_do_not_fit_are_refused(chain, tmp_path: Path, change: str) -> None:
    folder = chain.copy_awq(tmp_path)
    weights = Weights(folder)
    tensors = {name: weights[name].clone() for name in weights.names()}
    tensor = tensors.pop("model.norm.weight")
    if change == "unknown":
        tensors |= {"model.norm.weight": tensor, "model.more.weight": tensor.clone()}
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(int4_model.Int4Error, match=f"weight is {change}"):
        int4_model.load(folder)
