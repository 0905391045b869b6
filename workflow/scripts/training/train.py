"""Train a run with XTuner; a killed training goes on from its last whole checkpoint.

Checkpoints of an unfinished training live outside the rule's outputs, in a folder named after what
is trained: an edit of the configuration, the corpus or the base model starts anew.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zipfile
from pathlib import Path

import launch_xtuner
from count_tokens import problem


def work_folder(root: Path, *contents: Path) -> Path:
    """The folder of the checkpoints of one training: ROOT/KEY, KEY a hash of the files' bytes.

    Folders of earlier contents are removed: nothing would ever resume from them.
    """
    digest = hashlib.sha256()
    for path in contents:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    folder = root / digest.hexdigest()[:16]
    for other in root.iterdir() if root.is_dir() else ():
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def iteration(checkpoint: Path) -> int:
    """The iteration of mmengine's checkpoint `iter_N.pth`."""
    return int(checkpoint.stem.removeprefix("iter_"))


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end, None without one.

    A checkpoint is a zip archive; its checksums tell one that a kill or a full disk cut short.
    Such files are removed.
    """
    for path in sorted(folder.glob("iter_*.pth"), key=iteration, reverse=True):
        try:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
        except (zipfile.BadZipFile, OSError):
            whole = False
        if whole:
            return path
        print(f"train: {path.name} is not whole and is removed", flush=True)
        path.unlink()
    return None


def curve(folder: Path) -> list[dict]:
    """The logged steps of all attempts, oldest first; a later attempt replaces what it repeats.

    Returns:
        One dict per logged iteration: `iteration`, `loss`, `learning_rate`, `grad_norm`,
        `seconds` (per iteration).
    """
    points = {}
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in path.read_text("utf-8").splitlines():
            try:
                values = json.loads(line)
            except ValueError:  # the line during which an attempt was killed
                continue
            points[values["iter"]] = {
                "iteration": values["iter"],
                "loss": values["loss"],
                "learning_rate": values["lr"],
                "grad_norm": values.get("grad_norm"),
                "seconds": values["time"],
            }
    return [points[number] for number in sorted(points)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, help="only read for the folder's key")
    parser.add_argument("--lengths", type=Path, required=True, help="from count_tokens.py")
    parser.add_argument("--max-truncated", type=float, required=True, help="share, 0 to 1")
    parser.add_argument("--manifest", type=Path, required=True, help="of the base model")
    parser.add_argument("--work", type=Path, required=True, help="parent of the checkpoints")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()

    counted = json.loads(arguments.lengths.read_text(encoding="utf-8"))
    if found := problem(counted, arguments.max_truncated):
        sys.exit(f"train: {found}")
    work = work_folder(arguments.work, arguments.config, arguments.train, arguments.manifest)
    os.environ["HF_DATASETS_CACHE"] = str(work / "datasets")
    launch_xtuner.prepare()
    import torch
    from loss_watch import TrainingStopped
    from mmengine.config import Config

    config = Config.fromfile(arguments.config)
    checkpoint, started = last_whole_checkpoint(work), time.monotonic()
    resumed = iteration(checkpoint) if checkpoint else 0
    if resumed < config.max_iters:
        command = [str(arguments.config), "--work-dir", str(work)]
        if checkpoint:
            print(f"train: going on from iteration {resumed}", flush=True)
            command += ["--resume", str(checkpoint)]
            # mmengine's checkpoints hold its own log buffers, which torch.load refuses by default
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        try:
            launch_xtuner.run("train", command)
        except TrainingStopped as error:
            sys.exit(f"train: {error}")
        except torch.OutOfMemoryError as error:
            sys.exit(
                f"train: {error}\ntrain: the GPU's memory is too small for this run. Lower "
                "runs.RUN.training.batch_size (and raise gradient_accumulation by as much), then "
                "max_length, then lora.r."
            )
    seconds = time.monotonic() - started

    points = curve(work)
    final = work / f"iter_{config.max_iters}.pth"
    if not final.is_file():
        sys.exit(f"train: XTuner ended without writing {final.name}; its log is above.")
    # the optimiser's state is needed to resume, not to use the model
    whole = torch.load(final, map_location="cpu", weights_only=False)
    torch.save(
        {"state_dict": whole["state_dict"], "meta": {"iter": whole["meta"]["iter"]}},
        arguments.checkpoint,
    )
    summary = counted | {
        "iterations": config.max_iters,
        "iterations_resumed_from": resumed,
        "seconds": round(seconds, 1),
        "trained_parameters": sum(t.numel() for t in whole["state_dict"].values()),
        "packed": config.pack_to_max_length,
        "batch_size": config.batch_size,
        "gradient_accumulation": config.accumulative_counts,
    }
    if config.pack_to_max_length:
        # XTuner drops what does not fill the last pack; which rows, its shuffle decides
        summary["packs"] = logged_rows(work)
        summary["tokens_dropped"] = counted["tokens"] - summary["packs"] * config.max_length
    text = json.dumps({"summary": summary, "steps": points}, indent=1)
    arguments.log.write_text(text + "\n", encoding="utf-8")
    shutil.rmtree(work)


def logged_rows(work: Path) -> int:
    """Number of rows after packing, as XTuner's DatasetInfoHook logged it."""
    for path in sorted(work.glob("*/*.log"), reverse=True):
        found = re.search(r"Num train samples (\d+)", path.read_text("utf-8"))
        if found:
            return int(found[1])
    sys.exit("train: XTuner did not log the number of its training samples.")


if __name__ == "__main__":
    main()
