"""Fail where a score does not keep to a gate of the configuration."""

import argparse
import json
import sys
from pathlib import Path

from report_gates import states
from report_inputs import InputError, read_json, read_run_scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inventory", type=Path, required=True, help="JSON: the runs and scores")
    parser.add_argument("--gates", type=json.loads, required=True, help="evaluation.gates as JSON")
    parser.add_argument("--first", required=True, help="the benchmark of a gate that names none")
    parser.add_argument("--report", required=True, help="the page that shows them")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(argv)
    try:
        runs = [
            {"name": run["name"], "scores": read_run_scores(run)}
            for run in read_json(options.inventory, ("runs",))["runs"]
        ]
        found = states(options.gates, options.first, runs)
    except InputError as error:
        sys.exit(f"gates: {error}")
    for state in found:
        print(state.sentence)
    if broken := [state.sentence for state in found if not state.holds]:
        sys.exit("\n".join([*(f"gates: {text}" for text in broken), f"See {options.report}."]))
    rows = [
        {"gate": state.gate.text, "run": state.run, "points": round(state.points, 4)}
        for state in found
    ]
    options.out.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
