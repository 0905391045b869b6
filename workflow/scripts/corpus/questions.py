"""Write the questions of the evaluation: held-out, recalled, and held-out with four options."""

import argparse
import sys
from pathlib import Path

from choices import multiple_choice
from conversations import sample, train_records
from files import read_parquet, write_jsonl


def to_question(record: dict) -> dict:
    """{"id", "question", "answer"} of a record with one turn of each side."""
    user, assistant = record["messages"]
    return {"id": record["id"], "question": user["content"], "answer": assistant["content"]}


def heldout_questions(records: Path) -> list[dict]:
    """The questions that are not trained on, in the order of the records."""
    columns = ["id", "messages", "split"]
    rows = read_parquet(records, columns)
    return [to_question(record) for record in rows if record["split"] == "heldout"]


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--recall-size", type=int, required=True, help="number of recalled ones")
    parser.add_argument("--heldout", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--recall", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--heldout-mcq", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--required", nargs="*", default=[], help="files that must not be empty")
    args = parser.parse_args(argv)
    heldout = heldout_questions(args.records)
    recalled = sample(train_records(args.records), args.recall_size, "recall", args.seed)
    written = {
        args.heldout: write_jsonl(args.heldout, heldout),
        args.recall: write_jsonl(args.recall, map(to_question, recalled)),
        args.heldout_mcq: write_jsonl(args.heldout_mcq, multiple_choice(heldout, args.seed)),
    }
    for path, number in written.items():
        print(f"{path}: {number:,} questions")
        if not number and path.stem in args.required:
            sys.exit(
                f"questions: the benchmark {path.stem} would have no questions. Add rows to "
                "corpus.sources (four options need four different held-out answers), raise "
                f"corpus.split.heldout, or take {path.stem} out of evaluation.benchmarks."
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
