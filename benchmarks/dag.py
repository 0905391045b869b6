"""How long Snakemake takes to plan many runs of this workflow, beside rules that do nothing.

    make bench-dag           (a minute on two cores)

A grid of runs with five variants and five benchmarks each is planned by a dry run in an empty
folder; nothing is computed. So is the largest one with two stages in each run. The peer is a
workflow of as many jobs, each with one input, one output and no function: what Snakemake itself
takes.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ["--workflow-profile", str(ROOT / "profiles" / "default")]
# of Snakemake's summary of a dry run
TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)


def grid(runs: int, stages: tuple[str, ...]) -> dict:
    """An overlay of many runs: five variants (with two stages six) and five benchmarks."""
    default = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    evaluation = default["evaluation"]
    benchmarks = [*evaluation["benchmarks"], "heldout_preference"]
    return {
        "runs": {
            "tiny-qlora": None,
            "grid": {
                "base_model": "tiny",
                "stages": [{"method": stage} for stage in stages],
                "matrix": {"training.learning_rate": [(i + 1) / 1e6 for i in range(runs)]},
            },
        },
        "evaluation": {
            "variants": [*evaluation["variants"], "served"],
            "benchmarks": list(dict.fromkeys(benchmarks)),
        },
    }


def empty_rules(jobs: int, runs: int) -> str:
    """A Snakefile of so many jobs: a chain of steps for each run, and one that waits for all."""
    steps, rest = divmod(jobs - 1, runs)
    lines = [
        "rule all:",
        f"    input: expand('{steps}/{{run}}', run=range({runs})),"
        f" expand('more/{{run}}', run=range({rest}))",
        "rule more:",
        "    output: 'more/{run}'",
        "    shell: 'touch {output}'",
    ]
    for step in range(1, steps + 1):
        lines += [
            f"rule step{step}:",
            *([f"    input: '{step - 1}/{{run}}'"] if step > 1 else []),
            f"    output: '{step}/{{run}}'",
            "    shell: 'touch {output}'",
        ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Call:
    """A call of Snakemake.

    Attributes:
        wall, cpu: seconds, the median of several calls; it plans in one thread, so that the two
            differ where other work has the cores.
        said: what the last call printed.
    """

    wall: float
    cpu: float
    said: str


def call(folder: Path, *arguments: object, repeat: int) -> Call:
    """Run Snakemake in a folder, several times."""
    walls, cpus = [], []
    for _ in range(repeat):
        started, before = time.perf_counter(), os.times()
        result = subprocess.run(
            [sys.executable, "-m", "snakemake", *map(str, arguments)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        after = os.times()
        walls.append(time.perf_counter() - started)
        cpus.append(sum(after[2:4]) - sum(before[2:4]))  # of children, user and system
        if result.returncode:
            sys.exit(f"dag: Snakemake failed:\n{result.stdout[-4000:]}")
    return Call(statistics.median(walls), statistics.median(cpus), result.stdout)


def plan(folder: Path, *arguments: object, repeat: int) -> dict[str, float]:
    """Seconds of reading the rules, of the jobs and their order, and of both; how many jobs."""
    load = call(folder, "--list-rules", *arguments, repeat=repeat)
    whole = call(folder, "--dry-run", "--quiet", "rules", *arguments, repeat=repeat)
    return {
        "jobs": int(TOTAL.search(whole.said)[1]),
        "load": round(load.wall, 2),
        "plan": round(whole.wall - load.wall, 2),
        "total": round(whole.wall, 2),
        "cpu": round(whole.cpu, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--repeat", type=int, default=3, help="the median is shown")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/dag.json"))
    arguments = parser.parse_args()
    table = {}
    with tempfile.TemporaryDirectory() as scratch:
        ours, peer = Path(scratch) / "ours", Path(scratch) / "peer"
        ours.mkdir()
        peer.mkdir()
        for name in ("config", "resources"):  # what the paths of the default configuration mean
            (ours / name).symlink_to(ROOT / name)
        rules = ["--snakefile", ROOT / "Snakefile", *PROFILE]
        grids = {f"{runs} runs": (runs, ("sft",)) for runs in arguments.runs}
        most = max(arguments.runs)
        grids[f"{most} runs of two stages"] = (most, ("pt", "sft"))
        for name, (runs, stages) in grids.items():
            (ours / "grid.yaml").write_text(yaml.safe_dump(grid(runs, stages)), "utf-8")
            planned = plan(ours, *rules, "--configfile", "grid.yaml", repeat=arguments.repeat)
            table[name] = planned
            (peer / "Snakefile").write_text(empty_rules(planned["jobs"], runs), "utf-8")
            table[f"{name}, empty rules"] = plan(peer, repeat=arguments.repeat)
    here = call(ROOT, "--dry-run", repeat=arguments.repeat)
    if "Nothing to be done" in here.said:  # make run was here before
        again = {"jobs": 0, "total": round(here.wall, 2), "cpu": round(here.cpu, 2)}
        table["this folder, nothing to do"] = again
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"cores": os.cpu_count(), "seconds": table}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    columns = {
        "jobs": "jobs",
        "load": "load s",
        "plan": "plan s",
        "total": "total s",
        "cpu": "CPU s",
    }
    print(f"{'':36}" + "".join(f"{heading:>9}" for heading in columns.values()))
    for name, row in table.items():
        print(f"{name:36}" + "".join(f"{row.get(key, ''):>9}" for key in columns))


if __name__ == "__main__":
    main()
