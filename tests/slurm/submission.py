"""Snakemake that submits to the cluster as a user does, and what its chain has made."""

import contextlib
import copy
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from one_machine import Slurm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "workflow"))

import short_chain

CPUS = min(os.cpu_count(), 4)
# one look at the queue every few seconds, as everything here is small
HASTE = f"--cores {CPUS} --slurm-init-seconds-before-status-checks 2 --latency-wait 10"
CONFIG = copy.deepcopy(short_chain.CONFIG) | {"accelerator": "cpu"}
# many checkpoints, and so many steps that a disturbance falls between them
CONFIG["runs"]["tiny-qlora"]["training"] |= {"steps": 300, "checkpoint_every": 10}
CONFIG["evaluation"] |= {"variants": ["base", "tuned"]}


@dataclass
class Submission:
    """A clone from which a user submits to the cluster, by `make slurm`."""

    folder: Path
    slurm: Slurm
    log: Path = field(init=False)
    process: subprocess.Popen | None = None

    def __post_init__(self):
        self.log = self.folder / "said.log"

    def configure(self, config: dict) -> None:
        """Write the sources and the config.yaml of a short chain."""
        short_chain.write(self.folder, config)

    def start(self, *arguments: str) -> None:
        """Submit; `said` tells what Snakemake says meanwhile."""
        self.end()  # what a test that failed has left
        environment = os.environ | {
            "FINETUNE_ENV_STORE": os.environ.get("FINETUNE_ENV_STORE", str(ROOT / ".envs")),
            "PYTHON": sys.executable,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["make", "slurm", f"ARGS={HASTE} {' '.join(arguments)}"],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # ignored by what a shell has started in the background, pytest included
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def finish(self, timeout: float = 1800) -> str:
        """Wait for Snakemake's good end; returns what it said."""
        assert self.process.wait(timeout) == 0, self.said()[-6000:]
        return self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, what, timeout: float = 600):
        """Wait until a function finds something; returns that."""
        deadline = time.monotonic() + timeout
        while not (found := what()):
            assert time.monotonic() < deadline, self.said()[-6000:]
            assert self.process.poll() is None, self.said()[-6000:]
            time.sleep(0.2)
        return found

    def job_of(self, rule: str) -> str | None:
        """The id of the newest job of a rule that waits or runs, alone or in a group."""
        found = [job for job, name in self.slurm.jobs().items() if f"_{rule}_" in f"{name}_"]
        return found[-1] if found else None

    def processes(self, script: str) -> list[psutil.Process]:
        """Those of the jobs that run a script."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                of_here = process.cwd() == str(self.folder)
                if of_here and any(word.endswith(script) for word in process.cmdline()):
                    found.append(process)
        return found

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> None:
        """Leave nothing of it running, for the sake of the next test."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.slurm.cancel_all()
            snakemake = [self.folder / ".venv/bin/snakemake", "--cores", "1"]
            subprocess.run([*snakemake, "--unlock"], cwd=self.folder, capture_output=True)


@dataclass(frozen=True)
class Outcome:
    """What a chain has made: sha256 of all weights by path, and the rows of the scores."""

    weights: dict[str, str]
    scores: list[list[str]]


def outcome(folder: Path) -> Outcome:
    """Read what lies in results/DOMAIN."""
    weights = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.safetensors"))
    }
    scores = [list(csv.reader(path.open())) for path in sorted(folder.rglob("scores.csv"))]
    return Outcome(weights, scores)


def resumed_from(training: Path) -> int:
    """The iteration from which the last attempt of a training went on."""
    log = json.loads((training / "log.json").read_text(encoding="utf-8"))
    return log["summary"]["iterations_resumed_from"]
