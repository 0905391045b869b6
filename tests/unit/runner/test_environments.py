"""The builder of the tools' environments, tried with packages that install in a second."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import environments
import installers
import lock
import runner

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
YAML = f"""channels: [conda-forge, nodefaults]
dependencies:
  - python={PYTHON}.*
  - pip
  - pip:
      - six==1.17.0
"""
# Notes when it starts and ends; the first time slowly, so that others come while it runs.
POST_DEPLOY = """#!/usr/bin/env bash
set -euo pipefail
echo start >> "$JOURNAL"
pip install --no-deps packaging==25.0
if [ "$(wc -l < "$JOURNAL")" = 1 ]; then sleep 3; fi
echo end >> "$JOURNAL"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project with one environment, `tiny`, and with the real builder and shell."""
    shutil.copytree(
        ROOT / "workflow" / "scripts" / "environments",
        tmp_path / "workflow" / "scripts" / "environments",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shell = tmp_path / "workflow" / "envshell" / "tiny" / "bash"
    shell.parent.mkdir(parents=True)
    shutil.copy(ROOT / "workflow" / "envshell" / "bash", shell.parent.parent)
    shell.symlink_to("../bash")
    envs = tmp_path / "envs"
    envs.mkdir()
    (envs / "tiny.yaml").write_text(YAML)
    (envs / "tiny.post-deploy.sh").write_text(POST_DEPLOY)
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    monkeypatch.setenv("FINETUNE_RUNNER_PYTHON", sys.executable)
    monkeypatch.delenv("FINETUNE_ENV_STORE", raising=False)
    return tmp_path


def journal(project: Path) -> list[str]:
    path = project / "journal"
    return path.read_text().split() if path.exists() else []


def start(project: Path, **variables: str) -> subprocess.Popen:
    """Ask for the environment in a process of its own."""
    return subprocess.Popen(
        [sys.executable, project / "workflow/scripts/environments/environments.py", "ensure"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def test_two_jobs_build_once(project):
    """Both get the folder, which holds what the pip list and the post-deploy script install."""
    first = start(project)
    second = start(project)
    outputs = [process.communicate(timeout=120) for process in (first, second)]
    folders = {stdout.strip() for stdout, _ in outputs}
    assert len(folders) == 1, outputs
    assert journal(project) == ["start", "end"]
    stderr = "".join(text for _, text in outputs)
    assert stderr.count("building environment tiny") == 1
    assert stderr.count("waiting for environment tiny") == 1
    code = "import six, importlib.metadata as m; print(six.__version__, m.version('packaging'))"
    python = Path(folders.pop()) / "bin" / "python"
    assert subprocess.check_output([python, "-c", code], text=True).split() == ["1.17.0", "25.0"]


def test_two_snakemake_jobs_build_once(project):
    """The same through Snakemake, in the shell that rules name, with strict mode."""
    (project / "Snakefile").write_text(
        "rule all:\n"
        "    input: expand('{i}.txt', i=[1, 2])\n"
        "rule one:\n"
        "    output: '{i}.txt'\n"
        f"    resources: shell_exec='{project}/workflow/envshell/tiny/bash'\n"
        "    shell: 'python -c \"import six, sys; print(sys.prefix)\" > {output}'\n"
        "rule failing:\n"
        "    output: 'failing.txt'\n"
        f"    resources: shell_exec='{project}/workflow/envshell/tiny/bash'\n"
        "    shell: 'false | cat > {output}; echo after'\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet"]
    subprocess.run(command, cwd=project, check=True, timeout=120)
    prefixes = {(project / f"{i}.txt").read_text().strip() for i in (1, 2)}
    assert prefixes == {str(environments.folder("tiny", project / "envs", project / ".envs"))}
    assert journal(project) == ["start", "end"]
    strict = subprocess.run(
        [*command, "--", "failing"], cwd=project, capture_output=True, text=True
    )
    assert strict.returncode == 1
    assert "after" not in strict.stdout


def test_killed_build_is_never_trusted(project):
    """After kill -9 the next one waits for orphans that still write, then starts from nothing."""
    first = start(project)
    wait_for(lambda: journal(project) == ["start"])
    first.send_signal(signal.SIGKILL)
    first.communicate()
    venv = environments.folder("tiny", project / "envs", project / ".envs")
    assert venv.exists()
    assert not environments.is_complete(venv)
    (venv / "left-over").touch()

    second = start(project)
    stdout, stderr = second.communicate(timeout=120)
    assert second.returncode == 0, stderr
    assert Path(stdout.strip()) == venv
    assert environments.is_complete(venv)
    assert not (venv / "left-over").exists()
    assert journal(project) == ["start", "end", "start", "end"]  # not "start start end end"


def test_failed_build_leaves_nothing(project):
    """One sentence with what the tool said last, and no folder that fills the disk."""
    (project / "envs" / "tiny.post-deploy.sh").write_text(
        "echo half; echo broken wheel >&2; exit 3\n"
    )
    with pytest.raises(installers.InstallError, match=r"`bash` .* exit code 3 \(broken wheel\)"):
        environments.ensure("tiny", project / "envs", project / ".envs")
    assert [path for path in (project / ".envs").iterdir() if path.is_dir()] == []


def test_moved_environment_is_built_again(project):
    """Virtual environments hold absolute paths, so a moved or copied clone must not use them."""
    envs = project / "envs"
    (envs / "tiny.post-deploy.sh").unlink()
    venv = environments.ensure("tiny", envs, project / ".envs")
    (project / ".envs").rename(project / "moved")
    moved = environments.folder("tiny", envs, project / "moved")
    assert moved.name == venv.name
    assert not environments.is_complete(moved)
    assert environments.ensure("tiny", envs, project / "moved") == moved
    assert environments.is_complete(moved)


def test_an_edit_gives_a_new_environment(project):
    """The yaml and the post-deploy script both count."""
    envs = project / "envs"
    seen = {environments.env_id("tiny", envs)}
    folders = {environments.folder("tiny", envs)}
    for path in (envs / "tiny.yaml", envs / "tiny.post-deploy.sh"):
        path.write_text(path.read_text() + "# edited\n")
        seen.add(environments.env_id("tiny", envs))
        folders.add(environments.folder("tiny", envs))
    assert len(seen) == len(folders) == 3
    assert all(re.fullmatch(r"[0-9a-f]{12}", digest) for digest in seen)


def test_torch_builds_lie_side_by_side(monkeypatch):
    """A GPU node must not take the CPU build that a login node has put into a shared folder."""
    places = set()
    for backend in ("cpu", "cu128"):
        monkeypatch.setenv("UV_TORCH_BACKEND", backend)
        places.add(environments.folder("xtuner"))
        places.add(environments.folder("data"))
    assert sorted(place.name.split("-")[0] for place in places) == ["data", "xtuner", "xtuner"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies: [", "envs/tiny.yaml is not valid YAML: .*line 1"),
        ("", "envs/tiny.yaml has no list `dependencies`"),
        ("dependencies: {pip: [six]}", "envs/tiny.yaml has no list `dependencies`"),
        ("dependencies: [pip, {pip: [six==1.17.0]}]", "names no Python: add `- python=3.11"),
        ("dependencies: [python=3.11.*, numpy=2]", "`numpy=2` comes from conda and cannot be had"),
        (b"\xff\xfe", "envs/tiny.yaml is not valid YAML"),
    ],
)
def test_bad_yaml(project, text, message):
    path = project / "envs" / "tiny.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(installers.InstallError, match=message) as error:
        environments.ensure("tiny", project / "envs", project / ".envs")
    assert "\n" not in str(error.value)


def test_unknown_environment(project):
    process = subprocess.run(
        [sys.executable, project / "workflow/scripts/environments/environments.py", "ensure", "no"],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    expected = "environments: there is no envs/no.yaml; known environments: tiny\n"
    assert process.stderr == expected


def test_unknown_python(project, monkeypatch):
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    path = project / "envs" / "tiny.yaml"
    path.write_text(YAML.replace(f"python={PYTHON}.*", "python=3.6.*"))
    with pytest.raises(installers.InstallError, match=r"needs Python 3\.6, which .* python3\.6"):
        environments.ensure("tiny", project / "envs", project / ".envs")


def test_no_network(project):
    """A port at which nobody listens stands for the missing network."""
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "UV_CACHE_DIR": str(project / "cache"),
        "UV_HTTP_RETRIES": "0",
    }
    process = start(project, **offline)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the package index cannot be reached: check the network" in stderr
    assert len(stderr.splitlines()) == 2, stderr  # building ..., then one sentence
    assert journal(project) == []


@pytest.mark.parametrize(
    "said",
    [
        "error: Failed to install: torch\n  cause: No space left on device (os error 28)",
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "failed to write: Disk quota exceeded (os error 122)",
    ],
)
def test_full_disk(tmp_path, said):
    error = subprocess.CalledProcessError(2, ["uv"], said)
    reason = installers.explain(error, tmp_path / "not" / "yet")
    assert re.match(r"the disk is full \(.*not/yet has [\d.]+ GB\): make room", reason)


def test_disk_too_full_to_say_so(tmp_path, monkeypatch):
    """uv aborts without a word when not even its log can be written."""
    monkeypatch.setattr(installers, "free_bytes", lambda folder: 0)
    error = subprocess.CalledProcessError(-6, ["uv"], "")
    assert installers.explain(error, tmp_path).startswith("the disk is full")


def test_env_shell(project, monkeypatch):
    """It is the environment and nothing from outside; stdout and exit code are the command's."""
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (project / "envs" / "tiny.post-deploy.sh").unlink()
    shell = project / "workflow" / "envshell" / "tiny" / "bash"
    code = (
        "import os, sys; print(sys.prefix, os.environ['VIRTUAL_ENV'], sys.dont_write_bytecode, "
        "os.environ.get('PYTHONPATH'), sys.flags.no_user_site); sys.exit(7)"
    )
    result = subprocess.run([shell, "-c", f'python -c "{code}"'], capture_output=True, text=True)
    venv = environments.folder("tiny", project / "envs", project / ".envs")
    assert result.returncode == 7, result.stderr
    assert result.stdout.split() == [str(venv), str(venv), "False", "None", "1"]


