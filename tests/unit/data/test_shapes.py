"""Shapes of rows: what is made of each known form, and what is said about the others."""

import csv
import datetime
import decimal
import json
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

from entry import SourceError
from shapes import Content, Shape, ShapeError

DATA = ROOT.parent / "shared" / "data"


def content(row: object, **options) -> Content:
    return Shape(options).content(row)


def problem(row: object, **options) -> tuple[str, str]:
    with pytest.raises(ShapeError) as caught:
        content(row, **options)
    return caught.value.reason, caught.value.detail


def qa(question: str, answer: str) -> list[tuple[str, str]]:
    return [("user", question), ("assistant", answer)]


def openai(*turns: tuple[str, str]) -> list[dict]:
    return [{"role": role, "content": text} for role, text in turns]


def sharegpt(*turns: tuple[str, str]) -> list[dict]:
    return [{"from": who, "value": text} for who, text in turns]


SYSTEM, ONE, TWO = ("system", "你是医生"), qa("感冒怎么办？", "多喝水。"), qa("要多久？", "一周。")
XTUNER = [
    {"system": "你是医生", "input": "感冒怎么办？", "output": "多喝水。"},
    {"input": "要多久？", "output": "一周。"},
]
MOSS = {
    "turn_1": {
        "Human": "<|Human|>: 感冒怎么办？<eoh>\n",
        "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
        "Commands": "<|Commands|>: None<eoc>\n",
        "Tool Responses": "<|Results|>: None<eor>\n",
        "MOSS": "<|MOSS|>: 多喝水。<eom>\n",
    },
    "turn_2": {"Human": "要多久？", "MOSS": "一周。"},
}
PLAIN = (
    "[Human]: 感冒怎么办？<eoh> [MOSS]: 多喝水。<eoa> [Human]: 要多久？<eoh> [MOSS]: 一周。<eoa> "
)

# One conversation of two turns, with a system message, in each form.
CONVERSATIONS = {
    "XTuner": {"conversation": XTUNER},
    "XTuner, bare list": XTUNER,
    "XTuner, system at each turn": {
        "conversation": [XTUNER[0], XTUNER[1] | {"system": "你是医生"}]
    },
    "XTuner, defaults written out": {
        "conversation": [
            turn | {"output_with_loss": True, "need_eos_token": True, "sep": ""} for turn in XTUNER
        ]
    },
    "Firefly": {
        "system": "你是医生",
        "conversation": [{"human": q[1], "assistant": a[1]} for q, a in (ONE, TWO)],
    },
    "OpenAI": {"messages": openai(SYSTEM, *ONE, *TWO)},
    "OpenAI, bare list": openai(SYSTEM, *ONE, *TWO),
    "OpenAI, developer": {"messages": openai(("developer", SYSTEM[1]), *ONE, *TWO)},
    "OpenAI, parts": {
        "messages": [
            {"role": role, "content": [{"type": "text", "text": text[:2]}, text[2:]]}
            for role, text in (SYSTEM, *ONE, *TWO)
        ]
    },
    "OpenAI, nulls as parquet has them": {
        "messages": [m | {"tool_calls": None, "name": None} for m in openai(SYSTEM, *ONE, *TWO)]
    },
    "OpenAI, as JSON in a table": {
        "messages": json.dumps(openai(SYSTEM, *ONE, *TWO), ensure_ascii=False)
    },
    "OpenAI, as Python in a table": {"messages": str(openai(SYSTEM, *ONE, *TWO))},
    "ShareGPT": {
        "conversations": sharegpt(
            ("human", ONE[0][1]), ("gpt", ONE[1][1]), ("Human", TWO[0][1]), ("chatgpt", TWO[1][1])
        ),
        "system": "你是医生",
    },
    "ShareGPT, system twice": {
        "conversations": sharegpt(SYSTEM, *ONE, *TWO),
        "system": "你是医生",
    },
    "ms-agent": {"conversations": str(sharegpt(SYSTEM, *ONE, *TWO))},
    "Alpaca": {
        "instruction": TWO[0][1],
        "input": "",
        "output": TWO[1][1],
        "system": "你是医生",
        "history": [[ONE[0][1], ONE[1][1]]],
    },
    "question with history": {
        "system": "你是医生",
        "query": TWO[0][1],
        "response": TWO[1][1],
        "history": openai(*ONE),
    },
    "MOSS": {"meta_instruction": "你是医生", "num_turns": 2, "chat": MOSS},
    "MOSS, plain text": {"prefix": "你是医生", "num_turns": "2", "plain_text": PLAIN},
    "MOSS, plain text in conversation": {"system": "你是医生", "conversation": PLAIN},
}


@pytest.mark.parametrize("row", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_conversations(row):
    assert content(row) == Content("chat", [SYSTEM, *ONE, *TWO])


def test_conversations_by_a_mapping():
    for name, row in CONVERSATIONS.items():
        field = isinstance(row, dict) and next(
            (
                f
                for f in ("conversation", "messages", "conversations", "chat", "plain_text")
                if f in row
            ),
            None,
        )
        if field:
            found = content({"回合": row[field]}, messages="回合")
            assert [m for m in found.messages if m[0] != "system"] == [*ONE, *TWO], name


TOOLS = [
    ("user", "今天天气？"),
    ("assistant", "查一下。{call}"),
    ("tool", "晴"),
    ("assistant", "今天晴。"),
]


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": sharegpt(
                ("human", "今天天气？"),
                ("function_call", "查一下。{call}"),
                ("observation", "晴"),
                ("gpt", "今天晴。"),
            )
        },
        {"messages": openai(*TOOLS)},
        {"messages": openai(*TOOLS[:2], ("function", "晴"), TOOLS[3])},
        {
            "conversations": sharegpt(
                TOOLS[0],
                ("assistant", "查一下。{call}\n\n<|startofexec|>晴<|endofexec|>\n\n今天晴。"),
            )
        },
        {
            "chat": {
                "turn_1": {
                    "Human": "今天天气？",
                    "Commands": "<|Commands|>: 查一下。{call}<eoc>\n",
                    "Tool Responses": "<|Results|>:\n晴\n<eor>\n",
                    "MOSS": "今天晴。",
                }
            }
        },
    ],
)
def test_calls_of_tools_and_their_results_are_turns(row):
    assert content(row).messages == TOOLS


