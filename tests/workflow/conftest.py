import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A shell's background jobs inherit that Ctrl-C is ignored, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def start_snakemake(*arguments, folder, timeout=2400):
    """Run Snakemake on this workflow with its results in another folder.

    Returns:
        the finished process; stdout holds all it said.
    """
    # the paths of the default configuration hold where its files are
    for name in ("resources", "config"):
        link = Path(folder) / name
        if not link.exists():
            link.symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--workflow-profile", str(ROOT / "profiles" / "default"), *map(str, arguments)]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # Snakemake logs a dry run to one, a run to the other
        text=True,
        timeout=timeout,
    )


@dataclass(frozen=True)
class Clone:
    """A copy of the files that git tracks, in which the workflow runs as a user runs it."""

    folder: Path

    def snakemake(self, *arguments, timeout=2400):
        """Run Snakemake in the copy; returns the finished process, stdout holds all it said."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        store = os.environ.get("FINETUNE_ENV_STORE", ROOT / ".envs")
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | {"PATH": path, "FINETUNE_ENV_STORE": str(store)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # Snakemake logs a dry run to one, a run to the other
            text=True,
            timeout=timeout,
        )


def clone_to(folder):
    """A Clone in a new folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # not one that was deleted and is not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return Clone(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A clone in which the default configuration has run from nothing."""
    clone = clone_to(tmp_path_factory.mktemp("default"))
    result = clone.snakemake("--cores", "all")
    assert result.returncode == 0, result.stdout[-8000:]
    return clone


@pytest.fixture
def snakemake(tmp_path):
    """start_snakemake in the empty folder of a test."""
    return partial(start_snakemake, folder=tmp_path)
