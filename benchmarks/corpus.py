"""From a dump of recipes to train.jsonl: ours beside a tutorial's script, datasets and the floors.

    python benchmarks/corpus.py [--rows 200000] [--json FILE] [--only ours ...]

The dump is made up by recipes.py, the same every time, and read by all from the page cache. Ours
is measured as it runs: three programs, started by their command lines, with the rules of
config/config.yaml; it also finds duplicates, splits and accounts for every row, which the others
do not. Seconds include the start of Python; memory is that of a program and all its children, what
they share counted once (PSS).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts" / "corpus"
BASELINES = ROOT / "benchmarks" / "corpus_baselines.py"
# Environment of each of the ways in corpus_baselines.py.
OTHERS = {
    "tutorial": "data",
    "datasets": "xtuner",
    "read": "data",
    "orjson_parse": "data",
    "orjson_parse_2": "data",
    "pyarrow_parse": "data",
}
SOURCE = {
    "question": "{name}怎么做？",
    "answer": "用料：\n{recipeIngredient|lines}\n做法：\n{recipeInstructions|numbered}",
}
SECONDS_BETWEEN_SAMPLES = 0.1


@dataclass
class Measured:
    """What a program has taken."""

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float


def python_of(environment: str) -> str:
    """The interpreter of one of envs/*.yaml."""
    shell = ROOT / "workflow" / "envshell" / environment / "bash"
    variables = os.environ | {"FINETUNE_RUNNER_PYTHON": sys.executable}
    command = [shell, "-c", "command -v python"]
    return subprocess.check_output(command, env=variables, text=True).strip()


def measure(name: str, command: list[str], folder: Path) -> Measured:
    """Run a program to its end.

    Raises:
        SystemExit: it failed.
    """
    variables = os.environ | {"PYTHONNOUSERSITE": "1", "HF_HOME": str(folder / "hf")}
    variables |= {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""}
    with (folder / "log.txt").open("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
        peak = [0.0]
        ended = threading.Event()
        sampler = threading.Thread(target=_sample, args=(process.pid, peak, ended))
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        sampler.join()
        if process.returncode:
            log.seek(0)
            sys.exit(f"{name} failed:\n{log.read()[-3000:]}")
    # the largest of the processes, where one was too short-lived to be sampled
    peak_mb = max(peak[0], usage.ru_maxrss * 1024) / 1e6
    return Measured(name, wall, usage.ru_utime + usage.ru_stime, peak_mb)


def _sample(pid: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(SECONDS_BETWEEN_SAMPLES):
        total = 0
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # one of them has just ended
        peak[0] = max(peak[0], total)


def clean_rules() -> dict:
    """corpus.clean of config/config.yaml, with the schema's defaults."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    rules = schema["properties"]["corpus"]["properties"]["clean"]["properties"]
    defaults = {name: rule["default"] for name, rule in rules.items() if "default" in rule}
    return defaults | config["corpus"]["clean"]


def our_commands(python: str, dump: Path, folder: Path, threads: int) -> dict[str, list[str]]:
    """The programs between the dump and train.jsonl, as the rules call them."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
    split = {name: config["corpus"]["split"][name] for name in ("heldout", "seed")}
    rows, records = str(folder / "rows.parquet"), str(folder / "records.parquet")
    rejected = str(folder / "rejected.jsonl")
    arguments = {
        "ingest": [
            *("--sources", json.dumps([{"path": str(dump), **SOURCE}])),
            *("--rows", rows, "--counts", str(folder / "ingest.json")),
            *("--threads", str(threads)),
        ],
        "clean": [
            *("--rows", rows, "--rules", json.dumps(clean_rules()), "--split", json.dumps(split)),
            *("--records", records, "--rejected", rejected),
            *("--rejected-table", str(folder / "rejected.csv"), "--threads", str(threads)),
        ],
        "conversations": [
            *("--records", records, "--system=", "--out", str(folder / "train.jsonl")),
            *("--threads", str(threads)),
        ],
    }
    return {
        name: [python, str(SCRIPTS / f"{name}.py"), *options] for name, options in arguments.items()
    }


def table(results: list[Measured], size: int) -> str:
    """The results as text; ratios of wall time, above 1 where ours is faster."""
    walls = {result.name: result.wall_s for result in results}
    lines = [f"{'':16}{'wall s':>9}{'CPU s':>9}{'MB/s':>9}{'peak MB':>9}{'ours is x faster':>18}"]
    for result in results:
        ratio = f"{result.wall_s / walls['ours']:.2f}" if "ours" in walls else ""
        lines.append(
            f"{result.name:16}{result.wall_s:9.2f}{result.cpu_s:9.2f}"
            f"{size / result.wall_s / 1e6:9.1f}{result.peak_mb:9.0f}{ratio:>18}"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of ours")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--only", nargs="+", choices=[*OTHERS, "ours"], default=[*OTHERS, "ours"])
    args = parser.parse_args()
    pythons = {name: python_of(name) for name in ("data", "xtuner")}
    folder = Path(tempfile.mkdtemp(prefix="corpus-benchmark-"))
    try:
        dump = folder / "recipes.jsonl"
        recipes = ROOT / "benchmarks" / "recipes.py"
        subprocess.run([pythons["data"], recipes, dump, str(args.rows)], check=True)
        size = dump.stat().st_size
        print(f"{args.rows:,} recipes, {size / 1e6:,.0f} MB, {os.cpu_count()} cores", flush=True)

        results = []
        for name in args.only:
            if name == "ours":
                commands = our_commands(pythons["data"], dump, folder, args.threads)
                steps = [measure(step, line, folder) for step, line in commands.items()]
                total = Measured("ours", *(sum(getattr(s, k) for s in steps) for k in TIMES), 0)
                total.peak_mb = max(step.peak_mb for step in steps)
                results += [*steps, total]
                continue
            command = [pythons[OTHERS[name]], str(BASELINES), name, str(dump)]
            results.append(measure(name, [*command, str(folder / f"{name}.json")], folder))
        print(table(results, size), flush=True)
        if {"ours", "tutorial"} <= set(args.only):
            check = [pythons["data"], str(BASELINES), "check", str(dump), str(folder)]
            subprocess.run(check, check=True)
    finally:
        shutil.rmtree(folder)
    if args.json:
        about = {"rows": args.rows, "bytes": size, "cores": os.cpu_count()}
        about |= {"machine": platform.machine(), "threads": args.threads}
        report = {**about, "results": [asdict(result) for result in results]}
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


TIMES = ("wall_s", "cpu_s")

if __name__ == "__main__":
    main()
