"""On which side each record is, and that it stays there."""

import hashlib
import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
from corpus_files import ROOT  # also finds the modules of the stage

# isort: split
import ingest
from cleaning.split import draws, group_of
from hypothesis import given, settings
from hypothesis import strategies as st
from normalise import digest, fraction
from row_files import Cleaned, capitals, chat, chats, choice, messages, row

EMBEDDED = ROOT / "resources" / "corpora" / "civil_service"


def side_of(group: str, heldout: float, seed: int) -> str:
    return "heldout" if draws([group], seed)[0] < heldout else "train"


def test_paraphrases_are_on_one_side_and_shares_hold(tmp_path):
    stage = Cleaned(tmp_path, chats(capitals(2000)))
    sides = {}
    for record in stage.records:
        sides.setdefault(record["messages"][1]["content"], set()).add(record["split"])
    assert all(len(side) == 1 for side in sides.values())
    share = sum(side == {"heldout"} for side in sides.values()) / len(sides)
    assert abs(share - 0.3) < 0.04  # four standard deviations of 2,000 draws
    for record in stage.records:
        group = group_of(record["messages"][1]["content"])
        assert (record["group"], record["split"]) == (group, side_of(group, 0.3, 42))


def test_draws_are_those_of_the_first_version():
    groups = [group_of(f"答{n}") for n in range(50)]
    assert draws(groups, 7).tolist() == [fraction("split", 7, group) for group in groups]


def test_side_does_not_depend_on_how_the_answer_is_written():
    assert group_of("《北京》。") == group_of("北京 ")
    sides = {side_of(group_of("北京"), 0.3, seed) for seed in range(50)}
    assert sides == {"train", "heldout"}


def test_a_larger_share_only_moves_records_out_of_training():
    for number in range(500):
        group = group_of(f"答案{number}")
        if side_of(group, 0.2, 7) == "heldout":
            assert side_of(group, 0.5, 7) == "heldout"


LONG = "先把所有的材料洗干净并切成小块，然后放进锅里用中火慢慢地煮，直到汤汁变得浓稠为止。"
ANSWERS = st.one_of(
    st.integers(0, 12).map("答{}".format),
    # long ones, many of them nearly the same
    st.tuples(st.integers(0, 9), st.integers(0, 3)).map(
        lambda n: "".join(f"第{k * (n[0] + 3)}步{LONG}" for k in range(6)) + "好" * n[1]
    ),
)
ROW = st.tuples(
    st.sampled_from(["chat", "choice", "preference", "multi"]), st.integers(0, 40), ANSWERS
)


def as_row(place, drawn):
    kind, number, answer = drawn
    asked = f"问{number}"
    if kind == "choice":
        return choice(place, asked, [answer, "都不是"], answer)
    if kind == "preference":
        said = [{"role": "assistant", "content": answer}]
        other = [{"role": "assistant", "content": "不知道"}]
        return row(place, kind=kind, messages=messages(asked), chosen=said, rejected=other)
    return chat(place, asked, answer, *(("再说一遍", answer) if kind == "multi" else ()))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_more_data_never_moves_a_record_to_the_other_side(tmp_path_factory, data):
    old = data.draw(st.lists(ROW, min_size=5, max_size=40))
    new = data.draw(st.lists(ROW, max_size=25))
    rows = [as_row(f"old {n}", content) for n, content in enumerate(old)]
    merged = list(rows)
    for number, content in enumerate(new):
        place = data.draw(st.integers(0, len(merged)))
        merged.insert(place, as_row(f"new {number}", content))
    fixed = chats(capitals(20), 1000)
    folder = tmp_path_factory.mktemp("stable")
    before, after = (
        Cleaned(folder / name, [*fixed, *some], near_duplicates=0.8)
        for name, some in (("before", rows), ("after", merged))
    )
    common = before.sides.keys() & after.sides.keys()
    assert len(common) >= 30
    assert {key: before.sides[key] for key in common} == {key: after.sides[key] for key in common}
    ids = {record["id"]: record["split"] for record in before.records}
    for record in after.records:
        assert ids.get(record["id"], record["split"]) == record["split"]


def test_a_number_of_questions_can_be_held_out(tmp_path):
    rows = [*chats(capitals(100)), row("text", kind="text", text="一篇文章")]
    few, more = (Cleaned(tmp_path / str(n), rows, heldout=n) for n in (10, 50))
    for stage, wanted in ((few, 10), (more, 50)):
        held = {place for place, side in stage.sides.items() if side == "heldout"}
        # three questions about each country stay together
        assert wanted <= len(held) <= wanted + 2 and "text" not in held
    small, large = (
        {place for place, side in stage.sides.items() if side == "heldout"} for stage in (few, more)
    )
    assert small < large
    one = Cleaned(tmp_path / "one", rows, heldout=1)
    assert list(one.sides.values()).count("heldout") == 3