def test_what_moss_thinks_is_kept_apart():
    turn = MOSS["turn_1"] | {"Inner Thoughts": "<|Inner Thoughts|>: 这是感冒<eot>\n"}
    found = content({"chat": {"turn_1": turn}, "category": "医疗", "conversation_id": 7})
    assert found.messages == ONE
    assert found.meta == {
        "chat": {"turn_1": "这是感冒"},
        "category": "医疗",
        "conversation_id": 7,
    }


def test_what_else_a_turn_says_is_kept_in_meta():
    turns = openai(*ONE)
    turns[0]["name"] = "王"
    found = content({"messages": turns, "id": 1, "empty": None, "blank": ""})
    assert (found.messages, found.meta) == (ONE, {"messages": [{"name": "王"}, {}], "id": 1})
    found = content({"conversation": [XTUNER[1] | {"sep": "\n"}]})
    assert found.meta == {"conversation": [{"sep": "\n"}]}


def test_an_empty_system_message_is_none():
    for row in (
        {"messages": openai(("system", " "), *ONE)},
        {"messages": openai(*ONE), "system": ""},
        {"conversation": [{"system": "", "input": ONE[0][1], "output": ONE[1][1]}]},
        {"instruction": ONE[0][1], "output": ONE[1][1], "system": None, "history": None},
    ):
        assert content(row) == Content("chat", ONE)
    found = content({"messages": openai(("system", ""), *ONE), "system": "你是医生"})
    assert found.messages == [SYSTEM, *ONE]


def test_xtuner_text_to_pretrain_on():
    row = {"conversation": [{"input": "", "output": "一篇文章。"}], "id": 1}
    assert content(row) == Content("text", text="一篇文章。", meta={"id": 1})
    # the same with a message list is a question that is missing
    row = {"messages": openai(("user", ""), ("assistant", "一篇文章。"))}
    assert content(row) == Content("chat", [("user", ""), ("assistant", "一篇文章。")])


@pytest.mark.parametrize(
    "turns, detail",
    [
        (sharegpt(("gpt", "您好"), *ONE), "turn 1 of 'conversations' is of the assistant"),
        (sharegpt(*ONE, ("human", "还有？")), "ends with a turn of the user"),
        (sharegpt(("human", "在？"), *ONE), "turn 2 of 'conversations' is of the user and follows"),
        (sharegpt(*ONE, ("gpt", "再见")), "turn 3 of 'conversations' is of the assistant"),
        (sharegpt(*ONE, SYSTEM, *TWO), "turn 3 of 'conversations' is of the system"),
        (sharegpt(SYSTEM), "ends with a turn of the system"),
        (sharegpt(("system", "")), "no turn beside an empty system message"),
        (sharegpt(ONE[0], ("tool", "晴"), ONE[1]), "is of the tool and follows one of the user"),
        (sharegpt(*TOOLS[:3]), "ends with a turn of the tool"),
        (sharegpt(*ONE, ("旁白", "…")), "the unknown role '旁白'"),
        ([*sharegpt(*ONE), {"from": None, "value": "x"}], "the unknown role None"),
        ([*sharegpt(*ONE), {"from": "human"}], "turn 3 of 'conversations' has no 'value'"),
        ([*sharegpt(*ONE), {"value": "x"}], "turn 3 of 'conversations' has no 'from'"),
        ([*sharegpt(*ONE), "x"], "turn 3 of 'conversations' is a text"),
        ([{"from": "human", "value": {"a": 1}}], "holds an object, not a text"),
        ([{"from": "human", "value": True}], "holds true or false, not a text"),
        ([{"a": 1}], "turn 1 of 'conversations' has the fields a"),
        (["x"], "turn 1 of 'conversations' is a text"),
        ([], "is empty"),
        (None, "holds empty, not a list of turns"),
        (3, "holds a number"),
        ("一段话", "without marks"),
        ({"turn_1": "x"}, "turn_1 of 'conversations' is a text"),
        (
            [{"input": "甲", "output": "乙"}, {"input": "丙"}],
            "turn 2 of 'conversations' has no 'out",
        ),
        ([XTUNER[0], XTUNER[1] | {"system": "你是律师"}], "another system message"),
        ([XTUNER[1], XTUNER[0]], "another system message"),
        ([XTUNER[0] | {"output_with_loss": False}], "'output_with_loss': False"),
        ([XTUNER[0] | {"need_eos_token": False}], "'need_eos_token': False"),
        (
            [{"role": "user", "content": "甲"}, {"role": "assistant", "tool_calls": [{"id": 1}]}],
            "turn 2 of 'conversations' has 'tool_calls': [{'id': 1}]",
        ),
        ([*openai(ONE[0]), openai(ONE[1])[0] | {"weight": 0}], "'weight': 0"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "a part that is no text (image_url)",
        ),
    ],
)
def test_conversations_that_lack_something(turns, detail):
    reason, found = problem({"conversations": turns})
    assert reason == "malformed_row"
    assert detail in found


