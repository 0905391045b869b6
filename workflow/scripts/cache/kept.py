"""Run a rule's command, or take what it has made before from a folder that clones share.

    kept.py --environment [ID] --inputs FILE ... --outputs FILE ... -- COMMAND ...

Without FINETUNE_CACHE this runs COMMAND and does nothing else. With it, FINETUNE_CACHE/SCRIPT-KEY
holds the outputs. KEY is a hash of all that decides them: the command line, the bytes of the inputs
(scripts, their modules, data, models) and the environment.

Snakemake has such a cache, `cache:`. It does not serve here: it refuses rules that are measured
(`benchmark:`), fails in a cluster's job that reads a folder, leaves its entries writable for
everybody, and does not notice when one is damaged.

Standard library only: it runs in the environment of the rule.
"""

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "FINETUNE_CACHE"
# How a command is run, not what it makes.
NOT_COMPARED = ("--threads", "--work")
# Snakemake's own note in each folder that a rule makes
TIMESTAMP = ".snakemake_timestamp"
# Of the files of a model, those that nothing ever edits, and that are large.
WEIGHTS = (".safetensors", ".qweight", ".weight", ".scales", ".zeros", ".bias")
RECORD = "entry.json"
PR_SET_PDEATHSIG = 1  # of prctl(2)


def _where_people_look() -> list[int]:
    """The log of the rule; and where Snakemake's messages go, if the rule has opened that as 3."""
    try:
        os.fstat(3)
    except OSError:
        return [2]
    return [2, 3]


# asked before anything else is opened and given this number
_OUTPUTS = _where_people_look()


def say(text: str) -> None:
    for output in _OUTPUTS:
        os.write(output, f"kept: {text}\n".encode())


def files_of(path: Path) -> dict[str, Path]:
    """The files below a folder by their names in it; a file is its own only one, named ""."""
    if not path.is_dir():
        return {"": path}
    found = sorted(file for file in path.rglob("*") if file.is_file() and file.name != TIMESTAMP)
    return {file.relative_to(path).as_posix(): file for file in found}


def digests(paths: list[Path]) -> list[dict[str, str]]:
    """The sha256 of each file of each path, by the file's name within the path."""

    def digest(file: Path) -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing leaves the interpreter's lock
        files = [files_of(path) for path in paths]
        futures = [{name: pool.submit(digest, file) for name, file in of.items()} for of in files]
        return [{name: future.result() for name, future in of.items()} for of in futures]


def key(command: list[str], environment: list[str], inputs: list[Path], outputs: list[Path]) -> str:
    """32 hex digits of what decides the outputs of a command.

    The names of inputs count: a model's config.json may quote the folder it was made from. Those of
    the outputs do not, nor where the clone lies from where Snakemake was started.
    """
    interpreter, script, *arguments = command
    names = {str(path): f"output {number}" for number, path in enumerate(outputs)}
    compared = [
        names.get(argument, argument)
        for argument, before in zip(arguments, [script, *arguments], strict=False)
        if before not in NOT_COMPARED
    ]
    decisive = [environment, interpreter, Path(script).name, compared, digests(inputs)]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:32]


def copy(path: Path, target: Path) -> None:
    """Make a file or a folder appear elsewhere; weights in a folder as hard links, if possible.

    All else is copied: tools copy a model's small files with their rights, and then edit them. And
    Snakemake sets the time of a file that is an output by itself: were it a link, another clone
    would take its own for changed.
    """
    if not path.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    for name, file in files_of(path).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in WEIGHTS:
            with suppress(OSError):  # another file system, or a file of another user
                os.link(file, target / name)
                continue
        shutil.copyfile(file, target / name)


def store(entry: Path, outputs: list[Path], command: list[str], seconds: float) -> None:
    """Keep outputs as an entry, whole or not at all; its files cannot be written to."""
    mask = os.umask(0)
    os.umask(mask)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".new-") as folder:
        # of its own, because the temporary one is nobody else's to read
        new = Path(folder) / entry.name
        new.mkdir()
        for number, output in enumerate(outputs):
            kept = new / str(number)
            copy(output, kept)
            for file in files_of(kept).values():
                file.chmod(0o444 & ~mask)
        record = {
            "command": shlex.join(command),
            "seconds": round(seconds, 1),
            "files": digests([new / str(number) for number in range(len(outputs))]),
        }
        (new / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        new.rename(entry)


def damage(entry: Path) -> str | None:
    """What is wrong with an entry, in words; None where every file is as it was stored."""
    try:
        files = json.loads((entry / RECORD).read_text(encoding="utf-8"))["files"]
        found = digests([entry / str(number) for number in range(len(files))])
    except (OSError, ValueError, LookupError) as error:
        return str(error)
    for number, (stored, there) in enumerate(zip(files, found, strict=True)):
        for name in sorted(stored.keys() | there.keys()):
            if stored.get(name) != there.get(name):
                return f"{number}/{name}".rstrip("/") + " is not what was stored"
    return None


def restore(entry: Path, outputs: list[Path]) -> bool:
    """Put an entry's outputs where the rule wants them; False where there is no sound entry."""
    if not entry.exists():
        return False
    if found := damage(entry):
        try:
            shutil.rmtree(entry)
            say(f"{entry} is damaged ({found}): it is removed, and the result made again.")
        except OSError as error:
            say(
                f"{entry} is damaged ({found}) and cannot be removed ({error}): the result is "
                "made again, and not stored. Remove that folder by hand."
            )
        return False
    for number, output in enumerate(outputs):
        copy(entry / str(number), output)
    record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
    say(f"taken from {entry}, which it took {record['seconds']} s to make.")
    with suppress(PermissionError):  # another user's
        os.utime(entry)  # the time of its last use: what to remove when space gets short
    return True


@contextmanager
def alone(entry: Path) -> Iterator[None]:
    """Hold the lock of an entry: who asks for what another job makes waits for it, and takes it."""
    locks = entry.parent / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = (locks / entry.name).open("w")
    except OSError:  # a cache that others fill, and this user reads
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another job is making {entry}; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def end_with_parent() -> None:
    """End this process when the one that has started it ends: a kill leaves nothing behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--environment", nargs="*", required=True, help="its hash")
    parser.add_argument("--inputs", type=Path, nargs="*", required=True)
    parser.add_argument("--outputs", type=Path, nargs="+", required=True)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    command, outputs = arguments.command, arguments.outputs

    cache = os.environ.get(VARIABLE)
    if not cache:
        os.execvp(command[0], command)
    decisive = key(command, arguments.environment, arguments.inputs, outputs)
    entry = Path(cache).absolute() / f"{Path(command[1]).stem}-{decisive}"
    with alone(entry):
        if restore(entry, outputs):
            return 0
        started = time.monotonic()
        # close_fds: a training shows its progress on a descriptor of the rule
        status = subprocess.run(command, close_fds=False, preexec_fn=end_with_parent).returncode
        if status:
            # killed by a signal: as a shell would say it
            return status if status > 0 else 128 - status
        if any(file.is_symlink() for path in outputs for file in files_of(path).values()):
            say("the result is links to files elsewhere, which are not stored.")
            return 0
        try:
            store(entry, outputs, command, time.monotonic() - started)
            say(f"stored in {entry}.")
        except OSError as error:
            say(f"the result is made, but could not be stored in {entry}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
