"""Where the checkpoints of an unfinished training lie; standard library only."""

import hashlib
import shutil
from pathlib import Path


def work_folder(root: Path, *contents: Path | str) -> Path:
    """The folder of the checkpoints of one training: ROOT/KEY, KEY a hash of what it is made from.

    Folders of earlier contents are removed: nothing would ever resume from them.

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
    folder = root / digest.hexdigest()[:16]
    for other in root.iterdir() if root.is_dir() else ():
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_events(work: Path, folder: Path) -> None:
    """Copy what all attempts of a training have written for TensorBoard to a folder of its own.

    TensorBoard itself puts the attempts one after the other: by the time in the files' names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(work.rglob("events.out.tfevents.*")):
        shutil.copy(path, folder)
