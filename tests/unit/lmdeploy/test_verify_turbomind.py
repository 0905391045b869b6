"""TurboMind conversion by the real tool, read back bit by bit."""

import json

import numpy as np
import pytest
import verify_turbomind
import yaml
from conftest import run_script
from model_folder import Weights

WEIGHTS = "triton_models/weights"
QKV = "layers.1.attention.w_qkv.0"


def run(chain, workspace, tmp_path):
    report = tmp_path / "report.json"
    arguments = ["--awq", chain.awq, "--workspace", workspace, "--report", report]
    status = verify_turbomind.main([*map(str, arguments), "--dense", str(tmp_path / "dense")])
    assert status == 0
    return json.loads(report.read_text(encoding="utf-8"))


def damage(chain, tmp_path, change):
    workspace = chain.copy_workspace(tmp_path)
    change(workspace / WEIGHTS)
    return workspace


def test_real_workspace_passes(chain, tmp_path):
    report = run(chain, chain.workspace, tmp_path)
    assert report["passed"] is True
    # per layer 7 matrices and 2 norms; embeddings, output matrix, last norm
    assert report["summary"]["tensors"] == 2 * (7 + 2) + 3
    assert report["summary"]["quantized_matrices"] == 14
    assert all(row["equal"] and row["values"] > 0 for row in report["tensors"])
    assert report["summary"]["rope_theta"] == 50000.0


def test_the_model_rebuilt_from_the_workspace_is_the_awq_model(chain, tmp_path):
    import verify_awq

    run(chain, chain.workspace, tmp_path)
    verify_awq.verify(chain.merged, chain.awq, tmp_path / "from_awq")
    left, right = Weights(tmp_path / "dense"), Weights(tmp_path / "from_awq")
    assert left.names() == right.names()
    for name in left.names():
        assert verify_turbomind.same_bits(left[name], right[name]), name
    for name in ("config.json", "tokenizer.json", "chat_template.jinja"):
        here, there = tmp_path / "dense" / name, tmp_path / "from_awq" / name
        assert here.read_bytes() == there.read_bytes()


@pytest.mark.slow
def test_real_workspace_with_biases_and_grouped_heads(qwen2_chain, tmp_path):
    report = run(qwen2_chain, qwen2_chain.workspace, tmp_path)
    names = {row["name"] for row in report["tensors"]}
    assert {"lm_head.weight", "model.layers.0.self_attn.v_proj.bias"} <= names


@pytest.mark.slow
def test_real_workspace_of_internlm2(internlm2_chain, tmp_path):
    report = run(internlm2_chain, internlm2_chain.workspace, tmp_path)
    names = {row["name"] for row in report["tensors"]}
    assert {"output.weight", "model.layers.1.attention.wqkv.weight"} <= names


@pytest.mark.slow
def test_real_workspace_of_mistral(mistral_chain, tmp_path):
    assert run(mistral_chain, mistral_chain.workspace, tmp_path)["passed"] is True


@pytest.mark.slow
def test_biases_that_were_not_converted(qwen2_chain, tmp_path):
    """As LMDeploy leaves out those of a Llama, without a message."""

    def leave_out(folder):
        edit_config("model_config", attn_bias=0)(folder)
        for path in folder.glob("*.bias"):
            path.unlink()

    workspace = damage(qwen2_chain, tmp_path, leave_out)
    with pytest.raises(SystemExit, match=r"bias of the AWQ model was not converted"):
        run(qwen2_chain, workspace, tmp_path)


def test_workspace_can_be_served(chain):
    """The parts that lmdeploy leaves out are there."""
    assert (chain.workspace / "chat_template.jinja").is_file()
    template = json.loads((chain.workspace / "lmdeploy_chat_template.json").read_text())
    assert template["user"] == "<|User|>:" and template["stop_words"] == ["</s>"]
    config = yaml.safe_load((chain.workspace / WEIGHTS / "config.yaml").read_text())
    assert config["model_config"]["chat_template"] == "base"
    assert config["model_config"]["model_name"] == "tiny"


def rewrite(path, change, dtype):
    values = np.fromfile(path, dtype=dtype)
    change(values)
    values.tofile(path)


def flip_nibble(folder):
    def change(words):
        words[1234] ^= 1 << 13

    rewrite(folder / "layers.0.feed_forward.w2.0.qweight", change, np.int32)


def swap_scales(folder):
    def change(values):
        values[[0, 1]] = values[[1, 0]]

    rewrite(folder / f"{QKV}.scales", change, np.float16)


