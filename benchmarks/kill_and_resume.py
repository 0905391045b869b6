"""Kill every stage in mid-training, again and again, and compare with a run that nobody killed.

    make bench-kill          (some ten minutes on two cores)

The same runs of several stages as in tests/workflow/test_stages.py, with more steps, go through the
workflow twice. The second time, Snakemake and all its jobs are killed with SIGKILL three times in
each stage, at random moments of the training, and started again. At the end adapters, models and
scores must be the same, byte for byte.
"""

import argparse
import csv
import json
import random
import shutil
import sys
import time
from pathlib import Path

import yaml
from processes import ROOT, kill_all, sha256, start

sys.path.insert(0, str(ROOT / "tests" / "workflow"))

from test_stages import CONFIG, write_sources

KILLS = 3
STEPS = {"pt": 60, "sft": 60, "dpo": 40, "orpo": 40, "reward": 40, "grpo": 12}


def configuration() -> dict:
    """The runs of the test with so many steps that a kill can fall between them."""
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    for run in config["runs"].values():
        for stage in run["stages"] if run else ():
            steps = STEPS[stage["method"]]
            own = {"steps": steps, "checkpoint_every": max(1, steps // 10)}
            stage["training"] = stage.get("training", {}) | own
    return config


def stages(config: dict) -> list[tuple[str, str]]:
    """(run, stage) of all stages."""
    runs = config["runs"].items()
    return [(name, stage["method"]) for name, run in runs if run for stage in run["stages"]]


def training_now(folder: Path, run: str, stage: str) -> bool:
    """Whether the log of a stage's training shows iterations of the present attempt."""
    log = folder / "logs/stages" / run / stage / "train.log"
    marks = ("Iter(train)", "s/it", "it/s", "grpo: step")
    return log.is_file() and any(mark in log.read_text("utf-8", "replace") for mark in marks)


def seconds_of(folder: Path, run: str, stage: str) -> float:
    """How long a training took in the run that nobody killed."""
    log = folder / "results/stages" / run / stage / "training/log.json"
    return json.loads(log.read_text())["summary"]["seconds"]


def disturb(folder: Path, calm: Path, order: list[tuple[str, str]], generator: random.Random):
    """Run to the end, killing each stage KILLS times; yields one row per kill."""
    left = dict.fromkeys(order, KILLS)
    while True:
        for run, stage in order:  # the log of an earlier attempt says nothing of this one
            (folder / "logs/stages" / run / stage / "train.log").unlink(missing_ok=True)
        process = start(folder, "--cores", "all")
        waiting = {target for target, number in left.items() if number}
        hit = None
        while process.poll() is None and hit is None:
            time.sleep(0.05)
            hit = next((t for t in order if t in waiting and training_now(folder, *t)), None)
        if hit is None:
            if process.returncode:
                sys.exit(f"kill_and_resume: the run failed; see {folder / 'snakemake.log'}")
            return
        time.sleep(generator.uniform(0, 0.5) * seconds_of(calm, *hit))
        finished = (folder / "results/stages" / hit[0] / hit[1] / "training/log.json").exists()
        kill_all(process)
        start(folder, "--unlock").wait()
        if not finished:
            left[hit] -= 1
        yield {"run": hit[0], "stage": hit[1], "in_mid_training": not finished}


def outcome(folder: Path) -> dict[str, str]:
    """sha256 of all adapters, models and scores, by path."""
    return sha256(folder / "results/stages", "*.safetensors", "scores.csv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--work", type=Path, default=Path("results/.work/kill_and_resume"))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/kill_and_resume.json"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    config = configuration()
    calm, disturbed = arguments.work / "calm", arguments.work / "disturbed"
    for folder in (calm, disturbed):
        folder.mkdir(parents=True)
        write_sources(folder)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    if start(calm, "--cores", "all").wait():
        sys.exit(f"kill_and_resume: the run failed; see {calm / 'snakemake.log'}")
    order = stages(config)
    kills = []
    for row in disturb(disturbed, calm, order, random.Random(arguments.seed)):
        kills.append(row)
        print(json.dumps(row), flush=True)
    expected, found = outcome(calm), outcome(disturbed)
    different = [name for name in expected | found if expected.get(name) != found.get(name)]
    table = []
    for run, stage in order:
        log = json.loads(
            (disturbed / "results/stages" / run / stage / "training/log.json").read_text()
        )
        own = [name for name in different if name.startswith(f"{run}/{stage}/")]
        table.append(
            {
                "run": run,
                "stage": stage,
                "kills": sum(
                    k["in_mid_training"] for k in kills if k["run"] == run and k["stage"] == stage
                ),
                "last_resumed_from": log["summary"]["iterations_resumed_from"],
                "iterations": log["summary"]["iterations"],
                "same_weights": not own,
            }
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"seed": arguments.seed, "stages": table, "different": different}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    writer = csv.DictWriter(sys.stdout, table[0])
    writer.writeheader()
    writer.writerows(table)
    if different:
        sys.exit(f"kill_and_resume: not the same after the kills: {', '.join(different)}")


if __name__ == "__main__":
    main()
