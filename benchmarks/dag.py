"""How long Snakemake takes to plan many runs of this workflow, beside rules that do nothing.

    make bench-dag           (a minute on two cores)

A grid of runs with two stages each, five variants and all benchmarks is planned by a dry run in an
empty folder; nothing is computed. The peer is a workflow of as many jobs, each with one input, one
output and no function: what Snakemake itself takes.
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
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ["--workflow-profile", str(ROOT / "profiles" / "default")]
# of Snakemake's summary of a dry run
TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)


def grid(runs: int) -> dict:
    """An overlay of many runs: five variants, because of the model between two stages."""
    default = yaml.safe_load((ROOT / "config" / "config.yaml").read_text("utf-8"))
    benchmarks = [*default["evaluation"]["benchmarks"], "heldout_preference"]
    return {
        "runs": {
            "tiny-qlora": None,
            "grid": {
                "base_model": "tiny",
                "stages": [{"method": "pt"}, {"method": "sft"}],
                "matrix": {"training.learning_rate": [(i + 1) / 1e6 for i in range(runs)]},
            },
        },
        "evaluation": {"benchmarks": list(dict.fromkeys(benchmarks))},
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


def seconds(folder: Path, *arguments: object, repeat: int) -> tuple[float, str]:
    """The median time of a call of Snakemake, and what the last one said."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        result = subprocess.run(
            [sys.executable, "-m", "snakemake", *map(str, arguments)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        times.append(time.perf_counter() - started)
        if result.returncode:
            sys.exit(f"dag: Snakemake failed:\n{result.stdout[-4000:]}")
    return statistics.median(times), result.stdout


def plan(folder: Path, *arguments: object, repeat: int) -> dict[str, float]:
    """Seconds of reading the rules, of the jobs and their order, and of both; how many jobs."""
    load, _ = seconds(folder, "--list-rules", *arguments, repeat=repeat)
    total, said = seconds(folder, "--dry-run", "--quiet", "rules", *arguments, repeat=repeat)
    found = TOTAL.search(said)
    return {
        "jobs": int(found[1]) if found else 0,
        "load": round(load, 2),
        "plan": round(total - load, 2),
        "total": round(total, 2),
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
        for runs in arguments.runs:
            (ours / "grid.yaml").write_text(yaml.safe_dump(grid(runs)), "utf-8")
            planned = plan(ours, *rules, "--configfile", "grid.yaml", repeat=arguments.repeat)
            table[f"{runs} runs"] = planned
            (peer / "Snakefile").write_text(empty_rules(planned["jobs"], runs), "utf-8")
            table[f"{runs} runs, empty rules"] = plan(peer, repeat=arguments.repeat)
    # what is left to do here decides whether this is a rerun of nothing
    here, said = seconds(ROOT, "--dry-run", repeat=arguments.repeat)
    if "Nothing to be done" in said:
        table["this folder, nothing to do"] = {"jobs": 0, "total": round(here, 2)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    result = {"cores": os.cpu_count(), "seconds": table}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{'':34}{'jobs':>8}{'load s':>8}{'plan s':>8}{'total s':>8}")
    for name, row in table.items():
        print(
            f"{name:34}"
            + "".join(f"{row.get(key, ''):>8}" for key in ("jobs", "load", "plan", "total"))
        )


if __name__ == "__main__":
    main()
