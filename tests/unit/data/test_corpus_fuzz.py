"""Damaged files of each format end in rows, reasons or a message of one line, never otherwise.

corpus_fuzz.py does the damage, in a process of its own: a parser in C that fails takes its process
with it. Here with few cases; see there for many.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import corpus_fuzz as fuzz
import corpus_writers as make
import pytest

FORMATS = [
    *(".docx", ".xlsx", ".xls", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt", ".md"),
    *(".csv.gz", ".csv.zst", ".jsonl.gz", ".jsonl.zst", ".txt.gz", ".txt.zst"),
]
SOUND = [
    "安徽的省会是哪里？",
    "天安门在哪座城市？",
    "一年有几个季节？",
    "水的沸点是多少摄氏度？",
]


def run(*options: object) -> dict:
    """What corpus_fuzz.py reports."""
    command = [sys.executable, fuzz.__file__, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout, f"ended with status {done.returncode}: {done.stderr[-3000:]}"
    return json.loads(done.stdout)


def check(report: dict) -> None:
    failures = report["failures"]
    assert not failures, "\n".join(f"{each['case']} {each['error']}" for each in failures)
    assert report["memory"] < fuzz.MEMORY


def test_damaged_files_of_all_formats():
    report = run("--cases", 400, "--seed", 1)
    check(report)
    # the damage is neither always fatal nor always harmless
    ends = report["ends"]
    assert ends["refused"] > 20 and ends["rows"] > 20 and ends["whole stage"] > 5


def test_formats_of_the_tests_are_all_there(tmp_path):
    assert sorted(fuzz.seeds(tmp_path)) == sorted(FORMATS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_sound_files_are_read(tmp_path, suffix):
    for data in fuzz.seeds(tmp_path)[suffix]:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        rows = make.read_source(tmp_path / "out", {"path": str(path)})
        assert sum(row["reason"] is None for row in rows) > len(rows) / 2


@pytest.mark.parametrize("suffix", FORMATS)
def test_random_bytes(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rng = random.Random(suffix)
    for size in (1, 2, 3, 10, 100, 5_000, 200_000):
        path.write_bytes(rng.randbytes(size))
        try:
            rows = make.read_source(tmp_path / "out", {"path": str(path)})
        except make.Refused:
            continue
        # a few letters are a text
        assert suffix in (".txt", ".md") or all(row["reason"] for row in rows), rows


# ------------------------------------------------------------------------------------- the ledger


def mixed_rows(rng: random.Random, count: int) -> list[dict]:
    """Rows of all kinds, of which some say the same, contradict each other or say nothing."""
    rows = []
    for number in range(count):
        question = f"{rng.choice(SOUND)}第{rng.randrange(count)}题"
        answer = rng.choice(["合肥", "北京", "四个", "一百", "", " ", f"答案{number}", "长" * 2500])
        chat = make.Record("chat", (("user", question), ("assistant", answer)))
        options = (f"甲{number}", f"乙{number}", f"丙{number}")
        right = rng.choice(options)
        record = make.Record("choice", (("user", question), ("assistant", right)), options=options)
        prefer = make.Record(
            "preference", (("user", question),), (("assistant", "好"),), (("assistant", "坏"),)
        )
        rows.append(
            rng.choice(
                [
                    *(make.question_answer(chat), make.openai(chat), make.xtuner(chat)),
                    *(make.sharegpt(chat), make.alpaca(chat), make.choice_list(record)),
                    *(make.choice_columns(record), make.preference_texts(prefer)),
                    *({"text": f"{question}{answer}"}, {"field": question}),
                ]
            )
        )
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_sums_of_a_corpus_with_broken_rows(tmp_path, seed):
    rng = random.Random(seed)
    rows = mixed_rows(rng, 60)
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    # not the first, by which the reader tells lines from one JSON document
    for number in rng.sample(range(1, len(lines)), 15):
        change = rng.choice(fuzz.DAMAGE)
        # a line end more or less is a row more or less, which is not what is asked here
        lines[number] = change(rng, lines[number]).replace(b"\n", b" ").replace(b"\r", b" ") or b"{"
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(b"\n".join(lines))
    pairs = [make.question_answer(make.record_of(row)) for row in chats_of(rng)]
    table = make.write_csv(tmp_path / "table.csv", pairs)
    book = make.write_xlsx(tmp_path / "book.xlsx", pairs[:10])
    sources = [{"path": str(path)} for path in (broken, table, book)]
    rules = make.RULES | {
        "adverts": [rng.choice(["甲", "题$"])],
        "conflicting_answers": rng.choice(["reject", "keep"]),
        "near_duplicates": rng.choice([0.8, None]),
        "width": rng.choice(["keep", "half"]),
        "chinese": rng.choice(["keep", "simplified"]),
    }
    ledger = make.run_stage(tmp_path / "out", *sources, rules=rules)
    by_source = {Path(entry["source"]).name: entry for entry in ledger["sources"]}
    blank = sum(not line.strip() for line in lines)
    assert by_source["broken.jsonl"]["rows"] == len(lines) - blank
    assert by_source["table.csv"]["rows"] == len(pairs) and by_source["book.xlsx"]["rows"] == 10
    # the workbook repeats what the table says
    assert by_source["book.xlsx"]["kept"] == 0
    assert ledger["total"]["kept"] > 20


def test_multiple_choice_without_an_answer(tmp_path):
    pairs = [{"question": f"第{n}个问题是什么？", "answer": f"答{n}"} for n in range(5)]
    choices = [
        {"question": "甲是什么？", "options": ["赤", "青"], "answer": ""},
        {"question": "乙是什么？", "A": "赤", "B": "青", "answer": None},
        {"question": "", "A": "赤", "B": "青", "answer": "A"},
    ]
    path = make.write_jsonl(tmp_path / "a.jsonl", pairs + choices)
    ledger = make.run_stage(tmp_path / "out", {"path": str(path)})
    assert ledger["total"]["rejected"] == {"empty_answer": 2, "empty_question": 1}


def chats_of(rng: random.Random) -> list[dict]:
    """Rows of question and answer that stand for themselves."""
    letters = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子"
    for_each = ["".join(rng.choices(letters, k=14)) for _ in range(40)]
    return [
        {
            "kind": "chat",
            "messages": [
                {"role": "user", "content": f"{text}？"},
                {"role": "assistant", "content": f"回答{number}"},
            ],
            "chosen": None,
            "rejected": None,
            "text": None,
            "options": None,
        }
        for number, text in enumerate(for_each)
    ]
