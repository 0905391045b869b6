"""Records in the forms of other trainers and libraries."""

import corpus_files as make  # also finds the modules of the stage
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from record_files import chat, choice, preference, said, text, write_records

# isort: split
import exports

ODD = '引号"\\ 换行\n分行\u2028表情😀 {{x}} \x07\x00\t'
ROWS = [
    chat("甲", "乙"),
    chat("丙", "丁", "戊", "己", system="自己的"),
    chat("天气？", "查", "tool:晴", "晴天"),
    choice("首都？", ["上海", "北京"], "北京"),
    text("文章" + ODD),
    preference(said("问"), "好", "坏"),
    preference(said("一", "二", "三", system="自己的"), "好" + ODD, "坏"),
    chat("藏", "x", split="heldout"),
    text("藏起的文章", split="heldout"),
    preference(said("藏"), "好", "坏", split="heldout"),
]


@pytest.fixture
def write(tmp_path):
    """Runs the script; returns the file."""

    def run(name, *records, system="", side="train"):
        path = write_records(tmp_path / "records.parquet", *(records or ROWS))
        out = tmp_path / f"export.{name}"
        command = ["--records", str(path), f"--system={system}", "--format", name]
        command += ["--side", side]
        assert exports.main([*command, "--out", str(out)]) == 0
        return out

    return run


def test_openai(write):
    lines = make.read_lines(write("openai", system="S"))
    system = [{"role": "system", "content": "S"}]
    assert lines == [
        {"messages": [*system, *said("甲", "乙")]},
        {"messages": said("丙", "丁", "戊", "己", system="自己的")},
        {"messages": [*system, *said("天气？", "查", "tool:晴", "晴天")]},
        {"messages": [*system, *said("首都？\nA. 上海\nB. 北京", "B. 北京")]},
    ]
    assert make.read_lines(write("openai"))[0] == {"messages": said("甲", "乙")}


def test_sharegpt(write):
    lines = make.read_lines(write("sharegpt", system="S"))
    assert lines[0] == {
        "system": "S",
        "conversations": [{"from": "human", "value": "甲"}, {"from": "gpt", "value": "乙"}],
    }
    assert lines[1]["system"] == "自己的" and len(lines[1]["conversations"]) == 4
    speakers = [message["from"] for message in lines[2]["conversations"]]
    assert speakers == ["human", "gpt", "observation", "gpt"]
    assert lines[3]["conversations"][1] == {"from": "gpt", "value": "B. 北京"}
    assert set(make.read_lines(write("sharegpt"))[0]) == {"conversations"}


def test_alpaca(write):
    assert make.read_lines(write("alpaca", system="S")) == [
        {"instruction": "甲", "input": "", "output": "乙", "system": "S"},
        {
            "instruction": "戊",
            "input": "",
            "output": "己",
            "history": [["丙", "丁"]],
            "system": "自己的",
        },
        {
            "instruction": "晴",
            "input": "",
            "output": "晴天",
            "history": [["天气？", "查"]],
            "system": "S",
        },
        {
            "instruction": "首都？\nA. 上海\nB. 北京",
            "input": "",
            "output": "B. 北京",
            "system": "S",
        },
    ]
    assert "system" not in make.read_lines(write("alpaca"))[0]


def test_xtuner_pretrain(write):
    turn = {"input": "", "output": "文章" + ODD}
    assert make.read_lines(write("xtuner_pretrain", system="S")) == [{"conversation": [turn]}]


def test_xtuner_preference(write):
    first, second = make.read_lines(write("xtuner_preference", system="S"))
    assert first == {
        "prompt": said("问", system="S"),
        "chosen": [{"role": "assistant", "content": "好"}],
        "rejected": [{"role": "assistant", "content": "坏"}],
    }
    assert second["prompt"] == said("一", "二", "三", system="自己的")
    assert second["chosen"] == [{"role": "assistant", "content": "好" + ODD}]


