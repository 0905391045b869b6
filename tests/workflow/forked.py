"""Snakemake in a fork of a process that has imported it already.

Most tests here start it to see what it plans, and its imports take longer than that.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["snakemake.cli", "snakemake.workflow"])


def run(
    arguments: list[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess:
    """What `python -m snakemake ARGUMENTS` does in a folder.

    Returns:
        the finished process; stdout holds all it said.

    Raises:
        subprocess.TimeoutExpired: it was ended, because it took longer than so many seconds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "said"
        process = FORKS.Process(target=_main, args=(arguments, folder, dict(environment), log))
        process.start()
        process.join(timeout)
        # Snakemake logs a dry run to one, a run to the other
        said = log.read_text("utf-8", "replace")
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["snakemake", *arguments], timeout, said)
    return subprocess.CompletedProcess(arguments, process.exitcode, said)


def _main(arguments: list[str], folder: Path, environment: dict[str, str], log: Path) -> None:
    import snakemake.cli

    with log.open("wb") as said:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(said.fileno(), stream.fileno())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # "" as `python -m` has it: the folder it runs in
    sys.argv, sys.path[0] = ["snakemake", *arguments], ""
    snakemake.cli.main()
