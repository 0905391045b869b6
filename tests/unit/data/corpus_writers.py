"""Writes records in every format and shape the corpus stage reads, and runs its scripts.

The writers are those that people use (xlsxwriter, csv, json, pyarrow), or a few lines of their
own: nothing here shares code with the readers.
"""

import contextlib
import csv
import gzip
import io
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
import zstandard

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "workflow" / "scripts" / "corpus"
sys.path.insert(0, str(SCRIPTS))

import ingest

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RULES = {
    "max_question_chars": 500,
    "max_answer_chars": 2000,
    "min_question_chars": 1,
    "min_answer_chars": 1,
    "min_text_chars": 1,
    "adverts": [],
    "conflicting_answers": "reject",
    "near_duplicates": 0.8,
    "width": "keep",
    "chinese": "keep",
    "languages": [],
}


# ------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class Record:
    """What a row says, as the corpus stage has it after ingest."""

    kind: str
    messages: tuple[tuple[str, str], ...] = ()
    chosen: tuple[tuple[str, str], ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    options: tuple[str, ...] = ()

    def mapped(self, change) -> "Record":
        """The record with a function applied to each of its texts."""
        sides = (
            tuple((role, change(text)) for role, text in side)
            for side in (self.messages, self.chosen, self.rejected)
        )
        text = None if self.text is None else change(self.text)
        return Record(self.kind, *sides, text, tuple(change(option) for option in self.options))

    def texts(self) -> list[str]:
        """All texts of the record."""
        sides = (*self.messages, *self.chosen, *self.rejected)
        return [text for _, text in sides] + [self.text or "", *self.options]


def record_of(row: dict) -> Record:
    """The record in a row of rows.parquet or records.parquet."""
    sides = (
        tuple((message["role"], message["content"]) for message in row[name] or ())
        for name in ("messages", "chosen", "rejected")
    )
    return Record(row["kind"], *sides, row["text"], tuple(row["options"] or ()))


# -------------------------------------------------------------------------------------- shapes


def split_messages(record: Record) -> tuple[str, list[tuple[str, str]]]:
    """The system message, "" where there is none, and the turns as (user, assistant)."""
    messages = list(record.messages)
    system = messages.pop(0)[1] if messages[0][0] == "system" else ""
    said = [text for _, text in messages]
    return system, list(zip(said[::2], said[1::2], strict=True))


def xtuner(record: Record) -> dict:
    system, turns = split_messages(record)
    rows = [{"input": question, "output": answer} for question, answer in turns]
    rows[0] = {"system": system, **rows[0]}
    return {"conversation": rows}


def openai(record: Record) -> dict:
    return {"messages": [{"role": role, "content": text} for role, text in record.messages]}


def sharegpt(record: Record) -> dict:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    return {"conversations": [{"from": names[r], "value": text} for r, text in record.messages]}


def alpaca(record: Record) -> dict:
    system, turns = split_messages(record)
    question, answer = turns[-1]
    row = {"instruction": question, "input": "", "output": answer, "system": system}
    return row | ({"history": [list(turn) for turn in turns[:-1]]} if len(turns) > 1 else {})


def moss(record: Record) -> dict:
    system, turns = split_messages(record)
    chat = {
        f"turn_{number}": {
            "Human": f"<|Human|>: {question}<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
            "Commands": "<|Commands|>: None<eoc>\n",
            "Tool Responses": "<|Results|>: None<eor>\n",
            "MOSS": f"<|MOSS|>: {answer}<eom>\n",
        }
        for number, (question, answer) in enumerate(turns, start=1)
    }
    return {"meta_instruction": system, "num_turns": len(turns), "chat": chat}


def question_answer(record: Record, names: tuple[str, str] = ("question", "answer")) -> dict:
    system, turns = split_messages(record)
    (question, answer) = turns[0]
    return {names[0]: question, names[1]: answer} | ({"system": system} if system else {})


def chinese_pair(record: Record) -> dict:
    return question_answer(record, ("问题", "答案"))


def preference_texts(record: Record) -> dict:
    system, question = prompt_of(record)
    row = {"prompt": question, "chosen": record.chosen[0][1], "rejected": record.rejected[0][1]}
    return row | ({"system": system} if system else {})


def preference_lists(record: Record) -> dict:
    return {
        "prompt": [{"role": role, "content": text} for role, text in record.messages],
        "chosen": [{"role": role, "content": text} for role, text in record.chosen],
        "rejected": [{"role": role, "content": text} for role, text in record.rejected],
    }


def preference_repeated(record: Record) -> dict:
    """The prompt repeated in both answers, without a field of its own."""
    return {
        name: [{"role": role, "content": text} for role, text in (*record.messages, *side)]
        for name, side in (("chosen", record.chosen), ("rejected", record.rejected))
    }


def preference_sharegpt(record: Record) -> dict:
    system, question = prompt_of(record)
    first = [{"from": "system", "value": system}] if system else []
    return {
        "conversations": [*first, {"from": "human", "value": question}],
        "chosen": {"from": "gpt", "value": record.chosen[0][1]},
        "rejected": {"from": "gpt", "value": record.rejected[0][1]},
    }


def prompt_of(record: Record) -> tuple[str, str]:
    """System message, "" where there is none, and question of a preference."""
    return "" if len(record.messages) == 1 else record.messages[0][1], record.messages[-1][1]


def plain_text(record: Record) -> dict:
    return {"text": record.text}


def xtuner_text(record: Record) -> dict:
    return {"conversation": [{"system": "", "input": "", "output": record.text}]}


def choice_list(record: Record) -> dict:
    return {
        "question": record.messages[0][1],
        "options": list(record.options),
        "answer": letter(record),
    }


def choice_columns(record: Record) -> dict:
    columns = dict(zip("ABCDEFG", record.options, strict=False))
    return {"question": record.messages[0][1], **columns, "answer": letter(record)}


def choice_object(record: Record) -> dict:
    columns = dict(zip("ABCDEFG", record.options, strict=False))
    return {"question": record.messages[0][1], "options": columns, "answer": letter(record)}


def choice_labelled(record: Record) -> dict:
    options = [
        {"key": key, "value": text} for key, text in zip("ABCDEFG", record.options, strict=False)
    ]
    row = {"question": record.messages[0][1], "options": options, "answer_idx": letter(record)}
    return row | {"answer": record.messages[-1][1]}


def letter(record: Record) -> str:
    return "ABCDEFG"[record.options.index(record.messages[-1][1])]


# ------------------------------------------------------------------------------------- formats


def write_docx_pairs(path: Path, pairs: list[tuple[str, str]], arrow: str = "->") -> Path:
    """A Word document with a paragraph for each pair."""
    return write_docx_xml(path, "".join(paragraph(f"{q}{arrow}{a}") for q, a in pairs))


def write_docx_table(path: Path, rows: list[dict]) -> Path:
    """A Word document with one table: the names of the fields, and a row for each row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([row.get(name, "") for name in names] for row in rows)]
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in table)
    body = "".join(f"<w:tr>{row}</w:tr>" for row in cells)
    return write_docx_xml(path, f"<w:tbl>{body}</w:tbl><w:p/>")


def paragraph(text: str) -> str:
    """XML of a paragraph, as Word writes the line breaks and tabs of a text."""
    parts = escape(text).replace("\t", "</w:t><w:tab/><w:t>").replace("\n", "</w:t><w:br/><w:t>")
    run = f"<w:r><w:t>{parts}</w:t></w:r>".replace("<w:t>", '<w:t xml:space="preserve">')
    return f"<w:p>{run}</w:p>"


def write_docx_xml(path: Path, body: str, head: str = "") -> Path:
    """A Word document of the XML of its body."""
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<w:document xmlns:w="{WORD}">'
        f"<w:body>{body}</w:body></w:document>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", xml)
    return path


def write_xlsx(path: Path, rows: list[dict]) -> Path:
    """A workbook of one sheet; every cell is a text, also "=1+1" and "007"."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("题库")
        for down, row in enumerate([dict(zip(names, names, strict=True)), *rows]):
            for right, name in enumerate(names):
                sheet.write_string(down, right, row.get(name, ""))
    return path


def write_csv(
    path: Path,
    rows: list[dict],
    delimiter: str = ",",
    encoding: str = "utf-8",
    line_end: str = "\r\n",
    quoting: int = csv.QUOTE_MINIMAL,
) -> Path:
    """A table as text; what is no text is written as JSON, as tools that save rows do."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
        writer.writerow(names)
        for row in rows:
            writer.writerow([as_cell(row.get(name, "")) for name in names])
    return path


def as_cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_json(path: Path, value: object, indent: int | None = None, plain: bool = True) -> Path:
    """A JSON document; `plain` leaves characters beyond ASCII as they are."""
    text = json.dumps(value, ensure_ascii=not plain, indent=indent)
    path.write_text(text, encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: list[dict], plain: bool = True, line_end: str = "\n") -> Path:
    """JSON lines."""
    lines = (json.dumps(row, ensure_ascii=not plain) + line_end for row in rows)
    path.write_bytes("".join(lines).encode())
    return path


def write_parquet(path: Path, rows: list[dict]) -> Path:
    """A parquet file, whose lists and objects are those of Arrow."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    return path


def packed(path: Path, suffix: str) -> Path:
    """The file packed as its suffix says: "", ".gz" or ".zst"."""
    if not suffix:
        return path
    data = path.read_bytes()
    target = path.with_name(path.name + suffix)
    target.write_bytes(
        gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data)
    )
    return target