@pytest.mark.parametrize(
    "row, detail",
    [
        ({"chat": MOSS, "num_turns": 3}, "'chat' has 2 turns, but num_turns is 3"),
        ({"chat": {"turn_1": {"Human": "甲"}}}, "turn_1 of 'chat' has no 'MOSS'"),
        ({"chat": {"turn_2": MOSS["turn_2"]}}, "turn_1 of 'chat' is empty"),
        ({"chat": {"turn_1": MOSS["turn_2"] | {"Plan": "x"}}}, "the unknown parts Plan"),
        ({"chat": {"turn_1": MOSS["turn_2"] | {"Tool Responses": "x"}}}, "but no command"),
        ({"plain_text": "前言 [Human]: 甲 [MOSS]: 乙"}, "does not begin with a mark"),
        ({"plain_text": "[Human]: 甲 <|Commands|>: x [MOSS]: 乙"}, "the mark '<|Commands|>:'"),
        ({"plain_text": "[Human]: 甲 [MOSS]: 乙", "num_turns": 2}, "but num_turns is 2"),
        ({"plain_text": "[Human]: 甲<eoh>"}, "ends with a turn of the user"),
        ({"messages": openai(SYSTEM, *ONE), "system": "你是律师"}, "another system message"),
        ({"question": "甲", "answer": "乙", "history": [["丙"]]}, "item 1 of 'history' is no pair"),
        ({"question": "甲", "answer": "乙", "history": 3}, "'history' holds a number"),
        (
            {"question": "甲", "answer": "乙", "history": openai(ONE[0])},
            "is of the user and follows",
        ),
        ({"question": "甲", "answer": ["乙"]}, "the field 'answer' holds a list"),
        ({"question": {"x": 1}, "answer": "乙"}, "the field 'question' holds an object"),
        ({"问题": True, "答案": "乙"}, "the field '问题' holds true or false"),
        ({"text": ["一"]}, "the field 'text' holds a list"),
        (
            {"question": "图中是什么？", "answer": "猫", "images": ["a.png"]},
            "'images' holds pictures",
        ),
        ({"prompt": "甲", "completion": "乙", "label": False}, "'label' marks the answer as a bad"),
        ("一段话", "the row is a text, not an object"),
        (None, "the row is empty, not an object"),
        ([], "is empty"),
    ],
)
def test_malformed_rows(row, detail):
    reason, found = problem(row)
    assert (reason, detail in found) == ("malformed_row", True), found


