"""Makes files of rows as ingest.py writes them, and runs the rest of the corpus stage on them."""

import json
from pathlib import Path

import clean
import conversations
import corpus_files as make
import exports
import ingest
import ledger
import pyarrow as pa
import pyarrow.parquet as pq
import questions
from files import ROWS, ParquetWriter, write_json

RULES = {"max_question_chars": 50, "max_answer_chars": 5000, "adverts": ["公众号"]}


def row(locator: int | str, **fields: object) -> dict:
    """A row of the source "a"; fields are columns of files.ROWS."""
    base = dict.fromkeys(ROWS.names)
    where = locator if isinstance(locator, str) else f"line {locator}"
    return {**base, "source": "a", "locator": where, "original": f"original of {where}"} | fields


def messages(*texts: str, system: str | None = None) -> list[dict]:
    """Messages of a user and an assistant in turn."""
    first = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    return first + [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


def chat(locator: int | str, *texts: str, system: str | None = None, **fields: object) -> dict:
    """A conversation."""
    return row(locator, kind="chat", messages=messages(*texts, system=system), **fields)


def choice(locator: int | str, asked: str, options: list[str], right: str, **fields) -> dict:
    """A multiple-choice question."""
    said = messages(asked, right)
    return row(locator, kind="choice", messages=said, options=options, **fields)


def chats(pairs: list[tuple[str, str]], first: int = 1) -> list[dict]:
    """One conversation for each question and answer, on lines 1, 2, ..."""
    return [chat(number, *pair) for number, pair in enumerate(pairs, first)]


def capitals(number: int, start: int = 0) -> list[tuple[str, str]]:
    """Three questions about each of so many made-up countries."""
    forms = ("{}的首都是哪里？", "请问{}的首都叫什么？", "哪座城市是{}的首都？")
    return [(form.format(f"国{n}"), f"城{n:04}") for n in range(start, number) for form in forms]


def write_rows(path: Path, rows: list[dict], group: int | None = None) -> Path:
    """A parquet file of rows, in row groups of so many."""
    if group:
        table = pa.Table.from_pylist(rows, schema=ROWS)
        pq.write_table(table, path, row_group_size=group)
        return path
    with ParquetWriter(path, ROWS) as writer:
        for content in rows:
            writer.write(content)
    return path


class Cleaned:
    """clean.py and what follows, on rows."""

    def __init__(
        self, folder: Path, rows: list[dict], against: list[dict] | None = None, **options
    ):
        """Run clean.py.

        Args:
            folder: of the results.
            rows: what was read.
            against: rows of benchmarks.
            options: heldout, seed, threads, group (rows in a row group), and entries of rules.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.rows = folder, rows
        split = {"heldout": options.pop("heldout", 0.3), "seed": options.pop("seed", 42)}
        threads, group = options.pop("threads", 1), options.pop("group", None)
        self.against = write_rows(folder / "against.parquet", against) if against else None
        clean.main(
            [
                *("--rows", str(write_rows(folder / "rows.parquet", rows, group))),
                *("--rules", json.dumps(RULES | options), "--split", json.dumps(split)),
                *(("--against", str(self.against)) if against else ("--against",)),
                *("--records", str(folder / "records.parquet")),
                *("--rejected", str(folder / "rejected.jsonl")),
                *("--rejected-table", str(folder / "rejected.csv"), "--threads", str(threads)),
            ]
        )
        self.records = pq.read_table(folder / "records.parquet").to_pylist()
        self.rejected = make.read_lines(folder / "rejected.jsonl")

    @property
    def reasons(self) -> dict[str, str]:
        """Reason of each rejected row by its locator."""
        return {line["locator"]: line["reason"] for line in self.rejected}

    @property
    def details(self) -> dict[str, str]:
        """Detail of each rejected row by its locator."""
        return {line["locator"]: line["detail"] for line in self.rejected}

    @property
    def sides(self) -> dict[str, str]:
        """Side of each record by its locator."""
        return {record["locator"]: record["split"] for record in self.records}

    def export(self, repeats: dict | None = None) -> None:
        """Write the files of training and evaluation."""
        records = ["--records", str(self.folder / "records.parquet")]
        chat_options = [*records, "--system="]
        paths = {name: str(self.folder / f"{name}.jsonl") for name in NAMES}
        again = ["--repeats", json.dumps(repeats or {})]
        conversations.main([*chat_options, "--out", paths["train"], *again])
        sampled = ["--sample", "5", "--seed", "1", "--out", paths["calibration"]]
        conversations.main([*chat_options, *sampled])
        questions.main(
            [
                *(*records, "--seed", "1", "--recall-size", "5", "--heldout", paths["heldout"]),
                *("--recall", paths["recall"], "--heldout-mcq", paths["heldout_mcq"]),
                *("--heldout-preference", paths["heldout_preference"]),
            ]
        )
        pairs = ["--format", "xtuner_preference", "--side", "heldout"]
        exports.main([*chat_options, *pairs, "--out", paths["heldout_pairs"]])

    def ledger(self, counts: dict | None = None, repeats: dict | None = None) -> dict:
        """Run ledger.py and return what it has written."""
        sources = {}
        for content in self.rows:
            entry = dict.fromkeys(ingest.COUNTED, 0) | {"source": content["source"]}
            sources.setdefault(content["source"], entry)["rows"] += 1
        counts = counts or {"sources": list(sources.values()), "review": None}
        write_json(self.folder / "counts.json", counts)
        ledger.main(
            [
                *("--counts", str(self.folder / "counts.json")),
                *("--records", str(self.folder / "records.parquet")),
                *("--rejected", str(self.folder / "rejected.jsonl")),
                *(("--against", str(self.against)) if self.against else ("--against",)),
                *("--files", *(str(self.folder / f"{name}.jsonl") for name in NAMES)),
                *("--repeats", json.dumps(repeats or {})),
                *("--ledger", str(self.folder / "ledger.json")),
            ]
        )
        return json.loads((self.folder / "ledger.json").read_text(encoding="utf-8"))


NAMES = ("train", "heldout", "recall", "heldout_mcq", "calibration")
NAMES += ("heldout_preference", "heldout_pairs")
