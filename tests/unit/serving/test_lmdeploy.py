"""What stands before LMDeploy on a GPU: its command line, its prompts, its answers, its end.

The engine of LMDeploy does not run without a GPU; everything around it does, and is the real one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import free_port, in_environment, is_free
from generation import EngineError, Interrupted, Sampling
from lmdeploy_command import command_line
from lmdeploy_engine import LmdeployEngine
from server_process import ServerProcess

WITHOUT_GPU = Path(__file__).with_name("lmdeploy_without_gpu.py")


class Server:
    """LMDeploy's server for a model folder, with the command line of a GPU."""

    def __init__(self, folder, record):
        self.record, port = record, free_port()
        self.model = {"name": "mine/tuned", "folder": str(folder), "form": "model"}
        program, *words = command_line(self.model, port, 1)
        assert program == "lmdeploy"
        command = in_environment("lmdeploy", WITHOUT_GPU, record, *words)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.process = ServerProcess(command, f"{self.url}/health", environment)
        self.process.wait_until_ready(300)

    def notes(self):
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@pytest.fixture(scope="module")
def server(made, tmp_path_factory):
    server = Server(made / "qwen_chat", tmp_path_factory.mktemp("lmdeploy") / "record.jsonl")
    yield server
    server.process.stop()
    assert is_free(server.port)


@pytest.fixture
def engine(server, served):
    """The engine as `make api` has it on a GPU."""
    tokenizer, stops = served.prompts.tokenizer, served.engine.stop_ids
    engine = LmdeployEngine(server.url, "mine/tuned", tokenizer, stops, None)
    yield engine
    engine.close()


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


def test_ids_of_training_reach_the_engine_and_its_answer_comes_back(server, engine, made, served):
    trained = json.loads((made / "trained.json").read_text(encoding="utf-8"))["qwen_chat"]
    for prompt in trained:
        ids = prompt["ids"]
        pieces = list(engine.generate(ids, Sampling(0.0, 1.0, 12), threading.Event()))
        last = server.notes()[-1]
        assert last["ids"] == ids
        assert (last["top_k"], last["max_new_tokens"]) == (1, 12)
        assert set(served.engine.stop_ids) <= set(last["stop_token_ids"])
        assert pieces[-1].finish == "length"
        assert pieces[-1].tokens == 12
        # the same weights by transformers
        expected = served.engine.generate(ids, Sampling(0.0, 1.0, 12), threading.Event())
        assert text_of(pieces) == text_of(expected) != ""


def test_sampling(server, engine, served):
    ids = served.prompts.ids([{"role": "user", "content": "你好"}])
    list(engine.generate(ids, Sampling(0.7, 0.9, 3, seed=5), threading.Event()))
    last = server.notes()[-1]
    assert (last["temperature"], last["top_p"], last["top_k"]) == (0.7, 0.9, 0)


def test_a_cancelled_answer_is_cancelled_there_too(server, engine, served):
    ids = served.prompts.ids([{"role": "user", "content": "你好"}])
    cancelled, pieces = threading.Event(), []
    for piece in engine.generate(ids, Sampling(0.0, 1.0, 400), cancelled):
        pieces.append(piece)
        cancelled.set()
    assert all(piece.finish is None for piece in pieces)
    end = time.monotonic() + 60
    while "cancelled" not in server.notes()[-1] and time.monotonic() < end:
        time.sleep(0.05)
    assert "cancelled" in server.notes()[-1]


def test_interrupted(engine, served):
    ids = served.prompts.ids([{"role": "user", "content": "你好"}])
    answer = engine.generate(ids, Sampling(0.0, 1.0, 400), threading.Event())
    next(answer)
    engine.interrupt()
    with pytest.raises(Interrupted):
        list(answer)


def test_what_lmdeploy_refuses_is_told(server, served):
    wrong = LmdeployEngine(server.url, "other", served.prompts.tokenizer, [3], None)
    with pytest.raises(EngineError, match="LMDeploy answered 404"):
        list(wrong.generate([1, 5], Sampling(0.0, 1.0, 3), threading.Event()))
    wrong.close()


def test_ids_that_no_text_gives_are_not_sent(engine):
    with pytest.raises(EngineError, match="other tokens"):
        engine.text_of([300, 300, 1, 1])


def test_a_server_that_is_gone(served):
    engine = LmdeployEngine(
        f"http://127.0.0.1:{free_port()}", "mine", served.prompts.tokenizer, [3], None
    )
    ids = served.prompts.ids([{"role": "user", "content": "你好"}])
    with pytest.raises(EngineError, match="does not answer"):
        list(engine.generate(ids, Sampling(0.0, 1.0, 3), threading.Event()))


# ------------------------------------------------------------------ the process, whatever it runs

CHILD = "import subprocess, sys, time; subprocess.Popen(['sleep', '300']); time.sleep(300)"


def test_a_server_that_does_not_start_is_told():
    command = [sys.executable, "-c", "import sys; print('no GPU here'); sys.exit(3)"]
    process = ServerProcess(command, f"http://127.0.0.1:{free_port()}/health", {})
    with pytest.raises(EngineError, match=r"ended with 3. It said last:\nno GPU here"):
        process.wait_until_ready(120)
    process.stop()


def test_a_server_that_never_comes_up_and_its_children_are_ended():
    process = ServerProcess([sys.executable, "-c", CHILD], f"http://127.0.0.1:{free_port()}/", {})
    with pytest.raises(EngineError, match="was not ready after 1 s"):
        process.wait_until_ready(1)
    group = process._process.pid
    assert len(members(group)) == 2
    process.stop()
    assert members(group) == []


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr("server_process.STOP_SECONDS", 0.5)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(300)"
    process = ServerProcess([sys.executable, "-c", stubborn], "http://127.0.0.1:9/", {})
    time.sleep(0.5)
    process.stop()
    assert process._process.returncode == -signal.SIGKILL


def members(group):
    """The processes of a group that still run."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--no-headers", "-g", str(group)], capture_output=True, text=True
    ).stdout
    return [line for line in listing.splitlines() if line and "Z" not in line.split()[1]]


def test_health_is_that_of_lmdeploy(server):
    assert httpx.get(f"{server.url}/v1/models", trust_env=False).json()["data"][0]["id"] == (
        "mine/tuned"
    )