def test_none_is_held_out_for_a_share_of_nothing(tmp_path):
    assert set(Cleaned(tmp_path, chats(capitals(5)), heldout=0).sides.values()) == {"train"}


def test_explicit_sides(tmp_path):
    pairs = capitals(40)
    rows = [
        *(chat(f"train {n}", q, a, side="train") for n, (q, a) in enumerate(pairs[:60])),
        *(chat(f"test {n}", q, a, side="heldout") for n, (q, a) in enumerate(pairs[60:])),
        chat("same question", pairs[60][0] + "！", "另一个", side="train"),
        chat("same pair", pairs[61][0] + "！", pairs[61][1]),
        chat("same answer", "完全不同的问题", pairs[62][1], side="train"),
    ]
    stage = Cleaned(tmp_path, rows)
    assert stage.reasons == {"same question": "contaminated", "same pair": "duplicate"}
    assert stage.details["same question"] == (
        f"asks the held-out question {pairs[60][0]!r} (a, test 0)"
    )
    assert stage.details["same pair"] == "same as a, test 1"
    for place, side in stage.sides.items():
        assert side == ("heldout" if place.startswith("test") else "train")
    stage.export()
    assert stage.ledger()["split"]["leaked"] == 0


def test_explicit_test_rows_come_first_wherever_they_are(tmp_path):
    long = "".join(f"第{n}步，{LONG}" for n in range(6))
    rows = [
        chat(1, "怎么做这道菜", long),
        chat(2, "怎么做这道菜呢", long + "完成。", side="heldout"),
        *chats(capitals(20), 100),
    ]
    stage = Cleaned(tmp_path, rows, near_duplicates=0.8)
    assert stage.reasons == {"line 1": "near_duplicate"}
    assert stage.sides["line 2"] == "heldout"


def test_multi_turn_groups_are_of_all_answers(tmp_path):
    rows = [chat(n, f"问{n}", "好", f"再问{n}", "行") for n in range(50)]
    stage = Cleaned(tmp_path, [*rows, *chats(capitals(20), 100)])
    groups = {r["group"] for r in stage.records if len(r["messages"]) == 4}
    assert len(groups) == 1
    assert np.unique([r["group"] for r in stage.records]).size == 21


def test_embedded_corpus_is_split_as_ever(tmp_path):
    """The scores of the tiny model belong to this split."""
    sources = [
        {"path": str(EMBEDDED / "questions.docx")},
        {
            "path": str(EMBEDDED / "questions.xlsx"),
            "sheet": "题库",
            "question": "题目",
            "answer": "答案",
        },
        {"path": str(EMBEDDED / "questions.jsonl"), "question": "question", "answer": "answer"},
    ]
    rows, counts = tmp_path / "rows.parquet", tmp_path / "ingest.json"
    ingest.main(
        [*("--sources", json.dumps(sources)), *("--rows", str(rows), "--counts", str(counts))]
    )
    adverts = ["公众号", "加(微信|QQ)?群[号聊领：:0-9]", "扫码", "关注.{0,6}微信"]
    read = pq.read_table(rows).to_pylist()
    options = {"near_duplicates": 0.8, "max_question_chars": 500, "max_answer_chars": 2000}
    stage = Cleaned(tmp_path / "cleaned", read, adverts=adverts, **options)
    sides = Counter(record["split"] for record in stage.records)
    assert sides == {"train": 1554, "heldout": 558}
    assert "contaminated" not in stage.reasons.values() and len(stage.rejected) == 16
    lines = (f"{record['id']} {record['group']} {record['split']}" for record in stage.records)
    assert digest(*lines) == "159f0a07bb4b1150"
    stage.export()
    # of what is trained on and asked, so that scores of one version compare with those of another
    digests = {
        "train": "32c8f7f3ade4c482",
        "heldout": "1c1a41df15352440",
        "recall": "422dc523a18b52ef",
        "heldout_mcq": "d428d41976e12800",
        "calibration": "8abb46dc503cabc3",
    }
    for name, digest_of in digests.items():
        content = (stage.folder / f"{name}.jsonl").read_bytes()
        assert hashlib.sha256(content).hexdigest()[:16] == digest_of, name
