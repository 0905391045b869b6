"""A training that is killed goes on, and ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import render_config
import torch

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"
TRAINING = {
    "steps": 60,
    "batch_size": 2,
    "gradient_accumulation": 1,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.1,
    "max_length": 64,
    "pack": True,
    "seed": 7,
    "checkpoint_every": 10,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
}
BASE = {"prompt_template": "qwen_chat", "trust_remote_code": False, "lora_target_modules": None}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A base model of a few steps, conversations, and XTuner's configuration of a short run."""
    folder = tmp_path_factory.mktemp("project")
    text = folder / "facts.txt"
    text.write_text("".join(f"第{n}号城市的名字是城{n}。\n" for n in range(200)), "utf-8")
    sizes = "--vocab-size 640 --hidden-size 128 --intermediate-size 128 --layers 2 --head-dim 64"
    subprocess.run(
        [
            *(sys.executable, str(SCRIPTS / "base_models" / "make_tiny.py"), "--text", str(text)),
            *sizes.split(),
            *["--steps", "5", "--seed", "0", "--threads", "1", "--device", "cpu", "--output"],
            str(folder / "base"),
        ],
        check=True,
    )
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        for n in range(200):
            turn = {"input": f"第{n}号城市叫什么？", "output": f"城{n}"}
            file.write(json.dumps({"conversation": [turn]}, ensure_ascii=False) + "\n")
    paths = {"base_model": str(folder / "base"), "train": str(folder / "train.jsonl")}
    template = SCRIPTS / "training" / "config.py.jinja"
    (folder / "config.py").write_text(
        render_config.render(template, TRAINING, BASE, paths, "cpu"), "utf-8"
    )
    count_tokens(folder)
    return folder


def count_tokens(folder):
    """Count the tokens of a project's conversations."""
    command = [sys.executable, str(SCRIPTS / "training" / "count_tokens.py")]
    command += ["--config", str(folder / "config.py"), "--train", str(folder / "train.jsonl")]
    command += ["--lengths", str(folder / "lengths.json")]
    subprocess.run(command, check=True)


def start(project, output, **options):
    output.mkdir(exist_ok=True)
    command = [sys.executable, str(SCRIPTS / "training" / "train.py")]
    command += ["--config", str(project / "config.py"), "--train", str(project / "train.jsonl")]
    command += ["--manifest", str(project / "base" / "manifest.json")]
    command += ["--lengths", str(project / "lengths.json"), "--max-truncated", "0"]
    command += ["--work", str(output / "work"), "--checkpoint", str(output / "checkpoint.pth")]
    command += ["--log", str(output / "log.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, **options)


def test_killed_training_ends_as_an_undisturbed_one(project):
    undisturbed = project / "undisturbed"
    assert start(project, undisturbed).wait() == 0

    killed = project / "killed"
    process = start(project, killed)
    deadline = time.monotonic() + 300
    while not list(killed.glob("work/*/iter_30.pth")):
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "checkpoint.pth").exists()
    # what a kill in mid-write leaves
    newest = max(killed.glob("work/*/iter_*.pth"), key=lambda path: int(path.stem[5:]))
    cut = newest.with_name(f"iter_{int(newest.stem[5:]) + 10}.pth")
    cut.write_bytes(newest.read_bytes()[:1000])

    again = start(project, killed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert "train: going on from iteration" in output
    assert f"train: {cut.name} is not whole and is removed" in output

    logs = [json.loads((run / "log.json").read_text()) for run in (undisturbed, killed)]
    assert logs[1]["summary"]["iterations_resumed_from"] >= 30
    losses = [[(step["iteration"], step["loss"]) for step in log["steps"]] for log in logs]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6
    states = [
        torch.load(run / "checkpoint.pth", weights_only=True)["state_dict"]
        for run in (undisturbed, killed)
    ]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert any(tensor.abs().sum() > 0 for name, tensor in states[0].items() if "lora_B" in name)
    assert not list(killed.glob("work/*")), "checkpoints of a finished training are removed"


def test_a_training_that_diverges_ends_with_advice(project, tmp_path):
    wild = TRAINING | {"learning_rate": 1e30}
    paths = {"base_model": str(project / "base"), "train": str(project / "train.jsonl")}
    template = SCRIPTS / "training" / "config.py.jinja"
    config = tmp_path / "config.py"
    config.write_text(render_config.render(template, wild, BASE, paths, "cpu"), "utf-8")
    for name in ("base", "train.jsonl", "lengths.json"):
        (tmp_path / name).symlink_to(project / name)
    process = start(tmp_path, tmp_path / "out", stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate()
    assert process.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("train: the loss ")
    assert last.endswith("Lower runs.RUN.training.learning_rate.")
    assert not (tmp_path / "out" / "checkpoint.pth").exists()


def test_too_many_long_conversations_stop_the_run_before_the_training(project, tmp_path):
    lengths = json.loads((project / "lengths.json").read_text())
    for name in ("base", "config.py", "train.jsonl"):
        (tmp_path / name).symlink_to(project / name)
    (tmp_path / "lengths.json").write_text(json.dumps(lengths | {"rows_cut": 7, "tokens_cut": 90}))
    process = start(tmp_path, tmp_path / "out", stderr=subprocess.PIPE, text=True)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "train: 7 of 200 conversations (3.5%) are longer than max_length 64" in errors
    assert not (tmp_path / "out" / "work").exists()
