"""Text in pieces is the text as a whole."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_pieces import Detokenizer, StopWords
from transformers import AutoTokenizer


@pytest.fixture(scope="module")
def tokenizer(made):
    return AutoTokenizer.from_pretrained(made / "qwen_chat")


def pieces_of(tokenizer, ids):
    text = Detokenizer(tokenizer)
    return [*map(text.add, ids), text.rest()]


@pytest.mark.parametrize(
    "text",
    [
        "城市的名字",
        "𝔘😀 e\u0301",
        "  two  spaces ",
        "a\n\nb\n",
        "mixed 中文 and English。",
        "é" * 9,
        "",
    ],
)
def test_pieces_make_up_the_text(text, tokenizer):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = pieces_of(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 408), max_size=8))
def test_pieces_of_any_tokens(ids, tokenizer):
    seen = [token for token in ids if token not in tokenizer.all_special_ids]
    whole = tokenizer.decode(seen, clean_up_tokenization_spaces=False)
    # of bytes that are no text the tokenizer makes this or that, depending on how many it sees
    if "\N{REPLACEMENT CHARACTER}" not in whole:
        assert "".join(pieces_of(tokenizer, ids)) == whole


def test_a_character_of_several_tokens_comes_at_once(tokenizer):
    ids = tokenizer("😀", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert pieces_of(tokenizer, ids) == ["", "", "", "😀", ""]


@settings(deadline=None)
@given(
    text=st.text("ab。", max_size=12),
    words=st.lists(st.text("ab。", min_size=1, max_size=3), max_size=3),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_stop_words(text, words, cuts):
    stop, shown = StopWords(words), ""
    edges = [0, *sorted(cuts), len(text)]
    for start, end in pairwise(edges):
        shown += stop.add(text[start:end])
    shown += stop.rest()
    # the first moment at which any word is complete decides
    ends = [text.find(word) + len(word) for word in words if word in text]
    assert stop.found == bool(ends)
    if ends and len(words) == 1:
        assert shown == text[: text.find(words[0])]
    elif not ends:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(word in shown for word in words)
