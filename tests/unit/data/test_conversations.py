"""Training conversations: the form of XTuner, the sample as chat messages, texts of any kind."""

import json
import random
from pathlib import Path

import corpus_files as make  # also finds the modules of the stage
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import chat, choice, preference, record, said, text, write_records

# isort: split
import chat_forms
import conversations
from normalise import digest

ODD = '引号"\\ 换行\n分行\u2028表情😀 {{x}} {0,6} \x07\x00\x1f\x7f\t\r\b\f </script> %s ~'


@pytest.fixture
def write(tmp_path):
    """Runs the script on records; returns the lines."""

    def run(*records, system="", name="out.jsonl", options=()):
        path = write_records(tmp_path / "records.parquet", *records)
        out = tmp_path / name
        command = ["--records", str(path), f"--system={system}", "--out", str(out), *options]
        assert conversations.main(command) == 0
        return make.read_lines(out)

    return run


def test_forms_of_a_conversation(write):
    row = chat("甲", "乙", "丙", "丁")
    turns = [{"input": "甲", "output": "乙"}, {"input": "丙", "output": "丁"}]
    assert write(row) == [{"conversation": turns}]
    assert write(row, system="S") == [{"conversation": [{"system": "S", **turns[0]}, turns[1]]}]
    sample = ("--sample", "9", "--seed", "1")
    messages = said("甲", "乙", "丙", "丁")
    assert write(row, options=sample) == [{"messages": messages}]
    with_system = [{"role": "system", "content": "S"}, *messages]
    assert write(row, options=sample, system="S") == [{"messages": with_system}]


def test_own_system_message_takes_the_place_of_the_configured_one(write):
    rows = [chat("甲", "乙", system="自己的"), chat("丙", "丁")]
    first, second = write(*rows, system="配置的")
    assert first["conversation"] == [{"system": "自己的", "input": "甲", "output": "乙"}]
    assert second["conversation"][0]["system"] == "配置的"
    assert [line["conversation"][0].get("system") for line in write(*rows)] == ["自己的", None]


def test_results_of_tools_are_inputs(write):
    (line,) = write(chat("天气？", "查询", "tool:晴", "tool:20度", "晴，20度", "谢谢", "不客气"))
    assert line["conversation"] == [
        {"input": "天气？", "output": "查询"},
        {"input": "晴\n20度", "output": "晴，20度"},
        {"input": "谢谢", "output": "不客气"},
    ]


def test_multiple_choice_shows_its_options_and_answers_with_the_letter(write):
    (line,) = write(choice("首都是？", ["上海", "北京", "广州"], "北京"))
    assert line["conversation"] == [
        {"input": "首都是？\nA. 上海\nB. 北京\nC. 广州", "output": "B. 北京"}
    ]
    many = [f"选项{n}" for n in range(30)]
    (line,) = write(choice("哪一个？", many, "选项28"))
    assert line["conversation"][0]["output"] == "29. 选项28"
    assert "\nZ. 选项25\n27. 选项26\n" in line["conversation"][0]["input"]


def test_only_conversations_of_the_training_side_in_their_order(write):
    rows = [
        chat("一", "1"),
        chat("藏", "x", split="heldout"),
        text("文章"),
        choice("二", ["2", "3"], "2"),
        preference(said("问"), "好", "坏"),
        chat("三", "3", "四", "4"),
        choice("藏", ["2", "3"], "2", split="heldout"),
    ]
    inputs = [[turn["input"] for turn in line["conversation"]] for line in write(*rows)]
    assert inputs == [["一"], ["二\nA. 2\nB. 3"], ["三", "四"]]


@pytest.mark.parametrize("options", [(), ("--sample", "3", "--seed", "1")])
def test_corpus_without_conversations(write, options):
    assert write(text("文章"), text("又一篇"), options=options) == []


def test_texts_survive(write):
    rows = [chat(ODD, ODD + "答", "", ODD), choice(ODD, [ODD, "x"], ODD)]
    first, second = write(*rows, system=ODD)
    assert first["conversation"] == [
        {"system": ODD, "input": ODD, "output": ODD + "答"},
        {"input": "", "output": ODD},
    ]
    assert second["conversation"][0]["output"] == "A. " + ODD


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text()),
            st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=20,
    ),
    st.text(),
    st.integers(1, 400),
)
def test_lines_are_those_that_orjson_writes(tmp_path_factory, dialogues, system, portion):
    path = tmp_path_factory.mktemp("records") / "records.parquet"
    expected, records = [], []
    for own, turns in dialogues:
        messages = [("system", own)] if own else []
        for question, answer in turns:
            messages += ("user", question), ("assistant", answer)
        named = [{"role": role, "content": content} for role, content in messages]
        records.append(record("chat", "train", messages=named))
        rows = [{"input": question, "output": answer} for question, answer in turns]
        if own or system:
            rows[0] = {"system": own or system, **rows[0]}
        expected.append(orjson.dumps({"conversation": rows}, option=orjson.OPT_APPEND_NEWLINE))
    write_records(path, *records)
    before, chat_forms.PORTION = chat_forms.PORTION, portion
    try:
        for threads in (1, 3):
            out = path.with_name(f"{threads}.jsonl")
            conversations.write_conversations(path, out, chat_forms.xtuner, system, threads)
            assert out.read_bytes() == b"".join(expected)
    finally:
        chat_forms.PORTION = before


