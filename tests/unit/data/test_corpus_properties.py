"""Any record, written in any format and shape that can hold it, is read back equal.

What a format cannot hold is said by the functions below HELD; where a format has to be told
something to be read (the encoding of three characters cannot be found out), the test tells it.
"""

import csv
import json
import tempfile
from pathlib import Path

import corpus_writers as make
import pytest
from corpus_writers import Record
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

# Left out: U+FFFD and 锟斤拷, which say that a text is damaged and are rejected for it; and of
# U+0080 to U+00D7 what says that UTF-8 was misread where it stands right behind an accented letter.
HANZI = "的一是中国题答案学习問題𠮷〇々ぁア한"
MARKS = "。，？！：；“”‘’…—（）《》、·￥％　"
ASCII = "abcXYZ0189 \n\t\"'\\,;|=+-@{}[]<>&%$#/_.:!?`~^*"
OTHERS = "éüñßΩя\u00a0\u200b\u2028\ufeff\u0301😀👨‍👩‍👧🇨🇳"
TRICKY = [
    *("=1+1", "=cmd|'/c calc'!A1", "+86 10", "-5 ℃", "@名", "007", "1e5", "0.10", "1,000"),
    *("TRUE", "null", "None", "nan", "N/A", "#N/A", "2024-01-02", "1/2", "½", "10²"),
    *('"', "''", '他说："好。"', 'a "b" c', "\\n", "a\\", 'x",\ny', "a,b;c|d\te"),
    *("[1, 2]", '{"a": 1}', "{}", "[]", "['a']", "[[]]", "{问题}", "{a|lines}", "{{x}}", "100%"),
    *("第一行\n第二行", "一\n\n二", " 前后空格 ", "\t制表", "末尾换行\n", "A. 甲 B. 乙", "1. 甲"),
    *("答案：B", "问：甲 答：乙", "甲->乙", "甲→乙", "<eoh>", "<b>&amp;</b>", "_x000D_", "&#10;"),
    *("café “naïve”", "Ä Ö Ü", "Á", "Ã", "—…“”", "C# C++", "user: hi\nassistant: no", "# 标题"),
]
texts = st.one_of(
    st.sampled_from(TRICKY),
    st.text(alphabet=st.sampled_from(HANZI + MARKS + ASCII + OTHERS), min_size=1, max_size=20),
    st.text(alphabet=st.sampled_from(HANZI + MARKS), min_size=10, max_size=80),
).filter(lambda text: text.strip())
# Names an option of its own kind and not another one, which would be a different question.
option_texts = texts.filter(lambda text: len(text.strip()) > 3)


@st.composite
def chats(draw, turns=3) -> Record:
    messages = [("system", draw(texts))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, turns))):
        messages += ("user", draw(texts)), ("assistant", draw(texts))
    return Record("chat", tuple(messages))


@st.composite
def preferences(draw) -> Record:
    messages = [("system", draw(texts))] if draw(st.booleans()) else []
    chosen, rejected = draw(st.lists(texts, min_size=2, max_size=2, unique=True))
    return Record(
        "preference",
        (*messages, ("user", draw(texts))),
        (("assistant", chosen),),
        (("assistant", rejected),),
    )


documents = texts.map(lambda text: Record("text", text=text))


@st.composite
def choices(draw) -> Record:
    unique = st.lists(
        option_texts, min_size=2, max_size=5, unique_by=lambda text: text.strip().casefold()
    )
    options = tuple(draw(unique))
    right = draw(st.sampled_from(options))
    return Record("choice", (("user", draw(texts)), ("assistant", right)), options=options)


NESTED = [
    *((chats(), shape) for shape in (make.xtuner, make.openai, make.sharegpt, make.alpaca)),
    *((preferences(), shape) for shape in (make.preference_lists, make.preference_sharegpt)),
    (preferences(), make.preference_repeated),
    (documents, make.xtuner_text),
    *((choices(), shape) for shape in (make.choice_list, make.choice_object)),
    (choices(), make.choice_labelled),
]
FLAT = [
    *((chats(turns=1), shape) for shape in (make.question_answer, make.chinese_pair, make.alpaca)),
    (preferences(), make.preference_texts),
    (documents, make.plain_text),
    (choices(), make.choice_columns),
]


def shape_id(value: object) -> str | None:
    return getattr(value, "__name__", None)


def parametrise(shapes: list):
    return pytest.mark.parametrize(("strategy", "shape"), shapes, ids=lambda v: shape_id(v) or "-")


def several(strategy) -> st.SearchStrategy[list[Record]]:
    return st.lists(strategy, min_size=1, max_size=4)


