"""Run the unit tests of one environment inside it: in_env.py ENV [pytest options].

tests/unit/ENV runs with the Python of envs/ENV.yaml, in the very shell that its rules use.
"runner" is .venv itself. pytest comes from .venv, so that the environments need not hold it.
"""

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# pytest and what it imports; nothing else of .venv, or a missing requirement would go unnoticed.
LENT = (
    *("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments"),
    *("xdist", "execnet"),
    *("hypothesis", "sortedcontainers"),
    *("_hypothesis_pytestplugin", "_hypothesis_globals", "_hypothesis_ftz_detector"),
)
# Several files at a time, each worker with one thread and some GB at the most; not those of the
# servers, which have to answer within their time.
TOGETHER = ["-n", str(min(os.cpu_count(), 4)), "--dist", "loadfile"]
ALONE = {"serving"}
START = "import sys; sys.path.append(sys.argv.pop(1)); import pytest; sys.exit(pytest.main())"


def lend(folder: Path) -> None:
    """Link pytest's packages into a folder, for a sys.path that has no more than these."""
    for package in LENT:
        origin = Path(find_spec(package).origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    # pytest's header asks for the version of pluggy
    metadata = next(Path(find_spec("pluggy").origin).parents[1].glob("pluggy-*.dist-info"))
    (folder / metadata.name).symlink_to(metadata)


def main() -> int:
    """Command line; returns pytest's exit code."""
    name, *options = sys.argv[1:]
    tests = f"tests/unit/{name}"
    if not any((ROOT / tests).rglob("test_*.py")):
        print(f"{tests}: no tests")
        return 0
    command = [*options, "-p", "no:cacheprovider", tests]
    environment = os.environ | {"FINETUNE_RUNNER_PYTHON": sys.executable}
    if name not in ALONE:
        command = [*TOGETHER, *command]
        environment |= {"OMP_NUM_THREADS": "1"}
    if name == "runner":
        pytest = [sys.executable, "-m", "pytest", *command]
        return subprocess.run(pytest, cwd=ROOT, env=environment).returncode
    shell = ROOT / "workflow" / "envshell" / name / "bash"
    with tempfile.TemporaryDirectory(prefix="pytest-lent-") as lent:
        lend(Path(lent))
        python = ["python", START, lent, "-p", "xdist.plugin", *command]
        return subprocess.run(
            [shell, "-c", 'exec python -c "$@"', *python], cwd=ROOT, env=environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
