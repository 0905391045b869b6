import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def run_snakemake():
    """start_snakemake, for a folder that a test names."""
    return start_snakemake


@pytest.fixture
def snakemake(tmp_path):
    """start_snakemake in the empty folder of a test."""
    return partial(start_snakemake, folder=tmp_path)