def read_back(write, records, suffix, held=lambda text: text, packing="", **options) -> None:
    """Write records to a file, read it through ingest.py, and compare."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, f"source{suffix}")
        write(path)
        path = make.packed(path, packing)
        rows = make.read_source(Path(name), {"path": str(path), **options})
        assert [(row["reason"], row["detail"]) for row in rows] == [(None, None)] * len(records)
        assert [make.record_of(row) for row in rows] == [rec.mapped(held) for rec in records]
        assert all(row["repaired"] is None for row in rows)


# ---------------------------------------------------------------------------------------- JSON


@parametrise(NESTED + FLAT)
@given(data=st.data())
@FEW
def test_json(strategy, shape, data):
    records = data.draw(several(strategy))
    rows = [shape(record) for record in records]
    plain, indent = data.draw(st.booleans()), data.draw(st.sampled_from([None, 2]))
    packing = data.draw(st.sampled_from(["", ".gz", ".zst"]))
    form = data.draw(st.sampled_from(["lines", "array", "array named jsonl", "object"]))
    if form == "lines":
        line_end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
        read_back(
            lambda path: make.write_jsonl(path, rows, plain, line_end),
            records,
            ".jsonl",
            packing=packing,
        )
        return
    value = {"version": 1, "data": rows} if form == "object" else rows
    suffix = ".jsonl" if form == "array named jsonl" else ".json"
    read_back(
        lambda path: make.write_json(path, value, indent, plain), records, suffix, packing=packing
    )


def without_ends(text: str) -> str:
    return text.strip()


@given(records=several(chats()))
@FEW
def test_moss(records):
    # the marks of MOSS stand in the text, with white space between them and what is said
    assume(not any("<eo" in text for record in records for text in record.texts()))

    def held(text: str) -> str:
        return "" if text.strip() == "None" else text.strip()

    assume(not any(text.strip() == "None" for record in records for text in record.texts()))
    rows = [make.moss(record) for record in records]
    expected = [
        Record("chat", tuple((r, t if r == "system" else held(t)) for r, t in record.messages))
        for record in records
    ]
    read_back(lambda path: make.write_jsonl(path, rows), expected, ".jsonl")


# -------------------------------------------------------------------------------------- tables


@parametrise([*FLAT, (documents, make.xtuner_text), (chats(), make.openai)])
@given(data=st.data())
@FEW
def test_parquet(strategy, shape, data):
    rows = data.draw(several(strategy))
    read_back(lambda path: make.write_parquet(path, [shape(row) for row in rows]), rows, ".parquet")


@parametrise(
    [
        *NESTED[:4],
        (preferences(), make.preference_lists),
        (choices(), make.choice_list),
        (choices(), make.choice_labelled),
    ]
)
@given(data=st.data())
@FEW
def test_parquet_of_lists(strategy, shape, data):
    rows = data.draw(several(strategy))
    read_back(lambda path: make.write_parquet(path, [shape(row) for row in rows]), rows, ".parquet")


@parametrise(FLAT)
@given(data=st.data())
@FEW
def test_csv(strategy, shape, data):
    records = data.draw(several(strategy))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030", "big5"]))
    line_end = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    packing = data.draw(st.sampled_from(["", ".gz", ".zst"]))
    rows = [shape(record) for record in records]
    try:
        json.dumps(rows, ensure_ascii=False).encode(encoding)
    except UnicodeEncodeError:
        encoding = "gb18030"
    # which encoding three characters are in, nobody can tell
    options = {"encoding": encoding} if encoding in ("gb18030", "big5") else {}

    def write(path: Path) -> None:
        make.write_csv(path, rows, delimiter, encoding, line_end, quoting)

    suffix = ".tsv" if delimiter == "\t" and data.draw(st.booleans()) else ".csv"
    if len(rows[0]) == 1:
        options["delimiter"] = delimiter
    read_back(write, records, suffix, packing=packing, **options)


@parametrise(
    [
        (chats(), make.openai),
        (chats(), make.sharegpt),
        (chats(), make.xtuner),
        (choices(), make.choice_list),
    ]
)
@given(data=st.data())
@FEW
def test_csv_with_lists_in_cells(strategy, shape, data):
    records = data.draw(several(strategy))
    rows = [shape(record) for record in records]
    read_back(lambda path: make.write_csv(path, rows), records, ".csv")


def as_in_a_workbook(text: str) -> str:
    # a cell has one kind of line end
    return text.replace("\r\n", "\n")


@parametrise(FLAT)
@given(data=st.data())
@FEW
def test_xlsx(strategy, shape, data):
    records = data.draw(several(strategy))
    rows = [shape(record) for record in records]
    read_back(lambda path: make.write_xlsx(path, rows), records, ".xlsx", as_in_a_workbook)


@parametrise(FLAT)
@given(data=st.data())
@FEW
def test_xls(strategy, shape, data):
    records = data.draw(several(strategy))
    # calamine takes this mark at the beginning of a text for one of the encoding
    assume(not any(text.startswith("\ufeff") for record in records for text in record.texts()))
    rows = [shape(record) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in rows)]
    read_back(lambda path: make.write_xls(path, cells), records, ".xls", as_in_a_workbook)


# ---------------------------------------------------------------------------------------- Word


@parametrise(FLAT)
@given(data=st.data())
@FEW
def test_docx_table(strategy, shape, data):
    # white space at the ends of a cell is how it was typed, not what it says
    records = data.draw(several(strategy))
    rows = [shape(record) for record in records]
    read_back(lambda path: make.write_docx_table(path, rows), records, ".docx", without_ends)


# A paragraph is a pair because of its arrow; so neither half has one, nor the colon in front of
# the arrow, nor does it read as numbered or as an option.
PARAGRAPH = HANZI + "。，？！“”（）《》、abcXYZ0189 ,;?!\"'%😀é"
in_a_paragraph = st.text(st.sampled_from(PARAGRAPH), min_size=1, max_size=40).filter(
    lambda text: text.strip() and not text.strip()[0].isascii()
)


@given(
    pairs=st.lists(st.tuples(in_a_paragraph, in_a_paragraph), min_size=1, max_size=4),
    arrow=st.sampled_from(["->", " -> ", "：->", ":->", "-->", "→", "——>"]),
)
@FEW
def test_docx_paragraphs(pairs, arrow):
    records = [Record("chat", (("user", q), ("assistant", a))) for q, a in pairs]
    read_back(
        lambda path: make.write_docx_pairs(path, pairs, arrow), records, ".docx", without_ends
    )


# ---------------------------------------------------------------------------------------- text


@given(data=st.data())
@FEW
def test_txt_paragraphs(data):
    # A paragraph has no empty line and no white space at its ends: these part paragraphs. Its
    # lines are of a width at which people wrap them, or each would be taken for a paragraph.
    line = texts.map(lambda text: " ".join(text.split())[:40].strip())
    lines = st.lists(line, min_size=1, max_size=3)
    paragraphs = data.draw(st.lists(lines.map("\n".join), min_size=2, max_size=4))
    assume(not paragraphs[0].startswith("\ufeff"))  # at the beginning it is no text
    line_end = data.draw(st.sampled_from(["\n", "\r\n"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]))
    packing = data.draw(st.sampled_from(["", ".gz", ".zst"]))
    options = {"encoding": encoding} if encoding == "gb18030" else {}
    records = [Record("text", text=text) for text in paragraphs]
    whole = "\n\n".join(paragraphs).replace("\n", line_end)
    read_back(
        lambda path: path.write_bytes(whole.encode(encoding)),
        records,
        ".txt",
        without_ends,
        packing,
        **options,
    )


@given(text=texts, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
@FEW
def test_txt_document(text, encoding):
    assume(not text.startswith("\ufeff"))
    read_back(
        lambda path: path.write_bytes(text.encode(encoding)),
        [Record("text", text=text)],
        ".txt",
        without_ends,
        unit="document",
    )


# ---------------------------------------------------------------------------------- encodings

SENTENCES = (
    "高血压病人可以口服党参的。党参有降血脂，降血压的作用，可以彻底消除血液中的垃圾。",
    "公务员考试的题目很多，需要平时多加练习，才能在考试时取得好的成绩。",
    "安徽的省会是合肥；江苏的省会是南京，浙江的省会是杭州。",
)
TRADITIONAL = (
    "這個問題的答案是：學習需要時間，也需要方法，沒有人能夠一天學會所有的東西。",
    "臺灣的首府是臺北市，那裡有很多人，也有很好的學校和醫院。",
)


@given(data=st.data())
@FEW
def test_encoding_of_chinese_text_is_found(data):
    encoding = data.draw(st.sampled_from(["utf-8", "utf-16", "utf-16-le", "gb18030", "big5"]))
    sentences = TRADITIONAL if encoding == "big5" else SENTENCES
    drawn = data.draw(st.lists(st.sampled_from(sentences), min_size=1, max_size=5))
    records = [Record("chat", (("user", text), ("assistant", text[::-1]))) for text in drawn]
    rows = [make.question_answer(record) for record in records]
    suffix = data.draw(st.sampled_from([".csv", ".jsonl", ".json"]))

    def write(path: Path) -> None:
        if suffix == ".csv":
            make.write_csv(path, rows, encoding=encoding)
            return
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        text = "\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]"
        path.write_bytes(text.encode(encoding))

    read_back(write, records, suffix)


# ------------------------------------------------------------------------------------ threads


@given(records=st.lists(chats(), min_size=5, max_size=30), broken=st.sets(st.integers(0, 29)))
@settings(FEW, max_examples=5)
@example(records=[], broken={0})
def test_threads_make_no_difference(records, broken):
    lines = [json.dumps(make.openai(record), ensure_ascii=False) for record in records]
    lines = [line[:-1] if number in broken else line for number, line in enumerate(lines)]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "source.jsonl")
        path.write_text("\n".join(lines), encoding="utf-8")
        csv_path = make.write_csv(Path(name, "other.csv"), [{"问题": "甲", "答案": "乙"}])
        results = []
        for threads in (1, 3):
            folder = Path(name, str(threads))
            folder.mkdir()
            sources = [{"path": str(path)}, {"path": str(csv_path)}]
            ended = make.run_ingest(folder, *sources, threads=threads)
            assert ended.status == 0, ended.message
            results.append((folder / "rows.parquet").read_bytes())
        assert results[0] == results[1]
