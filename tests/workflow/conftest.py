import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def snakemake(tmp_path):
    """Run Snakemake on this workflow, with results in an empty folder unless told otherwise."""

    def run(*arguments, folder=tmp_path, timeout=2400):
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

    return run