def test_held_out_pairs_have_the_form_of_those_that_are_trained_on(write):
    pair = (said("问"), "好", "坏")
    (trained,) = make.read_lines(write("xtuner_preference", preference(*pair), system="S"))
    rows = [preference(*pair), preference(*pair, split="heldout"), chat("藏", "x", split="heldout")]
    out = write("xtuner_preference", *rows, system="S", side="heldout")
    assert make.read_lines(out) == [trained]
    with pytest.raises(SystemExit):
        write("openai", side="heldout")


@pytest.mark.parametrize("name", ["openai", "sharegpt", "alpaca"])
def test_texts_survive(write, name):
    (line,) = make.read_lines(write(name, chat(ODD, ODD + "答"), system=ODD))
    if name == "openai":
        assert [message["content"] for message in line["messages"]] == [ODD, ODD, ODD + "答"]
    elif name == "sharegpt":
        assert [m["value"] for m in line["conversations"]] == [ODD, ODD + "答"]
        assert line["system"] == ODD
    else:
        assert (line["system"], line["instruction"], line["output"]) == (ODD, ODD, ODD + "答")


def test_parquet_holds_both_sides_and_every_kind(write):
    out = write("parquet", system="S")
    rows = pq.read_table(out).to_pylist()
    assert [(r["id"], r["kind"], r["split"]) for r in rows] == [
        (r["id"], r["kind"], r["split"]) for r in ROWS
    ]
    system = [{"role": "system", "content": "S"}]
    assert rows[0]["messages"] == [*system, *said("甲", "乙")]
    assert rows[1]["messages"] == ROWS[1]["messages"]
    assert rows[3]["messages"] == [*system, *said("首都？\nA. 上海\nB. 北京", "B. 北京")]
    assert rows[3]["options"] == ["上海", "北京"]
    assert (rows[4]["messages"], rows[4]["text"]) == (None, "文章" + ODD)
    assert rows[5]["messages"] == [*system, *said("问")]
    assert rows[6]["chosen"] == ROWS[6]["chosen"] and rows[6]["rejected"] == ROWS[6]["rejected"]


def test_parquet_without_a_system_prompt(write):
    rows = pq.read_table(write("parquet")).to_pylist()
    assert rows[0]["messages"] == said("甲", "乙")
    assert rows[3]["messages"] == said("首都？\nA. 上海\nB. 北京", "B. 北京")
    plain = pq.read_table(write("parquet", *(ROWS[:3]), ROWS[4])).to_pylist()
    assert [row["messages"] for row in plain] == [row["messages"] for row in (*ROWS[:3], ROWS[4])]


def test_parquet_is_read_by_others(write):
    out = write("parquet")
    assert not any(pa.types.is_dictionary(field.type) for field in pq.read_schema(out))
    frame = pandas.read_parquet(out)
    assert frame["split"].value_counts().to_dict() == {"train": 7, "heldout": 3}


def test_what_has_no_form_is_counted(write, capsys):
    for name, expected in {
        "alpaca": ["1 records of the kind text", "2 records of the kind preference"],
        "openai": ["1 records of the kind text", "2 records of the kind preference"],
        "xtuner_pretrain": [
            "3 records of the kind chat",
            "1 records of the kind choice",
            "2 records of the kind preference",
        ],
        "xtuner_preference": [
            "3 records of the kind chat",
            "1 records of the kind choice",
            "1 records of the kind text",
        ],
        "parquet": [],
    }.items():
        write(name)
        said_so = [line for line in capsys.readouterr().out.splitlines() if "no form" in line]
        assert sorted(line.split(" have ")[0] for line in said_so) == sorted(expected), name


def test_every_format_of_a_corpus_that_has_nothing_for_it(write):
    for name in exports.FORMATS:
        out = write(name, chat("藏", "x", split="heldout"))
        if name != "parquet":
            assert out.read_bytes() == b"", name
