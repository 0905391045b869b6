"""The readers: each format, and what is wrong with files in practice."""

import datetime
import json
import random
import zipfile

import corpus_files as make
import pytest
from readers import SourceError, open_source
from readers.docx import split_pair
from readers.xlsx import column_letters


def read(path, **options):
    reader = open_source({"path": str(path), **options})
    return list(reader), reader


def pairs(path, **options):
    return [(row.question, row.answer) for row in read(path, **options)[0] if not row.reason]


def message(path, **options):
    with pytest.raises(SourceError) as error:
        read(path, **options)
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    return text


# ------------------------------------------------------------------------------------------ any


def test_unknown_suffix_names_the_known_ones(tmp_path):
    path = tmp_path / "corpus.pdf"
    path.touch()
    assert ".docx, .xlsx, .jsonl" in message(path)


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in message(tmp_path / "nowhere.docx")
    (tmp_path / "folder.docx").mkdir()
    assert "is a folder" in message(tmp_path / "folder.docx")


def test_suffix_in_capitals(tmp_path):
    assert pairs(make.write_docx(tmp_path / "A.DOCX", "甲->乙")) == [("甲", "乙")]


# ----------------------------------------------------------------------------------------- docx


@pytest.mark.parametrize(
    "text, expected",
    [
        ("安徽的省会：->合肥", ("安徽的省会", "合肥")),
        ("安徽的省会:->合肥", ("安徽的省会", "合肥")),
        ("安徽的省会在哪？->合肥", ("安徽的省会在哪？", "合肥")),
        ("安徽的省会在哪?->合肥", ("安徽的省会在哪?", "合肥")),
        ("安徽的省会在哪？：->合肥", ("安徽的省会在哪？", "合肥")),
        ("安徽的省会 ->合肥", ("安徽的省会", "合肥")),
        ("安徽的省会->合肥", ("安徽的省会", "合肥")),
        ("安徽的省会→合肥", ("安徽的省会", "合肥")),
        ("安徽的省会：—>合肥", ("安徽的省会", "合肥")),
        ("安徽的省会－＞合肥", ("安徽的省会", "合肥")),
        ("国民政府迁移的顺序->广州→武汉→南京", ("国民政府迁移的顺序", "广州→武汉→南京")),
        ("迁移->广州->武汉", ("迁移", "广州->武汉")),
        ("->合肥", ("", "合肥")),
        ("安徽的省会：->", ("安徽的省会", "")),
        ("第二部分", None),
        ("--资料来源--", None),
        ("a - b > c", None),
    ],
)
def test_docx_delimiters(text, expected):
    assert split_pair(text) == expected


def test_docx_locators_count_all_paragraphs_and_runs_are_joined(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx", "标题", "", make.paragraph("问", "题-", ">", "答案"), "   "
    )
    rows, reader = read(path)
    assert [(row.locator, row.reason, row.question, row.answer) for row in rows] == [
        ("paragraph 1", "no_delimiter", None, None),
        ("paragraph 3", None, "问题", "答案"),
    ]
    assert reader.blank == 2
    assert rows[0].original == "标题"


def test_docx_word_specials(tmp_path):
    def run(inner):
        return f"<w:p><w:r><w:t>问题</w:t>{inner}<w:t>答案</w:t></w:r></w:p>"

    path = make.write_docx(
        tmp_path / "a.docx",
        run('<w:sym w:font="Wingdings" w:char="F0E0"/>'),  # Word's own correction of "-->"
        run("<w:noBreakHyphen/><w:t>&gt;</w:t>"),
        run("<w:t>-&gt;</w:t><w:tab/>"),
        run("<w:t>-&gt;</w:t><w:br/><w:t>第一行</w:t><w:br/>"),
        # a tab stop is no tab; deleted text is no text
        "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:del><w:r><w:delText>旧"
        "</w:delText></w:r></w:del><w:r><w:t>问题-&gt;答案</w:t></w:r></w:p>",
    )
    expected = [("问题", "答案")] * 3 + [("问题", "第一行\n答案"), ("问题", "答案")]
    assert pairs(path) == expected


def test_docx_several_pairs_in_one_paragraph(tmp_path):
    lines = "<w:br/>".join(f"<w:t>{text}</w:t>" for text in ("甲-&gt;1", "注", "乙-&gt;2"))
    path = make.write_docx(tmp_path / "a.docx", f"<w:p><w:r>{lines}</w:r></w:p>")
    rows, _ = read(path)
    assert [(row.locator, row.question, row.answer, row.reason) for row in rows] == [
        ("paragraph 1, line 1", "甲", "1", None),
        ("paragraph 1, line 2", None, None, "no_delimiter"),
        ("paragraph 1, line 3", "乙", "2", None),
    ]


def test_docx_text_box_is_read_once(tmp_path):
    box = make.paragraph("框->内")
    path = make.write_docx(
        tmp_path / "a.docx",
        "<w:p><w:r><w:t>外-&gt;面</w:t><mc:AlternateContent>"
        f"<mc:Choice Requires='wps'>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        "</mc:AlternateContent></w:r></w:p>",
        "后->来",
    )
    assert pairs(path) == [("框", "内"), ("外", "面"), ("后", "来")]


