"""Models to serve, and servers that are ended in any case."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVING = ROOT / "workflow" / "scripts" / "serving"
sys.path.insert(0, str(SERVING))

# as launch.py does
os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")

import httpx
import models


def in_environment(name, *command):
    """The command line that runs a script in another environment."""
    shell = ROOT / "workflow" / "envshell" / name / "bash"
    return [str(shell), "-c", 'exec python "$@"', "python", *map(str, command)]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Model folders by prompt template, and `trained.json`."""
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    done = subprocess.run(in_environment("xtuner", script, folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def plan_of(folder, **changes):
    """A plan as launch.py writes it, for one model."""
    model = {"name": "mine/tuned", "folder": str(folder), "tokenizer": str(folder), "form": "model"}
    plan = {
        "domain": "cities",
        "device": "cpu",
        "models": [model],
        "trust_remote_code": False,
        "system": "",
        "dtype": "float32",
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 16,
        "seed": None,
    }
    return plan | changes


def load(plan):
    """The one model of a plan, in this process."""
    served = []
    models.load(plan, served)
    (one,) = served
    return one


@pytest.fixture(scope="session")
def served(made):
    """A model in this process."""
    return load(plan_of(made / "qwen_chat", system="你是一个助手。"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A program of this stage as a process of its own, with its stderr."""

    def __init__(self, name, plan, log, **variables):
        self.log = log
        self.url = f"http://127.0.0.1:{plan.get('port')}"
        command = [sys.executable, str(SERVING / f"{name}.py"), json.dumps(plan)]
        with log.open("w") as stderr:
            self.process = subprocess.Popen(
                command, stderr=stderr, env=os.environ | variables, start_new_session=True
            )

    def wait_until(self, text, seconds=180):
        """Wait for a text in what it says."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and text not in self.said():
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        assert text in self.said()

    def said(self):
        return self.log.read_text()

    def end(self, sign=signal.SIGTERM, seconds=60):
        """Send a signal and wait; the exit code."""
        self.process.send_signal(sign)
        return self.process.wait(seconds)


@pytest.fixture
def program(tmp_path):
    """Starts programs, and ends those that still run; what does not end is killed."""
    started = []

    def start(name, plan, **variables):
        log = tmp_path / f"{name}{len(started)}.log"
        started.append(Program(name, plan, log, **variables))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            try:
                one.end()
            except subprocess.TimeoutExpired:
                os.killpg(one.process.pid, signal.SIGKILL)
                one.process.wait()


@contextmanager
def client(url, **options):
    """A client that asks directly, whatever proxy the machine has."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60, **options) as one:
        yield one


def is_free(port):
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
