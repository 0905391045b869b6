"""The questions of the evaluation, and the wrong options that some of them get."""

from collections import Counter

import corpus_files as make  # also finds the modules of the stage
import pytest
from record_files import chat, choice, preference, said, text, write_records

# isort: split
import choices
import questions
from normalise import digest, normalise

NAMES = ("heldout", "recall", "heldout_mcq", "heldout_preference")


def capitals(number: int) -> list[tuple[str, str]]:
    """Three questions about each of so many made-up countries."""
    forms = ("{}的首都是哪里？", "请问{}的首都叫什么？", "哪座城市是{}的首都？")
    return [(form.format(f"国{n}"), f"城{n:04}") for n in range(number) for form in forms]


def as_questions(pairs):
    return [{"id": digest(q), "question": q, "answer": a} for q, a in pairs]


@pytest.fixture
def write(tmp_path):
    """Runs the script on records; returns the lines of the four files."""

    def run(*records, recall=5, required=()):
        path = write_records(tmp_path / "records.parquet", *records)
        files = [tmp_path / f"{name}.jsonl" for name in NAMES]
        questions.main(
            [
                *("--records", str(path), "--seed", "42", "--recall-size", str(recall)),
                *("--heldout", str(files[0]), "--recall", str(files[1])),
                *("--heldout-mcq", str(files[2]), "--heldout-preference", str(files[3])),
                *("--required", *required),
            ]
        )
        return {name: make.read_lines(file) for name, file in zip(NAMES, files, strict=True)}

    return run


# ------------------------------------------------------------------------------------- questions


def test_a_question_is_the_first_exchange(write):
    rows = [
        chat("甲", "乙", "丙", "丁", split="heldout", system="S"),
        chat("天气？", "查", "tool:晴", "晴天", split="heldout"),
        choice("首都？", ["上海", "北京"], "北京", split="heldout"),
        text("文章", split="heldout"),
        preference(said("问"), "好", "坏", split="heldout"),
        chat("练习", "题", "再", "来"),
        text("练习文章"),
    ]
    files = write(*rows)
    assert files["heldout"] == [
        {"id": rows[0]["id"], "question": "甲", "answer": "乙", "system": "S"},
        {"id": rows[1]["id"], "question": "天气？", "answer": "查"},
        {"id": rows[2]["id"], "question": "首都？\nA. 上海\nB. 北京", "answer": "B. 北京"},
    ]
    assert files["recall"] == [{"id": rows[5]["id"], "question": "练习", "answer": "题"}]


def test_recall_is_drawn_from_what_is_trained_on(write):
    rows = [chat(q, a, split=("train", "heldout")[n % 2]) for n, (q, a) in enumerate(capitals(20))]
    trained = {r["id"] for r in rows if r["split"] == "train"}
    recalled = [row["id"] for row in write(*rows, recall=7)["recall"]]
    assert recalled == sorted(trained, key=lambda each: digest("recall", 42, each))[:7]
    assert len(write(*rows, recall=999)["recall"]) == len(trained)


def test_without_held_out_questions_the_files_are_empty(write):
    files = write(*(chat(q, a) for q, a in capitals(3)))
    assert files["heldout"] == files["heldout_mcq"] == [] and len(files["recall"]) == 5


def test_required_benchmark_without_questions(write):
    rows = [chat(f"问{n}", f"答{n % 3}", split=("train", "heldout")[n % 2]) for n in range(20)]
    write(*rows, required=("heldout", "recall"))
    with pytest.raises(SystemExit, match="heldout_mcq would have no questions"):
        write(*rows, required=("heldout", "heldout_mcq"))


