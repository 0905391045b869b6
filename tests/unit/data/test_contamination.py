"""Questions of the test are not trained on, in whatever form."""

import random

import corpus_files as make  # noqa: F401 - makes the scripts importable
import numpy as np
import pyarrow as pa
import pytest
from cleaning.contamination import SHARE, SINGLE_RUN, Questions
from cleaning.contents import Texts
from row_files import Cleaned, capitals, chat, chats, choice, messages, row

LONG = "在这座有着悠久历史的城市里，究竟是哪一位建筑师设计了最高的那一座塔楼？"
ENGLISH = "Which of the following drugs is the first choice for a patient with severe asthma?"


def test_everything_that_gives_a_question_away_is_rejected(tmp_path):
    preferred = {"chosen": messages("", "好")[1:], "rejected": messages("", "坏")[1:]}
    asked = [chat(1, LONG, "某人"), chat(2, "短问题", "答"), row(3, kind="text", text=ENGLISH)]
    asked.append(choice(4, "下面哪个对", ["甲甲", "乙乙"], "甲甲"))
    rows = [
        chat("same", LONG.replace("？", ""), "不知道"),
        chat("short", "短问题。", "别的"),
        chat("later turn", "你好啊", "你好", "短问题", "别的"),
        chat("within", f"请看：{LONG}请回答", "不知道"),
        chat("answered", "复述一下题目", f"题目是：{LONG}"),
        row("text", kind="text", text=f"考试真题：{LONG}答案是某人。"),
        row("preference", kind="preference", messages=messages(LONG), **preferred),
        chat("english", "说说", "Q: " + ENGLISH.upper()),
        choice("same choice", "下面哪个对？", ["乙乙", "甲甲"], "甲甲"),
        chat("choice without options", "下面哪个对？", "甲甲"),
        choice("other choice", "下面哪个对？", ["丙丙", "丁丁"], "丙丙"),
        chat("part", LONG[:20], "不知道"),
        chat("short within", "请看：短问题。请回答", "别的"),
        *chats(capitals(20), 100),
    ]
    stage = Cleaned(tmp_path, rows, asked, heldout=0)
    fine = {"other choice", "part", "short within"}
    named = {content["locator"] for content in rows[:13]}
    assert stage.reasons == dict.fromkeys(named - fine, "contaminated")
    assert stage.details["same"].startswith(f"asks the benchmark question {LONG!r} (a, line 1)")
    assert stage.details["within"].startswith("holds the words of the benchmark question")
    stage.export()
    assert stage.ledger()["split"]["leaked"] == 0


def test_benchmark_that_cannot_be_read_is_refused(tmp_path):
    asked = [chat(1, LONG, "某人"), row(2, reason="unknown_shape", detail="has the fields 题")]
    asked += [row(3, reason="malformed_row"), row("p. 1", reason="no_delimiter", source="b")]
    with pytest.raises(SystemExit) as refused:
        Cleaned(tmp_path, chats(capitals(20)), asked)
    assert str(refused.value) == (
        "clean: benchmarks: a: 2 rows cannot be read, the first is line 2 (unknown_shape: has the "
        "fields 题); b: 1 row cannot be read, the first is p. 1 (no_delimiter). Their questions "
        "could not be kept out of training: name the columns of the question and the answer in "
        "corpus.split.decontaminate, or mend the file."
    )


def test_what_is_held_out_may_be_in_a_benchmark(tmp_path):
    rows = [chat("test", LONG, "某人", side="heldout"), *chats(capitals(20), 100)]
    assert Cleaned(tmp_path, rows, [chat(1, LONG, "某人")]).reasons == {}


def test_nearly_the_same_as_a_benchmark(tmp_path):
    text = "".join(random.Random(1).choices("天地玄黄宇宙洪荒日月盈昃辰宿列张", k=300))
    rows = [chat(1, "问", f"{text[:150]}变{text[151:]}"), *chats(capitals(20), 100)]
    asked = [chat(1, "问题", text)]
    stage = Cleaned(tmp_path, rows, asked, near_duplicates=0.8, heldout=0)
    assert stage.reasons == {"line 1": "contaminated"}
    assert stage.details["line 1"].startswith("is nearly the same as the benchmark question")


def test_questions_of_one_wording_about_other_things_are_kept(tmp_path):
    forms = ("请问{}这个国家现在的首都是哪一座城市", "下列关于{}的说法当中，正确的一项是哪一个")
    names = [f"{a}{b}国" for a in "甲乙丙丁戊己庚辛" for b in "东西南北中上下左右"]
    pairs = [(form.format(name), f"{name}{n}") for name in names for n, form in enumerate(forms)]
    stage = Cleaned(tmp_path, chats(pairs))
    assert stage.reasons == {} and len(set(stage.sides.values())) == 2


def test_given_away_is_what_a_count_says():
    """Compared with the share of common runs of characters, counted one by one."""
    chance = random.Random(6)
    letters = "天地玄黄宇宙洪荒"
    questions = ["".join(chance.choices(letters, k=chance.randint(10, 40))) for _ in range(60)]
    texts = []
    for _ in range(200):
        question = list(chance.choice(questions))
        for _ in range(chance.randint(0, 2)):
            question[chance.randrange(len(question))] = chance.choice(letters)
        cut = chance.randint(0, 6)
        texts.append("头" * chance.randint(0, 5) + "".join(question)[cut:] + "尾" * 3)

    def runs(text):
        return {text[n : n + SINGLE_RUN] for n in range(len(text) - SINGLE_RUN + 1)}

    expected = {
        row: {
            number
            for number, question in enumerate(questions)
            if (own := runs(question)) and len(own & runs(text)) >= SHARE * len(own) - 1e-9
        }
        for row, text in enumerate(texts)
    }
    column = Texts(pa.array(texts), np.arange(len(texts) + 1))
    asked = Questions.of(questions)
    rows, numbers = asked.given_away(column)
    assert {row for row, found in expected.items() if found} == set(rows.tolist())
    assert 20 < len(rows) < 180
    assert all(number in expected[row] for row, number in zip(rows, numbers, strict=True))
    assert set(asked.all_given_away(column).tolist()) == set().union(*expected.values())


def test_questions_survive_a_file(tmp_path):
    column = Texts(pa.array([f"题目：{LONG}", ENGLISH, "别的"]), np.arange(4))
    asked = Questions.of(["短", LONG, ENGLISH])
    asked.save(tmp_path / "questions.npz")
    again = Questions.load(tmp_path / "questions.npz")
    assert [part.tolist() for part in again.given_away(column)] == [[0, 1], [1, 2]]
    assert not Questions.of(["短"]) and not Questions.of([])
