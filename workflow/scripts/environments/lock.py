"""Resolve the environments anew: rewrite what lies below the marker line in envs/*.yaml.

    lock.py [NAME ...]

For maintainers, after an edit of the pins above the marker. `requirements.txt`, the runner's own
pins, comes from pyproject.toml in the same way.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import tomllib

from environments import ENVS, ROOT, names, read_spec
from installers import InstallError, find_uv, pip_settings, uv_environment

MARKER = "# What these bring with them"


def normal(requirement: str) -> str:
    """The normalised project name of `Name[extra]==1.0`, as PEP 503 defines it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def resolve(requirements: str, *options: str) -> list[str]:
    """Pins of everything that the requirements (one a line) need, sorted by name."""
    result = subprocess.run(
        [find_uv(), "pip", "compile", "--quiet", "--no-annotate", "--no-header", *options, "-"],
        input=requirements,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=uv_environment(pip_settings(), ROOT),
        check=False,
    )
    if result.returncode:
        raise InstallError(f"cannot resolve: {' '.join(result.stderr.split())}")
    return [line for line in result.stdout.splitlines() if "==" in line]


def relock(name: str) -> None:
    """Rewrite the lower part of envs/NAME.yaml."""
    path = ENVS / f"{name}.yaml"
    upper, marker, _ = path.read_text(encoding="utf-8").partition(f"      {MARKER}")
    if not marker:
        raise InstallError(f"envs/{name}.yaml lacks the line `{MARKER}`")
    # Only what stands above the marker decides; +cpu is the build, not the version. The CUDA
    # libraries are left out: torch pins its own, and the CPU build has none.
    spec = read_spec(name)
    above = [pin for pin in spec.requirements if f"- {pin}\n" in upper]
    own = {normal(pin) for pin in above}
    pins = resolve("\n".join(above), "--python-version", spec.python)
    pins = [re.sub(r"\+\w+$", "", pin) for pin in pins]
    cuda = re.compile(r"nvidia-|cuda-|triton\b")
    below = [pin for pin in pins if normal(pin) not in own and not cuda.match(pin)]
    today = datetime.date.today().isoformat()
    lines = [f"      {MARKER}, resolved on {today} (`make lock`)."]
    lines += [f"      - {pin}" for pin in below]
    path.write_text(upper + "\n".join(lines) + "\n", encoding="utf-8")


def relock_runner() -> None:
    """Rewrite requirements.txt from pyproject.toml, for every platform and Python >= 3.11."""
    source = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(source)["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    pins = resolve("\n".join(wanted), "--universal", "--python-version", "3.11")
    head = "# Written by `make lock` from pyproject.toml: everything that .venv holds.\n"
    (ROOT / "requirements.txt").write_text(head + "\n".join(pins) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all, and the runner")
    options = parser.parse_args(arguments)
    os.environ.pop("UV_TORCH_BACKEND", None)
    try:
        for name in options.names or names():
            relock(name)
        if not options.names:
            relock_runner()
    except InstallError as error:
        return f"lock: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
