"""Train a stage with XTuner; a killed training goes on from its last whole checkpoint.

Checkpoints of an unfinished training live outside the rule's outputs, in a folder named after what
is trained: an edit of the configuration, the corpus or the base model starts anew.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from contextlib import nullcontext
from pathlib import Path

import launch_xtuner
from cluster import ClusterError, worker_command
from count_tokens import problem
from work_folders import held, keep_events, work_folder

# The names of XTuner's curves in log.json; the margin of a reward model is made of two of them.
CURVES = {
    "loss": "loss",
    "lr": "learning_rate",
    "grad_norm": "grad_norm",
    "time": "seconds",
    "reward_acc": "reward_accuracy",
    "acc": "reward_accuracy",
    "reward_margin": "reward_margin",
}


def iteration(checkpoint: Path) -> int:
    """The iteration of mmengine's checkpoint `iter_N.pth`."""
    return int(checkpoint.stem.removeprefix("iter_"))


def last_whole_checkpoint(folder: Path, processes: int = 1) -> Path | None:
    """The newest checkpoint that was written to its end, None without one.

    A checkpoint is a zip archive, or with DeepSpeed a folder of them: one with the model and one of
    every process with its share of the optimiser. The checksums tell one that a kill or a full disk
    cut short. Such checkpoints are removed.

    Args:
        folder: where mmengine writes them.
        processes: how many train together.
    """
    for path in sorted(folder.glob("iter_*.pth"), key=iteration, reverse=True):
        if path.is_dir():
            shares = list(path.glob("*_optim_states.pt"))
            models = list(path.glob("*_model_states.pt"))
            complete = len(shares) == processes and models
            whole = complete and all(_is_whole(file) for file in [*shares, *models])
        else:
            whole = _is_whole(path)
        if whole:
            return path
        print(f"train: {path.name} is not whole and is removed", flush=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return None


def _is_whole(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False


def curve(folder: Path) -> list[dict]:
    """The logged steps of all attempts, oldest first; a later attempt replaces what it repeats.

    Returns:
        One dict per logged iteration: `iteration`, `loss`, `learning_rate`, `grad_norm`,
        `seconds` (per iteration); of pairs `reward_accuracy` (share of the batch in which the
        chosen answer has the higher reward, 0 to 1) and `reward_margin` (by how much, the mean).
    """
    points = {}
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in path.read_text("utf-8").splitlines():
            try:
                values = json.loads(line)
            except ValueError:  # the line during which an attempt was killed
                continue
            point = {"iteration": values["iter"]}
            point |= {CURVES[name]: values[name] for name in CURVES if name in values}
            if "chosen_score_mean" in values:
                margin = values["chosen_score_mean"] - values["rejected_score_mean"]
                point["reward_margin"] = margin
            points[values["iter"]] = point
    return [points[number] for number in sorted(points)]


def run_xtuner(command: list[str], gpus: int, nodes: int) -> None:
    """Run XTuner's training here, or in one process for each GPU.

    Args:
        command: arguments of XTuner's train.
        gpus: processes on this node.
        nodes: machines that take part.
    """
    try:
        if gpus * nodes > 1:
            launcher = [launch_xtuner.__file__, "train", *command, "--launcher", "pytorch"]
            workers = worker_command(launcher, gpus, nodes, os.environ)
            print(f"train: {' '.join(workers)}", flush=True)
            # each process of a training would otherwise take all cores
            environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // gpus))}
            # close_fds: they hold the lock of the folder, too
            subprocess.run(workers, check=True, close_fds=False, env=environment | os.environ)
        else:
            launch_xtuner.run("train", command)
    except ClusterError as error:
        sys.exit(f"train: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(
            f"train: the processes of the training ended with status {error.returncode}; what the "
            "first of them said is above."
        )
    except Exception as error:
        if text := launch_xtuner.advice(error):
            sys.exit(f"train: {text}")
        raise


def final_state(checkpoint: Path) -> dict:
    """The trained weights of a checkpoint, by name."""
    import torch
    from xtuner.model.utils import guess_load_checkpoint

    if checkpoint.is_dir():
        return guess_load_checkpoint(str(checkpoint))
    return torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True, help="only read for the folder's key")
    parser.add_argument("--lengths", type=Path, required=True, help="from count_tokens.py")
    parser.add_argument("--max-truncated", type=float, required=True, help="share, 0 to 1")
    parser.add_argument("--manifest", type=Path, required=True, help="of the model to start from")
    parser.add_argument("--work", type=Path, required=True, help="parent of the checkpoints")
    parser.add_argument("--gpus", type=int, default=1, help="on each node")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--deepspeed", help="zero1, zero2, zero2_offload, zero3 or zero3_offload")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--tensorboard", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()

    counted = json.loads(arguments.lengths.read_text(encoding="utf-8"))
    if found := problem(counted, arguments.max_truncated):
        sys.exit(f"train: {found}")
    if arguments.deepspeed and importlib.util.find_spec("deepspeed") is None:
        sys.exit(
            "train: runs.RUN.training.deepspeed is set, and DeepSpeed is not in the environment. "
            "Add it to envs/xtuner.post-deploy.sh (it needs the CUDA compiler), or leave the key "
            "out."
        )
    contents = [arguments.config, arguments.train, arguments.manifest]
    if arguments.deepspeed:
        # its checkpoints are in as many parts as there are processes, in a form of its own
        contents.append(f"{arguments.deepspeed} {arguments.gpus * arguments.nodes}")
    work = work_folder(arguments.work, *contents)
    first_node = arguments.nodes == 1 or os.environ.get("NODE_RANK", "0") == "0"
    with held(work) if first_node else nullcontext(True) as to_do:
        if to_do:
            train(arguments, counted, work, first_node)


def train(arguments: argparse.Namespace, counted: dict, work: Path, first_node: bool) -> None:
    """Train in the work folder; the first node writes the results.

    Args:
        arguments: of the command line.
        counted: what count_tokens.py has found.
        work: the folder of the checkpoints.
        first_node: whether this is the machine, of several, that writes.
    """
    os.environ["HF_DATASETS_CACHE"] = str(work / "datasets")
    launch_xtuner.prepare()
    import torch

    # what the rendered configuration imports is a part of this script
    from loss_watch import LossWatch  # noqa: F401
    from mmengine.config import Config
    from precision import auto_dtype  # noqa: F401
    from progress_hook import ProgressHook  # noqa: F401
    from stage_data import packed_texts  # noqa: F401
    from stage_models import AnswerDPO  # noqa: F401

    config = Config.fromfile(arguments.config)
    processes = arguments.gpus * arguments.nodes
    checkpoint, started = last_whole_checkpoint(work, processes), time.monotonic()
    resumed = iteration(checkpoint) if checkpoint else 0
    if resumed < config.max_iters:
        command = [str(arguments.config), "--work-dir", str(work)]
        if arguments.deepspeed:
            command += ["--deepspeed", f"deepspeed_{arguments.deepspeed}"]
        if checkpoint:
            print(f"train: going on from iteration {resumed}", flush=True)
            command += ["--resume", str(checkpoint)]
            # mmengine's checkpoints hold its own log buffers, which torch.load refuses by default
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
        run_xtuner(command, arguments.gpus, arguments.nodes)
    if not first_node:
        return
    seconds = time.monotonic() - started

    points = curve(work)
    final = work / f"iter_{config.max_iters}.pth"
    if not final.exists():
        sys.exit(f"train: XTuner ended without writing {final.name}; its log is above.")
    # the optimiser's state is needed to resume, not to use the model
    state = final_state(final)
    torch.save({"state_dict": state, "meta": {"iter": config.max_iters}}, arguments.checkpoint)
    summary = counted | {
        "finetuning": config.finetuning,
        "iterations": config.max_iters,
        "iterations_resumed_from": resumed,
        "seconds": round(seconds, 1),
        # tied weights are listed twice and stored once
        "trained_parameters": sum({t.data_ptr(): t.numel() for t in state.values()}.values()),
        "packed": config.pack_to_max_length,
        "batch_size": config.batch_size,
        "gradient_accumulation": config.accumulative_counts,
        "processes": processes,
    }
    if config.pack_to_max_length:
        # XTuner drops what does not fill the last pack; which rows, its shuffle decides
        summary["packs"] = logged_rows(work)
        summary["tokens_dropped"] = counted["tokens"] - summary["packs"] * config.max_length
    text = json.dumps({"summary": summary, "steps": points}, indent=1)
    arguments.log.write_text(text + "\n", encoding="utf-8")
    keep_events(work, arguments.tensorboard)


def logged_rows(work: Path) -> int:
    """Number of rows after packing, as XTuner's DatasetInfoHook logged it."""
    for path in sorted(work.glob("*/*.log"), reverse=True):
        found = re.search(r"Num train samples (\d+)", path.read_text("utf-8"))
        if found:
            return int(found[1])
    sys.exit("train: XTuner did not log the number of its training samples.")


if __name__ == "__main__":
    main()
