"""Run pip and uv, give uv the settings pip has, and explain a failure in one sentence.

Standard library only: it runs before anything is installed.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

DISK_FULL = "the disk is full"
UNREACHABLE = (
    "the package index cannot be reached: check the network, or name a mirror that this machine "
    "can reach in PIP_INDEX_URL (or pip.conf)"
)
BROKEN_OFF = (
    "the connection to the package index broke off: run the same command again, and what was "
    "downloaded whole is not downloaded again"
)
# What pip, uv and the C library say, and what it means to the user. The first match wins: a full
# disk also produces follow-up errors that look like broken downloads.
CAUSES = (
    (
        r"No space left on device|os error 28\b|Errno 28\b|Disk quota exceeded|os error 122\b",
        DISK_FULL,
    ),
    # Before the index that cannot be reached: a broken download also names the broken connection.
    (
        r"error decoding response body|network timeout|Connection broken|IncompleteRead"
        r"|incomplete-download|Wheel '.*' located at .* is invalid",
        BROKEN_OFF,
    ),
    (
        r"dns error|error sending request|Connection refused|NewConnectionError|Failed to fetch"
        r"|name resolution|timed out|Network is unreachable|Connection reset|ProxyError"
        r"|ConnectTimeoutError|CERTIFICATE_VERIFY|invalid peer certificate",
        UNREACHABLE,
    ),
    (
        r"No solution found|No matching distribution|Could not find a version|was not found in",
        "the package index does not offer what is pinned",
    ),
    (r"Permission denied|Read-only file system|os error 13\b", "a folder cannot be written"),
)

# pip's options, uv's variables of the same meaning, and what uv puts between several values.
UV_VARIABLES = (
    ("index-url", "UV_DEFAULT_INDEX", " "),
    ("extra-index-url", "UV_INDEX", " "),
    ("find-links", "UV_FIND_LINKS", ","),
    ("trusted-host", "UV_INSECURE_HOST", " "),
    ("cert", "SSL_CERT_FILE", " "),
    ("default-timeout", "UV_HTTP_TIMEOUT", " "),
    ("timeout", "UV_HTTP_TIMEOUT", " "),
    ("proxy", "ALL_PROXY", " "),
)


class InstallError(Exception):
    """An environment cannot be made; the text is one sentence for the user."""


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> None:
    """Run a command with its output appended to `log`.

    Raises:
        subprocess.CalledProcessError: it failed; `output` holds what this command wrote.
    """
    with open(log, "ab") as sink:
        start = sink.tell()
        result = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            check=False,
        )
    if result.returncode:
        text = log.read_bytes()[start:].decode(errors="replace")
        raise subprocess.CalledProcessError(result.returncode, list(map(str, command)), text)


def explain(error: OSError | subprocess.CalledProcessError, *folders: Path) -> str:
    """Say in a clause why an installation into these folders failed.

    Args:
        error: what `run_logged` or a file operation raised.
        folders: where the installation writes, the cache of packages included.
    """
    text = str(error) if isinstance(error, OSError) else (error.output or "")
    meaning = next((said for pattern, said in CAUSES if re.search(pattern, text)), None)
    free = {folder: free_bytes(folder) for folder in folders}
    if meaning is None and min(free.values(), default=1e9) < 1e6:
        meaning = DISK_FULL  # so full that not even the error could be written
    if meaning == DISK_FULL:
        where = ", ".join(f"{folder} has {size / 1e9:.1f} GB" for folder, size in free.items())
        return (
            f"{DISK_FULL} ({where}): make room for about 5 GB, or put FINETUNE_ENV_STORE and "
            "UV_CACHE_DIR on another disk"
        )
    if meaning or isinstance(error, OSError):
        return meaning or text
    lines = [line.strip() for line in text.splitlines()]
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return f"`{Path(error.cmd[0]).name}` failed with exit code {error.returncode} ({last})"


def existing(folder: Path) -> Path:
    """The folder, or the nearest of its parents that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def free_bytes(folder: Path) -> int:
    """Free space, in bytes, of the file system on which a folder lies or will lie."""
    return shutil.disk_usage(existing(folder)).free


def pip_settings(python: str = sys.executable) -> dict[str, str]:
    """What pip.conf and PIP_* variables say, by option name ("index-url", "find-links", ...)."""
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        match = re.fullmatch(r"(\S+?)\.([\w-]+)=(['\"].*)", line)
        if match:
            section, option, value = match.groups()
            found.setdefault(section, {})[option] = ast.literal_eval(value)
    return found.get("global", {}) | found.get("install", {}) | found.get(":env:", {})


def uv_environment(settings: Mapping[str, str], store: Path) -> dict[str, str]:
    """The variables under which uv installs from where pip would.

    uv reads neither pip.conf nor PIP_* variables. A UV_* variable that the user has set wins.

    Args:
        settings: what `pip_settings` returns.
        store: the folder of the environments; packages are hard-linked into it from uv's cache.
    """
    given = dict(os.environ)
    for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "CONDA_PREFIX"):
        given.pop(name, None)
    values = {"UV_NO_PROGRESS": "1"}
    for option, variable, separator in UV_VARIABLES:
        if settings.get(option):
            values[variable] = separator.join(settings[option].split())
    if "UV_INDEX" in values:
        values["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # pip, too, looks at every index
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        values["UV_NO_INDEX"] = "1"
    # A hard link cannot cross file systems: then a cache beside the environments saves a full
    # copy of torch in each of them.
    cache = uv_cache()
    if existing(cache).stat().st_dev != store.stat().st_dev:
        values["UV_CACHE_DIR"] = str(store / "cache")
    return values | given


def uv_cache() -> Path:
    """The folder in which uv keeps what it has downloaded, unless told otherwise."""
    if "UV_CACHE_DIR" in os.environ:
        return Path(os.environ["UV_CACHE_DIR"]).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "uv"


def find_uv() -> str:
    """The uv program: the one installed beside this Python, else the one in PATH.

    Raises:
        InstallError: there is none.
    """
    beside = str(Path(sys.executable).parent)
    uv = shutil.which("uv", path=beside) or shutil.which("uv")
    if uv is None:
        raise InstallError(
            f"uv, which makes the environments, was found neither in {beside} nor in PATH: "
            "run `make environments`, or `pip install uv`"
        )
    return uv


def has_nvidia_driver() -> bool:
    """Whether this machine has an NVIDIA driver (Linux, or Windows' subsystem for it)."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def offers_torch(find_links: str) -> bool:
    """Whether a local folder among these find-links (separated by commas) holds a torch wheel."""
    folders = (Path(entry.removeprefix("file://")) for entry in find_links.split(",") if entry)
    return any(any(folder.glob("torch-*.whl")) for folder in folders)


def pip_shim(uv: str) -> tempfile.TemporaryDirectory:
    """A folder whose `pip` is `uv pip`, so that one post-deploy script serves conda and venv."""
    folder = tempfile.TemporaryDirectory(prefix="pip-shim-")
    pip = Path(folder.name) / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{uv}" pip "$@"\n')
    pip.chmod(0o755)
    return folder
