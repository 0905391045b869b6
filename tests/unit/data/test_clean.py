"""Which rows are kept, which are rejected and why."""

import csv
import json

import corpus_files as make
import numpy as np
import pyarrow as pa
import pytest
from cleaning.characters import key_forms
from cleaning.rejected import MOST_CHARACTERS, cell
from cleaning.texts import Languages, half_width
from hypothesis import given, settings
from hypothesis import strategies as st
from normalise import LONG, content_id, digest, fraction, is_blank, key_form, normalise
from row_files import Cleaned, capitals, chat, chats, choice, messages, row

EMBEDDED = make.ROOT / "resources" / "corpora" / "civil_service"


# ------------------------------------------------------------------------------------- normalise


@pytest.mark.parametrize(
    "one, other",
    [
        ("《红楼梦》的作者是？", "红楼梦的作者是"),
        ("ＡＢＣ１２３", "abc 123"),
        ("一，二、三。", "一二三"),
        ("1937－1945", "1937—1945"),
        ("谁？ ", "　谁?"),
        ("（  ）是首都", "____是首都"),
    ],
)
def test_normalise_unites(one, other):
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("1.5", "15"),
        ("-5℃", "5℃"),
        ("3:1", "31"),
        ("1/2", "12"),
        ("10²", "102"),
        ("5%", "5"),
        ("C#", "C"),
        ("C++", "C"),
        ("……", "——"),
        ("《", "。"),
    ],
)
def test_normalise_keeps_apart(one, other):
    assert normalise(one) != normalise(other)


ODD = "a1B.,:/-%－—。？ 　①²½ﬁ中文（）\u200b\t℃…Éé\u0301가ᄀ\u1161１9#&~−"
TEXTS = st.one_of(st.text(max_size=12), st.text(ODD, max_size=12))


@given(st.text("a1B.,:/-%－—。？ 　①²½ﬁ中文（）\u200b\t", max_size=8))
def test_normalise_is_idempotent(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.lists(st.one_of(st.none(), TEXTS, st.text(ODD, min_size=LONG - 1, max_size=LONG + 2))))
def test_forms_of_a_column_are_those_of_its_texts(texts):
    column = pa.array([None, "x", *texts], pa.string()).slice(1)
    assert key_forms(column) == [key_form(text or "") for text in ["x", *texts]]


@pytest.mark.parametrize("frame", ["{}", "a{}1", "1{}1", "1 {} 2", "-{}"])
def test_forms_of_a_column_are_those_of_its_texts_for_all_characters(frame):
    every = [frame.format(chr(n)) for n in range(0x30000) if not 0xD800 <= n < 0xE000]
    assert key_forms(pa.array(every)) == [normalise(text) for text in every]


def test_form_of_a_long_text_keeps_punctuation():
    long = "长" * LONG
    assert key_form(f"{long} Ａ\n。") == f"{long}a。"
    assert key_form(long[1:] + "。") == long[1:]


def test_is_blank():
    assert is_blank("") and is_blank(" ？。") and not is_blank("1") and not is_blank("+")


def test_hashes_are_stable_and_keep_parts_apart():
    # the sides of a published split depend on these numbers
    assert digest("split", 42, "x") == "1f88b7fa42cd999b"
    assert digest("ab", "c") != digest("a", "bc")
    values = [fraction(n) for n in range(2000)]
    assert 0 <= min(values) < 0.01 and 0.99 < max(values) < 1
    assert abs(sum(values) / len(values) - 0.5) < 0.02


# --------------------------------------------------------------------------------------- reasons