# --------------------------------------------------------------------------------- old workbooks


def write_xls(path: Path, rows: list[list[str | float]]) -> Path:
    """A workbook of the format before Office 2007 with one sheet of texts and numbers."""
    return write_ole(path, "Workbook", biff(rows))


def biff(rows: list[list[str | float]]) -> bytes:
    """A BIFF8 stream ([MS-XLS] 2.1) with one sheet."""

    def part(kind: int, data: bytes) -> bytes:
        return kind.to_bytes(2, "little") + len(data).to_bytes(2, "little") + data

    def number(value: int, size: int = 2) -> bytes:
        return value.to_bytes(size, "little")

    end = part(0x0A, b"")
    name = "Sheet1"
    head = part(0x809, bytes.fromhex("0006 0500 0000 0000 0000 0000 0000 0000".replace(" ", "")))
    place = len(head) + 4 + 8 + len(name) + len(end)
    sheet = part(0x85, number(place, 4) + b"\0\0" + bytes([len(name), 0]) + name.encode())
    book = head + sheet + end
    body = part(0x809, bytes.fromhex("00061000" + "00" * 12))
    width = max(map(len, rows), default=0)
    body += part(0x200, number(0, 4) + number(len(rows), 4) + number(0) + number(width) + b"\0\0")
    for down, row in enumerate(rows):
        for right, cell in enumerate(row):
            at = number(down) + number(right) + number(0)
            if isinstance(cell, str):
                text = cell.encode("utf-16-le")
                body += part(0x204, at + number(len(text) // 2) + b"\1" + text)
            else:
                body += part(0x203, at + struct.pack("<d", cell))
    return book + body + end


def write_ole(path: Path, name: str, data: bytes) -> Path:
    """A compound file ([MS-CFB]) that holds one stream of at least 4,096 bytes."""
    sector = 512
    data = data.ljust(4096, b"\0")
    count = -(-len(data) // sector)
    directory = count  # sector behind the data
    table = [*range(1, count), 0xFFFFFFFE, 0xFFFFFFFE]
    tables = -(-(len(table) + 1) // (sector // 4))
    tables = -(-(len(table) + tables) // (sector // 4))
    table += [0xFFFFFFFD] * tables
    table += [0xFFFFFFFF] * (tables * sector // 4 - len(table))

    def numbers(*values: int) -> bytes:
        return b"".join(value.to_bytes(4, "little") for value in values)

    def entry(title: str, kind: int, child: int, start: int, size: int) -> bytes:
        text = title.encode("utf-16-le") + b"\0\0"
        none = 0xFFFFFFFF
        return (
            text.ljust(64, b"\0")
            + len(text).to_bytes(2, "little")
            + bytes([kind, 1])
            + numbers(none, none, child)
            + bytes(36)
            + numbers(start, size, 0)
        )

    fats = [directory + 1 + index for index in range(tables)]
    head = (
        bytes.fromhex("d0cf11e0a1b11ae1" + "00" * 16 + "3e000300feff09000600" + "00" * 6)
        + numbers(0, tables, directory, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
        + numbers(*fats, *[0xFFFFFFFF] * (109 - tables))
    )
    entries = entry("Root Entry", 5, 1, 0xFFFFFFFE, 0) + entry(name, 2, 0xFFFFFFFF, 0, len(data))
    padded = data.ljust(count * sector, b"\0")
    path.write_bytes(head + padded + entries.ljust(sector, b"\0") + numbers(*table))
    return path


# ------------------------------------------------------------------------------------- running


class Refused(Exception):
    """A script ended with status 1 and a message."""


def call(main, *arguments: object) -> None:
    """Run the main function of a script in this process.

    Raises:
        Refused: it ended with a message of one line.
    """
    try:
        # what it reports of its work would bury the report of a failure
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(argument) for argument in arguments]) == 0
    except SystemExit as end:
        message = end.code
        assert isinstance(message, str), f"ended with {message!r} in place of a message"
        assert "\n" not in message and "Traceback" not in message, message
        assert len(message) < 2_000, f"a message of {len(message)} characters: {message[:400]}"
        raise Refused(message) from None


def read_source(folder: Path, *sources: dict) -> list[dict]:
    """Rows of sources after ingest.

    Raises:
        Refused: ingest ended with a message.
    """
    folder.mkdir(exist_ok=True)
    rows, counts = folder / "rows.parquet", folder / "ingest.json"
    call(ingest.main, "--sources", json.dumps(sources), "--rows", rows, "--counts", counts)
    return pq.read_table(rows).to_pylist()


# seconds, far above what any script takes
PATIENCE = 180


@dataclass
class Ended:
    """How a script ended that ran in a process of its own."""

    status: int
    message: str
    peak: int = 0  # bytes of memory
    output: str = field(default="", repr=False)


def run_script(script: Path, *arguments: object) -> Ended:
    """Run a script as the rules do, and measure it; a process that hangs is ended."""
    started = time.perf_counter()
    peak = 0
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # a mistake must not fill the disk: no file of more than 512 MiB
        shell = ["sh", "-c", 'ulimit -f 1048576; exec "$@"', "sh"]
        command = [*shell, sys.executable, str(script), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            if time.perf_counter() - started > PATIENCE:
                process.kill()
                process.wait()
            time.sleep(0.005)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Ended(process.returncode, texts[1].strip(), peak, texts[0])


def memory_of(pid: int) -> int:
    """Most memory that a process and its children have had; 0 once it has ended.

    The kernel's own account (getrusage) would count what this process had when it started them.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return (int(found[1]) * 1024 if found else 0) + sum(memory_of(int(child)) for child in children)


def run_ingest(folder: Path, *sources: dict, threads: int = 1) -> Ended:
    """Run ingest.py in a process of its own; its rows are in folder / "rows.parquet"."""
    return run_script(
        SCRIPTS / "ingest.py",
        *("--sources", json.dumps(sources), "--rows", folder / "rows.parquet"),
        *("--counts", folder / "ingest.json", "--threads", threads),
    )


REASONS = {
    *("malformed_row", "no_delimiter", "undecodable", "unknown_shape", "empty_question"),
    *("empty_answer", "empty_text", "advert", "too_short_question", "too_short_answer"),
    *("too_short_text", "too_long_question", "too_long_answer", "too_long_text", "language"),
    *("duplicate", "near_duplicate", "conflicting_answers", "contaminated", "deleted_in_review"),
}


def run_stage(folder: Path, *sources: dict, rules: dict = RULES, heldout: float = 0.3) -> dict:
    """Run the scripts of the stage in this process and account for every row once more.

    Returns:
        The ledger.

    Raises:
        Refused: ingest or clean ended with a message; the others have no reason to.
    """
    import clean
    import conversations
    import exports
    import ledger
    import questions

    rows = read_source(folder, *sources)
    records, rejected = folder / "records.parquet", folder / "rejected.jsonl"
    call(
        clean.main,
        *("--rows", folder / "rows.parquet", "--rules", json.dumps(rules)),
        *("--split", json.dumps({"heldout": heldout, "seed": 1})),
        *("--records", records, "--rejected", rejected),
        *("--rejected-table", folder / "rejected.csv"),
    )
    names = ("train", "heldout", "recall", "heldout_mcq", "calibration")
    train, asked, recall, choice, sample = (folder / f"{name}.jsonl" for name in names)
    preference, pairs = folder / "heldout_preference.jsonl", folder / "heldout_pairs.jsonl"
    try:
        chat = ("--records", records, "--system=")
        call(conversations.main, *chat, "--out", train)
        call(conversations.main, *chat, "--out", sample, "--sample", 4, "--seed", 1)
        call(
            questions.main,
            *("--records", records, "--seed", 1, "--recall-size", 5, "--heldout", asked),
            *("--recall", recall, "--heldout-mcq", choice, "--heldout-preference", preference),
        )
        call(
            exports.main,
            *(*chat, "--format", "xtuner_preference", "--side", "heldout", "--out", pairs),
        )
        call(
            ledger.main,
            *("--counts", folder / "ingest.json", "--records", records, "--rejected", rejected),
            *("--files", train, asked, recall, choice, sample, preference, pairs),
            *("--ledger", folder / "ledger.json"),
        )
    except Refused as error:
        raise AssertionError(f"refused what clean.py has passed on: {error}") from error
    result = json.loads((folder / "ledger.json").read_text(encoding="utf-8"))
    check_sums(rows, pq.read_table(records).to_pylist(), folder, result)
    return result


def check_sums(rows: list[dict], records: list[dict], folder: Path, ledger: dict) -> None:
    """Every row that was read is a record or rejected, once, with a reason and as it was."""
    lines = (folder / "rejected.jsonl").read_text(encoding="utf-8").split("\n")
    rejected = [json.loads(line) for line in lines if line]
    assert {row["reason"] for row in rejected} <= REASONS
    places = Counter((row["source"], row["locator"]) for row in rows)
    assert places == Counter((row["source"], row["locator"]) for row in (*records, *rejected))
    originals = Counter((row["source"], row["original"]) for row in rows)
    assert not Counter((row["source"], row["original"]) for row in rejected) - originals
    with (folder / "rejected.csv").open(encoding="utf-8-sig", newline="") as file:
        csv.field_size_limit(2**30)
        assert sum(1 for _ in csv.reader(file)) == len(rejected) + 1
    total = ledger["total"]
    assert total["rows"] == len(rows) and total["kept"] == len(records)
    assert sum(total["rejected"].values()) == len(rejected)