@pytest.mark.parametrize(
    "roles",
    [
        ("user",),
        ("assistant", "user", "assistant"),
        ("user", "user", "assistant"),
        ("user", "assistant", "system"),
        ("user", "robot", "assistant"),
    ],
)
def test_messages_in_an_order_that_has_no_form_are_an_error(write, roles):
    broken = [{"role": role, "content": "x"} for role in roles]
    with pytest.raises(ValueError, match="not the messages of a conversation: " + ", ".join(roles)):
        write(chat("好", "好"), record("chat", "train", messages=broken))


def test_turns_are_those_of_the_training_form(tmp_path):
    dialogues = [
        ("甲", "乙"),
        ("甲", "查", "tool:丙", "tool:丁", "答", "再问", "再答"),
    ]
    path = write_records(tmp_path / "r.parquet", *(chat(*d, system="S") for d in dialogues))
    (batch,) = chat_forms.conversations(path, "train")
    lines = bytes(chat_forms.lines(batch, chat_forms.xtuner, "")).splitlines()
    for messages, line in zip(chat_forms.messages_of(batch), lines, strict=True):
        turns = [(turn["input"], turn["output"]) for turn in json.loads(line)["conversation"]]
        assert chat_forms.turns(messages) == turns


# ---------------------------------------------------------------------------------------- sample


def drawn(path: Path, size: int, *key) -> list[str]:
    return conversations.sample(path, size, *key).column("id").to_pylist()


def test_sample_is_drawn_by_a_hash_and_smaller_ones_begin_larger_ones(tmp_path):
    rows = [chat(f"问{n}", f"答{n}", split=("train", "heldout")[n % 3 == 0]) for n in range(300)]
    rows += [text("文章"), choice("选", ["1", "2"], "1")]
    path = write_records(tmp_path / "r.parquet", *rows)
    ids = [r["id"] for r in rows if r["split"] == "train" and r["kind"] != "text"]
    assert drawn(path, 12, "k", 7) == sorted(ids, key=lambda each: digest("k", 7, each))[:12]
    assert drawn(path, 5, "k", 7) == drawn(path, 12, "k", 7)[:5]
    assert drawn(path, 12, "k", 8) != drawn(path, 12, "k", 7)
    assert sorted(drawn(path, 9999, "k", 7)) == sorted(ids)
    assert drawn(path, 0, "k", 7) == []


def test_sample_over_several_batches_is_in_the_drawn_order(tmp_path, monkeypatch):
    monkeypatch.setattr("files.BATCH", 7)
    rows = [chat(f"问{n}", f"答{n}") for n in range(50)]
    random.Random(1).shuffle(rows)
    path = write_records(tmp_path / "r.parquet", *rows)
    batch = conversations.sample(path, 20, "k")
    ids = sorted((r["id"] for r in rows), key=lambda each: digest("k", each))[:20]
    assert batch.column("id").to_pylist() == ids
    questions = {r["id"]: r["messages"][0]["content"] for r in rows}
    asked = [messages[0][1] for messages in chat_forms.messages_of(batch)]
    assert asked == [questions[each] for each in ids]


def test_sample_and_seed_go_together(write, capsys):
    with pytest.raises(SystemExit):
        write(chat("甲", "乙"), options=("--sample", "3"))
    assert "go together" in capsys.readouterr().err


def test_conversations_of_a_source_stand_several_times(write, capsys):
    rows = [chat(f"问{n}", f"答{n}", system="S" if n % 2 else None) for n in range(6)]
    for n in (0, 3, 4):
        rows[n] |= {"source": "b.jsonl"}
    rows[4]["split"] = "heldout"
    once = write(*rows)
    again = write(*rows, options=["--repeats", '{"b.jsonl": 3}'])
    assert again[: len(once)] == once and len(once) == 5
    assert sorted(map(str, again[len(once) :])) == sorted(map(str, [once[0], once[3]] * 2))
    assert "4 of them again" in capsys.readouterr().out
    both = write(*rows, options=["--repeats", '{"b.jsonl": 3, "a.jsonl": 2}'])
    assert len(both) == 3 * 2 + 2 * 3
    sample = ("--sample", "9", "--seed", "1", "--repeats", '{"b.jsonl": 3}')
    assert len(write(*rows, options=sample)) == 5


def test_nothing_to_repeat_is_a_mistake(write):
    rows = [chat("问", "答"), text("文章") | {"source": "b.jsonl"}]
    with pytest.raises(SystemExit, match=r"conversations: corpus.sources: b.jsonl: there is no"):
        write(*rows, options=["--repeats", '{"b.jsonl": 3}'])