@pytest.mark.parametrize(
    "names",
    [
        *("question answer", "Question Answer", "QUESTION ANSWER", "query response"),
        *("prompt response", "prompt completion", "input output", "instruction output"),
        *("instruction response", "ask answer", "问题 答案", "题目 答案", "问 答", "题干 答案"),
        *("问题 回答", "*题目： 标准答案：", "用户问题 回复", "Ｑ Ａ", "q a", "human assistant"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_questions_and_answers_by_name(names, order):
    question, answer = names.split()
    row = dict([(question, "甲？"), (answer, "乙"), ("id", 3)][::order])
    assert content(row) == Content("chat", qa("甲？", "乙"), meta={"id": 3})


@pytest.mark.parametrize(
    "row, messages, meta",
    [
        # the first pair that is whole
        (
            {"title": "高血压", "department": "内科", "ask": "能吃党参吗", "answer": "能"},
            qa("能吃党参吗", "能"),
            {"title": "高血压", "department": "内科"},
        ),
        ({"prompt": "甲", "question": "乙", "answer": "丙"}, qa("乙", "丙"), {"prompt": "甲"}),
        ({"question": "甲", "answer": "乙", "response": "丙"}, qa("甲", "乙"), {"response": "丙"}),
        ({"Question": "甲", "question": "乙", "answer": "丙"}, qa("乙", "丙"), {"Question": "甲"}),
        # Alpaca and Dolly
        ({"instruction": "翻译", "input": "cat", "output": "猫"}, qa("翻译\ncat", "猫"), {}),
        ({"instruction": "", "input": "cat", "output": "猫"}, qa("cat", "猫"), {}),
        ({"instruction": "翻译", "input": None, "output": "猫"}, qa("翻译", "猫"), {}),
        (
            {"instruction": "概括", "context": "文章", "response": "短文", "category": "x"},
            qa("概括\n文章", "短文"),
            {"category": "x"},
        ),
        # nothing is left to cleaning
        ({"question": None, "answer": "乙"}, qa("", "乙"), {}),
        ({"question": "甲", "answer": None}, qa("甲", ""), {}),
        ({"question": "甲", "answer": float("nan")}, qa("甲", ""), {}),
        ({"question": "甲"}, qa("甲", ""), {}),
        ({"id": 1, "答案": "乙"}, qa("", "乙"), {"id": 1}),
        # numbers read as a table shows them
        ({"question": "1+1=?", "answer": 2}, qa("1+1=?", "2"), {}),
        ({"question": "圆周率", "answer": 3.14}, qa("圆周率", "3.14"), {}),
        # no options: an open question
        ({"question": "甲", "answer": "乙", "options": []}, qa("甲", "乙"), {}),
        ({"question": "甲", "A": "", "B": None, "answer": "乙"}, qa("甲", "乙"), {}),
        # an empty passage is none
        ({"question": "甲", "answer": "乙", "context": ""}, qa("甲", "乙"), {}),
        (
            {"question": "甲", "answer": "乙", "label": 1, "images": []},
            qa("甲", "乙"),
            {"label": 1},
        ),
    ],
)
def test_questions_and_answers(row, messages, meta):
    found = content(row)
    assert (found.kind, found.messages) == ("chat", messages)
    assert {key: value for key, value in found.meta.items() if value != []} == meta


@pytest.mark.parametrize("name", ["text", "content", "document", "正文", "Text"])
def test_plain_text(name):
    row = {name: "一篇文章。", "title": "题目甲", "url": None}
    assert content(row) == Content("text", text="一篇文章。", meta={"title": "题目甲"})
    assert content({name: None}).text == ""


OPTIONS = ["北京", "上海", "广州", "深圳"]
LETTERED = dict(zip("ABCD", OPTIONS, strict=True))
CAPITAL = "中国的首都是哪里？"


@pytest.mark.parametrize(
    "options",
    [
        {"options": OPTIONS},
        {"choices": OPTIONS},
        {"选项": OPTIONS},
        {"options": LETTERED},
        {"options": {key.lower(): text for key, text in LETTERED.items()}},
        {"options": [f"{letter}. {text}" for letter, text in LETTERED.items()]},
        {"options": [f"（{letter}）{text}" for letter, text in LETTERED.items()]},
        {"options": "\n".join(f"{letter}、{text}" for letter, text in LETTERED.items())},
        {"options": str(OPTIONS)},
        {"options": [{"key": letter, "value": text} for letter, text in LETTERED.items()]},
        {"choices": {"text": OPTIONS, "label": ["A", "B", "C", "D"]}},
        LETTERED,
        LETTERED | {"E": "", "F": None},
        {f"选项{letter}": text for letter, text in LETTERED.items()},
        {f"option_{letter.lower()}": text for letter, text in LETTERED.items()},
        {f" 选项{chr(ord(letter) + 0xFEE0)}：": text for letter, text in LETTERED.items()},
        {f"Option {letter}": text for letter, text in LETTERED.items()},
        {f"choice_{letter.lower()}": text for letter, text in LETTERED.items()},
    ],
)
@pytest.mark.parametrize("answer", ["A", "a", " A ", "(A)", "A.", "Ａ", "北京", "A. 北京", ["A"]])
def test_multiple_choice(options, answer):
    row = {"question": CAPITAL, **options, "answer": answer, "explanation": "略"}
    expected = Content("choice", qa(CAPITAL, "北京"), options=OPTIONS, meta={"explanation": "略"})
    assert content(row) == expected


@pytest.mark.parametrize(
    "row, right",
    [
        ({"options": OPTIONS, "answer_idx": 1}, "上海"),
        ({"options": OPTIONS, "answer_idx": "1"}, "上海"),
        ({"options": OPTIONS, "label": 0}, "北京"),
        ({"options": OPTIONS, "answer": "上海", "answer_idx": "B"}, "上海"),
        ({"options": OPTIONS, "answer": "上海", "label": "易"}, "上海"),
        ({"options": [1, 2, 3, 4], "answer": "3"}, "3"),
        ({"options": [1, 2, 3, 4], "answer_idx": 1}, "2"),
        ({"options": [1949, 1950], "answer": 1949}, "1949"),
        ({"options": {"1": "北京", "2": "上海"}, "answer": 2}, "上海"),
        ({"options": ["Mg", "mg"], "answer": "mg"}, "mg"),
        ({"options": ["对", "错"], "答案": "错"}, "错"),
        ({"options": ["[1]", "[2]"], "answer": "[2]"}, "[2]"),
        ({"options": OPTIONS, "answer": ""}, ""),
        ({"options": OPTIONS, "answer": None}, ""),
        ({"options": OPTIONS, "answer": []}, ""),
    ],
)
def test_right_options(row, right):
    found = content({"question": CAPITAL, **row})
    assert (found.kind, found.messages[-1]) == ("choice", ("assistant", right))


@pytest.mark.parametrize(
    "row, detail",
    [
        ({"options": OPTIONS, "answer": "AB"}, "names several options"),
        ({"options": OPTIONS, "answer": "A、C"}, "names several options"),
        ({"options": OPTIONS, "answer": "A, B和C"}, "names several options"),
        ({"options": OPTIONS, "answer": ["A", "C"]}, "names 2 right options"),
        ({"options": OPTIONS, "answer": "['A', 'C']"}, "names 2 right options"),
        ({"options": OPTIONS, "answer": 1}, "from 0 or from 1"),
        ({"options": OPTIONS, "answer": "1"}, "from 0 or from 1"),
        ({"options": ["4", "2", "0", "6"], "answer": 2}, "from 0 or from 1"),
        ({"options": OPTIONS, "answer_idx": 4}, "the 4 options count from 0"),
        ({"options": OPTIONS, "answer": "E"}, "'E' in 'answer' is none of the options"),
        ({"options": OPTIONS, "answer": "天津"}, "none of the options"),
        ({"options": OPTIONS, "answer": 9}, "none of the options"),
        ({"options": OPTIONS, "answer": "A. 上海"}, "none of the options"),
        ({"options": OPTIONS, "answer": True}, "holds true or false"),
        ({"options": OPTIONS, "answer": "上海", "answer_idx": "A"}, "name different options"),
        ({"options": ["B", "A"], "answer": "A"}, "the label of one option and the text of another"),
        ({"options": ["北京", "北京"], "answer": "北京"}, "two options read '北京'"),
        ({"options": ["北京"], "answer": "A"}, "one option only"),
        ({"options": ["北京", "", "广州"], "answer": "A"}, "option B of 'options' is empty"),
        ({"options": [["北京"], "上海"], "answer": "A"}, "option 1 of options"),
        ({"options": "北京 上海", "answer": "A"}, "does not have its options on lines"),
        ({"options": [], "answer": "A"}, "names an option, but there are no options"),
        ({"options": None, "answer_idx": 1}, "names an option, but there are no options"),
        ({"options": 3, "answer": "A"}, "holds a number, not a list of options"),
        ({"options": {"text": ["北京"], "label": []}, "answer": "A"}, "0 labels for 1 texts"),
        ({"options": [{"x": 1}, {}], "answer": "A"}, "has no label and text"),
        ({"options": [str(n) for n in range(27)], "answer": "A"}, "more than there are letters"),
    ],
)
def test_choices_that_cannot_be_told(row, detail):
    reason, found = problem({"question": CAPITAL, **row})
    assert (reason, detail in found) == ("malformed_row", True), found


PAIRS = [("chosen", "rejected"), ("response_chosen", "response_rejected"), ("Chosen", "Rejected")]


@pytest.mark.parametrize("sides", PAIRS)
@pytest.mark.parametrize(
    "prompt",
    [
        {"prompt": "感冒怎么办？"},
        {"question": "感冒怎么办？"},
        {"问题": "感冒怎么办？"},
        {"instruction": "感冒", "input": "怎么办？"},
        {"prompt": openai(ONE[0])},
        {"conversations": sharegpt(("human", "感冒怎么办？"))},
        {"messages": openai(ONE[0])},
    ],
)
@pytest.mark.parametrize(
    "answers",
    [
        ("多喝水。", "不知道。"),
        (openai(("assistant", "多喝水。")), openai(("assistant", "不知道。"))),
        ({"from": "gpt", "value": "多喝水。"}, {"from": "gpt", "value": "不知道。"}),
    ],
)
def test_preference(sides, prompt, answers):
    row = {**prompt, **dict(zip(sides, answers, strict=True)), "score": 2}
    question = "感冒\n怎么办？" if "input" in prompt else "感冒怎么办？"
    assert content(row) == Content(
        "preference",
        [("user", question)],
        [("assistant", "多喝水。")],
        [("assistant", "不知道。")],
        meta={"score": 2},
    )


HEAD = [SYSTEM, *ONE, TWO[0]]
GOOD, BAD = ("assistant", "一周。"), ("assistant", "不知道。")
TRANSCRIPT = "\n\nHuman: 感冒怎么办？\n\nAssistant: 多喝水。\n\nHuman: 要多久？\n\nAssistant: "


@pytest.mark.parametrize(
    "row, prompt",
    [
        ({}, HEAD),
        ({"prompt": HEAD}, HEAD),
        ({"prompt": "感冒怎么办？"}, HEAD),
        ({"prompt": None}, HEAD),
        ({"system": "你是医生", "prompt": openai(ONE[0])}, HEAD),
        ({"system": ""}, HEAD),
    ],
)
def test_preference_whose_answers_repeat_the_prompt(row, prompt):
    if isinstance(row.get("prompt"), list) and isinstance(row["prompt"][0], tuple):
        row = {"prompt": openai(*row["prompt"])}
    row = row | {"chosen": openai(*HEAD, GOOD), "rejected": openai(*HEAD, BAD)}
    found = content(row)
    assert (found.messages, found.chosen, found.rejected) == (prompt, [GOOD], [BAD])


def test_preference_with_context():
    row = {"system": "你是医生", "history": [["感冒怎么办？", "多喝水。"]], "question": "要多久？"}
    found = content({**row, "response_chosen": GOOD[1], "response_rejected": BAD[1]})
    assert (found.messages, found.chosen, found.rejected) == (HEAD, [GOOD], [BAD])


def test_preference_as_transcripts():
    found = content({"chosen": TRANSCRIPT + "一周。", "rejected": TRANSCRIPT + "不知道。"})
    assert (found.messages, found.chosen, found.rejected) == (HEAD[1:], [GOOD], [BAD])


def test_preference_between_courses_of_a_conversation():
    other = [("assistant", "吃药。"), ("user", "什么药？"), BAD]
    row = {"chosen": openai(*ONE, *TWO), "rejected": openai(ONE[0], *other)}
    found = content(row)
    assert (found.messages, found.chosen) == ([ONE[0]], [ONE[1], *TWO])
    assert found.rejected == other


@pytest.mark.parametrize(
    "row, detail",
    [
        ({"chosen": "甲", "rejected": "乙"}, "has no prompt beside 'chosen' and 'rejected'"),
        ({"prompt": "问", "chosen": "甲", "rejected": "甲"}, "are the same"),
        ({"prompt": "问", "chosen": "甲", "rejected": ["乙"]}, "turn 1 of 'rejected' is a text"),
        ({"prompt": "问", "chosen": True, "rejected": "乙"}, "'chosen' holds true or false"),
        (
            {"prompt": 3.5, "chosen": [], "rejected": "乙"},
            "the list in the field 'chosen' is empty",
        ),
        ({"prompt": {"x": 1}, "chosen": "甲", "rejected": "乙"}, "'prompt' holds an object"),
        (
            {"prompt": "问", "chosen": openai(*ONE), "rejected": "乙"},
            "do not begin in the same way",
        ),
        (
            {"prompt": "问", "chosen": openai(*ONE), "rejected": openai(ONE[0], BAD)},
            "do not begin with the prompt of the row",
        ),
        ({"chosen": openai(*ONE), "rejected": openai(*TWO)}, "begin with different questions"),
        ({"chosen": openai(*ONE), "rejected": openai(ONE[0])}, "begin with different questions"),
        (
            {"prompt": openai(*ONE), "chosen": "甲", "rejected": "乙"},
            "'prompt' ends with a turn of the assistant",
        ),
        (
            {"system": "你是律师", "chosen": openai(*HEAD, GOOD), "rejected": openai(*HEAD, BAD)},
            "another system message",
        ),
        (
            {"prompt": "问", "chosen": openai(GOOD, GOOD), "rejected": openai(BAD)},
            "'chosen' goes on with turns of assistant, assistant",
        ),
    ],
)
def test_preferences_that_do_not_fit(row, detail):
    reason, found = problem(row)
    assert (reason, detail in found) == ("malformed_row", True), found


def test_empty_preferences_are_left_to_cleaning():
    found = content({"prompt": "", "chosen": "", "rejected": None})
    assert (found.messages, found.chosen, found.rejected) == (
        [("user", "")],
        [("assistant", "")],
        [("assistant", "")],
    )
    assert content({"prompt": "问", "chosen": "[1, 2]", "rejected": "[]"}).chosen[0][1] == "[1, 2]"


@pytest.mark.parametrize(
    "row, details",
    [
        ({"标题": "甲", "释义": "乙"}, ["标题, 释义", "`question: FIELD`", "messages"]),
        ({"问题": "甲", "释义": "乙"}, ["'问题' is known, but no field for the answer"]),
        ({"summary": "甲", "answer": "乙"}, ["'answer' is known, but no field for the question"]),
        ({"text": "甲", "summary": "乙"}, ["text, summary"]),
        ({"text": "甲", "content": "乙"}, ["text, content"]),
        ({"prompt": "甲", "chosen": "乙"}, ["'chosen' is one half of a preference"]),
        ({"messages": openai(*ONE), "rejected": "乙"}, ["'rejected' is one half"]),
        ({}, ["the fields none are of no known shape"]),
        (
            {"question": "他是谁？", "answer": "李白", "context": "李白是诗人。"},
            ["the field 'context' may be needed", '`question: "{context}\\n{QUESTION}"`'],
        ),
    ],
)
def test_unknown_shapes(row, details):
    reason, found = problem(row)
    assert reason == "unknown_shape"
    for detail in details:
        assert detail in found


@pytest.mark.parametrize(
    "row, kind",
    [
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "messages": [], "text": "d"},
            "preference",
        ),
        ({"messages": openai(*ONE), "question": "a", "answer": "b", "text": "c"}, "chat"),
        ({"question": "a", "options": ["x", "y"], "answer": "x", "text": "c"}, "choice"),
        ({"instruction": "a", "output": "b", "text": "c"}, "chat"),
        ({"question": "a", "answer": "b", "text": "c"}, "chat"),
    ],
)
def test_order_of_shapes(row, kind):
    assert content(row).kind == kind


# --- mapping ---------------------------------------------------------------------------------

RECIPE = {
    "name": "西红柿炒鸡蛋",
    "dish": "Unknown",
    "recipeIngredient": ["西红柿 2个", "鸡蛋 3个"],
    "recipeInstructions": ["切块", "炒"],
    "keywords": ["家常菜"],
    "nutrition": {"calories": 180},
}


@pytest.mark.parametrize(
    "options, row, expected",
    [
        (
            {
                "question": "{name}怎么做？",
                "answer": "{recipeIngredient|lines}\n{recipeInstructions|numbered}",
            },
            RECIPE,
            Content(
                "chat",
                qa("西红柿炒鸡蛋怎么做？", "西红柿 2个\n鸡蛋 3个\n1. 切块\n2. 炒"),
                meta={"dish": "Unknown", "keywords": ["家常菜"], "nutrition": {"calories": 180}},
            ),
        ),
        (
            {"question": "name", "answer": "nutrition.calories", "system": "dish"},
            RECIPE,
            Content(
                "chat",
                [("system", "Unknown"), *qa("西红柿炒鸡蛋", "180")],
                meta={key: RECIPE[key] for key in RECIPE if key not in ("name", "dish")},
            ),
        ),
        # the mapping decides, whatever else there is
        (
            {"question": "题", "answer": "解"},
            {"题": "甲", "解": "乙", "question": "丙", "answer": "丁", "images": ["a.png"]},
            Content(
                "chat", qa("甲", "乙"), meta={"question": "丙", "answer": "丁", "images": ["a.png"]}
            ),
        ),
        ({"question": "题", "answer": "解"}, {"题": None, "解": 5}, Content("chat", qa("", "5"))),
        ({"text": "{标题}\n{正文}"}, {"标题": "甲", "正文": "乙"}, Content("text", text="甲\n乙")),
        (
            {"text": "标题"},
            {"标题": "甲", "text": "乙"},
            Content("text", text="甲", meta={"text": "乙"}),
        ),
        (
            {"question": "题", "options": ["C", "D"], "answer": "对"},
            {"题": "甲", "C": "乙", "D": "丙", "对": "B"},
            Content("choice", qa("甲", "丙"), options=["乙", "丙"]),
        ),
        (
            {"question": "题", "options": "项", "answer": "对", "system": "{角色}"},
            {"题": "甲", "项": {"A": "乙", "B": "丙"}, "对": "乙", "角色": "老师"},
            Content("choice", [("system", "老师"), *qa("甲", "乙")], options=["乙", "丙"]),
        ),
        (
            {"question": "题", "chosen": "好", "rejected": "{差}"},
            {"题": "甲", "好": "乙", "差": "丙"},
            Content("preference", [("user", "甲")], [("assistant", "乙")], [("assistant", "丙")]),
        ),
        (
            {"messages": "回合", "chosen": "好", "rejected": "差", "system": "角色"},
            {"回合": openai(*ONE, TWO[0]), "好": "乙", "差": "丙", "角色": "你是医生"},
            Content("preference", HEAD, [("assistant", "乙")], [("assistant", "丙")]),
        ),
        (
            {"chosen": "好", "rejected": "差"},
            {"好": openai(*ONE), "差": openai(ONE[0], BAD)},
            Content("preference", [ONE[0]], [ONE[1]], [BAD]),
        ),
        (
            {"messages": "a.b"},
            {"a": {"b": openai(*ONE)}},
            Content("chat", ONE, meta={"a": {"b": openai(*ONE)}}),
        ),
        # a system message beside a recognised shape
        (
            {"system": "角色"},
            {"q": "甲", "a": "乙", "角色": "医生"},
            Content("chat", [("system", "医生"), *qa("甲", "乙")]),
        ),
        ({"system": "角色"}, {"q": "甲", "a": "乙", "角色": None}, Content("chat", qa("甲", "乙"))),
        (
            {"system": "角色"},
            {"system": "律师", "q": "甲", "a": "乙", "角色": "医生"},
            Content("chat", [("system", "医生"), *qa("甲", "乙")]),
        ),
        ({"system": "角色"}, {"text": "甲", "角色": "医生"}, Content("text", text="甲")),
    ],
)
def test_mappings(options, row, expected):
    assert content(row, **options) == expected


@pytest.mark.parametrize(
    "options, row, detail",
    [
        ({"question": "题", "answer": "解"}, {"题": "甲"}, "has no field '解'"),
        ({"question": "题", "answer": "解"}, {"题": ["甲"], "解": "乙"}, "'题' holds a list"),
        (
            {"question": "题", "answer": "{解}"},
            {"题": "甲", "解": None},
            "'解' is missing or empty",
        ),
        ({"question": "题", "answer": "解", "system": "角色"}, {"题": "甲", "解": "乙"}, "'角色'"),
        ({"messages": "回合"}, {"回合": openai(ONE[0])}, "'回合' ends with a turn of the user"),
        ({"messages": "回合"}, {"messages": openai(*ONE)}, "has no field '回合'"),
        (
            {"question": "题", "options": "项", "answer": "对"},
            {"题": "甲", "对": "A", "项": []},
            "no options",
        ),
    ],
)
def test_rows_that_a_mapping_cannot_use(options, row, detail):
    reason, found = problem(row, **options)
    assert (reason, detail in found) == ("malformed_row", True), found


@pytest.mark.parametrize(
    "options, parts",
    [
        (
            {"question": "题"},
            ["`question:` in corpus.sources do not make a row", "question + answer"],
        ),
        ({"text": "甲", "question": "题", "answer": "解"}, ["`question:`, `answer:`, `text:`"]),
        ({"options": ["A", "B"]}, ["`options:` in corpus.sources do not make a row"]),
        ({"question": "{题", "answer": "解"}, ["`question:` in corpus.sources: position 1"]),
        ({"question": "题", "answer": "解", "options": ["{A|x}"]}, ["unknown filter 'x'"]),
        ({"messages": "{回合}"}, ["`messages:` in corpus.sources is a template"]),
        ({"question": "题", "answer": 3}, ["`answer:` in corpus.sources is 3, not a field name"]),
        (
            {"question": "", "answer": "解"},
            ["`question:` in corpus.sources is '', not a field name"],
        ),
    ],
)
def test_wrong_mappings(options, parts):
    with pytest.raises(SourceError) as caught:
        Shape(options | {"path": "题库.xlsx"})
    assert str(caught.value).startswith("题库.xlsx: ")
    for part in parts:
        assert part in str(caught.value)


def test_a_mapping_without_its_field_in_any_row_is_refused():
    shape = Shape({"question": "题目", "answer": '{答案|or:解析}{注|or:"无"}', "path": "a.csv"})
    shape.check("a.csv")  # no rows at all: nothing is known
    with pytest.raises(ShapeError):
        shape.content({"题": "甲", "解析": "乙"})
    with pytest.raises(SourceError) as caught:
        shape.check("a.csv")
    assert str(caught.value) == (
        "a.csv: no row has the field '题目'; fields found: 题, 解析. Did you mean '题'? "
        "Correct `question:` in corpus.sources."
    )
    shape.content({"题目": "甲", "解析": "乙"})
    shape.check("a.csv")


def test_fields_seen_by_several_processes():
    options = {"question": "题.目", "answer": "解"}
    one, other = Shape(options), Shape(options)
    for shape, row in ((one, {"题": {"目": "甲"}}), (other, {"解": "乙"})):
        with pytest.raises(ShapeError):
            shape.content(row)
        with pytest.raises(SourceError):
            shape.check("a.csv")
    one.check("a.csv", [*one.fields, *other.fields])


def test_names_made_of_data_do_not_fill_the_memory():
    shape = Shape({"question": "题", "answer": "解"})
    for number in range(15_000):
        shape.content({"题": "甲", "解": "乙", f"id{number}": 1})
    assert len(shape.fields) < 11_000 and len(shape._builders) <= 2_000
    shape.check("a.jsonl")


def test_a_shape_serves_rows_of_different_forms():
    shape = Shape({})
    rows = [{"question": "甲", "answer": "乙"}, {"text": "丙"}, {"messages": openai(*ONE)}] * 2
    assert [shape.content(row).kind for row in rows] == ["chat", "text", "chat"] * 2


def test_meta_is_fit_for_json():
    odd = {
        "day": datetime.date(1949, 10, 1),
        "price": decimal.Decimal("1.50"),
        "big": 10**30,
        "endless": float("inf"),
        "bytes": b"\x00",
        "deep": [{"x": (1, datetime.time(12)), 3: {"y"}}],
    }
    meta = content({"question": "甲", "answer": "乙", **odd}).meta
    assert orjson.loads(orjson.dumps(meta)) == {
        "day": "1949-10-01",
        "price": "1.50",
        "big": "1" + "0" * 30,
        "endless": "inf",
        "bytes": "b'\\x00'",
        "deep": [{"x": [1, "12:00:00"], "3": ["y"]}],
    }


@pytest.mark.parametrize("depth", [300, 5_000])
@pytest.mark.parametrize(
    "shape, options",
    [
        (lambda deep: {"question": "甲", "answer": "乙", "x": deep}, {}),
        (lambda deep: {"question": deep, "answer": "乙"}, {}),
        (lambda deep: {"messages": [{"role": "user", "content": "甲", "x": deep}]}, {}),
        (lambda deep: {"q": "甲", "x": deep}, {"question": "q", "answer": "{x.y.z|lines}"}),
    ],
)
def test_deep_nesting_is_refused(shape, options, depth):
    deep = []
    for _ in range(depth):
        deep = [deep]
    assert problem(shape(deep), **options)[0] == "malformed_row"


# --- properties ------------------------------------------------------------------------------

TEXT = st.text().filter(lambda text: "<|startofexec|>" not in text)
# what a text in a form with marks, or with a system message, cannot tell from nothing
SOLID = TEXT.filter(lambda text: text.strip() and "startof" not in text)
CHATS = st.tuples(st.none() | SOLID, st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4))


