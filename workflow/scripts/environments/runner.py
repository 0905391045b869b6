"""Make .venv, the Python environment that runs Snakemake, from requirements.txt.

Started by bootstrap.sh with a Python that has nothing installed: standard library only.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from environments import ROOT, is_complete, say, store_folder, write_stamp
from installers import (
    InstallError,
    explain,
    pip_settings,
    run_logged,
    uv_cache,
    uv_environment,
)


def runner_id(requirements: Path) -> str:
    """Changes with the pins, and with nothing else."""
    return hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]


def is_current(venv: Path, requirements: Path) -> bool:
    """Whether the runner is built to its end from these very pins."""
    if not is_complete(venv):
        return False
    return json.loads((venv / ".complete").read_text())["id"] == runner_id(requirements)


def ensure_runner(venv: Path, requirements: Path) -> None:
    """Make the runner unless it is current.

    Raises:
        InstallError: it cannot be made; the message says why and what to do.
    """
    if is_current(venv, requirements):
        return
    store = store_folder()
    log = store / "runner.log"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        raise InstallError(
            f"{sys.executable} lacks the modules venv and ensurepip: install them, on Debian and "
            f"Ubuntu with `apt install python{python}-venv`"
        ) from None
    try:
        store.mkdir(parents=True, exist_ok=True)
        with open(store / "runner.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_current(venv, requirements):
                build_runner(venv, requirements, log, lock.fileno())
    except (OSError, subprocess.CalledProcessError) as error:
        reason = explain(error, venv, uv_cache())
        shutil.rmtree(venv, ignore_errors=True)
        hint = f"; the full output is in {log}" if log.exists() else ""
        raise InstallError(f"the runner was not installed: {reason}{hint}") from None


def build_runner(venv: Path, requirements: Path, log: Path, lock: int) -> None:
    """Build the runner in place; the caller holds the lock (a file descriptor)."""
    say(f"installing Snakemake and its helpers in {venv} (once)")
    log.unlink(missing_ok=True)
    pins = requirements.read_text(encoding="utf-8")
    uv_pin = re.search(r"^uv==\S+", pins, re.MULTILINE)[0]
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}

    def run(*command: str | Path, variables: dict[str, str] = environment) -> None:
        run_logged(command, log, env=variables, cwd=store_folder(), pass_fds=(lock,))

    # The base Python: this one may be that of the very .venv that is to be replaced.
    run(sys._base_executable, "-m", "venv", "--clear", venv)
    python = venv / "bin" / "python"
    run(python, "-m", "pip", "install", uv_pin)
    # uv takes 2 s for what takes pip 15 s. It compiles now, because images of containers often
    # keep Python from doing so later (PYTHONDONTWRITEBYTECODE): a start would take 2 s, not 0.7.
    variables = uv_environment(pip_settings(str(python)), store_folder())
    run(
        venv / "bin" / "uv",
        "pip",
        "install",
        "--compile-bytecode",
        "--python",
        venv,
        "-r",
        requirements,
        variables=variables,
    )
    write_stamp(venv, id=runner_id(requirements))


def main(arguments: list[str] | None = None) -> str | int | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only tell, by the exit code")
    options = parser.parse_args(arguments)
    venv, requirements = ROOT / ".venv", ROOT / "requirements.txt"
    if options.check:
        return 0 if is_current(venv, requirements) else 1
    try:
        ensure_runner(venv, requirements)
    except InstallError as error:
        return f"make: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
