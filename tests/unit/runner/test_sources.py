"""Folders, patterns and options of the sources, before any job starts."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "config"))

import sources
from sources import SourceMistake


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder as a team would have it, with what office programs leave there."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("a.docx", "b/c.jsonl.gz", "b/题库 1.xlsx", "b/d/e.csv"),
        *("~$a.docx", ".DS_Store", "b/.hidden.csv", "Thumbs.db"),
    ):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def paths(source):
    return [entry["path"] for entry in sources.files_of(source)]


def test_a_folder_stands_for_its_files(data):
    assert paths({"path": "data"}) == [
        *("data/a.docx", "data/b/c.jsonl.gz", "data/b/d/e.csv", "data/b/题库 1.xlsx"),
    ]


def test_a_pattern_stands_for_what_matches(data):
    assert paths({"path": "data/**/*.csv"}) == ["data/b/d/e.csv"]
    assert paths({"path": "data/*/*.xlsx"}) == ["data/b/题库 1.xlsx"]
    (data / "data" / "odd[1].csv").touch()
    assert paths({"path": "data/odd[1].csv"}) == ["data/odd[1].csv"], "a file of that very name"


def test_entries_keep_the_options_of_their_source(data):
    source = {"path": "data/b/*.xlsx", "sheet": "题库", "question": "题目", "answer": "答案"}
    assert sources.files_of(source) == [{**source, "path": "data/b/题库 1.xlsx"}]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "data/*.pdf"}, "no file matches data/*.pdf"),
        ({"path": "nowhere/a.csv"}, "the file nowhere/a.csv does not exist"),
        ({"path": "~/a.csv"}, "is not a path. Write it in full"),
        ({"path": "a\0.csv"}, "is not a path"),
        ({"path": "/dev/zero", "format": "txt"}, "not a file that can be read to its end"),
        ({"path": "bra{ces}.csv"}, "bra{ces}.csv: Snakemake takes braces for wildcards"),
        ({"path": "data/a.docx", "sheet": "x"}, "read as docx, for which `sheet:` has no meaning"),
        ({"path": "data/b/d/e.csv", "unit": "document"}, "it is for txt, md"),
    ],
)
def test_mistakes(data, source, message):
    with pytest.raises(SourceMistake) as mistake:
        sources.files_of(source)
    assert message in str(mistake.value)


def test_a_folder_with_a_file_that_nobody_can_read_is_not_read_in_part(data):
    (data / "data" / "scan.pdf").touch()
    with pytest.raises(SourceMistake, match=r"data/scan\.pdf has the suffix '\.pdf'"):
        sources.files_of({"path": "data"})


def test_the_format_can_be_said(data):
    (data / "dump.dat").touch()
    assert paths({"path": "dump.dat", "format": "jsonl"}) == ["dump.dat"]
    assert sources.format_of({}, Path("A.JSONL.zst")) == "jsonl"


def test_an_empty_folder_and_a_loop_of_links(data):
    (data / "empty").mkdir()
    with pytest.raises(SourceMistake, match="the folder empty holds no files"):
        sources.files_of({"path": "empty"})
    os.symlink("..", data / "data" / "b" / "up")
    assert len(paths({"path": "data"})) == 4


def test_a_file_named_twice(data):
    listed = [{"path": "data/a.docx"}, {"path": "data/*.docx"}]
    assert list(sources.mistakes_of("corpus.sources", listed)) == [
        "corpus.sources.1.path: data/a.docx is already read by corpus.sources.0. "
        "Take one of them out: its rows would be duplicates."
    ]
    sheets = [{"path": "data/b/题库 1.xlsx", "sheet": sheet} for sheet in ("一", "二")]
    assert list(sources.mistakes_of("corpus.sources", sheets)) == []


@pytest.mark.parametrize(
    ("mapping", "right"),
    [
        ({}, True),
        ({"system": "role"}, True),
        ({"question": "q", "answer": "a"}, True),
        ({"question": "q", "answer": "a", "options": ["A", "B"], "system": "s"}, True),
        ({"question": "q", "chosen": "c", "rejected": "r"}, True),
        ({"answer": "a"}, False),
        ({"question": "q", "chosen": "c"}, False),
        ({"options": "o"}, False),
    ],
)
def test_what_a_mapping_must_name(data, mapping, right):
    found = list(sources.mistakes_of("corpus.sources", [{"path": "data/a.docx", **mapping}]))
    assert (found == []) == right, found