def test_multiple_choice_keeps_its_own_options(write):
    four = ["上海", "北京", "广州", "天津"]
    rows = [
        choice("首都？", four, "北京", split="heldout"),
        choice("三项？", four[:3], "北京", split="heldout"),
        choice("五项？", [*four, "重庆"], "北京", split="heldout"),
        choice("重复？", ["北京", "上海", "上海。", "天津"], "北京", split="heldout"),
        *(chat(q, a, split="heldout") for q, a in capitals(5)),
    ]
    files = write(*rows)
    assert files["heldout_mcq"][0] == {
        "id": rows[0]["id"],
        "question": "首都？\nA. 上海\nB. 北京\nC. 广州\nD. 天津",
        **{"A": "A. 上海", "B": "B. 北京", "C": "C. 广州", "D": "D. 天津"},
        "answer": "B",
    }
    order = [row["id"] for row in files["heldout"]]
    assert [row["id"] for row in files["heldout_mcq"]] == [order[0], *order[4:]]
    # what a multiple-choice question offers is not offered by others
    assert not {t for row in files["heldout_mcq"][1:] for t in row.values()} & set(four)


def test_no_more_questions_get_options_than_the_limit(write, monkeypatch, capsys):
    rows = [chat(q, a, split="heldout") for q, a in capitals(30)]
    everything = write(*rows)
    assert len(everything["heldout_mcq"]) == 90 and "have no form" not in capsys.readouterr().out
    monkeypatch.setattr(questions, "MCQ_LIMIT", 40)
    limited = write(*rows)
    assert limited["heldout"] == everything["heldout"]
    drawn = sorted((r["id"] for r in rows), key=lambda each: digest("pool", each))[:40]
    assert {row["id"] for row in limited["heldout_mcq"]} == set(drawn)
    assert "50 held-out questions have no form with four options" in capsys.readouterr().out


# ----------------------------------------------------------------------------------- preferences


def test_held_out_pairs_are_questions_with_two_options(write, capsys):
    rows = [preference(said(f"问{n}？"), f"好{n}", f"坏{n}", "heldout") for n in range(200)]
    rows[0] = preference(said("问？", system="S"), "好", "坏", "heldout")
    files = write(*rows, preference(said("练"), "好", "坏"), chat("甲", "乙"))
    found = files["heldout_preference"]
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert found[0] == {
        "id": rows[0]["id"],
        "question": "问？",
        **dict(zip("AB", ["好", "坏"] if found[0]["answer"] == "A" else ["坏", "好"], strict=True)),
        "answer": found[0]["answer"],
        "system": "S",
    }
    for number, row in enumerate(found[1:], 1):
        assert row["question"] == f"问{number}？" and "system" not in row
        assert {row["A"], row["B"]} == {f"好{number}", f"坏{number}"}
        assert row[row["answer"]] == f"好{number}"
    assert 70 < sum(row["answer"] == "A" for row in found) < 130
    assert found == write(*rows[::-1], chat("甲", "乙"))["heldout_preference"][::-1]
    assert "pairs have no form" not in capsys.readouterr().out


def test_pairs_of_longer_conversations_are_left_out_and_told(write, capsys):
    long = preference(said("问", "答", "再问"), "好", "坏", "heldout")
    goes_on = preference(said("问"), "好", "坏", "heldout") | {
        "chosen": said("", "好", "再", "坏")[1:]
    }
    same = preference(said("问"), "好", "好", "heldout")
    found = write(
        long, goes_on, same, preference(said("又"), "好", "坏", "heldout"), chat("甲", "乙")
    )
    assert [row["question"] for row in found["heldout_preference"]] == ["又"]
    assert "3 held-out preference pairs have no form" in capsys.readouterr().out


def test_required_preferences_without_pairs(write):
    rows = [chat("甲", "乙"), preference(said("练"), "好", "坏")]
    with pytest.raises(SystemExit, match="benchmark heldout_preference would have no questions"):
        write(*rows, required=("heldout_preference",))


def test_own_system_prompts_go_with_their_questions(write):
    rows = [
        chat(q, a, split="heldout", system="S" if n == 1 else None)
        for n, (q, a) in enumerate(capitals(5))
    ]
    rows.append(choice("首都？", ["上海", "北京", "广州", "天津"], "北京", split="heldout"))
    rows[-1]["messages"] = [{"role": "system", "content": "T"}, *rows[-1]["messages"]]
    files = write(*rows, chat("练习", "题", system="U"))
    for name in ("heldout", "heldout_mcq"):
        assert [row.get("system") for row in files[name]] == [None, "S", *[None] * 13, "T"]
    assert files["recall"][0]["system"] == "U"


