"""AWQ through the real tool, and the verification's eye for every kind of damage."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import verify_awq
from architectures import ARCHITECTURES
from conftest import SCRIPTS, quantize_options, run_script
from limits import HEAD_DIMS
from packing import AWQ_ORDER, pack_int4, unpack_int4
from safetensors.torch import load_file, save_file

LAYER = "model.layers.1"


def run(chain, awq, tmp_path):
    report = tmp_path / "report.json"
    arguments = ["--merged", chain.merged, "--awq", awq, "--report", report]
    status = verify_awq.main([*map(str, arguments), "--dense", str(tmp_path / "dense")])
    assert status == 0
    return json.loads(report.read_text(encoding="utf-8"))


def edit(chain, tmp_path, change):
    """A copy of the AWQ model whose tensors `change` has altered."""
    awq = chain.copy_awq(tmp_path)
    tensors = load_file(awq / "model.safetensors")
    change(tensors)
    save_file(tensors, awq / "model.safetensors", metadata={"format": "pt"})
    return awq


def edit_levels(tensors, linear, change):
    name = f"{LAYER}.{linear}.qweight"
    levels = unpack_int4(tensors[name], AWQ_ORDER)
    change(levels)
    tensors[name] = pack_int4(levels, AWQ_ORDER)


def check_report(report, matrices):
    assert report["passed"] is True
    assert report["summary"]["matrices"] == matrices == len(report["tensors"])
    for row in report["tensors"]:
        # Rounding to the nearest level: at most half a step, a quarter on average.
        assert 0.45 < row["max_error_steps"] <= row["max_allowed_steps"] < 0.56
        assert row["mean_error_steps"] == pytest.approx(0.25, abs=0.01)
        assert row["outside"] == 0
    assert report["summary"]["rope_theta"] == 50000.0


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()


def logits(model):
    ids = torch.randint(4, 320, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids).logits


def round_to_4_bits(weight):
    """Plain rounding in groups of 128 inputs: the noise that 4 bits must make."""
    groups = weight.reshape(-1, 128)
    low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
    step = (high - low) / 15
    return (((groups - low) / step).round() * step + low).reshape(weight.shape)


def test_real_awq_passes(chain, tmp_path):
    check_report(run(chain, chain.awq, tmp_path), 14)
    # The model still computes the same function, but for the noise of 4 bits.
    rounded, merged = load(chain.merged), logits(load(chain.merged))
    for name, parameter in rounded.named_parameters():
        if "_proj.weight" in name:
            parameter.data = round_to_4_bits(parameter.data)
    plain = (logits(rounded) - merged).norm().item()
    assert 0 < (logits(load(tmp_path / "dense")) - merged).norm().item() < 1.2 * plain
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "dense" / name).read_bytes() == (chain.merged / name).read_bytes()
    config = json.loads((tmp_path / "dense" / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config and config["use_cache"] is True


@pytest.mark.slow
def test_real_awq_with_biases_and_grouped_heads(qwen2_chain, tmp_path):
    check_report(run(qwen2_chain, qwen2_chain.awq, tmp_path), 14)


@pytest.mark.slow
def test_real_awq_of_internlm2(internlm2_chain, tmp_path):
    check_report(run(internlm2_chain, internlm2_chain.awq, tmp_path), 10)


@pytest.mark.slow
def test_real_awq_of_mistral(mistral_chain, tmp_path):
    check_report(run(mistral_chain, mistral_chain.awq, tmp_path), 14)


def test_layouts_are_known_of_all_that_is_let_through():
    assert set(ARCHITECTURES) == set(HEAD_DIMS)


@pytest.mark.slow
def test_the_short_calibration_changes_nothing(chain, tmp_path):
    """All of the tool's own statistics give the same model, bit for bit."""
    code = (
        "import sys, launch_lmdeploy, quantize_awq;"
        "launch_lmdeploy.observe_only_what_awq_reads = lambda: print('all statistics');"
        "sys.exit(quantize_awq.main(sys.argv[1:]))"
    )
    options = quantize_options(chain.merged, chain.calibration, tmp_path / "awq")
    command = [sys.executable, "-c", code, *options]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "all statistics" in result.stdout, result.stderr
    weights = "model.safetensors"
    assert (tmp_path / "awq" / weights).read_bytes() == (chain.awq / weights).read_bytes()


def test_artefact_is_clean(chain):
    names = {path.name for path in chain.awq.iterdir()}
    assert "model.safetensors" in names and "chat_template.jinja" in names
    assert not [name for name in names if name.endswith((".bin", ".pth", ".pt"))]
    assert "8 windows of 64 tokens (seed 3)" in chain.log


def flip_high_bit(levels):
    levels[17, 40] ^= 8


def flip_low_bit_of_many(levels):
    levels[128:256, 8] ^= 1


@pytest.mark.parametrize(
    "linear", ["self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj"]
)
@pytest.mark.parametrize("change", [flip_high_bit, flip_low_bit_of_many])
def test_flipped_nibble(chain, tmp_path, linear, change):
    awq = edit(chain, tmp_path, lambda tensors: edit_levels(tensors, linear, change))
    with pytest.raises(SystemExit, match=r"verify_awq: \d+ weights of .* farther"):
        run(chain, awq, tmp_path)