def test_env_shell_finds_snakemake(project, monkeypatch):
    """Without the variable of the workflow, the Python beside `snakemake` is the runner's."""
    monkeypatch.delenv("FINETUNE_RUNNER_PYTHON")
    shell = project / "workflow" / "envshell" / "tiny" / "bash"
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = subprocess.run(
        [shell, "-c", "python -c 'import six'"], env=os.environ | {"PATH": beside}
    )
    assert found.returncode == 0
    lost = subprocess.run(
        [shell, "-c", "true"],
        env=os.environ | {"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (lost.returncode, lost.stderr.count("\n")) == (1, 1)
    assert "snakemake is not in PATH" in lost.stderr


def test_uv_gets_the_settings_of_pip(tmp_path, monkeypatch):
    """uv reads neither pip.conf nor PIP_*; what the user says to uv itself comes first."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://mirror.example/simple\ntrusted-host = mirror.example\n"
        "extra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n"
        "find-links = /nowhere\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels /more")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://c.example/simple https://d.example/simple")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_INSECURE_HOST"):
        monkeypatch.delenv(name, raising=False)
    variables = installers.uv_environment(installers.pip_settings(), tmp_path)
    assert variables["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert variables["UV_INSECURE_HOST"] == "mirror.example"
    assert variables["UV_INDEX"] == "https://c.example/simple https://d.example/simple"
    assert variables["UV_FIND_LINKS"] == "/wheels,/more"
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://own.example/simple")
    variables = installers.uv_environment(installers.pip_settings(), tmp_path)
    assert variables["UV_DEFAULT_INDEX"] == "https://own.example/simple"


def test_cpu_build_of_torch_where_there_is_no_gpu(tmp_path, monkeypatch):
    """Several GB of CUDA libraries are spared, unless something speaks against it."""
    spec = environments.Spec("3.11", ("torch==2.13.0",))
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    monkeypatch.setattr(environments, "has_nvidia_driver", lambda: False)
    assert environments.cpu_index_wanted(spec, {})
    assert not environments.cpu_index_wanted(environments.Spec("3.11", ("six==1.17.0",)), {})
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert not environments.cpu_index_wanted(spec, {"UV_FIND_LINKS": f"/nowhere,{tmp_path}"})
    monkeypatch.setattr(environments, "has_nvidia_driver", lambda: True)
    assert not environments.cpu_index_wanted(spec, {})
    monkeypatch.setattr(environments, "has_nvidia_driver", lambda: False)
    monkeypatch.setenv("UV_TORCH_BACKEND", "cu128")
    assert not environments.cpu_index_wanted(spec, {})


def post_deploy_installs(name: str) -> list[list[str]]:
    """The arguments of each `pip install` in envs/NAME.post-deploy.sh."""
    path = ROOT / "envs" / f"{name}.post-deploy.sh"
    text = path.read_text().replace("\\\n", " ") if path.exists() else ""
    return [line.split("#")[0].split() for line in re.findall(r"pip install (.*)", text)]


@pytest.mark.parametrize("name", environments.names())
def test_exact_versions_everywhere(name):
    """Every requirement is an exact pin, without a build tag that only one machine has."""
    pins = list(environments.read_spec(name).requirements)
    for arguments in post_deploy_installs(name):
        pins += [argument for argument in arguments if not argument.startswith("-")]
    loose = [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)]
    assert loose == []


@pytest.mark.parametrize("name", environments.names())
def test_cuda_side_resolves(name, monkeypatch):
    """As PyPI serves Linux: torch's CUDA build, the post-deploy script's packages with it.

    Resolving also shows that the pins of a yaml are complete: nothing comes in unpinned but the
    CUDA libraries, whose versions torch itself pins.
    """
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    plain = {k: v for k, v in installers.pip_settings().items() if k != "find-links"}
    monkeypatch.setattr(lock, "pip_settings", lambda: plain)
    target = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
    requirements = list(environments.read_spec(name).requirements)
    pinned = {lock.normal(requirement) for requirement in requirements}
    alone = []
    for arguments in post_deploy_installs(name):
        pins = [argument for argument in arguments if not argument.startswith("-")]
        (alone if "--no-deps" in arguments else requirements).extend(pins)
    resolved = {lock.normal(pin): pin for pin in lock.resolve("\n".join(requirements), *target)}
    pinned |= {lock.normal(requirement) for requirement in requirements}
    brought = set(resolved) - pinned
    if "torch" in pinned:
        assert resolved["torch"] == "torch==2.13.0"
        assert {"nvidia-cublas", "nvidia-cudnn-cu13", "triton"} <= brought
    assert {name for name in brought if not re.match(r"nvidia-|cuda-|triton$", name)} == set()
    if alone:
        found = lock.resolve("\n".join(alone), "--no-deps", *target)
        assert sorted(map(lock.normal, found)) == sorted(map(lock.normal, alone))


def lock_file(pins):
    return str(pins.path.relative_to(ROOT))


@pytest.mark.parametrize("pins", lock.all_locks(), ids=lock_file)
def test_pins_fit_what_they_follow_from(pins):
    """Nothing is missing below the marker line, and nothing is left over; both modes read it."""
    assert pins.disagreement() is None


def test_pins_that_do_not_fit_are_named(project):
    envs = project / "envs"
    (envs / "tiny.yaml").write_text(
        YAML.replace("six==1.17.0", "python-dateutil==2.9.0.post0")
        + f"{lock.MARKER}, resolved on 2026-01-01 (`make lock`).\n      - packaging==25.0\n"
    )
    said = lock.environment_lock("tiny", envs).disagreement()
    assert said.startswith("envs/tiny.yaml lacks six==")
    assert said.endswith("and pins packaging==25.0, which nothing there needs: run `make lock`")
    lock.environment_lock("tiny", envs).refresh()
    refreshed = (envs / "tiny.yaml").read_text()
    assert lock.environment_lock("tiny", envs).disagreement() is None
    assert "packaging" not in refreshed
    # an environment whose pins are the newest anyway stays the same, to the day of its resolution
    stamped = re.sub(r"resolved on \S+", "resolved on 2026-01-01", refreshed)
    (envs / "tiny.yaml").write_text(stamped)
    lock.environment_lock("tiny", envs).refresh()
    assert (envs / "tiny.yaml").read_text() == stamped


def test_conda_installs_the_yaml():
    """Snakemake would install a pin file in place of the yaml, and its pip list would be lost."""
    assert list((ROOT / "envs").glob("*.pin.txt")) == []


def test_runner_without_venv_module(tmp_path, monkeypatch):
    """Debian's python3 comes without it."""
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(installers.InstallError, match=r"apt install python3\.\d+-venv"):
        runner.ensure_runner(tmp_path / ".venv", ROOT / "requirements.txt")


def test_runner_follows_its_pins(tmp_path):
    """An edit of requirements.txt makes it stale; an unfinished one is never current."""
    venv, requirements = tmp_path / ".venv", tmp_path / "requirements.txt"
    requirements.write_text("uv==0.13.8\n")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    assert not runner.is_current(venv, requirements)
    environments.write_stamp(venv, id=runner.runner_id(requirements))
    assert runner.is_current(venv, requirements)
    requirements.write_text("uv==0.13.9\n")
    assert not runner.is_current(venv, requirements)


@pytest.mark.parametrize(
    ("script", "found"),
    [(None, "no python3"), ('[ "$1" = --version ] && echo Python 3.8.10', "Python 3.8.10")],
)
def test_python_missing_or_too_old(project, script, found):
    programs = project / "programs"
    programs.mkdir()
    for name in ("dirname", "sh"):
        (programs / name).symlink_to(shutil.which(name))
    if script:
        (programs / "python3").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "python3").chmod(0o755)
    result = subprocess.run(
        [shutil.which("sh"), project / "workflow/scripts/environments/bootstrap.sh"],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert f"Python 3.11 or newer is needed, and this machine has {found}: " in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("chosen", [None, "cpu"])
def test_cpu_index_that_cannot_be_reached(project, monkeypatch, chosen):
    """PyTorch's index is tried first and given up with a word, unless the user insists on it."""
    said, calls = [], []

    def run_logged(command, log, *, env, **options):
        calls.append(env.get("UV_TORCH_BACKEND"))
        if "install" in command and env.get("UV_TORCH_BACKEND") == "cpu":
            raise subprocess.CalledProcessError(2, command, "error sending request: dns error")
        Path(env["VIRTUAL_ENV"], "bin").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(environments, "run_logged", run_logged)
    monkeypatch.setattr(environments, "say", said.append)
    monkeypatch.setattr(environments, "offers_torch", lambda links: False)
    monkeypatch.setattr(environments, "has_nvidia_driver", lambda: False)
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    if chosen:
        monkeypatch.setenv("UV_TORCH_BACKEND", chosen)
    (project / "envs" / "tiny.yaml").write_text(YAML.replace("six==1.17.0", "torch==2.13.0"))
    (project / "envs" / "tiny.post-deploy.sh").unlink()
    if chosen:
        with pytest.raises(installers.InstallError, match="index cannot be reached"):
            environments.ensure("tiny", project / "envs", project / ".envs")
    else:
        environments.ensure("tiny", project / "envs", project / ".envs")
        assert calls == [None, "cpu", None]
        assert any("taking the default build" in text for text in said)