def test_every_reason_of_a_row_itself(tmp_path):
    stage = Cleaned(
        tmp_path,
        [
            row(1, reason="no_delimiter", detail="no arrow", original="常识题库"),
            row(2, reason="no_delimiter", detail="no arrow", original="加入我们的公众号"),
            row(3, reason="malformed_row", detail="broken", original="{公众号"),
            row(4, reason="undecodable", detail="锟斤拷", original="公众号"),
            row(5, reason="unknown_shape", detail="no field", original="公众号"),
            chat(6, "讲义？", "关注公众号领取"),
            chat(7, " ", "长江"),
            chat(8, "？", "长江"),
            chat(9, "最长的河？", " \n"),
            chat(10, "长" * 51, "短"),
            chat(11, "短", "长" * 101),
            chat(12, "短", "x"),
            chat(13, "河", "长江"),
            row(14, kind="text", text="  "),
            row(15, kind="text", text="短文"),
            row(16, kind="text", text="请关注公众号，每天学习"),
            row(17, reason="deleted_in_review", detail="", original="公众号"),
            chat(18, "谁建立了汉朝？", " 刘邦 "),
            *chats(capitals(20), 100),
        ],
        max_answer_chars=100,
        min_question_chars=2,
        min_answer_chars=2,
        min_text_chars=5,
    )
    assert stage.reasons == {
        "line 1": "no_delimiter",
        "line 2": "advert",
        "line 3": "malformed_row",
        "line 4": "undecodable",
        "line 5": "unknown_shape",
        "line 6": "advert",
        "line 7": "empty_question",
        "line 8": "empty_question",
        "line 9": "empty_answer",
        "line 10": "too_long_question",
        "line 11": "too_short_question",
        "line 12": "too_short_question",
        "line 13": "too_short_question",
        "line 14": "empty_text",
        "line 15": "too_short_text",
        "line 16": "advert",
        "line 17": "deleted_in_review",
    }
    assert stage.details["line 10"] == "51 characters, at most 50 are allowed"
    assert stage.details["line 12"] == "1 characters, at least 2 are required"
    assert stage.details["line 8"] == "nothing but punctuation"
    assert stage.details["line 6"] == "'公众号' matches '公众号'"
    kept = {record["locator"]: record for record in stage.records}
    assert kept["line 18"]["messages"] == messages("谁建立了汉朝？", "刘邦")
    assert kept["line 18"]["meta"] == "{}"
    assert list(stage.rejected[0]) == ["source", "locator", "reason", "detail", "original"]


def test_limits_are_inclusive_and_apply_to_each_turn(tmp_path):
    stage = Cleaned(
        tmp_path,
        [
            chat(1, "问" * 50, "答" * 100, "问" * 50, "答" * 100),
            chat(2, "问一", "答一", "问" * 51, "答"),
            chat(3, "问二", "答二", "再问", "答" * 101),
            chat(4, "问三", "答三", "……", "答"),
            chat(5, "问四", " ", "再问", "答"),
            chat(6, "问五", "答五", system="系统" * 3000),
            row(
                7,
                kind="preference",
                messages=messages("问六"),
                chosen=[{"role": "assistant", "content": "好"}],
                rejected=[{"role": "assistant", "content": "坏" * 101}],
            ),
            *chats(capitals(20), 100),
        ],
        max_answer_chars=100,
    )
    assert stage.reasons == {
        "line 2": "too_long_question",
        "line 3": "too_long_answer",
        "line 4": "empty_question",
        "line 5": "empty_answer",
        "line 7": "too_long_answer",
    }
    assert stage.details["line 3"].startswith("turn 2: 101 characters")
    assert stage.details["line 7"].startswith("rejected: 101 characters")


def test_exact_duplicates_and_contradictions(tmp_path):
    stage = Cleaned(
        tmp_path,
        [
            chat(1, "谁建立了汉朝？", "刘邦"),
            chat(2, "谁建立了 汉朝?", "刘邦。"),
            chat(3, "最大的器官？", "皮肤"),
            chat(4, "最大的器官", "肝脏"),
            chat(5, "最大的器官", "肝脏。"),
            chat(6, "同一段对话", "好", "再来", "行"),
            chat(7, "同一段对话", "好", "再来", "行！"),
            chat(8, "同一段对话", "好", "再来", "不行"),
            choice(9, "下列正确的是", ["甲", "乙"], "甲"),
            choice(10, "下列正确的是", ["丙", "丁"], "丁"),
            choice(11, "下列正确的是", ["乙", "甲"], "乙"),
            row(12, kind="text", text="一篇 文章"),
            row(13, kind="text", text="一篇文章。"),
            *chats(capitals(20), 100),
        ],
        heldout=0,
    )
    assert stage.reasons == {
        "line 2": "duplicate",
        "line 3": "conflicting_answers",
        "line 4": "conflicting_answers",
        "line 5": "conflicting_answers",
        "line 7": "duplicate",
        "line 9": "conflicting_answers",
        "line 11": "conflicting_answers",
        "line 13": "duplicate",
    }
    assert stage.details["line 2"] == "same as a, line 1"
    assert stage.details["line 3"] == "also answered '肝脏' (a, line 4)"
    assert stage.details["line 5"] == "also answered '皮肤' (a, line 3)"


def test_contradictions_can_be_kept(tmp_path):
    rows = [chat(1, "几个？", "一个"), chat(2, "几个？", "两个"), *chats(capitals(20), 100)]
    stage = Cleaned(tmp_path, rows, conflicting_answers="keep", heldout=0)
    assert stage.reasons == {} and len(stage.records) == 62


