"""How much of a source is taken: keys of corpus.sources, before any job starts."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "config"))

import sources


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with two files and a workbook."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jsonl", "a/2.jsonl", "b.xlsx"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_the_files_of_one_sample_know_each_other(data):
    listed = [{"path": "b.xlsx"}, {"path": "a", "sample": 5}, {"path": "b.xlsx", "sample": 2}]
    assert sources.all_files(listed) == [
        {"path": "b.xlsx"},
        {"path": "a/1.jsonl", "sample": 5, "sample_of": 1},
        {"path": "a/2.jsonl", "sample": 5, "sample_of": 1},
        {"path": "b.xlsx", "sample": 2, "sample_of": 2},
    ]


def test_repeats_are_told_by_file(data):
    listed = [{"path": "a", "repeat": 3}, {"path": "b.xlsx", "repeat": 1}]
    files = sources.all_files(listed)
    assert sources.repeats(files) == {"a/1.jsonl": 3, "a/2.jsonl": 3}
    assert list(sources.mistakes_of("corpus.sources", listed)) == []


@pytest.mark.parametrize(
    ("where", "listed", "message"),
    [
        (
            "corpus.split.decontaminate",
            [{"path": "a", "sample": 5}],
            "corpus.split.decontaminate.0.sample: what is read here is kept out of training as a "
            "whole. Take the key out.",
        ),
        (
            "corpus.sources",
            [{"path": "a", "repeat": 5, "side": "heldout"}],
            "corpus.sources.0.repeat: has no meaning with `side: heldout`, which is never trained "
            "on.",
        ),
        (
            "corpus.sources",
            [
                {"path": "b.xlsx", "sheet": "一", "repeat": 5},
                {"path": "b.xlsx", "sheet": "二", "repeat": 5},
                {"path": "b.xlsx", "sheet": "三"},
            ],
            "corpus.sources.2.repeat: b.xlsx is named with another `repeat:` before. All sheets of "
            "a workbook are repeated equally often; correct one of them.",
        ),
    ],
)
def test_mistakes(data, where, listed, message):
    assert list(sources.mistakes_of(where, listed)) == [message]