# --------------------------------------------------------------------------------- wrong options


def test_options_are_distinct_of_one_kind_and_evenly_placed():
    symbols = [(f"元素{chr(0x4E00 + n)}的符号是什么？", f"X{n:03}") for n in range(60)]
    items = as_questions([*capitals(60), *symbols])
    rows = list(choices.multiple_choice(items, seed=1))
    assert len(rows) == len(items)
    same = 0
    for item, row in zip(items, rows, strict=True):
        options = [row[letter] for letter in "ABCD"]
        assert row["id"] == item["id"] and row[row["answer"]] == item["answer"]
        assert len({normalise(option) for option in options}) == 4
        same += len({option[0] for option in options}) == 1
    assert same == len(rows)
    letters = Counter(row["answer"] for row in rows)
    assert all(35 <= letters[letter] <= 85 for letter in "ABCD")  # 60 expected
    used = Counter(row[letter] for row in rows for letter in "ABCD")
    assert max(used.values()) < 45  # the nearest alone would be among the options of 180


def test_options_are_never_part_of_one_another():
    pairs = [
        ("问一", "北京"),
        ("问二", "北京市"),
        ("问三", "上海"),
        ("问四", "天津"),
        ("问五", "重庆"),
    ]
    for row in choices.multiple_choice(as_questions(pairs), seed=1):
        assert len({"北京", "北京市"} & {row[letter] for letter in "ABCD"}) == 1


def test_one_option_says_yes_and_one_no_at_most():
    told = ["是", "可以", "对", "能", "不是", "错", "不能"]
    pairs = [(f"第{n}件事是真的吗？", answer) for n, answer in enumerate(told)]
    pairs += [("谁写的？", "李白"), ("在哪里？", "上海"), ("何时？", "春天")]
    rows = list(choices.multiple_choice(as_questions(pairs), seed=1))
    assert len(rows) == len(pairs)
    for row in rows:
        options = {row[letter] for letter in "ABCD"}
        assert len(options & {"是", "可以", "对", "能"}) <= 1
        assert len(options & {"不是", "错", "不能"}) <= 1


def test_where_no_question_is_alike_options_look_like_the_answer():
    # those about one thing are more similar than those that ask for a year
    years = [
        ("某座大桥通车在哪一年？", "1957年"),
        ("蒸汽火车首次开行是哪一年？", "1825年"),
        ("青霉素发现于哪一年？", "1928年"),
        ("奥运会恢复举办是哪一年？", "1896年"),
    ]
    others = [
        ("某座大桥由谁设计", "一位有名的工程师"),
        ("某座大桥用什么材料", "钢筋和水泥"),
        ("某座大桥连接哪些城市", "江南与江北"),
        ("某座大桥那天谁来剪彩", "一群小学生"),
    ]
    rows = list(choices.multiple_choice(as_questions([*years, *others]), seed=3))
    for row in rows[: len(years)]:
        assert {row[letter] for letter in "ABCD"} == {answer for _, answer in years}


def test_questions_without_three_wrong_options_are_left_out():
    items = as_questions([("问一", "甲"), ("问二", "乙"), ("问三", "丙"), ("问四", "丙。")])
    assert list(choices.multiple_choice(items, seed=1)) == []
    assert list(choices.multiple_choice([], seed=1)) == []


def test_pool_is_bounded(monkeypatch):
    monkeypatch.setattr(choices, "POOL", 50)
    sizes = []
    original = choices.Similarity.to

    def spy(self, question):
        scores = original(self, question)
        sizes.append(len(scores))
        return scores

    monkeypatch.setattr(choices.Similarity, "to", spy)
    items = as_questions(capitals(100))
    assert len(list(choices.multiple_choice(items, seed=1))) == 300
    assert set(sizes) == {50}


def test_similarity_is_the_dice_coefficient():
    scores = choices.Similarity(["ab", "abc", "xy"]).to("ab")
    # bigrams with the edges: ^a ab b$ / ^a ab bc c$ / ^x xy y$
    assert scores.tolist() == pytest.approx([1, 4 / 7, 0])