def as_messages(chat: tuple) -> list[tuple[str, str]]:
    system, turns = chat
    messages = [("system", system)] if system else []
    return messages + [message for turn in turns for message in qa(*turn)]


def write_xtuner(system, turns):
    written = [{"input": question, "output": answer} for question, answer in turns]
    return {"conversation": [{"system": system or ""} | written[0], *written[1:]]}


WRITERS = {
    "xtuner": write_xtuner,
    "openai": lambda system, turns: {"messages": openai(*as_messages((system, turns)))},
    "openai as text": lambda system, turns: {
        "messages": json.dumps(openai(*as_messages((system, turns))))
    },
    "sharegpt": lambda system, turns: {
        "conversations": sharegpt(
            *(
                (("human", "gpt")[i % 2], text)
                for i, (_, text) in enumerate(as_messages((None, turns)))
            )
        ),
        "system": system,
    },
    "alpaca": lambda system, turns: {
        "instruction": turns[-1][0],
        "input": "",
        "output": turns[-1][1],
        "history": [list(turn) for turn in turns[:-1]],
        "system": system,
    },
    "question with history": lambda system, turns: {
        "query": turns[-1][0],
        "response": turns[-1][1],
        "history": [list(turn) for turn in turns[:-1]],
        "system_prompt": system,
    },
    "ms-agent": lambda system, turns: {
        "conversations": str(sharegpt(*as_messages((system, turns))))
    },
}


