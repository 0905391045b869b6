"""Question files are checked before anything is started."""

from pathlib import Path

import pytest
from conftest import mcq_rows, qa_rows, write_rows
from question_files import BenchmarkError, read_benchmark


def test_reads_questions_and_options(tmp_path: Path) -> None:
    qa = read_benchmark("heldout", write_rows(tmp_path / "heldout.jsonl", qa_rows()))
    assert (qa.kind, len(qa.questions), qa.long_answers) == ("qa", 10, False)
    assert qa.questions[0] == {"id": "q0", "answer": "巴黎", "question": "法国的首都是哪里？"}
    mcq = read_benchmark("mcq", write_rows(tmp_path / "mcq.jsonl", mcq_rows()))
    assert mcq.kind == "mcq"
    for row, question in zip(mcq_rows(), mcq.questions, strict=True):
        assert question == row


def test_rouge_only_where_the_median_answer_is_long(tmp_path: Path) -> None:
    rows = qa_rows(3)
    rows[0]["answer"] = rows[1]["answer"] = "长" * 21
    path = write_rows(tmp_path / "long.jsonl", rows)
    assert read_benchmark("long", path).long_answers
    rows[1]["answer"] = "长" * 20
    assert not read_benchmark("short", write_rows(path, rows)).long_answers


def test_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "q.jsonl", qa_rows(2))
    text = path.read_text(encoding="utf-8")
    path.write_text("\ufeff" + text.replace("\n", "\r\n\r\n"), encoding="utf-8", newline="")
    assert len(read_benchmark("q", path).questions) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "'question' is missing, empty"),
        ({"answer": None}, "'answer' is missing, empty"),
        ({"id": 7}, "'id' is missing, empty or not a text"),
        ({"id": "q0"}, "the id 'q0' occurs twice"),
        ({"answer": "E"}, "'E' is none of A, B, C, D"),
        ({"B": "巴黎", "C": "巴黎"}, "two options are the same"),
        ({"D": " "}, "'D' is missing, empty"),
        ({"E": "x"}, "has the options A, B, C, D, E, but the first question has the options A, B"),
        ({"system": ""}, "'system' is missing, empty or not a text"),
        ({"system": 7}, "'system' is missing, empty or not a text"),
    ],
)
def test_bad_rows_name_their_line(tmp_path: Path, change: dict, message: str) -> None:
    rows = mcq_rows(3)
    rows[1] |= change
    with pytest.raises(BenchmarkError, match=message) as error:
        read_benchmark("mcq", write_rows(tmp_path / "mcq.jsonl", rows))
    assert "line 2" in str(error.value)


def test_any_number_of_options_from_two_on(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "q", "A": "x", "B": "y", "answer": "B"},
        {"id": "b", "question": "q", "A": "y", "B": "x", "answer": "A", "system": "S"},
    ]
    pairs = read_benchmark("pairs", write_rows(tmp_path / "p.jsonl", rows))
    assert (pairs.kind, pairs.options, pairs.own_systems) == ("mcq", ("A", "B"), True)
    assert pairs.questions == rows
    five = [{**row, "E": "第五个"} for row in mcq_rows(3)]
    assert read_benchmark("five", write_rows(tmp_path / "f.jsonl", five)).options == tuple("ABCDE")
    plain = read_benchmark("qa", write_rows(tmp_path / "q.jsonl", qa_rows(2)))
    assert (plain.options, plain.own_systems) == ((), False)


def test_modes(tmp_path: Path) -> None:
    qa, mcq = (
        write_rows(tmp_path / f"{name}.jsonl", rows)
        for name, rows in (("qa", qa_rows()), ("mcq", mcq_rows()))
    )
    assert read_benchmark("b", qa).mode == "generation"
    assert read_benchmark("b", mcq).mode == "options"
    for mode in ("generation", "perplexity", "cloze"):
        assert read_benchmark("b", mcq, mode).mode == mode
    with pytest.raises(BenchmarkError, match="b: its answers are free texts, and the mode cloze"):
        read_benchmark("b", qa, "cloze")


def test_subjects_and_examples(tmp_path: Path) -> None:
    example, question = mcq_rows(2)
    row = {**question, "subject": "geography", "examples": [example]}
    benchmark = read_benchmark("b", write_rows(tmp_path / "b.jsonl", [row]), "generation")
    assert benchmark.questions == [{**question, "subject": "geography"}]
    assert benchmark.examples == {question["id"]: [example]}


@pytest.mark.parametrize("letters", ["A", "B", "ACD", "BC"])
def test_options_without_gaps(tmp_path: Path, letters: str) -> None:
    row = {"id": "a", "question": "q", "answer": letters[0]} | {each: each for each in letters}
    with pytest.raises(BenchmarkError, match="two or more, from A on without gaps"):
        read_benchmark("q", write_rows(tmp_path / "q.jsonl", [row]))


@pytest.mark.parametrize(
    ("text", "message"), [("", "no questions"), ("{", "line 1: not JSON"), ("[1]", "not an object")]
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        read_benchmark("q", path)
