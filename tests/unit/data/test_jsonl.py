"""The reader of JSON lines."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

from readers import SourceError, jsonl, open_source

SHARED = ROOT.parent / "shared" / "data"
FILES = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(*values: object) -> str:
    """JSON lines of values."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def read(path: Path, **options: str):
    """Reader and entries of a file."""
    reader = open_source({"path": str(path), **options})
    return reader, list(reader)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# traditional characters, which Big5, GB18030 and Unicode all have
PAIRS = [
    {"question": f"這是第{n}個問題，答案是甚麼？", "answer": f"答案是{n}，我們都知道。"}
    for n in range(30)
]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16", "utf-16-le", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_encoding_gives_the_same_entries(tmp_path, encoding, end, packed):
    text = lines(*PAIRS)
    data = text.replace("\n", end).encode(encoding)
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    reader, entries = read(write(path, gzip.compress(data) if packed else data))
    assert [entry.value for entry in entries] == PAIRS
    assert [entry.original for entry in entries] == text.splitlines()
    assert [entry.locator for entry in entries] == [f"line {n}" for n in range(1, 31)]
    assert reader.blank == 0 and reader.facts["encoding"]


def test_blank_lines_are_counted_and_the_last_line_needs_no_end(tmp_path):
    reader, entries = read(write(tmp_path / "a.jsonl", '\n{"a": 1}\r\n \r\n\n{"a": 2}'))
    assert [(entry.locator, entry.value) for entry in entries] == [
        ("line 2", {"a": 1}),
        ("line 5", {"a": 2}),
    ]
    assert reader.blank == 3


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path):
    value = {"a": "甲\u2028乙\u0085丙\x0b"}
    _, entries = read(write(tmp_path / "a.jsonl", lines(value)))
    assert [entry.value for entry in entries] == [value]


BROKEN = [
    ('{"a": 1', "broken JSON"),
    ("{'a': 1}", "broken JSON"),
    ('{"a": 1} {"a": 2}', "broken JSON"),
    ("plain text", "broken JSON"),
    ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
    ('{"a": ' + "9" * 5000 + "e}", "broken JSON"),
]


@pytest.mark.parametrize("line, detail", BROKEN)
def test_a_broken_line_is_an_entry_with_a_reason(tmp_path, line, detail):
    _, entries = read(write(tmp_path / "a.jsonl", f'{{"a": 0}}\n{line}\n{{"a": 2}}\n'))
    assert [entry.value for entry in entries] == [{"a": 0}, None, {"a": 2}]
    assert entries[1].locator == "line 2" and entries[1].original == line
    assert entries[1].reason == "malformed_row" and detail in entries[1].detail


def test_what_python_writes_for_no_number_is_read(tmp_path):
    _, entries = read(write(tmp_path / "a.jsonl", '{"a": NaN, "b": "x"}\n'))
    assert entries[0].reason is None and entries[0].value["b"] == "x"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_bytes_that_are_no_characters_reject_their_line_only(tmp_path, encoding):
    data = lines(*PAIRS).encode(encoding).split(b"\n")
    data[3] = data[3][:-4] + b"\xff\xff" + data[3][-4:]
    _, entries = read(write(tmp_path / "a.jsonl", b"\n".join(data)))
    reasons = {entry.locator: entry.reason for entry in entries if entry.reason}
    assert reasons == {"line 4": "undecodable"}
    assert "\\xff\\xff" in entries[3].original
    assert [e.value for e in entries if not e.reason] == PAIRS[:3] + PAIRS[4:]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_an_array_under_this_name_is_read_as_one(tmp_path, indent, encoding):
    text = json.dumps(PAIRS, ensure_ascii=False, indent=indent)
    reader, entries = read(write(tmp_path / "a.jsonl", text.encode(encoding)))
    assert [entry.value for entry in entries] == PAIRS
    assert entries[2].locator == "item 3"
    assert reader.facts["encoding"]


def test_an_indented_object_of_arrays_under_this_name_is_read_as_one(tmp_path):
    text = json.dumps({"data": PAIRS}, ensure_ascii=False, indent=1)
    _, entries = read(write(tmp_path / "a.jsonl", text))
    assert [entry.value for entry in entries] == PAIRS


def test_lines_that_are_lists_are_lines(tmp_path):
    turns = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
    _, entries = read(write(tmp_path / "a.jsonl", lines(turns, turns)))
    assert [(entry.locator, entry.value) for entry in entries] == [
        ("line 1", turns),
        ("line 2", turns),
    ]


class Counted:
    """A stream without end that counts what is read of it."""

    def __init__(self):
        self.read_bytes = 0

    def read(self, size: int) -> bytes:
        self.read_bytes += size
        return b"x" * size


def test_a_line_that_is_too_long_is_refused_before_it_is_read_whole(tmp_path, monkeypatch):
    stream = Counted()
    with pytest.raises(SourceError, match=r"x\.jsonl: line 1: is longer than 64 million"):
        list(jsonl.blocks(stream, Path("x.jsonl")))
    assert stream.read_bytes < jsonl.MAX_LINE + 2 * jsonl.BLOCK

    monkeypatch.setattr(jsonl, "MAX_LINE", 1000)
    monkeypatch.setattr(jsonl, "BLOCK", 100)
    path = write(tmp_path / "a.jsonl", lines({"a": "x" * 900}, {"a": 2}, {"a": "x" * 1200}))
    with pytest.raises(SourceError, match="line 3: is longer than"):
        read(path)


@FILES
@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=30) | st.integers(-9, 9), max_size=3)
    ),
    st.integers(1, 200),
)
def test_records_come_back_whatever_the_size_of_blocks(tmp_path, monkeypatch, records, size):
    monkeypatch.setattr(jsonl, "BLOCK", size)
    data = lines(*records)
    path = write(tmp_path / "a.jsonl", data.encode("utf-8", "surrogatepass"))
    if not data.isascii():
        # detection has to see enough text, which is not what this test is about
        _, entries = read(path, encoding="utf-8")
    else:
        _, entries = read(path)
    assert [entry.value for entry in entries] == records
    assert [entry.locator for entry in entries] == [f"line {n + 1}" for n in range(len(records))]


@FILES
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=20))
def test_a_damaged_file_loses_no_line(tmp_path, changes):
    data = bytearray(lines(*PAIRS).encode())
    for place, byte in changes:
        if data[place % len(data)] != 10 and byte != 10 and place % len(data) > 200:
            data[place % len(data)] = byte
    reader, entries = read(write(tmp_path / "a.jsonl", bytes(data)), encoding="utf-8")
    assert len(entries) + reader.blank == 30
    assert all((entry.reason is None) == (entry.value is not None) for entry in entries)


@pytest.mark.parametrize(
    "name", ["sft/medical_sft_1K_format.jsonl", "sft/sharegpt_zh_1K_format.jsonl"]
)
def test_real_files(name):
    path = SHARED / "medicalgpt" / name
    if not path.exists():
        pytest.skip("the real data is not there")
    _, entries = read(path)
    with path.open(encoding="utf-8") as file:
        expected = [json.loads(line) for line in file if line.strip()]
    assert [entry.value for entry in entries] == expected
    assert all(entry.reason is None for entry in entries)
