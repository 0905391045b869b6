"""Runs the corpus stage on an embedded corpus, with what config.yaml says of cleaning and split."""

import csv
import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from corpus_files import ROOT, read_lines  # brings the scripts into sys.path

# isort: split
import clean
import conversations
import exports
import ingest
import ledger
import questions

CORPORA = ROOT / "resources" / "corpora"
RULES = {
    "max_question_chars": 500,
    "max_answer_chars": 2000,
    "near_duplicates": 0.8,
    "adverts": ["公众号"],
}
SEED = "42"
# in the order in which the ledger takes them
FILES = (
    *("train", "heldout", "recall", "heldout_mcq", "calibration"),
    *("heldout_preference", "heldout_pairs"),
)


@dataclass(frozen=True)
class Corpus:
    """What the stage has written.

    Attributes:
        folder: the files.
        ledger: ledger.json.
        rejected: (file's name, locator, reason) of each rejected row.
    """

    folder: Path
    ledger: dict
    rejected: set[tuple[str, str, str]]

    def lines(self, name: str) -> list[dict]:
        """Objects of a file of JSON lines."""
        return read_lines(self.folder / name)


def script(name: str):
    """make_corpus.py of an embedded corpus, as a module."""
    spec = importlib.util.spec_from_file_location(f"make_{name}", CORPORA / name / "make_corpus.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def check(name: str) -> int:
    """Exit status of make_corpus.py --check; it exits with a sentence where a file is old."""
    module = script(name)
    return module.run(module.build, CORPORA / name, "", ["--check"])


def bad_rows(name: str) -> set[tuple[str, str, str]]:
    """(file's name, locator, reason) of each deliberately bad row of an embedded corpus."""
    with (CORPORA / name / "bad_rows.tsv").open(encoding="utf-8", newline="") as file:
        return {
            (Path(row["file"]).name, row["locator"], row["reason"])
            for row in csv.DictReader(file, delimiter="\t")
        }


def make(
    folder: Path, sources: list[dict], heldout: float = 0.3, rules: dict | None = None
) -> Corpus:
    """Run the corpus stage; its ledger fails where sums do not agree or a question leaks.

    Args:
        folder: an empty one.
        sources: as in corpus.sources, with the paths of single files within resources/corpora.
        heldout: as corpus.split.heldout.
        rules: keys of corpus.clean that differ.
    """
    sources = [source | {"path": str(CORPORA / source["path"])} for source in sources]
    repeats = json.dumps({s["path"]: s["repeat"] for s in sources if "repeat" in s})
    read = [{key: s[key] for key in s if key != "repeat"} for s in sources]
    paths = {name: str(folder / f"{name}.jsonl") for name in FILES}
    rows, counts, rejected, found = (
        str(folder / name)
        for name in ("rows.parquet", "counts.json", "rejected.jsonl", "ledger.json")
    )
    records = ["--records", str(folder / "records.parquet")]
    system = [*records, "--system="]
    ingest.main(["--sources", json.dumps(read), "--seed", SEED, "--rows", rows, "--counts", counts])
    split = json.dumps({"heldout": heldout, "seed": int(SEED)})
    clean.main(
        [
            *(
                "--rows",
                rows,
                "--rules",
                json.dumps(RULES | (rules or {})),
                "--split",
                split,
                *records,
            ),
            *("--rejected", rejected, "--rejected-table", str(folder / "rejected.csv")),
        ]
    )
    conversations.main([*system, "--out", paths["train"], "--repeats", repeats])
    conversations.main([*system, "--out", paths["calibration"], "--sample", "64", "--seed", SEED])
    questions.main(
        [*records, "--seed", SEED, "--recall-size", "300"]
        + [
            part
            for name in ("heldout", "recall", "heldout_mcq", "heldout_preference")
            for part in (f"--{name.replace('_', '-')}", paths[name])
        ]
    )
    pairs = ["--format", "xtuner_preference", "--side", "heldout", "--out", paths["heldout_pairs"]]
    exports.main([*system, *pairs])
    ledger.main(
        [
            *("--counts", counts, *records, "--rejected", rejected, "--files", *paths.values()),
            *("--repeats", repeats, "--ledger", found),
        ]
    )
    return Corpus(
        folder,
        json.loads(Path(found).read_text(encoding="utf-8")),
        {(Path(r["source"]).name, r["locator"], r["reason"]) for r in read_lines(Path(rejected))},
    )
