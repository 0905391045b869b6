"""What a model is shown of a question."""

import pytest
from prompts import plain_text, turns, with_options

CHOICE = {"question": "首都是____的国家是（ ）。", "A": "法国", "B": "日本", "answer": "A"}
ENGLISH = {"question": "Which is a noble gas?", "A": "neon", "B": "iron", "answer": "A"}


def test_options_stand_as_in_training() -> None:
    assert with_options(ENGLISH) == "Which is a noble gas?\nA. neon\nB. iron"


def test_chat() -> None:
    assert turns("options", "", [], ENGLISH) == [("HUMAN", ENGLISH["question"])]
    assert turns("generation", "Choose.", [ENGLISH], CHOICE) == [
        ("HUMAN", "Choose.\nWhich is a noble gas?\nA. neon\nB. iron"),
        ("BOT", "A. neon"),
        ("HUMAN", "Choose.\n首都是____的国家是（ ）。\nA. 法国\nB. 日本"),
    ]
    free = {"question": "谁？", "answer": "他"}
    assert turns("generation", "", [free], free) == [
        *(("HUMAN", "谁？"), ("BOT", "他")),
        ("HUMAN", "谁？"),
    ]


def test_letters_behind_plain_text() -> None:
    assert plain_text("perplexity", "", [], ENGLISH) == (
        "Which is a noble gas?\nA. neon\nB. iron\nAnswer:",
        {"A": " A", "B": " B"},
    )
    text, ways = plain_text("perplexity", "Choose.", [ENGLISH], CHOICE)
    assert text == (
        "Choose.\n\nWhich is a noble gas?\nA. neon\nB. iron\nAnswer: A\n\n"
        "首都是____的国家是（ ）。\nA. 法国\nB. 日本\n答案："
    )
    assert ways == {"A": "A", "B": "B"}


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("巴黎是____的首都。", "巴黎是法国的首都。"),
        ("____的首都是巴黎。", "法国的首都是巴黎。"),
        ("巴黎是（　）的首都。", "巴黎是法国的首都。"),
        ("巴黎是( )的首都。", "巴黎是法国的首都。"),
        ("巴黎是＿＿的首都。", "巴黎是法国的首都。"),
        ("首都是巴黎的国家是", "首都是巴黎的国家是法国"),
        ("巴黎在哪国？", "巴黎在哪国？法国"),
        ("Paris is the capital of __.", "Paris is the capital of 法国."),
        ("Paris is the capital of", "Paris is the capital of 法国"),
    ],
)
def test_option_in_the_blank(question: str, sentence: str) -> None:
    start, ways = plain_text("cloze", "", [], {**CHOICE, "question": question})
    assert start + ways["A"] == sentence
    assert (start + ways["B"]).replace("日本", "法国") == sentence
    shown, ways = plain_text("cloze", "", [{**CHOICE, "question": question}], CHOICE)
    assert shown == f"{sentence}\n首都是"
    assert ways["B"] == "日本的国家是（ ）。"
