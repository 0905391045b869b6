"""Run the overlays of config/domains, one after the other; what each took and how it scored.

make domains
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

# What is shown of a benchmark: the share of right answers, and of long answers the overlap.
SHOWN = ("exact_match", "rouge_l", "accuracy")


def scores(domain: str) -> list[dict]:
    """The rows of results/DOMAIN/*/scores.csv that have a metric of SHOWN."""
    found = []
    for path in sorted(Path("results", domain).glob("*/scores.csv")):
        with path.open(encoding="utf-8") as file:
            found += [row for row in csv.DictReader(file) if row["metric"] in SHOWN]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", default="all")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/domains.json"))
    parser.add_argument("overlays", nargs="*", type=Path, help="default: all of config/domains")
    arguments = parser.parse_args()
    measured = []
    for overlay in arguments.overlays or sorted(Path("config/domains").glob("*.yaml")):
        print(f"== {overlay}", flush=True)
        started = time.monotonic()
        command = ["snakemake", "--cores", arguments.cores, "--configfile", str(overlay)]
        status = subprocess.run(command).returncode
        domain = yaml.safe_load(overlay.read_text(encoding="utf-8"))["domain"]
        measured.append(
            {
                "domain": domain,
                "seconds": round(time.monotonic() - started, 1),
                "succeeded": status == 0,
                "scores": scores(domain),
            }
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, ensure_ascii=False, indent=1)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    for one in measured:
        state = "" if one["succeeded"] else ", FAILED"
        print(f"{one['domain']}: {one['seconds']:,.0f} s{state}")
        for row in one["scores"]:
            place = f"{row['run']} {row['variant']} {row['benchmark']} {row['metric']}"
            print(f"    {place}: {float(row['score']):.3f} (n={row['n']})")
    if not all(one["succeeded"] for one in measured):
        sys.exit("domains: not all overlays ran to their end; see logs/")


if __name__ == "__main__":
    main()
