"""A whole GRPO training, with small models."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpo_checkpoints
import grpo_reward
import pytest
import torch
import train_grpo
from conftest import LIKED, SCRIPTS
from peft import PeftModel
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

TRAINING = {
    "steps": 6,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "max_length": 40,
    "max_truncated": 0.0,
    "seed": 7,
    "checkpoint_every": 2,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
    "beta": 0.1,
    "generations": 4,
    "max_new_tokens": 8,
    "precision": "auto",
    "optimizer": "adamw",
}
BASE = {"prompt_template": "qwen_chat", "trust_remote_code": False, "lora_target_modules": None}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Preference pairs; each prompt twice, as a prompt with three answers has them."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    answer = [{"role": "assistant", "content": "城"}]
    with path.open("w", encoding="utf-8") as file:
        for number in range(10):
            prompt = [{"role": "user", "content": f"第{number // 2}号城市？"}]
            row = {"prompt": prompt, "chosen": answer, "rejected": answer}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def command_line(out: Path, policy, judge, pairs, **changes) -> list[str]:
    out.mkdir(exist_ok=True)
    return [
        *("--model", str(policy), "--reward-model", str(judge), "--prompts", str(pairs)),
        *("--training", json.dumps(TRAINING | changes), "--base-model", json.dumps(BASE)),
        *("--device", "cpu", "--threads", "1", "--work", str(out / "work")),
        *("--adapter", str(out / "adapter"), "--log", str(out / "log.json")),
        *("--tensorboard", str(out / "tensorboard")),
    ]


def train(monkeypatch, *arguments, **changes) -> dict:
    """Train in this process; returns the log."""
    line = command_line(*arguments, **changes)
    monkeypatch.setattr(sys, "argv", ["train_grpo.py", *line])
    train_grpo.main()
    return json.loads((arguments[0] / "log.json").read_text())


def test_the_reward_rises(tmp_path, monkeypatch, policy, liking, pairs, tokenizer):
    def refuse(*_):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    log = train(
        monkeypatch, tmp_path / "out", policy, liking, pairs,
        steps=25, batch_size=4, gradient_accumulation=1, generations=8, learning_rate=3e-2,
        beta=0.01, checkpoint_every=100, lora={"r": 16, "alpha": 32, "dropout": 0.0},
    )  # fmt: skip
    rewards = [step["reward"] for step in log["steps"]]
    assert sum(rewards[-5:]) > 3 * sum(rewards[:5]) > 0
    assert log["steps"][-1]["kl"] > log["steps"][0]["kl"] == 0
    assert [step["iteration"] for step in log["steps"]] == list(range(1, 26))
    assert log["summary"]["prompts"] == 5
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("train/reward")] == pytest.approx(rewards)

    # what was trained is in the adapter
    model = AutoModelForCausalLM.from_pretrained(policy)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "第1号城市？"}], return_tensors="pt"
    )
    liked = tokenizer.convert_tokens_to_ids(LIKED)

    def chance():
        with torch.no_grad():
            return model(prompt).logits[0, -1].softmax(0)[liked].item()

    before = chance()
    model = PeftModel.from_pretrained(model, tmp_path / "out" / "adapter")
    assert chance() > 10 * before
    trained = sum(weight.numel() for name, weight in model.named_parameters() if "lora" in name)
    assert log["summary"]["trained_parameters"] == trained
    assert not any("lm_head" in name for name, _ in model.named_parameters() if "lora" in name)


def start(arguments, **options):
    command = [sys.executable, str(SCRIPTS / "training" / "train_grpo.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, **options)


def test_killed_training_ends_as_an_undisturbed_one(
    tmp_path, monkeypatch, policy, random_judge, pairs
):
    killed = tmp_path / "killed"
    line = command_line(killed, policy, random_judge, pairs)
    process = start(line)
    deadline = time.monotonic() + 120
    while not list(killed.glob("work/*/checkpoint-2/whole.json")):
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.joinpath("adapter").exists()
    # what a kill in mid-write leaves
    work = next(killed.glob("work/*/"))
    cut = work / "checkpoint-5"
    cut.mkdir()
    (cut / "optimizer.pt").write_bytes(b"half")

    process = start(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    undisturbed = tmp_path / "undisturbed"
    logs = [train(monkeypatch, undisturbed, policy, random_judge, pairs)]
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "grpo: checkpoint-5 is not whole and is removed" in output
    logs.append(json.loads((killed / "log.json").read_text()))
    assert f"grpo: going on from step {logs[1]['summary']['iterations_resumed_from']}" in output
    assert logs[1]["summary"]["iterations_resumed_from"] >= 2

    for log in logs:
        for step in log["steps"]:
            del step["seconds"]
    assert logs[0]["steps"] == logs[1]["steps"]
    assert len(logs[0]["steps"]) == 6
    adapters = [
        load_file(run / "adapter" / "adapter_model.safetensors") for run in (undisturbed, killed)
    ]
    assert adapters[0].keys() == adapters[1].keys()
    for name, weight in adapters[0].items():
        assert torch.equal(weight, adapters[1][name]), name
    assert any(weight.abs().sum() > 0 for name, weight in adapters[0].items() if "lora_B" in name)
    assert not list(killed.glob("work/*/")), "checkpoints of a finished training are removed"


def refusal(monkeypatch, *arguments, **changes) -> str:
    with pytest.raises(SystemExit) as stopped:
        train(monkeypatch, *arguments, **changes)
    assert not (arguments[0] / "adapter").exists()
    return stopped.value.code


def test_too_many_long_prompts(tmp_path, monkeypatch, policy, liking, pairs):
    code = refusal(monkeypatch, tmp_path, policy, liking, pairs, max_length=10)
    assert code.startswith("grpo: 5 of 5 prompts (100.0%) are longer than 2 tokens")
    assert not (tmp_path / "work").exists()


def test_a_reward_model_that_cannot_be_used(tmp_path, monkeypatch, policy, pairs):
    code = refusal(monkeypatch, tmp_path, policy, policy, pairs)
    assert "needs a reward_token_id" in code


def test_a_training_that_diverges_ends_with_advice(tmp_path, monkeypatch, policy, liking, pairs):
    code = refusal(monkeypatch, tmp_path, policy, liking, pairs, learning_rate=1e30)
    assert code.endswith("Lower runs.RUN.training.learning_rate.")


def test_a_full_gpu_gives_advice(tmp_path, monkeypatch, policy, liking, pairs):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(grpo_reward.RewardModel, "score", full)
    code = refusal(monkeypatch, tmp_path, policy, liking, pairs)
    assert code.startswith("grpo: CUDA out of memory.\ngrpo: the GPU's memory is too small")


def test_other_settings_start_anew(tmp_path, monkeypatch, policy, random_judge, pairs):
    def interrupt(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grpo_checkpoints, "stamp", interrupt)
        train(patch, tmp_path, policy, random_judge, pairs)
    (old,) = (tmp_path / "work").glob("*/checkpoint-2")
    log = train(monkeypatch, tmp_path, policy, random_judge, pairs, steps=2, seed=8)
    assert log["summary"]["iterations_resumed_from"] == 0
    assert not old.exists()