def test_docx_strict_namespace(tmp_path):
    space = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    path = make.write_docx(tmp_path / "a.docx", "甲->乙", space=space)
    assert pairs(path) == [("甲", "乙")]


def test_docx_that_is_none(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(b"")
    assert "not a Word document" in message(path)
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    assert "password" in message(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no document")
    assert "word/document.xml" in message(path)


def test_docx_truncated_or_broken_xml(tmp_path):
    whole = make.write_docx(tmp_path / "a.docx", *(f"问{n}->答" for n in range(200)))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    assert "damaged" in message(whole)
    broken = make.write_docx(tmp_path / "b.docx", "甲->乙", "<w:p><w:r></w:p>")
    assert "word/document.xml is damaged" in message(broken)


def test_docx_entities_are_not_expanded(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    for definition in (f'SYSTEM "{secret.as_uri()}"', '"text"'):
        path = make.write_docx(
            tmp_path / "a.docx",
            "<w:p><w:r><w:t>甲-&gt;&x;</w:t></w:r></w:p>",
            head=f"<!DOCTYPE d [<!ENTITY x {definition}>]>",
        )
        assert "document type" in message(path)


def test_docx_billion_laughs(tmp_path):
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    path = make.write_docx(
        tmp_path / "a.docx",
        "<w:p w:x='&a11;'><w:r><w:t>&a11;</w:t></w:r></w:p>",
        head=f'<!DOCTYPE d [<!ENTITY a0 "ha">{levels}]>',
    )
    message(path)


@pytest.mark.parametrize("suffix, part", [("docx", "word/document.xml"), ("xlsx", "xl/a.xml")])
def test_zip_bomb(tmp_path, suffix, part):
    path = tmp_path / f"bomb.{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(part, bytes(40 * 2**20))
    assert "zip bomb" in message(path)


# ----------------------------------------------------------------------------------------- xlsx

NAMES = {"question": "题目", "answer": "答案"}
HEAD = ("编号", "题目", "答案")


def test_xlsx_columns_by_name_and_locators(tmp_path):
    rows = [HEAD, (1, "甲", "一"), (None, None, None), (2, "乙", "二")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"说明": [("无",)], "题库": rows})
    found, reader = read(path, sheet="题库", **NAMES)
    assert [(r.locator, r.question, r.answer, r.meta) for r in found] == [
        ("题库!B2", "甲", "一", {"编号": "1"}),
        ("题库!B4", "乙", "二", {"编号": "2"}),
    ]
    assert reader.blank == 1
    assert json.loads(found[0].original) == {"编号": "1", "题目": "甲", "答案": "一"}


def test_xlsx_table_that_does_not_begin_at_a1(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, (1, "甲", "一")]}, first=(5, 27))
    assert [row.locator for row in read(path, **NAMES)[0]] == ["题库!AB6"]


def test_xlsx_numbers_read_as_shown(tmp_path):
    rows = [HEAD, (1, "建国", 1949), (2, "圆周率", 3.14), (3, "和", 0.1 + 0.2), (4, "负", -5)]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": rows})
    assert [answer for _, answer in pairs(path, **NAMES)] == ["1949", "3.14", "0.3", "-5"]


def test_xlsx_dates_and_truth_values_are_rejected_not_guessed(tmp_path):
    cells = [datetime.date(1949, 10, 1), datetime.time(12, 0), True]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, *((1, "问", c) for c in cells)]})
    rows, _ = read(path, **NAMES)
    assert [row.reason for row in rows] == ["malformed_row"] * 3
    assert "1949-10-01" in rows[0].original and "'答案'" in rows[0].detail


def test_xlsx_empty_cells_are_left_to_cleaning(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, (1, None, "一"), (2, "乙", None)]})
    assert pairs(path, **NAMES) == [("", "一"), ("乙", "")]


def test_xlsx_missing_sheet_and_columns(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD], "附录": [("甲",)], "空": []})
    text = message(path, sheet="题目库", **NAMES)
    assert "'题目库'" in text and "题库, 附录, 空" in text
    assert "题库, 附录, 空" in message(path, **NAMES)
    text = message(path, sheet="题库", question="问题", answer="答案")
    assert "'问题'" in text and "编号, 题目, 答案" in text and "'题库'" in text
    assert "nothing" in message(path, sheet="空", **NAMES)


def test_xlsx_column_named_twice(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [("题目", "答案", "答案"), "甲乙丙"]})
    assert "2 columns '答案'" in message(path, **NAMES)


