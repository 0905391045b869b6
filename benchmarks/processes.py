"""Start Snakemake on this workflow in another folder, look at its jobs, and kill what is asked."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
LOG = "snakemake.log"


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    """Snakemake with its results in a folder, which holds a config.yaml; it writes to LOG there."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--workflow-profile", str(ROOT / "profiles" / "default")]
    command += ["--configfile", "config.yaml", *arguments]
    # where the default configuration expects its files
    for name in ("resources", "config"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    with (folder / LOG).open("a") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )


def jobs(snakemake: subprocess.Popen) -> list[psutil.Process]:
    """All processes that Snakemake has started, and those that these have."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(snakemake.pid).children(recursive=True)
    return []


def script(process: psutil.Process) -> str | None:
    """The name of the workflow's script that a process runs, without its suffix."""
    with contextlib.suppress(psutil.Error):
        words = process.cmdline()[1:2]  # behind python; the shell around it has -c there
        if words and words[0].endswith(".py"):
            return Path(words[0]).stem
    return None


def wait_for(snakemake: subprocess.Popen, name: str) -> psutil.Process | None:
    """The process of a job as soon as it runs a script; None when Snakemake ended before."""
    while snakemake.poll() is None:
        for process in jobs(snakemake):
            if script(process) == name:
                return process
        time.sleep(0.02)
    return None


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to all of them; returns when they are gone."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes)


def kill_all(snakemake: subprocess.Popen) -> None:
    """SIGKILL to Snakemake and everything it has started."""
    started = jobs(snakemake)
    snakemake.kill()
    kill(started)
    snakemake.wait()


def sha256(folder: Path, *patterns: str) -> dict[str, str]:
    """Digests of the files below a folder that match a pattern, by path."""
    paths = sorted({path for pattern in patterns for path in folder.rglob(pattern)})
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()
    }
