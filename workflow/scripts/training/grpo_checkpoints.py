"""Checkpoints of transformers' Trainer that are known to be whole."""

import hashlib
import json
import shutil
from pathlib import Path

from transformers import TrainerCallback

# Written when everything else is: the sha256 of each file of the checkpoint.
STAMP = "whole.json"


def step(checkpoint: Path) -> int:
    """The step after which a folder `checkpoint-N` was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _sums(checkpoint: Path) -> dict[str, str]:
    sums = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != STAMP:
            with path.open("rb") as file:
                sums[str(path.relative_to(checkpoint))] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return sums


def stamp(checkpoint: Path) -> None:
    """Declare a checkpoint whole."""
    (checkpoint / STAMP).write_text(json.dumps(_sums(checkpoint)), encoding="utf-8")


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is as it was written."""
    try:
        return json.loads((checkpoint / STAMP).read_text(encoding="utf-8")) == _sums(checkpoint)
    except (OSError, ValueError):
        return False


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole, None without one; newer ones are removed."""
    for path in sorted(folder.glob("checkpoint-*"), key=step, reverse=True):
        if is_whole(path):
            return path
        print(f"grpo: {path.name} is not whole and is removed", flush=True)
        shutil.rmtree(path)
    return None


class Stamper(TrainerCallback):
    """Stamps each checkpoint as soon as the Trainer has written it."""

    def on_save(self, args, state, control, **kwargs) -> None:
        stamp(Path(args.output_dir) / f"checkpoint-{state.global_step}")