@pytest.mark.parametrize("form", WRITERS)
@given(chat=CHATS)
def test_a_chat_written_in_any_form_comes_back(form, chat):
    found = content(WRITERS[form](*chat))
    if form == "xtuner" and found.kind == "text":  # its form of a text to pre-train on
        assert found == Content("text", text=chat[1][0][1])
        assert (chat[0], [question for question, _ in chat[1]]) == (None, [""])
        return
    assert found == Content("chat", as_messages(chat))


MARKED = (
    st.text()
    .map(str.strip)
    .filter(lambda text: not any(part in text for part in ("<", "[", "]")) and text)
)


@given(st.lists(st.tuples(MARKED, MARKED), min_size=1, max_size=4))
def test_a_chat_written_by_moss_comes_back(turns):
    chat = {
        f"turn_{number}": {
            "Human": f"<|Human|>: {question}<eoh>\n",
            "Commands": "<|Commands|>: None<eoc>\n",
            "MOSS": f"<|MOSS|>: {answer}<eom>\n",
        }
        for number, (question, answer) in enumerate(turns, start=1)
    }
    assert content({"chat": chat}) == Content("chat", as_messages((None, turns)))
    text = "".join(f"[Human]: {q}<eoh> [MOSS]: {a}<eoa> " for q, a in turns)
    assert content({"plain_text": text}) == Content("chat", as_messages((None, turns)))