def test_many_conflicting_answers_are_listed_in_part(tmp_path):
    rows = chats([*(("几个？", f"{n}个") for n in range(9)), *capitals(20)])
    stage = Cleaned(tmp_path, rows)
    assert stage.details["line 1"].count("line ") == 5
    assert stage.details["line 1"].endswith("3 more")


def test_system_prompts_tell_conversations_apart(tmp_path):
    rows = [chat(1, "你是谁", "甲", system="你是甲"), chat(2, "你是谁", "乙", system="你是乙")]
    stage = Cleaned(tmp_path, [*rows, *chats(capitals(20), 100)], heldout=0)
    assert stage.reasons == {}


# ------------------------------------------------------------------------------ letters, languages


def test_width_and_characters_are_converted_before_duplicates_are_looked_for(tmp_path):
    stage = Cleaned(
        tmp_path,
        [
            chat(1, "頭髮有多少ＡＢ１２？", "很多，　真的"),
            chat(2, "头发有多少AB12？", "很多， 真的"),
            choice(3, "哪個對", ["這個", "那個"], "這個"),
            row(4, kind="text", text="請關注我們的公众号", original="x"),
            chat(5, "請關注公眾號嗎", "好"),
            *chats(capitals(20), 100),
        ],
        width="half",
        chinese="simplified",
    )
    assert stage.reasons == {"line 2": "duplicate", "line 4": "advert", "line 5": "advert"}
    kept = {record["locator"]: record for record in stage.records}
    assert kept["line 1"]["messages"] == messages("头发有多少AB12？", "很多， 真的")
    assert kept["line 3"]["options"] == ["这个", "那个"]
    assert kept["line 3"]["messages"][1]["content"] == "这个"


def test_traditional_characters(tmp_path):
    rows = [chat(1, "头发是什么", "公众号"), chat(2, "头发呢", "好"), *chats(capitals(20), 100)]
    stage = Cleaned(tmp_path, rows, chinese="traditional")
    # the pattern is in the letters of the source
    assert stage.reasons == {"line 1": "advert"}
    found = [r for r in stage.records if r["locator"] == "line 2"]
    assert found[0]["messages"][0]["content"] == "頭髮呢"


def test_half_width_leaves_punctuation():
    assert half_width("（ＡＢ），　１２。") == "（AB）， 12。"
    texts = pa.array([chr(n) for n in range(0x20, 0x10000) if not 0xD800 <= n < 0xE000])
    assert all(half_width(t) == t or len(half_width(t)) == 1 for t in texts.to_pylist())


def test_languages(tmp_path):
    rows = [
        chat(1, "What is the capital of France?", "The capital of France is Paris."),
        chat(2, "東京はどこの首都ですか", "東京は日本の首都です"),
        chat(3, "布洛芬的英文名是什么？", "Ibuprofen"),
        chat(4, "x²+y²=1 ?", "OK"),
        chat(5, "阿司匹林肠溶片每日一次怎么写", "Aspirin 100mg qd"),
        *chats(capitals(20), 100),
    ]
    stage = Cleaned(tmp_path, rows, languages=["zh"])
    assert stage.reasons == {"line 1": "language", "line 2": "language"}
    assert stage.details["line 1"] == "seems to be en, not zh"
    both = Cleaned(tmp_path / "both", rows, languages=["zh", "en"])
    assert both.reasons == {"line 2": "language"}


def test_unknown_language_is_named():
    with pytest.raises(ValueError, match="qq cannot be recognised"):
        Languages(("zh", "qq"))


# -------------------------------------------------------------------------------------- the files


def test_table_of_rejected_rows_opens_in_a_spreadsheet(tmp_path):
    bad = ["=1+1", "@x", "-5", "+1", "\tx", 'a,b\n"c"', "长" * 40_000, "😀" * 20_000, "普通"]
    rows = [row(n, reason="malformed_row", detail="d", original=text) for n, text in enumerate(bad)]
    stage = Cleaned(tmp_path, [*rows, *chats(capitals(20), 100)])
    path = stage.folder / "rejected.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbfsource,locator,reason,detail,original\r\n")
    csv.field_size_limit(10**6)
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = [line["original"] for line in csv.DictReader(file)]
    assert cells[:6] == ["'=1+1", "'@x", "'-5", "'+1", "'\tx", 'a,b\n"c"']
    for text in cells[6:8]:
        assert len(text.encode("utf-16-le")) // 2 <= MOST_CHARACTERS and text.endswith(".jsonl]")
    assert cells[8] == "普通"
    assert [line["original"] for line in stage.rejected] == bad


