"""Benchmarks in the layouts of C-Eval and CMMLU and as JSON lines; what training gives away."""

import json
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "workflow" / "scripts"
sys.path[:0] = [str(SCRIPTS / "evaluation"), str(SCRIPTS / "corpus")]

import local_benchmark
from files import RECORDS, ParquetWriter

CEVAL = "id,question,A,B,C,D,answer,explanation\n"
CMMLU = ",Question,A,B,C,D,Answer\n"
LONG = "下列关于宪法修改程序的说法之中符合我国现行宪法规定的是哪一项？"


def train(folder, *conversations):
    rows = [
        {"conversation": [{"system": "", "input": question, "output": answer}]}
        for question, answer in conversations
    ]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def texts(folder, *said):
    """A parquet file of records: texts to pre-train on."""
    path = folder / "records.parquet"
    with ParquetWriter(path, RECORDS) as writer:
        for number, text in enumerate(said):
            empty = {"messages": None, "chosen": None, "rejected": None, "options": None}
            names = {"id": f"{number:016x}", "group": f"{number:016x}", "source": "a"}
            row = {"kind": "text", "text": text, "split": "train", "locator": "1", "meta": "{}"}
            writer.write({**empty, **names, **row})
    return path


def read(tmp_path, files, examples=None, shots=0, mode="generation", trained=(), said=()):
    """What comes out of files of these contents: rows and summary."""
    folders = {"questions": files, "examples": examples or {}}
    paths = {}
    for kind, contents in folders.items():
        for name, content in contents.items():
            path = tmp_path / kind / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, "utf-8", newline="")
            paths.setdefault(kind, {})[path.stem] = str(path)
    out, summary = tmp_path / "exam.jsonl", tmp_path / "exam.json"
    options = {
        "name": "exam",
        "questions": json.dumps(paths["questions"]),
        "examples": json.dumps(paths.get("examples", {})),
        "shots": shots,
        "mode": mode,
        "train": train(tmp_path, *trained),
        "records": texts(tmp_path, *said),
        "out": out,
        "summary": summary,
    }
    local_benchmark.main([x for name, value in options.items() for x in (f"--{name}", str(value))])
    return [json.loads(line) for line in out.open(encoding="utf-8")], json.loads(
        summary.read_text()
    )


def test_ceval_with_examples(tmp_path):
    rows, summary = read(
        tmp_path,
        {
            "law.csv": "\ufeff"
            + CEVAL
            + '0,"问，\n题？",甲,乙,丙,丁,b,\r\n1,二？,甲,乙,丙,丁,D,\r\n',
            "art.csv": CEVAL + "0,三？,甲,乙,丙,丁,A,因为\n",
        },
        {
            "law.csv": CEVAL + "0,例？,子,丑,寅,卯,C,因为\n1,又？,子,丑,寅,卯,A,因为\n",
            "art.csv": CEVAL + "0,画？,子,丑,寅,卯,D,因为\n",
        },
        shots=1,
        mode="perplexity",
    )
    options = {"A": "甲", "B": "乙", "C": "丙", "D": "丁"}
    shown = {"question": "例？", "A": "子", "B": "丑", "C": "寅", "D": "卯", "answer": "C"}
    law = {"subject": "law", **options, "examples": [shown]}
    assert rows[0] == {"id": "law/0", "question": "问，\n题？", "answer": "B", **law}
    assert rows[1] == {"id": "law/1", "question": "二？", "answer": "D", **law}
    assert rows[2]["examples"][0]["question"] == "画？"
    assert summary == {
        "questions": 3,
        "subjects": {"law": 2, "art": 1},
        "options": 4,
        "shots": 1,
        "unusable": [],
        "given_away": [],
    }


def test_cmmlu_and_json_lines(tmp_path):
    rows, _ = read(tmp_path, {"law.csv": CMMLU + "0,一？,甲,乙,丙,丁,A\n1,二？,甲,乙,丙,丁,B\n"})
    assert [(row["id"], row["question"], row["answer"]) for row in rows] == [
        *(("law/0", "一？", "A"), ("law/1", "二？", "B")),
    ]
    lines = '{"question": "谁？", "answer": "他\u2028她"}\n\n'
    lines += '{"id": "x", "question": "哪？", "answer": "a"}\n'
    rows, _ = read(tmp_path, {"mine.jsonl": lines})
    assert [(row["id"], row["answer"]) for row in rows] == [
        ("mine/0", "他\u2028她"),
        ("mine/x", "a"),
    ]
    rows, _ = read(tmp_path, {"mine.jsonl": '{"question": "?", "A": "x", "B": "y", "answer": "a"}'})
    assert rows[0]["answer"] == "A"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_files_as_spreadsheets_write_them(tmp_path, encoding):
    """Full-width letters, blanks around the headings, empty rows, no ids, Chinese encodings."""
    path = tmp_path / "law.csv"
    path.write_bytes(
        "id, question,Ａ,Ｂ, answer \r\n,谁？,甲,乙,ｂ\r\n,,,,\r\n,哪？,丙,丁, Ａ\r\n".encode(
            encoding
        )
    )
    rows = local_benchmark.read_files({"law": path}, 0)[0]["law"]
    assert [(row["id"], row["question"], row["answer"]) for row in rows] == [
        *(("0", "谁？", "B"), ("1", "哪？", "A")),
    ]


