"""Adverts are looked for only where a piece of text is that all matches of a pattern have."""

import re

import corpus_files as make  # noqa: F401 - makes the scripts importable
import pyarrow as pa
import pytest
from cleaning.adverts import Adverts, plain_piece
from files import ROWS
from hypothesis import assume, given
from hypothesis import strategies as st
from row_files import chat, choice, row


@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        ("公众号", "公众号"),
        ("加(微信|QQ)?群[号聊领：:0-9]", "群"),
        ("关注.{0,6}微信", "微信"),
        ("广告|推广", None),
        ("(广告|推广)", None),
        ("abc*", "ab"),
        ("ab+c?", "ab"),
        ("a{0,2}bc", "bc"),
        ("[]a]bc[^]x\\]]d", "bc"),
        (r"a\.b\d", "a.b"),
        (r"\x41bc", None),
        (r"(a)bc\1", None),
        ("扫 码关注", "码关注"),
        ("(?i)abc", None),
        ("(?x) a b # c", None),
        ("a(?#b)c", None),
        ("(?=ab)a(?!c)d", "d"),
        ("^a$", "a"),
        ("", None),
    ],
)
def test_piece(pattern, piece):
    assert plain_piece(re.compile(pattern)) == piece


PARTS = ["a", "b", "ab", "(", ")", "(?:", "|", "[", "]", "^", "*", "+", "?", "{0,1}", "{", "}"]
PARTS += [".", "$", "\\", " ", "\\d", "(?!", "(?<=", "-", "#", ",", "\n"]


@pytest.mark.filterwarnings("ignore:Possible")
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.text("ab] \\^{}(|\n", max_size=12))
def test_no_match_is_missed(parts, text):
    try:
        pattern = re.compile("".join(parts))
    except (re.error, OverflowError):
        assume(False)
    rows = [chat(1, "q", text), row(2, kind="text", text=text), choice(3, "q", [text, "c"], "c")]
    batch = pa.RecordBatch.from_pylist(rows, ROWS)
    said = [f"q\n{text}", text, "q\nc"]
    expected = [bool(pattern.search(one)) for one in said]
    expected[2] |= bool(pattern.search(f"{text}\nc"))
    found = Adverts((pattern,)).rows(batch).tolist()
    if text:
        assert found == expected
    if piece := plain_piece(pattern):
        assert all(
            piece in one for one, hit in zip(said, expected, strict=True) if hit and one != said[2]
        )