def next_float(folder):
    """The smallest change there is: one bit of one scale."""

    def change(values):
        values[100] += 1

    rewrite(folder / f"{QKV}.scales", change, np.int16)


def swap_heads(folder):
    """Exchange the first two query heads, in all three files of the matrix."""
    for part, dtype, per_head in (
        ("qweight", np.int32, 8),
        ("scales", np.float16, 64),
        ("zeros", np.float16, 64),
    ):
        path = folder / f"{QKV}.{part}"
        values = np.fromfile(path, dtype=dtype).reshape(-1, 12 * per_head)
        first, second = values[:, :per_head].copy(), values[:, per_head : 2 * per_head].copy()
        values[:, :per_head], values[:, per_head : 2 * per_head] = second, first
        values.tofile(path)


def swap_gate_and_up(folder):
    for part in ("qweight", "scales", "zeros"):
        gate, up = (folder / f"layers.0.feed_forward.{w}.0.{part}" for w in ("w1", "w3"))
        left, right = gate.read_bytes(), up.read_bytes()
        gate.write_bytes(right)
        up.write_bytes(left)


def change_output(folder):
    def change(values):
        values[5] = -values[5]

    rewrite(folder / "output.0.weight", change, np.float16)


def edit_config(section, **changes):
    def change(folder):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config[section].update(changes)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip_nibble, r"layers.0.mlp.down_proj.weight \({'qweight': 1}\)"),
        (swap_scales, r"layers.1.self_attn.q_proj.weight \({'scales': 2}\)"),
        (next_float, r"layers.1.self_attn.q_proj.weight \({'scales': 1}\)"),
        (swap_heads, "layers.1.self_attn.q_proj.weight"),
        (swap_gate_and_up, "2 of 21 tensors differ"),
        (change_output, "1 of 21 tensors differ"),
        (lambda f: (f / "layers.1.ffn_norm.weight").unlink(), "ffn_norm.weight is missing"),
        (lambda f: (f / f"{QKV}.zeros").unlink(), "zeros is missing"),
        (lambda f: (f / "config.yaml").unlink(), "config.yaml is missing"),
        (lambda f: (f / "config.yaml").write_text("[1, 2"), "cannot be understood"),
        (lambda f: (f / "layers.2.ffn_norm.weight").touch(), "unknown file layers.2.ffn_norm"),
        (lambda f: (f / "norm.weight").write_bytes(b"12"), "norm.weight has 2 bytes"),
        (edit_config("attention_config", rope_theta=10000.0), "rope_theta is 10000.0"),
        (edit_config("model_config", norm_eps=1e-5), "norm_eps is 1e-05"),
        (edit_config("model_config", num_layer=1), "num_layer is 1"),
        (edit_config("model_config", tp=2), "tp 2"),
    ],
)
def test_damage(chain, tmp_path, change, message):
    workspace = damage(chain, tmp_path, change)
    with pytest.raises(SystemExit, match=message):
        run(chain, workspace, tmp_path)
    assert not (tmp_path / "report.json").exists()


def convert(awq, output):
    return run_script(
        "convert_turbomind.py", "--awq", awq, "--output", output, "--model-name", "tiny"
    )


def test_refusals(chain, tmp_path):
    result = convert(chain.merged, tmp_path / "w")
    assert result.returncode == 1 and "not an AWQ model" in result.stderr
    result = convert(chain.awq, chain.workspace)
    assert result.returncode == 1 and "is not empty" in result.stderr
    assert (chain.workspace / WEIGHTS / "config.yaml").is_file()


@pytest.mark.slow
def test_heads_that_would_be_written_wrongly(internlm2_chain, tmp_path):
    awq = internlm2_chain.copy_awq(tmp_path)
    config = json.loads((awq / "config.json").read_text(encoding="utf-8"))
    config["num_attention_heads"] *= 2
    (awq / "config.json").write_text(json.dumps(config), encoding="utf-8")
    result = convert(awq, tmp_path / "w")
    assert result.returncode == 1 and "head_dim: 64 is not 128" in result.stderr


def test_crash_of_the_tool_is_a_failure(chain, tmp_path):
    awq = chain.copy_awq(tmp_path)
    (awq / "model.safetensors").write_bytes(b"not a safetensors file")
    result = convert(awq, tmp_path / "w")
    assert result.returncode == 1
    assert not (tmp_path / "w").exists()
