"""A training that is killed goes on, and ends as if nothing had happened."""

import contextlib
import json
import os
import random
import re
import signal
import struct
import subprocess
import time
import zipfile

import pytest
import stages
import torch
import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEPS, EVERY = 60, 5


@pytest.fixture(autouse=True)
def _one_thread():
    """As the processes that are killed: sums of other parts differ in the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # train.py sets it to go on


def start_and_kill(project, folder, method, at_least):
    """Start a training in a process of its own, and kill it some steps after `at_least`.

    Returns:
        What a terminal showed, which the process has as the rule gives it.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    terminal, its_side = os.openpty()
    os.set_blocking(terminal, False)
    shown = b""
    with (folder / "killed.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("bash", "-c", 'exec "$@" 3>&2 2>&1', "bash"),
                *stages.train_command(project, folder, method),
            ],
            env=environment,
            stdout=log,
            stderr=its_side,
        )
    deadline = time.monotonic() + 300
    while not list(folder.glob(f"work/*/iter_{at_least}.pth")):
        assert process.poll() is None, (folder / "killed.log").read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
        with contextlib.suppress(BlockingIOError):
            shown += os.read(terminal, 10_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "checkpoint.pth").exists()
    os.close(terminal)
    os.close(its_side)
    return shown.decode(errors="replace")


def damage(folder):
    """Cut what a kill in mid-write leaves, and flip a bit of the newest whole checkpoint.

    Where the kill itself came in mid-write, that is damage enough: mmengine has removed the
    checkpoint before the last one by then.

    Returns:
        The files that are not whole, and the iteration of the newest one that is.
    """
    found = sorted(folder.glob("work/*/iter_*.pth"), key=train.iteration)
    broken = [path for path in found if not zipfile.is_zipfile(path)]
    if not broken:
        newest = found.pop()
        content = bytearray(newest.read_bytes())
        cut = newest.with_name(f"iter_{train.iteration(newest) + EVERY}.pth")
        cut.write_bytes(content[:1000])
        with zipfile.ZipFile(newest) as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        # between a file's header and its content there is padding, whose bits do not matter
        header = largest.header_offset
        name_and_padding = struct.unpack_from("<HH", content, header + 26)
        content[header + 30 + sum(name_and_padding) + largest.file_size // 2] ^= 1
        newest.write_bytes(content)
        broken = [newest, cut]
    return broken, max(train.iteration(path) for path in found if path not in broken)


@pytest.mark.parametrize(
    ("method", "finetuning"),
    [
        ("pt", "full"),
        ("sft", "qlora"),
        ("dpo", "full"),
        ("orpo", "lora"),
        ("reward", "lora"),
    ],
)
def test_killed_training_ends_as_an_undisturbed_one(method, finetuning, project, tmp_path, capsys):
    undisturbed, killed = tmp_path / f"{method}_undisturbed", tmp_path / f"{method}_killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
        options = {"steps": STEPS, "checkpoint_every": EVERY, "pack": method == "pt"}
        stages.prepare(project, folder, method, finetuning=finetuning, **options)
    stages.run_script(train, **stages.train_options(project, undisturbed, method))

    shown = start_and_kill(project, killed, method, EVERY * random.randint(2, 8))
    assert re.search(r"training: +\d+%.*/60\.0 \[.*iterations/s", shown), "progress and time left"
    broken, before = damage(killed)
    capsys.readouterr()
    stages.run_script(train, **stages.train_options(project, killed, method))
    output = capsys.readouterr().out
    for path in broken:
        assert f"train: {path.name} is not whole and is removed" in output
    assert f"train: going on from iteration {before}" in output

    logs = [json.loads((run / "log.json").read_text()) for run in (undisturbed, killed)]
    assert logs[1]["summary"]["iterations_resumed_from"] == before
    curves = [
        [{k: v for k, v in step.items() if k != "seconds"} for step in log["steps"]] for log in logs
    ]
    assert curves[0] == curves[1]
    assert len(curves[0]) >= STEPS // 10
    for run, log in zip((undisturbed, killed), logs, strict=True):
        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        losses = {event.step: pytest.approx(event.value) for event in events.Scalars("loss")}
        # of the killed process, what it had not yet written out may be missing
        since = before if run == killed else 0
        for step in log["steps"]:
            if step["iteration"] in losses or step["iteration"] > since:
                assert step["loss"] == losses[step["iteration"]]
    states = [
        torch.load(run / "checkpoint.pth", weights_only=True)["state_dict"]
        for run in (undisturbed, killed)
    ]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name
    assert ("v_head.weight" in states[0]) == (method == "reward")
    assert not list(killed.glob("work/*/")), "checkpoints of a finished training are removed"


def test_a_training_that_diverges_ends_with_advice(project, tmp_path):
    stages.prepare(project, tmp_path, "sft", learning_rate=1e30, steps=60)
    with pytest.raises(SystemExit) as error:
        stages.run_script(train, **stages.train_options(project, tmp_path, "sft"))
    assert str(error.value).startswith("train: the loss ")
    assert str(error.value).endswith("Lower runs.RUN.training.learning_rate.")
    assert not (tmp_path / "checkpoint.pth").exists()


def test_too_many_long_conversations_stop_the_run_before_the_training(project, tmp_path):
    stages.prepare(project, tmp_path, "sft")
    lengths = json.loads((tmp_path / "lengths.json").read_text())
    (tmp_path / "lengths.json").write_text(json.dumps(lengths | {"rows_cut": 7, "tokens_cut": 90}))
    with pytest.raises(SystemExit) as error:
        stages.run_script(train, **stages.train_options(project, tmp_path, "sft"))
    message = "train: 7 of 40 conversations (17.5%) are longer than max_length 64"
    assert str(error.value).startswith(message)
    assert not (tmp_path / "work").exists()