def test_what_training_gives_away_is_not_asked(tmp_path):
    files = {
        "law.csv": CEVAL
        + f"0,{LONG},甲,乙,丙,丁,A,\n1,谁？,甲,乙,丙,丁,B,\n2,哪？,甲,乙,丙,丁,C,\n"
    }
    rows, summary = read(tmp_path, files)
    assert len(rows) == 3
    # asked in another notation, and contained
    rows, summary = read(tmp_path, files, trained=[("  哪 ?", "丙"), ("请看：" + LONG, "甲")])
    assert [row["id"] for row in rows] == ["law/1"]
    assert summary["given_away"] == ["law/0", "law/2"]
    rows, summary = read(tmp_path, files, said=["从前" + LONG + "后来"])
    assert summary["given_away"] == ["law/0"]
    # the wording of the same question about something else is no copy of it
    other = LONG.replace("宪法", "民法典")
    rows, summary = read(tmp_path, files, trained=[(other, "甲")])
    assert summary["given_away"] == []


def test_the_few_bad_rows_of_a_published_benchmark_are_counted(tmp_path):
    good = "".join(f"{number},{number}?,甲,乙,丙,丁,A,\n" for number in range(40))
    bad = "40,谁？,甲,甲,丙,丁,A,\n41,谁？,甲,乙,丙,,A,\n"
    rows, summary = read(tmp_path, {"law.csv": CEVAL + bad + good})
    assert [row["id"] for row in rows] == [f"law/{number}" for number in range(40)]
    assert [text.partition("law.csv, ")[2] for text in summary["unusable"]] == [
        "line 2: two options are the same",
        "line 3: 'D' is missing, empty or not a text",
    ]
    with pytest.raises(SystemExit, match=r"the same\. 4 of 43 questions cannot be asked; correct"):
        read(tmp_path, {"law.csv": CEVAL + bad + bad + good[:-1].rpartition("\n")[0] + "\n"})
    with pytest.raises(SystemExit, match="two options are the same"):
        read(tmp_path, {"law.csv": CEVAL + good}, {"law.csv": CEVAL + bad + good}, shots=1)


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="benchmark exam: training gives away all 1 questions"):
        read(tmp_path, {"a.csv": CEVAL + "0,谁？,甲,乙,丙,丁,A,\n"}, trained=[("谁？", "甲")])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "id,question,A,B,C,D\n0,谁？,甲,乙,丙,丁\n",
            "has no column answer .* split: val",
        ),
        ("a.csv", "题目,答案\n谁？,甲\n", "needs the columns question, A, B and so on"),
        (
            "a.csv",
            CEVAL + "0,谁？,甲,乙,丙,丁,E,\n",
            "line 2: the answer 'E' is none of A, B, C, D",
        ),
        ("a.csv", CEVAL + "0,谁？,甲,乙,甲,丁,B,\n", "line 2: two options are the same"),
        ("a.csv", CEVAL + "0,谁？,甲,乙,,丁,B,\n", "line 2: 'C' is missing, empty"),
        ("a.csv", CEVAL + "0,,甲,乙,丙,丁,B,\n", "line 2: 'question' is missing, empty"),
        ("a.csv", CEVAL + "0,谁？,甲,乙\n", "line 2: 'answer' is missing, empty"),
        ("a.csv", CEVAL, "no questions"),
        ("a.jsonl", "{", "line 1: not JSON"),
        ("a.jsonl", "[]", "line 1: not an object"),
        (
            "a.jsonl",
            '{"question": "?", "answer": 3}',
            "line 1: 'answer' is missing, empty or not a",
        ),
        ("a.jsonl", '{"question": "?", "A": "x", "answer": "A"}', "line 1: has the options A; it"),
        (
            "a.jsonl",
            '{"question": "?", "answer": "x"}\n'
            '{"question": "?", "A": "x", "B": "y", "answer": "A"}',
            "line 2: has the options A, B, but the first question has no options",
        ),
        (
            "a.jsonl",
            '{"id": "1", "question": "?", "answer": "x"}\n'
            '{"id": "1", "question": "!", "answer": "y"}',
            "a.jsonl, line 2: the id '1' occurs twice in a",
        ),
        ("a.jsonl", "", "questions/a.jsonl: no questions"),
        (
            "a.jsonl",
            '{"question": "?", "options": {"A": "x", "B": "y"}, "answer": "A"}',
            "line 1: write what is in 'options' as 'A', 'B' and so on, beside the question",
        ),
        (
            "a.jsonl",
            '{"question": "?", "choices": ["x", "y"], "answer": "x"}',
            "line 1: write what is in 'choices' as 'A', 'B'",
        ),
    ],
)
def test_broken_files(tmp_path, name, content, message):
    with pytest.raises(SystemExit, match=message) as stopped:
        read(tmp_path, {name: content})
    assert str(stopped.value).startswith("benchmark exam: ")


def test_free_answers_are_generated(tmp_path):
    with pytest.raises(SystemExit, match="take mode: generation"):
        read(tmp_path, {"a.jsonl": '{"question": "?", "answer": "x"}'}, mode="cloze")


def test_too_few_examples(tmp_path):
    files = {"a.csv": CEVAL + "0,谁？,甲,乙,丙,丁,A,\n"}
    with pytest.raises(SystemExit, match=r"a has 1 examples \(dev\), and shots: 2"):
        read(tmp_path, files, files, shots=2)


def test_another_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes((CEVAL + "0,谁？,甲,乙,丙,丁,A,\n").encode("utf-16"))
    with pytest.raises(local_benchmark.BenchmarkError, match="is neither UTF-8 nor GB18030"):
        list(local_benchmark.read_questions(path))