def test_one_level_off(chain, tmp_path):
    """A weight in the middle of its level, moved by one level, is a whole step off."""
    name = f"{LAYER}.mlp.gate_proj"
    tensors = load_file(chain.awq / "model.safetensors")
    merged = load_file(chain.merged / "model.safetensors")
    norm = f"{LAYER}.post_attention_layernorm.weight"
    factor = merged[norm].half().float() / tensors[norm].float()
    expected = merged[f"{name}.weight"].half().float() * factor
    linear = verify_awq.QuantizedLinear(
        {k: tensors[k] for k in tensors if k.startswith(name)}, name, 128
    )
    error = (linear.weight - expected).abs() / linear.step
    row, column = divmod(int(error.argmin()), error.shape[1])

    def move(levels):
        levels[column, row] += 1 if levels[column, row] < 15 else -1

    awq = edit(chain, tmp_path, lambda t: edit_levels(t, "mlp.gate_proj", move))
    with pytest.raises(SystemExit, match=r"verify_awq: 1 weights of .*gate_proj.*\(up to 1\.0"):
        run(chain, awq, tmp_path)


def swap_columns(tensors, name, first, second):
    tensors[name][:, [first, second]] = tensors[name][:, [second, first]]


def scale_channel(tensors):
    tensors[f"{LAYER}.self_attn.v_proj.scales"][:, 5] *= 1.05


def swap_heads(tensors):
    """Exchange the inputs of two heads of the output projection, scales and all."""
    # 256 inputs are two groups of two heads each: exchange whole groups
    for part in ("qweight", "qzeros", "scales"):
        name = f"{LAYER}.self_attn.o_proj.{part}"
        tensors[name] = torch.cat(tensors[name].chunk(2)[::-1]).contiguous()


def undo_smoothing_of_norm(tensors):
    tensors[f"{LAYER}.input_layernorm.weight"] *= 1.1


def change_one_embedding(tensors):
    tensors["model.embed_tokens.weight"][7, 7] += 0.01


def negative_scale(tensors):
    tensors[f"{LAYER}.mlp.up_proj.scales"][0, 0] *= -1


def rename(tensors):
    tensors["model.layers.1.mlp.extra.weight"] = tensors.pop(f"{LAYER}.mlp.up_proj.scales")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: swap_columns(t, f"{LAYER}.mlp.down_proj.scales", 3, 60), "down_proj"),
        (lambda t: swap_columns(t, f"{LAYER}.self_attn.k_proj.qzeros", 3, 20), "k_proj"),
        (scale_channel, "(v|o)_proj"),
        (swap_heads, "(v|o)_proj"),
        (undo_smoothing_of_norm, "(q|k|v)_proj"),
        (change_one_embedding, "embed_tokens.weight differs"),
        (negative_scale, "up_proj.scales has values that are not positive"),
        (rename, "up_proj.scales is missing"),
        (lambda t: t.update(extra=torch.zeros(1)), "unknown tensor extra"),
        (lambda t: t.pop("model.norm.weight"), "tensor model.norm.weight is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_damage(chain, tmp_path, change, message):
    awq = edit(chain, tmp_path, change)
    with pytest.raises(SystemExit, match=message):
        run(chain, awq, tmp_path)
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("rope_theta"), "no top-level rope_theta"),
        (lambda c: c.update(rope_theta=10000.0), "rope_theta is 10000.0"),
        (lambda c: c.update(num_key_value_heads=2), "num_key_value_heads is 2"),
        (lambda c: c["quantization_config"].update(version="gemv"), "version is 'gemv'"),
        (lambda c: c.pop("quantization_config"), "quant_method is None"),
    ],
)
def test_configuration(chain, tmp_path, change, message):
    awq = chain.copy_awq(tmp_path)
    config = json.loads((awq / "config.json").read_text(encoding="utf-8"))
    change(config)
    (awq / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        run(chain, awq, tmp_path)


def test_no_weights(chain, tmp_path):
    awq = chain.copy_awq(tmp_path)
    (awq / "model.safetensors").unlink()
    with pytest.raises(SystemExit, match=r"no \*\.safetensors"):
        run(chain, awq, tmp_path)


def quantize(chain, merged, output, *options):
    """Later options win."""
    standard = quantize_options(merged, chain.calibration, output)
    return run_script("quantize_awq.py", *standard, *options)


def test_refusals(chain, tmp_path):
    """Said at once, before the tool starts."""
    result = quantize(chain, chain.merged, chain.awq)
    assert result.returncode == 1 and "is not empty" in result.stderr
    result = quantize(chain, chain.merged, tmp_path / "a", "--calibration-length", 257)
    assert result.returncode == 1 and "256 positions" in result.stderr
    result = quantize(chain, chain.merged, tmp_path / "a", "--group-size", 512)
    assert result.returncode == 1 and "hidden_size: 256 is not a multiple" in result.stderr
    result = quantize(chain, tmp_path, tmp_path / "a")
    assert result.returncode == 1 and "no config.json" in result.stderr
    assert not (tmp_path / "a").exists()


def test_crash_of_the_tool_is_a_failure(chain, tmp_path):
    broken = shutil.copytree(chain.merged, tmp_path / "merged")
    (broken / "model.safetensors").write_bytes(b"not a safetensors file")
    result = quantize(chain, broken, tmp_path / "awq")
    assert result.returncode == 1
    assert not (tmp_path / "awq").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
