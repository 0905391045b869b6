"""The ledger: it adds up, and notices whatever does not."""

import json

import corpus_files as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from row_files import Cleaned, capitals, chat, chats, choice, messages, row


@pytest.fixture
def finished(tmp_path):
    rows = [*chats(capitals(20)), chat("bad", "坏", "")]
    stage = Cleaned(tmp_path, rows)
    stage.export()
    return stage


def lines_of(stage, name):
    return make.read_lines(stage.folder / f"{name}.jsonl")


def write_lines(stage, name, rows):
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in rows)
    (stage.folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def test_ledger_of_a_finished_corpus(finished):
    result = finished.ledger()
    assert result["total"] == {
        "rows": 61,
        "blank": 0,
        "repaired": 0,
        "not_sampled": 0,
        "kept": 60,
        "repeated": 0,
        "rejected": {"empty_answer": 1},
    }
    split = result["split"]
    assert split["train"] + split["heldout"] == 60 and split["leaked"] == 0
    assert split["by_kind"]["train"] == {"chat": split["train"]}
    assert split["groups_train"] + split["groups_heldout"] == 20
    assert result["files"]["train.jsonl"] == split["train"]
    assert result["review"] is None


def test_counts_of_the_review_and_of_the_sources_are_passed_on(finished):
    read = {"rows": 61, "blank": 2, "repaired": 3, "not_sampled": 0}
    source = {"source": "a", **read, "facts": {"encoding": "x"}}
    result = finished.ledger({"sources": [source], "review": {"edited": 4}})
    assert result["review"] == {"edited": 4}
    assert result["sources"][0]["facts"] == {"encoding": "x"}
    assert (result["total"]["blank"], result["total"]["repaired"]) == (2, 3)


def test_other_kinds_are_counted_but_not_in_train_jsonl(tmp_path):
    rows = chats(capitals(20))
    rows += [row(f"text {n}", kind="text", text=f"第{n}篇文章") for n in range(7)]
    rows += [
        row(
            f"preference {n}",
            kind="preference",
            messages=messages(f"说说{n}"),
            chosen=[{"role": "assistant", "content": f"好{n}"}],
            rejected=[{"role": "assistant", "content": f"坏{n}"}],
        )
        for n in range(30)
    ]
    rows += [choice(f"choice {n}", f"题{n}", [f"甲{n}", f"乙{n}"], f"乙{n}") for n in range(30)]
    stage = Cleaned(tmp_path, rows)
    stage.export()
    result = stage.ledger()
    train, heldout = result["split"]["by_kind"]["train"], result["split"]["by_kind"]["heldout"]
    assert train["text"] == 7 and "text" not in heldout
    assert train["preference"] + heldout["preference"] == 30 > heldout["preference"] > 0
    assert result["files"]["train.jsonl"] == train["chat"] + train["choice"]
    assert result["files"]["heldout.jsonl"] == heldout["chat"] + heldout["choice"]


def test_lost_rows_are_noticed(finished):
    write_lines(finished, "rejected", [])
    with pytest.raises(SystemExit, match="61 rows were read, but 60 kept, 0 rejected"):
        finished.ledger()


def test_rows_of_unknown_sources_are_noticed(finished):
    with pytest.raises(SystemExit, match="never read"):
        finished.ledger({"sources": [], "review": None})


def test_a_lost_line_is_noticed(finished):
    write_lines(finished, "train", lines_of(finished, "train")[:-1])
    with pytest.raises(SystemExit, match=r"train\.jsonl has"):
        finished.ledger()


LONG = "在这座有着悠久历史的城市里，究竟是哪一位建筑师设计了最高的那一座塔楼"


def with_leak(stage, asked, answered):
    train = lines_of(stage, "train")
    turn = {"input": asked, "output": answered}
    write_lines(stage, "train", [*train[:-1], {"conversation": [turn]}])


def test_leaks_are_noticed(tmp_path):
    rows = [*chats(capitals(20)), chat("long", LONG, "某人", side="heldout")]
    stage = Cleaned(tmp_path, rows)
    stage.export()
    stage.ledger()
    train, heldout = lines_of(stage, "train"), lines_of(stage, "heldout")
    question = next(line for line in heldout if line["question"] != LONG)
    for asked, answered, message in (
        (question["question"] + " ？", "别的", "held-out question .* leaks"),
        ("请看下面的问题", f"题目：{LONG}？", "held-out question .* leaks"),
        ("别的问题", question["answer"] + "。", "an answer of a held-out question leaks"),
    ):
        write_lines(stage, "train", train)
        with_leak(stage, asked, answered)
        with pytest.raises(SystemExit, match=message):
            stage.ledger()


def test_leaks_of_benchmarks_are_noticed(tmp_path):
    stage = Cleaned(tmp_path, chats(capitals(20)), [chat(1, LONG, "某人")])
    stage.export()
    stage.ledger()
    with_leak(stage, f"请回答：{LONG}", "不知道")
    with pytest.raises(SystemExit, match=r"benchmark question .* leaks"):
        stage.ledger()


def test_recalled_and_calibrating_strangers_are_noticed(finished):
    heldout = lines_of(finished, "heldout")[0]
    recalled = lines_of(finished, "recall")
    write_lines(finished, "recall", [heldout])
    with pytest.raises(SystemExit, match=r"recall\.jsonl: .* is not trained on"):
        finished.ledger()
    write_lines(finished, "recall", recalled)
    stranger = {"messages": messages(heldout["question"], heldout["answer"])}
    write_lines(finished, "calibration", [stranger])
    with pytest.raises(SystemExit, match=r"calibration\.jsonl: .* is not trained on"):
        finished.ledger()


def pair(locator, asked, **fields):
    """A preference pair."""
    sides = {
        name: [{"role": "assistant", "content": f"{text}{locator}"}]
        for name, text in (("chosen", "好"), ("rejected", "坏"))
    }
    return row(locator, kind="preference", messages=messages(asked), **sides, **fields)


def test_what_is_repeated_is_counted(finished):
    times = {"a": 4}
    finished.export(times)
    result = finished.ledger(repeats=times)
    trained = result["split"]["train"]
    assert result["total"]["repeated"] == result["sources"][0]["repeated"] == 3 * trained
    assert result["files"]["train.jsonl"] == 4 * trained
    assert result["total"]["kept"] == 60 and result["files"]["recall.jsonl"] == 5


def test_a_line_repeated_too_often_is_noticed(finished):
    finished.export({"a": 2})
    lines = lines_of(finished, "train")
    write_lines(finished, "train", [*lines[:-1], lines[0]])
    with pytest.raises(SystemExit, match="does not repeat what the configuration says"):
        finished.ledger(repeats={"a": 2})
    write_lines(finished, "train", lines[:-1])
    with pytest.raises(SystemExit, match=r"train\.jsonl has"):
        finished.ledger(repeats={"a": 2})


def test_rows_that_were_not_sampled_are_counted(finished):
    read = {"rows": 1_061, "blank": 0, "repaired": 0, "not_sampled": 1_000}
    result = finished.ledger({"sources": [{"source": "a", **read}], "review": None})
    assert result["total"]["not_sampled"] == 1_000 and result["total"]["rows"] == 1_061
    read["not_sampled"] = 999
    with pytest.raises(SystemExit, match="60 kept, 1 rejected and 999 not sampled make 1060"):
        finished.ledger({"sources": [{"source": "a", **read}], "review": None})


def test_held_out_pairs_are_counted(tmp_path):
    rows = [*chats(capitals(20)), *(pair(f"p{n}", f"说说{n}") for n in range(30))]
    rows.append(pair("long", "问") | {"messages": messages("问", "答", "再问"), "side": "heldout"})
    stage = Cleaned(tmp_path, rows)
    stage.export()
    result = stage.ledger()
    heldout = result["split"]["by_kind"]["heldout"]["preference"]
    assert result["files"]["heldout_pairs.jsonl"] == heldout > 1
    assert result["files"]["heldout_preference.jsonl"] == heldout - 1
    assert result["preference_skipped"] == 1
    write_lines(stage, "heldout_pairs", lines_of(stage, "heldout_pairs")[1:])
    with pytest.raises(SystemExit, match=r"heldout_pairs\.jsonl has"):
        stage.ledger()


@pytest.mark.parametrize(
    "giving",
    [
        chat("x", LONG + "？", "是某人"),
        chat("x", "请看下面的问题", f"题目：{LONG}。不知道"),
        chat("x", "短的问题", "好的"),
        pair("x", "短的问题"),
        pair("x", LONG),
        row("x", kind="text", text=f"今天有人问：{LONG}？没有人知道。"),
        row("x", kind="text", text="短的问题"),
    ],
)
def test_what_gives_a_held_out_pair_away_is_not_trained_on(tmp_path, giving):
    """By cleaning; and the ledger notices if cleaning has let it through."""
    held = [pair("long", LONG, side="heldout"), pair("short", "短的问题？", side="heldout")]
    rows = [*chats(capitals(20)), *held, giving | {"side": "train"}]
    options = {"max_question_chars": 500}
    stage = Cleaned(tmp_path / "cleaned", rows, **options)
    assert stage.reasons == {"x": "contaminated"}
    assert "the held-out question" in stage.details["x"]
    stage.export()
    stage.ledger()
    pairs = lines_of(stage, "heldout_pairs")
    assert len(pairs) == 2
    # where other pairs were held out, cleaning lets it through
    other = [pair(f"other {n}", f"别的问题{n}", side="heldout") for n in range(2)]
    leaky = Cleaned(
        tmp_path / "leaky", [*chats(capitals(20)), *other, giving | {"side": "train"}], **options
    )
    leaky.export()
    leaky.ledger()
    write_lines(leaky, "heldout_pairs", pairs)
    with pytest.raises(SystemExit, match=r"the held-out question .* leaks into training"):
        leaky.ledger()


WORDS = st.text("问答一二三 ？。a1公众号", max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from([None, "malformed_row", "no_delimiter"]))))
def test_sums_agree_whatever_the_rows_are(tmp_path_factory, drawn):
    rows = chats(capitals(20))
    for number, (asked, answered, reason) in enumerate(drawn, 100):
        if reason:
            rows.append(row(number, reason=reason, detail="x", original=asked + answered))
        else:
            rows.append(chat(number, asked, answered))
    stage = Cleaned(tmp_path_factory.mktemp("ledger"), rows)
    stage.export()
    result = stage.ledger()
    total = result["total"]
    assert total["rows"] == len(rows) == total["kept"] + sum(total["rejected"].values())
    places = [line["locator"] for line in stage.records + stage.rejected]
    assert sorted(places) == sorted(content["locator"] for content in rows)
