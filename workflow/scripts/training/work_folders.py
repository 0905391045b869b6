"""Where the checkpoints of an unfinished training lie; standard library only."""

import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def work_folder(root: Path, *contents: Path | str) -> Path:
    """The folder of the checkpoints of one training: ROOT/KEY, KEY a hash of what it is made from.

    Args:
        root: the parent of the folder.
        contents: files, whose bytes count, and texts.
    """
    digest = hashlib.sha256()
    for content in contents:
        if isinstance(content, Path):
            with content.open("rb") as file:  # a corpus may be larger than the memory
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(hashlib.sha256(content.encode()).digest())
    return root / digest.hexdigest()[:16]


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Make the folder of a training, keep others out of it, and remove it when all went well.

    A training may outlive the Snakemake that started it, on this machine or on another one of a
    cluster, and the next Snakemake starts it again. Two would spoil each other's checkpoints and
    results, so the later one waits. Folders of other contents are removed: nothing would ever
    resume from them.

    Args:
        folder: from `work_folder`.

    Yields:
        Whether to train: not where the one that was waited for has finished this very training,
        so that its results are there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    # its text: who holds it, in the end what was trained
    with (folder.parent / "lock").open("a+", encoding="utf-8") as lock:
        # also by the processes of a training on several GPUs, should this one be killed
        os.set_inheritable(lock.fileno(), True)
        if _acquire(lock) and _text(lock) == folder.name:
            print("the training that this one waited for has finished it", flush=True)
            yield False
            return
        _write(lock, f"process {os.getpid()} on {socket.gethostname()}")
        for other in folder.parent.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)
        folder.mkdir(exist_ok=True)
        yield True
        shutil.rmtree(folder)
        _write(lock, folder.name)


def _acquire(lock: TextIO) -> bool:
    """Lock a file; returns whether another process had to let it go first."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(
            f"waiting for {_text(lock)}, which an earlier start has left training here; when it "
            "ends or is killed, its work goes on here",
            flush=True,
        )
        fcntl.flock(lock, fcntl.LOCK_EX)
        return True
    except OSError as error:  # a cluster's disk may be mounted without locks
        print(f"nothing keeps a second training out of this folder: {error}", flush=True)
    return False


def _text(lock: TextIO) -> str:
    lock.seek(0)
    return lock.read()


def _write(lock: TextIO, text: str) -> None:
    lock.truncate(0)
    lock.write(text)  # opened to append, so it begins at the end, which is now 0
    lock.flush()


def keep_events(work: Path, folder: Path) -> None:
    """Copy what all attempts of a training have written for TensorBoard to a folder of its own.

    TensorBoard itself puts the attempts one after the other: by the time in the files' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(work.rglob("events.out.tfevents.*")):
        shutil.copy(path, folder)
