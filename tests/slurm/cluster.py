"""The cluster and a clone, for the test modules: a second conftest.py would hide that of
tests/workflow from what is borrowed there."""

import shutil
import subprocess

import pytest
from one_machine import NoSlurm, Slurm
from submission import CPUS, ROOT, Submission


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    cluster = Slurm(tmp_path_factory.mktemp("slurm"), CPUS)
    try:
        cluster.start()
        yield cluster
    except NoSlurm as reason:
        pytest.skip(f"no Slurm on this machine: {reason}")
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def clone(slurm, tmp_path_factory):
    """A copy of the files that git tracks, from which nothing was submitted yet."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():  # not one that was deleted and is not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    submission = Submission(folder, slurm)
    yield submission
    submission.end()