@given(st.text())
def test_no_cell_is_a_formula_or_too_long(text):
    assert cell(text)[:1] not in tuple("=+-@\t\r")


def fails(tmp_path, rows, **options) -> str:
    with pytest.raises(SystemExit) as error:
        Cleaned(tmp_path, rows, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_usable(tmp_path):
    text = fails(tmp_path, [chat(1, "甲", ""), row(2, reason="no_delimiter", original="乙")])
    assert "none of the rows is usable" in text and "1 no_delimiter" in text
    assert "the sources are empty" in fails(tmp_path, [])


def test_no_heldout_question_possible(tmp_path):
    rows = chats([(f"问{n}", "同一个答案") for n in range(10)])
    text = fails(tmp_path, rows, heldout=1e-9)
    assert "holds out no question" in text and "1 different answer," in text
    assert "nothing to train on" in fails(tmp_path, rows, heldout=0.999999)


def test_documents_alone_hold_out_nothing(tmp_path):
    stage = Cleaned(tmp_path, [row(n, kind="text", text=f"文章{n}") for n in range(5)])
    assert set(stage.sides.values()) == {"train"}


def test_bad_regular_expression(tmp_path):
    text = fails(tmp_path, chats(capitals(5)), adverts=["ok", "(群"])
    assert "corpus.clean.adverts.1" in text and "'(群'" in text


def test_result_does_not_depend_on_the_number_of_processes(tmp_path):
    long = "这是一段足够长的文字，讲述做菜的每一个步骤。" * 3
    pairs = [(f"第{n}道菜", "".join(f"{n * k % 97}克{long}" for k in range(9))) for n in range(90)]
    rows = chats([*capitals(100), *pairs, *((q + "？", a + "好") for q, a in pairs)])
    asked = chats([(f"国{n}的首都是哪里", "无") for n in range(9)])
    options = {"near_duplicates": 0.8, "chinese": "traditional"}
    contents = []
    for threads in (1, 3):
        stage = Cleaned(tmp_path / str(threads), rows, asked, threads=threads, group=37, **options)
        assert {"near_duplicate", "contaminated"} <= set(stage.reasons.values())
        table = (stage.folder / "rejected.csv").read_bytes()
        contents.append((stage.records, stage.rejected, table))
    assert contents[0] == contents[1]
    whole = Cleaned(tmp_path / "whole", rows, asked, **options)
    assert (whole.records, whole.rejected) == contents[0][:2]


KINDS = st.sampled_from(["chat", "choice", "text", "preference", "multi", "reader"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(KINDS, TEXTS, TEXTS), max_size=20), st.booleans())
def test_every_row_ends_in_one_place(tmp_path_factory, drawn, near):
    rows = chats(capitals(20), 1000)
    for number, (kind, one, other) in enumerate(drawn):
        if kind == "text":
            rows.append(row(number, kind="text", text=one))
        elif kind == "multi":
            rows.append(chat(number, one, other, other, one, system=other))
        elif kind == "choice":
            rows.append(choice(number, one, [other, "乙"], other))
        elif kind == "reader":
            rows.append(row(number, reason="no_delimiter", detail="", original=one))
        elif kind == "preference":
            said = {"chosen": messages(one, other)[1:], "rejected": messages(other, one)[1:]}
            rows.append(row(number, kind="preference", messages=messages(one), **said))
        else:
            rows.append(chat(number, one, other))
    stage = Cleaned(tmp_path_factory.mktemp("rows"), rows, near_duplicates=0.8 if near else None)
    places = [line["locator"] for line in stage.records + stage.rejected]
    assert sorted(places) == sorted(content["locator"] for content in rows)


def test_ids_of_single_questions_are_those_of_the_first_version(tmp_path):
    stage = Cleaned(tmp_path, chats(capitals(10)))
    found = {record["id"] for record in stage.records}
    assert found == {content_id(normalise(q), normalise(a)) for q, a in capitals(10)}
    assert len({record["id"] for record in stage.records}) == 30
    assert np.all([json.loads(record["meta"]) == {} for record in stage.records])


def test_what_a_killed_run_left_behind_is_removed(tmp_path):
    left = tmp_path / ".clean-abc"
    left.mkdir()
    (left / "rows.problems").write_bytes(b"half a row")
    Cleaned(tmp_path, chats(capitals(20)))
    assert not list(tmp_path.glob(".clean-*"))
