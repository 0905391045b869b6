import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import forked
import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[2]

# A shell's background jobs inherit that Ctrl-C is ignored, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def start_snakemake(*arguments, folder, timeout=4000):
    """Run Snakemake on this workflow with its results in another folder.

    Returns:
        the finished process; stdout holds all it said.
    """
    # the paths of the default configuration hold where its files are
    for name in ("resources", "config"):
        link = Path(folder) / name
        if not link.exists():
            link.symlink_to(ROOT / name)
    command = ["--snakefile", ROOT / "Snakefile"]
    command += ["--workflow-profile", ROOT / "profiles" / "default", *arguments]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return forked.run([*map(str, command)], folder, environment, timeout)


@dataclass(frozen=True)
class Clone:
    """A copy of the files that git tracks, in which the workflow runs as a user runs it."""

    folder: Path

    def snakemake(self, *arguments, timeout=4000):
        """Run Snakemake in the copy; returns the finished process, stdout holds all it said."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        store = os.environ.get("FINETUNE_ENV_STORE", ROOT / ".envs")
        environment = os.environ | {"PATH": path, "FINETUNE_ENV_STORE": str(store)}
        return forked.run([*map(str, arguments)], self.folder, environment, timeout)


def clone_to(folder):
    """A Clone in a new folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # not one that was deleted and is not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return Clone(folder)


class BySharedChain(LoadScopeScheduling):
    """Files stay with one worker of pytest-xdist, and all that share `finished` with the same one.

    Its own --dist loadgroup does not know pytest 9.2.
    """

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return "finished" if "finished" in (ROOT / file).read_text("utf-8") else file


def pytest_xdist_make_scheduler(config, log):
    return BySharedChain(config, log)


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
