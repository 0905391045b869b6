"""Make a rule's environment from envs/NAME.yaml where conda is not in use.

    environments.py ensure [NAME ...]   make what is missing, print each folder

The yaml is the file that `conda:` names, so both ways install the same packages. Here its python
pin and its `pip:` list become a virtual environment, then envs/NAME.post-deploy.sh runs in it, as
Snakemake runs it under `--sdm conda`. Environments lie in `.envs/` (or in FINETUNE_ENV_STORE) and
are named by their content: an edit makes a new one, and the old one stays until `make clean`.

Any number of jobs may ask at once: one builds under a lock, the others wait. A folder is used
only once its `.complete` stamp exists, which is written last.

The Snakefile imports `env_id` from here: the standard library is enough to import this module.
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
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from installers import (
    UNREACHABLE,
    InstallError,
    explain,
    find_uv,
    has_nvidia_driver,
    offers_torch,
    pip_settings,
    pip_shim,
    run_logged,
    uv_cache,
    uv_environment,
)

ROOT = Path(__file__).resolve().parents[3]
ENVS = ROOT / "envs"


@dataclass(frozen=True)
class Spec:
    """What envs/NAME.yaml asks for: a Python version ("3.11") and pip requirements."""

    python: str
    requirements: tuple[str, ...]


def store_folder() -> Path:
    """The folder that holds the environments."""
    return Path(os.environ.get("FINETUNE_ENV_STORE") or ROOT / ".envs").absolute()


def definition(name: str, envs: Path = ENVS) -> bytes:
    """The bytes that define an environment: its yaml and its post-deploy script, if any.

    Raises:
        InstallError: there is no such yaml.
    """
    try:
        text = (envs / f"{name}.yaml").read_bytes()
    except OSError:
        known = ", ".join(names(envs)) or "none"
        raise InstallError(f"there is no envs/{name}.yaml; known environments: {known}") from None
    script = envs / f"{name}.post-deploy.sh"
    return text + (script.read_bytes() if script.exists() else b"")


def names(envs: Path = ENVS) -> list[str]:
    """The environments that have a yaml."""
    return sorted(path.stem for path in envs.glob("*.yaml"))


def env_id(name: str, envs: Path = ENVS) -> str:
    """Twelve hex digits that change with the definition of an environment, and with nothing else.

    As a param of a rule they make an edit of the environment rerun the rule, with conda and
    without, and they enter the key of Snakemake's cache.
    """
    return hashlib.sha256(definition(name, envs)).hexdigest()[:12]


def folder(name: str, envs: Path = ENVS, store: Path | None = None) -> Path:
    """Where the environment lies on this machine.

    Besides the definition the name depends on the platform and, if torch is in it, on the build
    of torch, because one folder may be shared by a login node without a GPU and a GPU node.
    """
    text = definition(name, envs)
    key = [sysconfig.get_platform(), torch_build() if b"torch==" in text else ""]
    digest = hashlib.sha256(text + "\0".join(key).encode()).hexdigest()[:12]
    return (store or store_folder()) / f"{name}-{digest}"


def torch_build() -> str:
    """The build of torch wanted here: UV_TORCH_BACKEND, else "default" (CUDA) or "cpu"."""
    given = os.environ.get("UV_TORCH_BACKEND")
    return given or ("default" if has_nvidia_driver() else "cpu")


def read_spec(name: str, envs: Path = ENVS) -> Spec:
    """Read envs/NAME.yaml.

    Raises:
        InstallError: it is not valid, or needs packages that only conda can install.
    """
    import yaml  # comes with Snakemake; not needed once the environment exists

    where = f"envs/{name}.yaml"
    definition(name, envs)
    try:
        content = yaml.safe_load((envs / f"{name}.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InstallError(f"{where} is not valid YAML: {reason}") from None
    dependencies = content.get("dependencies") if isinstance(content, dict) else None
    if not isinstance(dependencies, list):
        raise InstallError(f"{where} has no list `dependencies`")
    python, requirements = None, []
    for entry in dependencies:
        if isinstance(entry, dict) and set(entry) == {"pip"} and isinstance(entry["pip"], list):
            requirements += [str(requirement) for requirement in entry["pip"]]
        elif isinstance(entry, str) and (
            pin := re.fullmatch(r"python *=+ *(3[.\d]+?)(\.\*)?", entry)
        ):
            python = pin[1]
        elif entry != "pip":
            raise InstallError(
                f"{where}: `{entry}` comes from conda and cannot be had without it: "
                "name it in the `pip` list"
            )
    if python is None:
        raise InstallError(f"{where} names no Python: add `- python=3.11.*`")
    return Spec(python, tuple(requirements))


def is_complete(venv: Path) -> bool:
    """Whether an environment can be used: built to its end, here, on a Python that still exists."""
    try:
        stamp = json.loads((venv / ".complete").read_text())
    except (OSError, ValueError):
        return False
    # A virtual environment holds absolute paths: a moved or copied one is not trusted.
    return stamp["folder"] == str(venv) and (venv / "bin" / "python").exists()


def write_stamp(venv: Path, **facts: object) -> None:
    """Declare an environment built to its end."""
    partial = venv / ".complete.partial"
    partial.write_text(json.dumps({"folder": str(venv), **facts}) + "\n")
    os.replace(partial, venv / ".complete")


def ensure(name: str, envs: Path = ENVS, store: Path | None = None) -> Path:
    """Make an environment unless it exists, and return its folder.

    Raises:
        InstallError: it cannot be made; the message says why and what to do.
    """
    store = store or store_folder()
    venv = folder(name, envs, store)
    if is_complete(venv):
        return venv
    spec = read_spec(name, envs)
    log = store / f"{venv.name}.log"
    try:
        store.mkdir(parents=True, exist_ok=True)
        with open(store / f"{venv.name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for environment {name}, which another job is building")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_complete(venv):
                build(name, spec, venv, envs, log, lock.fileno())
    except (OSError, subprocess.CalledProcessError) as error:
        reason = explain(error, store, uv_cache())
        hint = f"; the full output is in {log}" if log.exists() else ""
        raise InstallError(f"environment {name} was not built: {reason}{hint}") from None
    return venv


def build(name: str, spec: Spec, venv: Path, envs: Path, log: Path, lock: int) -> None:
    """Build an environment in place; the caller holds the lock (a file descriptor)."""
    started = time.monotonic()
    say(f"building environment {name} (once; what it does is in {log})")
    shutil.rmtree(venv, ignore_errors=True)  # what a killed build left
    log.unlink(missing_ok=True)
    uv = find_uv()
    variables = uv_environment(pip_settings(), venv.parent) | {"VIRTUAL_ENV": str(venv)}

    def run(*command: str | Path) -> None:
        # The children hold the lock too: should this process be killed, the next one waits until
        # a uv that is still writing into the folder has ended.
        run_logged(command, log, env=variables, cwd=venv.parent, pass_fds=(lock,))

    def install() -> None:
        run(uv, "pip", "install", "--python", venv, *spec.requirements)

    try:
        own = f"{sys.version_info.major}.{sys.version_info.minor}" == spec.python
        python = sys.executable if own else spec.python  # uv finds or downloads another one
        try:
            run(uv, "venv", "--no-project", "--python", python, venv)
        except subprocess.CalledProcessError as error:
            if own or "No space left" in error.output:
                raise
            raise InstallError(
                f"environment {name} needs Python {spec.python}, which was neither found nor "
                f"could be downloaded: install python{spec.python}"
            ) from None
        try_cpu_index = cpu_index_wanted(spec, variables)
        if try_cpu_index:
            variables["UV_TORCH_BACKEND"] = "cpu"
        try:
            install()
        except subprocess.CalledProcessError as error:
            if not try_cpu_index or explain(error) != UNREACHABLE:
                raise
            say(
                "the index of CPU-only torch builds cannot be reached: taking the default build, "
                "which brings several GB of CUDA libraries"
            )
            del variables["UV_TORCH_BACKEND"]
            install()
        script = envs / f"{name}.post-deploy.sh"
        if script.exists():
            with pip_shim(uv) as shim:
                variables["PATH"] = os.pathsep.join((shim, f"{venv}/bin", os.environ["PATH"]))
                run("bash", script)
    except BaseException:
        shutil.rmtree(venv, ignore_errors=True)
        raise
    seconds = round(time.monotonic() - started, 1)
    write_stamp(venv, seconds=seconds)
    say(f"environment {name} is ready after {seconds} s")


def cpu_index_wanted(spec: Spec, variables: dict[str, str]) -> bool:
    """Whether to look for torch among PyTorch's CPU builds.

    Not where the user has chosen, a GPU is present, or a local folder already offers a wheel.
    """
    needs_torch = any(requirement.startswith("torch==") for requirement in spec.requirements)
    chosen = "UV_TORCH_BACKEND" in os.environ or "UV_NO_INDEX" in variables
    local = offers_torch(variables.get("UV_FIND_LINKS", ""))
    return needs_torch and not chosen and not local and torch_build() == "cpu"


def say(text: str) -> None:
    """Tell the user, on stderr: stdout carries the folder."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["ensure"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every environment")
    options = parser.parse_args(arguments)
    try:
        for name in options.names or names():
            print(ensure(name), flush=True)
    except InstallError as error:
        return f"environments: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
