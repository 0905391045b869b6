"""Resolve all pins anew, or say where they do not fit what they were resolved from.

    lock.py [--check] [NAME ...]

For maintainers, after an edit of the pins above the marker line in envs/*.yaml, whose lower part is
rewritten, or of pyproject.toml, from which requirements.txt (all of .venv) and the pins of the
conda that the tests use come in the same way.
"""

import argparse
import datetime
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from environments import ENVS, ROOT, names, read_spec
from installers import InstallError, find_uv, pip_settings, uv_environment

MARKER = "      # What these bring with them"
# The CUDA libraries: torch pins its own, and the CPU build has none.
CUDA = re.compile(r"nvidia-|cuda-|triton\b")


@dataclass(frozen=True)
class Lock:
    """A file of pins, and what they follow from.

    Attributes:
        path: the file.
        head: its text before the pins.
        indent: what stands before each pin.
        wanted: the requirements.
        pins: the exact versions in the file, sorted by name.
        options: what uv is told besides.
        complete: whether the pins name the requirements, too.
    """

    path: Path
    head: str
    indent: str
    wanted: tuple[str, ...]
    pins: tuple[str, ...]
    options: tuple[str, ...]
    complete: bool

    def resolved(self, constraints: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The newest pins that fit the requirements, and the constraints where there are any."""
        pins = resolve("\n".join(self.wanted), *self.options, constraints="\n".join(constraints))
        if self.complete:
            return tuple(pins)
        own = {normal(pin) for pin in self.wanted}
        pins = [re.sub(r"\+\w+$", "", pin) for pin in pins]  # +cpu is the build, not the version
        return tuple(pin for pin in pins if normal(pin) not in own and not CUDA.match(pin))

    def refresh(self) -> None:
        """Rewrite the file, unless it would say the same."""
        pins = self.resolved()
        if pins != self.pins:
            text = self.head + "".join(f"{self.indent}{pin}\n" for pin in pins)
            self.path.write_text(text, encoding="utf-8")

    def disagreement(self) -> str | None:
        """Where the pins do not fit the requirements, in a sentence; None if they do."""
        where = f"{self.path.parent.name}/{self.path.name}"
        try:
            needed = self.resolved(self.pins)
        except InstallError as error:
            return f"{where}: {error}"
        lacking = [pin for pin in needed if pin not in self.pins]
        idle = [pin for pin in self.pins if pin not in needed]
        said = [f"lacks {', '.join(lacking)}"] if lacking else []
        said += [f"pins {', '.join(idle)}, which nothing there needs"] if idle else []
        return f"{where} {' and '.join(said)}: run `make lock`" if said else None


def normal(requirement: str) -> str:
    """The normalised project name of `Name[extra]==1.0`, as PEP 503 defines it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def resolve(requirements: str, *options: str, constraints: str = "") -> list[str]:
    """Pins of everything that the requirements (one a line) need, sorted by name.

    Raises:
        InstallError: they contradict each other, or the package index cannot be reached.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(constraints)
        file.flush()
        command = [find_uv(), "pip", "compile", "--quiet", "--no-annotate", "--no-header"]
        variables = uv_environment(pip_settings(), ROOT)
        variables.pop("UV_TORCH_BACKEND", None)
        result = subprocess.run(
            [*command, "--constraint", file.name, *options, "-"],
            input=requirements,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=variables,
            check=False,
        )
    if result.returncode:
        raise InstallError(f"cannot resolve: {' '.join(result.stderr.split())}")
    return [line for line in result.stdout.splitlines() if "==" in line]


def environment_lock(name: str, envs: Path = ENVS) -> Lock:
    """The lower part of ENVS/NAME.yaml, which follows from the upper one."""
    path = envs / f"{name}.yaml"
    upper, marker, lower = path.read_text(encoding="utf-8").partition(MARKER)
    if not marker:
        raise InstallError(f"{envs.name}/{name}.yaml lacks the line `{MARKER.strip()}`")
    spec = read_spec(name, envs)
    today = datetime.date.today().isoformat()
    return Lock(
        path=path,
        head=f"{upper}{MARKER}, resolved on {today} (`make lock`).\n",
        indent="      - ",
        wanted=tuple(pin for pin in spec.requirements if f"- {pin}\n" in upper),
        pins=tuple(pin for pin in spec.requirements if f"- {pin}\n" in lower),
        options=("--python-version", spec.python),
        complete=False,
    )


def project_lock(path: Path, extra: str, holds: str, *options: str) -> Lock:
    """A file that follows from pyproject.toml.

    Args:
        path: the file.
        extra: the name of the optional dependencies.
        holds: what the pins are, for the reader.
        options: what uv is told.
    """
    source = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(source)["project"]
    common = project["dependencies"] if extra == "dev" else []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return Lock(
        path=path,
        head=f"# Written by `make lock` from pyproject.toml: {holds}.\n",
        indent="",
        wanted=(*common, *project["optional-dependencies"][extra]),
        pins=tuple(line for line in lines if "==" in line),
        options=("--python-version", "3.11", *options),
        complete=True,
    )


def all_locks() -> list[Lock]:
    """Every file of pins in the project."""
    tests = ROOT / "tests" / "workflow"
    return [
        *(environment_lock(name) for name in names()),
        environment_lock("lm_eval", ROOT / "benchmarks"),
        project_lock(
            ROOT / "requirements.txt", "dev", "everything that .venv holds", "--universal"
        ),
        project_lock(
            ROOT / "profiles" / "slurm" / "requirements.txt",
            "slurm",
            "what submits to Slurm",
            *("--universal", "--constraint", "requirements.txt"),
        ),
        project_lock(tests / "conda-requirements.txt", "conda", "the conda that the tests use"),
        project_lock(
            tests / "storage-requirements.txt",
            "storage",
            "storage plugins and a server for them, to test with",
            *("--constraint", "requirements.txt"),
        ),
    ]


def main(arguments: list[str] | None = None) -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="environments; default: all pins")
    parser.add_argument("--check", action="store_true", help="change nothing, only compare")
    options = parser.parse_args(arguments)
    try:
        locks = [environment_lock(name) for name in options.names] or all_locks()
        if options.check:
            return "\n".join(filter(None, (lock.disagreement() for lock in locks))) or None
        for lock in locks:
            lock.refresh()
    except InstallError as error:
        return f"lock: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