@given(
    st.text(),
    st.lists(SOLID.map(str.strip), min_size=2, max_size=6, unique=True),
    st.data(),
)
def test_a_choice_written_with_letters_comes_back(question, options, data):
    right = data.draw(st.integers(0, len(options) - 1))
    lettered = dict(zip("ABCDEF", options, strict=False))
    row = {"question": question, "options": lettered, "answer": "ABCDEF"[right]}
    if any(option.casefold() in "abcdef" for option in options):
        return  # a letter may be meant as a text
    assert content(row) == Content("choice", qa(question, options[right]), options=options)


@given(CHATS, SOLID, SOLID)
def test_a_preference_written_in_any_form_comes_back(chat, better, worse):
    if better == worse:
        return
    prompt = as_messages(chat)[:-1]
    ends = [("assistant", better)], [("assistant", worse)]
    expected = Content("preference", prompt, *ends)
    lists = {"chosen": openai(*prompt, *ends[0]), "rejected": openai(*prompt, *ends[1])}
    texts = {"chosen": better, "rejected": worse}
    assert content(lists) == expected
    assert content({"prompt": openai(*prompt), **lists}) == expected
    if not any(text.lstrip().startswith("Human:") for text in (better, worse)):
        assert content({"prompt": openai(*prompt), **texts}) == expected


