"""Whether results can be written; standard library only."""

import os
import shutil
from pathlib import Path

LITTLE = 100e6  # bytes; a run of the tiny model takes some 60 MB


def read_only(folder: Path) -> str | None:
    """A sentence that says what to do where nothing can be written to a folder, else None."""
    existing = _existing(folder)
    if os.access(existing, os.W_OK):
        return None
    return (
        f"{existing} cannot be written: it is mounted read-only, or belongs to somebody else. Make "
        f"it writable, or let {folder} be a link to a folder that is."
    )


def full(folder: Path) -> str | None:
    """A sentence that says what to do where the disk of a folder is full, else None."""
    existing = _existing(folder)
    free = shutil.disk_usage(existing).free
    if free >= LITTLE:
        return None
    return (
        f"The disk of {existing} is full: {free / 1e6:.0f} MB are free. Make room, or move the "
        "folder to another disk and put a link in its place. Then start again: what is finished "
        "stays."
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it, without links."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists()).resolve()