def test_xlsx_that_is_none(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_text("题目,答案\n")
    assert "not an Excel workbook" in message(path, **NAMES)
    path.write_bytes(make.write_docx(tmp_path / "a.docx", "甲->乙").read_bytes())
    assert "not an Excel workbook" in message(path, **NAMES)


def test_column_letters():
    assert [column_letters(n) for n in (0, 25, 26, 51, 52, 701, 702)] == [
        *("A", "Z", "AA", "AZ", "BA", "ZZ", "AAA")
    ]


# ---------------------------------------------------------------------------------------- jsonl


def lines(path, *texts, newline="\n", encoding="utf-8"):
    path.write_bytes("".join(text + newline for text in texts).encode(encoding))
    return path


GOOD = '{"question": "甲", "answer": "一", "level": 3}'


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_jsonl_lines_blank_lines_and_marks(tmp_path, newline, encoding):
    path = lines(tmp_path / "a.jsonl", GOOD, "", GOOD, newline=newline, encoding=encoding)
    rows, reader = read(path)
    assert [(row.locator, row.question, row.answer, row.meta) for row in rows] == [
        ("line 1", "甲", "一", {"level": 3}),
        ("line 3", "甲", "一", {"level": 3}),
    ]
    assert reader.blank == 1 and rows[0].original == GOOD


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_jsonl_that_is_an_array(tmp_path, encoding):
    text = json.dumps([json.loads(GOOD), {"question": "乙"}, "x"], ensure_ascii=False, indent=1)
    path = tmp_path / "a.jsonl"
    path.write_text("\n " + text, encoding=encoding)
    rows, _ = read(path)
    assert [(row.locator, row.question, row.reason) for row in rows] == [
        ("item 1", "甲", None),
        ("item 2", None, "malformed_row"),
        ("item 3", None, "malformed_row"),
    ]
    assert json.loads(rows[1].original) == {"question": "乙"}


@pytest.mark.parametrize(
    "line, detail",
    [
        ('{"question": "甲"', "broken JSON"),
        ('{"question": "甲"}', "no field 'answer'"),
        ('{"question": 3, "answer": "一"}', "'question' is a number"),
        ('{"question": "甲", "answer": null}', "'answer' is null"),
        ('{"question": "甲", "answer": ["一"]}', "'answer' is a list"),
        ('"甲"', "a text, not an object"),
        ('{"question": "\\ud800", "answer": "一"}', "broken JSON"),
    ],
)
def test_jsonl_malformed_rows(tmp_path, line, detail):
    rows, _ = read(lines(tmp_path / "a.jsonl", GOOD, line))
    assert (rows[1].locator, rows[1].reason, rows[1].original) == ("line 2", "malformed_row", line)
    assert detail in rows[1].detail


def test_jsonl_missing_column_is_fatal_only_if_no_row_has_it(tmp_path):
    path = lines(tmp_path / "a.jsonl", '{"q": "甲", "a": "一"}', '{"q": "乙", "a": "二"}')
    text = message(path)
    assert "'question'" in text and "q, a" in text
    assert pairs(path, question="q", answer="a") == [("甲", "一"), ("乙", "二")]


@pytest.mark.parametrize("before", [0, 1, 1000])
def test_jsonl_wrong_encoding_names_line_and_byte(tmp_path, before):
    path = tmp_path / "a.jsonl"
    good = (GOOD + "\n").encode() * before
    bad = '{"question": "甲", "answer": "一"}\n'
    path.write_bytes(good + bad.encode("gb18030"))
    text = message(path)
    assert f"line {before + 1}, byte offset {len(good) + bad.index('甲')}" in text
    assert "iconv -f GB18030" in text


def test_jsonl_wrong_encoding_in_an_array(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"[\n{},\n" + '"甲"]'.encode("gb18030"))
    assert "line 3, byte offset 7" in message(path)
    path.write_bytes("[]".encode("utf-16"))
    assert "UTF-16" in message(path)


def test_jsonl_broken_array(tmp_path):
    assert "no JSON array" in message(lines(tmp_path / "a.jsonl", "[{}", "{}]"))


def test_jsonl_endless_line(tmp_path, monkeypatch):
    monkeypatch.setattr("readers.jsonl.MAX_LINE", 100)
    path = lines(tmp_path / "a.jsonl", GOOD, '{"question": "' + "长" * 40)
    assert "line 2: is longer" in message(path)


# ----------------------------------------------------------------------------------------- fuzz


@pytest.mark.parametrize("kind", ["docx", "xlsx", "jsonl"])
def test_damaged_files_end_in_rows_or_in_a_message(tmp_path, kind):
    good = tmp_path / f"good.{kind}"
    texts = [(f"问题{n}是什么？", f"答案{n}") for n in range(30)]
    match kind:
        case "docx":
            make.write_docx(good, *(f"{q}->{a}" for q, a in texts))
        case "xlsx":
            make.write_xlsx(good, {"s": [("question", "answer"), *texts]})
        case "jsonl":
            make.write_pairs(good, texts)
    data, rng = good.read_bytes(), random.Random(kind)
    outcomes = {"rows": 0, "message": 0}
    for number in range(300):
        damaged = bytearray(data)
        match number % 3:
            case 0:
                for _ in range(rng.randint(1, 8)):
                    damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            case 1:
                del damaged[rng.randrange(len(damaged)) :]
            case 2:
                start = rng.randrange(len(damaged))
                del damaged[start : start + rng.randint(1, 40)]
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(damaged)
        try:
            rows, _ = read(path)
            assert all(row.locator and (row.reason or row.question is not None) for row in rows)
            outcomes["rows"] += 1
        except SourceError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["message"] += 1
    assert outcomes["message"] > 10