FIELDS = """conversation messages conversations chat plain_text question answer options A B C
label prompt chosen rejected system history instruction input output text num_turns
answer_idx 问题 答案 x"""
INNER = "role content from value input output turn_1 Human MOSS text label x"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from("AB"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(INNER.split()), inner, max_size=4)
    ),
    max_leaves=12,
)
# Turns that are nearly right, which values at random would never be.
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "x"]) | VALUES},
        optional={"content": st.text() | VALUES, "tool_calls": VALUES, "name": VALUES},
    ),
    max_size=4,
)


ROWS = st.dictionaries(st.sampled_from(FIELDS.split()), VALUES | TURNS, max_size=6) | VALUES | TURNS


@given(ROWS)
def test_any_row_ends_in_a_content_or_a_reason(row):
    try:
        found = content(row)
    except ShapeError as error:
        assert error.reason in ("unknown_shape", "malformed_row") and error.detail
        return
    orjson.dumps(found.meta)
    roles = [role for role, _ in found.messages]
    if found.kind == "text":
        assert isinstance(found.text, str) and not roles
        return
    assert all(type(text) is str for _, text in found.messages + found.chosen + found.rejected)
    assert roles[-1] == ("user" if found.kind == "preference" else "assistant")
    assert "system" not in roles[1:]
    if found.kind == "choice":
        assert found.messages[-1][1] in ["", *found.options]


WRITTEN = st.sampled_from(
    ["question", "x", "input.role", "{answer}", "{x.value|lines}", "{x|or:text}"]
)
MAPPINGS = st.sampled_from(
    [
        ["question", "answer"],
        ["question", "answer", "options"],
        ["question", "chosen", "rejected"],
        ["chosen", "rejected", "system"],
        ["messages", "chosen", "rejected"],
        ["messages", "system"],
        ["text"],
        ["system"],
    ]
)


@given(MAPPINGS, st.lists(WRITTEN, min_size=4, max_size=4), ROWS)
def test_any_mapping_of_any_row_ends_in_a_content_or_a_reason(keys, written, row):
    options = dict(zip(keys, written, strict=False))
    for key in ("messages", "options"):
        if key in options:
            options[key] = options[key].strip("{}").partition("|")[0]
    if isinstance(row, dict):
        row = {"question": "甲", "x": "乙", "answer": "丙"} | row
    try:
        found = content(row, **options)
    except ShapeError as error:
        assert error.reason in ("unknown_shape", "malformed_row") and error.detail
        return
    orjson.dumps(found.meta)
    texts = [text for _, text in found.messages + found.chosen + found.rejected]
    assert all(type(text) is str for text in [*texts, found.text or ""])


# --- real files ------------------------------------------------------------------------------


def count(path: Path, rows) -> dict[str, int]:
    shape, counts = Shape({}), {}
    for row in rows:
        try:
            what = shape.content(row).kind
        except ShapeError as error:
            what = error.detail
        counts[what] = counts.get(what, 0) + 1
    return counts


@pytest.mark.parametrize(
    "name, counts",
    [
        (
            "medicalgpt/sft/sharegpt_zh_1K_format.jsonl",
            {
                "chat": 993,
                "'conversations' ends with a turn of the user, for which there is no answer": 7,
            },
        ),
        ("medicalgpt/sft/medical_sft_1K_format.jsonl", {"chat": 1000}),
        ("medicalgpt/reward/dpo_zh_500.jsonl", {"preference": 500}),
        ("medical_dialogue/样例_内科5000-6000.csv", {"chat": 7644}),
    ],
)
def test_real_files(name, counts):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not there")
    if path.suffix == ".csv":
        with path.open(encoding="gb18030", newline="") as file:
            assert count(path, csv.DictReader(file)) == counts
    else:
        with path.open("rb") as file:
            assert count(path, map(orjson.loads, file)) == counts
