"""One table and one chart of all runs: what differs between them, and what each scored."""

import argparse
import sys
from pathlib import Path

import report_charts as charts
from report_comparison import final_scores, ranking, write_table
from report_inputs import InputError, read_json, read_run_scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inventory", type=Path, required=True, help="JSON: the runs and their files"
    )
    parser.add_argument("--comparison", type=Path, required=True, help="CSV file to write")
    parser.add_argument("--chart", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args(argv)
    try:
        runs = read_json(options.inventory, ("runs",))["runs"]
        scores = [score for run in runs for score in read_run_scores(run)]
        benchmarks = final_scores(runs, scores)
    except InputError as error:
        sys.exit(f"compare_runs: {error}")
    chart = charts.comparison(benchmarks, ranking(benchmarks))
    write_table(runs, scores, options.comparison)
    options.chart.write_text(charts.standalone(chart), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
