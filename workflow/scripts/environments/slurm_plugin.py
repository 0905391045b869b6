"""Add what submits to Slurm to .venv: `make slurm` runs this with the Python of .venv.

What is there already costs a second and no network.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

from environments import ROOT, store_folder
from installers import (
    InstallError,
    explain,
    find_uv,
    pip_settings,
    run_logged,
    uv_cache,
    uv_environment,
)

REQUIREMENTS = ROOT / "profiles" / "slurm" / "requirements.txt"


def add(python: Path, requirements: Path) -> None:
    """Install the pins of a file beside what a Python has.

    Raises:
        InstallError: they cannot be installed; the message says why.
    """
    store = store_folder()
    log = store / "runner.log"
    install = [find_uv(), "pip", "install", "--python", python, "-r", requirements]
    try:
        store.mkdir(parents=True, exist_ok=True)
        variables = uv_environment(pip_settings(), store)
        with open(store / "runner.lock", "w") as lock:  # that of whoever makes .venv
            fcntl.flock(lock, fcntl.LOCK_EX)
            run_logged(install, log, env=variables, cwd=store, pass_fds=(lock.fileno(),))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = explain(error, python.parents[1], uv_cache())
        raise InstallError(
            f"Snakemake's plugin for Slurm was not installed: {reason}; the full output is in {log}"
        ) from None


def main() -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    try:
        add(Path(sys.executable), REQUIREMENTS)
    except InstallError as error:
        return f"make: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
