"""The reader of Excel workbooks: sheets, headings, merged cells, numbers as shown, damage."""

import datetime
import json
import random
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import corpus_files as make
import openpyxl
import pytest
import python_calamine
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import SourceError
from readers.number_formats import compile_format
from readers.workbook import column_index, column_letters
from readers.xlsx import XlsxReader

MEDQA = make.ROOT.parent / "shared" / "data" / "medqa" / "MedInfo2019-QA-Medications.xlsx"
NAMES = {"question": "题目", "answer": "答案"}
HEAD = ("编号", "题目", "答案")


def read(path, **options):
    reader = XlsxReader(path, {"path": str(path), **options})
    return list(reader), reader


def values(path, **options):
    return [entry.value for entry in read(path, **options)[0] if not entry.reason]


def column(path, name="v", **options):
    return [value[name] for value in values(path, **options)]


def message(path, **options):
    with pytest.raises(SourceError) as error:
        read(path, **options)
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    return text


def write_cells(path, cells, merged=(), **options):
    """A workbook of the sheet "s" by another writer: value, or value and number format, by cell."""
    with xlsxwriter.Workbook(path, options) as book:
        sheet = book.add_worksheet("s")
        for area in merged:
            sheet.merge_range(area, "")
        for place, cell in cells.items():
            value, code = cell if isinstance(cell, tuple) else (cell, None)
            sheet.write(place, value, book.add_format({"num_format": code}) if code else None)
    return path


def write_xml(path, rows, texts="", styles="", book="", after=""):
    """A workbook of the sheet "s" from the XML of its rows, shared texts and styles."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {"worksheet": "worksheets/sheet1", "sharedStrings": "sharedStrings", "styles": "styles"}
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{links}/{kind}" Target="{name}.xml"/>'
        for n, (kind, name) in enumerate(parts.items(), start=1)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{links}">{book}'
            '<sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>',
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}">{relations}</Relationships>',
        )
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {main}><sheetData>{rows}</sheetData>{after}</worksheet>",
        )
        archive.writestr("xl/sharedStrings.xml", f"<sst {main}>{texts}</sst>")
        archive.writestr("xl/styles.xml", f"<styleSheet {main}>{styles}</styleSheet>")
    return path


def write_xls(path, cells, merged=(), sheet="题库"):
    """An .xls (BIFF8 in an OLE compound file) of texts, numbers and truth values by (row, column).

    The layout is that of [MS-XLS] 2.4 and [MS-CFB] 2; as small as Excel would open it.
    """

    def record(kind, data):
        return struct.pack("<HH", kind, len(data)) + data

    def begin(kind):
        return record(0x0809, struct.pack("<HHHHII", 0x0600, kind, 0x0DBB, 0x07CC, 0x41, 0x06))

    def text(value, head):
        return struct.pack(head, len(value)) + b"\x01" + value.encode("utf-16-le")

    body = b""
    for (row, col), value in cells.items():
        place = struct.pack("<HHH", row, col, 0)
        if isinstance(value, bool):
            body += record(0x0205, place + struct.pack("<BB", value, 0))
        elif isinstance(value, str):
            body += record(0x0204, place + text(value, "<H"))
        else:
            body += record(0x0203, place + struct.pack("<d", value))
    if merged:
        areas = b"".join(struct.pack("<HHHH", *area) for area in merged)
        body += record(0x00E5, struct.pack("<H", len(merged)) + areas)
    end = record(0x000A, b"")
    name = text(sheet, "<B")
    start = len(begin(5)) + len(record(0x0085, bytes(6) + name)) + len(end)
    stream = begin(5) + record(0x0085, struct.pack("<IH", start, 0) + name) + end
    stream += begin(0x10) + body + end
    stream = stream.ljust(max(4096, -(-len(stream) // 512) * 512), b"\0")
    count = len(stream) // 512
    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, count + 2), 0xFFFFFFFE]
    assert len(chain) <= 128
    table = struct.pack(f"<{len(chain)}I", *chain).ljust(512, b"\xff")
    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    head += struct.pack(
        "<HHHHHHIIIIIIIIII",
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        0,
        0,
        0,
        1,
        1,
        0,
        4096,
        0xFFFFFFFE,
        0,
        0xFFFFFFFE,
        0,
    )
    head += struct.pack("<I", 0).ljust(436, b"\xff")

    def entry(title, kind, first, size, child):
        data = (title + "\0").encode("utf-16-le").ljust(64, b"\0")
        data += struct.pack("<HBBIII", 2 * len(title) + 2, kind, 1, *[0xFFFFFFFF] * 2, child)
        return data + bytes(36) + struct.pack("<IQ", first, size)

    folder = entry("Root Entry", 5, 0xFFFFFFFE, 0, 1) + entry(
        "Workbook", 2, 2, len(stream), 0xFFFFFFFF
    )
    path.write_bytes(head + table + folder.ljust(512, b"\0") + stream)
    return path


# --------------------------------------------------------------------------- sheets and columns


def test_columns_by_name_and_locators(tmp_path):
    rows = [HEAD, (1, "甲", "一"), (None, None, None), (2, "乙", "二")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"说明": [("无",)], "题库": rows})
    found, reader = read(path, sheet="题库", **NAMES)
    assert [(entry.locator, entry.value) for entry in found] == [
        ("题库!B2", {"编号": "1", "题目": "甲", "答案": "一"}),
        ("题库!B4", {"编号": "2", "题目": "乙", "答案": "二"}),
    ]
    assert reader.blank == 1 and reader.facts == {"sheets": "题库 (headings in row 1)"}
    assert json.loads(found[0].original) == found[0].value


def test_without_a_mapping_all_columns_by_heading(tmp_path):
    path = make.write_xlsx(
        tmp_path / "a.xlsx", {"s": [("question", " answer ", None), ("甲", None, "注")]}
    )
    found, _ = read(path)
    assert found[0].value == {"question": "甲", "answer": "", "C": "注"}
    assert found[0].locator == "s!A2"


def test_table_that_does_not_begin_at_a1(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, (1, "甲", "一")]}, first=(5, 27))
    assert [entry.locator for entry in read(path, **NAMES)[0]] == ["题库!AB6"]


def test_several_sheets(tmp_path):
    sheets = {"一": [HEAD, (1, "甲", "a")], "空": [], "二": [("答案", "题目"), ("b", "乙")]}
    path = make.write_xlsx(tmp_path / "a.xlsx", sheets)
    expected = [("一!B2", "甲", "a"), ("二!B2", "乙", "b")]
    for sheet in ("*", ["一", "二"]):
        found, reader = read(path, sheet=sheet, **NAMES)
        assert [(e.locator, e.value["题目"], e.value["答案"]) for e in found] == expected
        assert reader.facts["sheets"] == "一 (headings in row 1); 二 (headings in row 1)"
    assert [e.locator for e in read(path, sheet=["二"], **NAMES)[0]] == ["二!B2"]
    assert "'空'" in message(path, sheet=["一", "空"], **NAMES)


def test_hidden_sheets_are_read_by_name_only(tmp_path):
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    book.active.title = "题库"
    book.active.append(("v",))
    book.active.append(("甲",))
    hidden = book.create_sheet("名单")
    hidden.sheet_state = "hidden"
    hidden.append(("v",))
    hidden.append(("乙",))
    book.save(path)
    for sheet in (None, "*"):
        found, reader = read(path, **({"sheet": sheet} if sheet else {}))
        assert [entry.value["v"] for entry in found] == ["甲"]
        assert reader.facts["hidden sheets left out"] == "名单"
    assert column(path, sheet="名单") == ["乙"]


def test_columns_by_letter(tmp_path):
    rows = [("编号", None, "答案", "B"), (1, "甲", "一", "x"), (2, "乙", "二", "y")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": rows})
    # a heading goes before a letter
    assert column(path, "B", question="B", answer="C") == ["x", "y"]
    path = make.write_xlsx(tmp_path / "b.xlsx", {"s": [row[:3] for row in rows]})
    found, _ = read(path, question="B", answer="{C}（{A}）")
    assert [entry.value for entry in found] == [
        {"A": "1", "B": "甲", "C": "一"},
        {"A": "2", "B": "乙", "C": "二"},
    ]
    assert found[0].locator == "s!B2"


def test_column_named_by_its_heading_and_by_its_letter(tmp_path):
    rows = [("题目", "A", "B", "答案"), ("甲", "一", "二", "A")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": rows})
    found = values(path, options=["A", "B", "C"], **NAMES)
    assert found == [{"题目": "甲", "A": "一", "B": "二", "答案": "A", "C": "二"}]


def test_options_headed_by_letters_are_not_mistaken_for_columns(tmp_path):
    rows = [("题目", None, "A", "B", "答案"), ("甲", "注", "一", "二", "A")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": rows})
    assert values(path, options=["A", "B"], **NAMES) == [
        {"题目": "甲", "A": "一", "B": "二", "答案": "A", "column B": "注"}
    ]


@pytest.mark.parametrize(
    "mapping, key, words",
    [
        ({"question": "问题", "answer": "答案"}, "question", "no column '问题'"),
        ({"question": "题目", "answer": "{解析}"}, "answer", "no column '解析'"),
        ({"question": "题目", "answer": "{解析|or:说明}"}, "answer", "no column '解析' or '说明'"),
        ({"options": ["题目", "丁"], **NAMES}, "options", "no column '丁'"),
        ({"question": "题目", "answer": "D"}, "answer", "no column 'D'"),
    ],
)
def test_missing_columns_are_told_before_anything_is_read(tmp_path, mapping, key, words):
    rows = {"一": [HEAD, (1, "甲", "一")], "二": [HEAD, (1, "甲", "一")]}
    path = make.write_xlsx(tmp_path / "a.xlsx", rows)
    reader = iter(XlsxReader(path, {"sheet": "*", **mapping}))
    with pytest.raises(SourceError) as error:
        next(reader)
    assert words in str(error.value) and f"`{key}:`" in str(error.value)
    assert "编号, 题目, 答案" in str(error.value) and "'一'" in str(error.value)


def test_alternatives_in_a_template_need_not_all_be_there(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": [HEAD, (1, "甲", "一")]})
    for template in ("{解析|or:答案}", '{解析|or:"无|有"}', "{答案|lines} {{解析}}"):
        assert len(values(path, question="题目", answer=template)) == 1


def test_missing_sheets(tmp_path):
    sheets = {"题库": [HEAD], "附录": [("甲",)], "空": []}
    path = make.write_xlsx(tmp_path / "a.xlsx", sheets)
    text = message(path, sheet="题目库", **NAMES)
    assert "'题目库'" in text and "题库, 附录, 空" in text
    assert "题库, 附录, 空" in message(path, **NAMES)
    assert "nothing" in message(path, sheet="空", **NAMES)
    assert "empty" in message(make.write_xlsx(tmp_path / "b.xlsx", {"空": []}), sheet="*")


def test_column_named_twice(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [("题目", "答案", "答案"), "甲乙丙"]})
    assert "2 columns '答案'" in message(path, **NAMES)
    assert values(path) == [{"题目": "甲", "答案": "乙", "答案 (C)": "丙"}]


# ------------------------------------------------------------------------ headings and merging


def test_row_of_headings(tmp_path):
    rows = [("单位：某局",), ("日期", "2020"), HEAD, (1, "甲", "一")]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": rows})
    found, reader = read(path, header_row=3, **NAMES)
    assert [entry.locator for entry in found] == ["s!B4"]
    assert reader.facts["rows above the headings"] == 2
    assert "单位：某局" in message(path, **NAMES)
    assert "row 9" in message(path, header_row=9)


def test_merged_title_is_not_the_headings(tmp_path):
    cells = {"A1": "题库", "A2": "题目", "B2": "答案", "A3": "甲", "B3": "一"}
    path = write_cells(tmp_path / "a.xlsx", cells, ["A1:B1"])
    found, reader = read(path, **NAMES)
    assert [entry.locator for entry in found] == ["s!A3"]
    assert reader.facts["rows above the headings"] == 1


def test_merged_cells_fill_their_rows(tmp_path):
    cells = {"A1": "类", "B1": "题目", "C1": "答案", "A2": "史", "A5": "地"}
    cells |= {"B2": "甲", "C2": "一", "B3": "乙", "C3": "二", "B5": "丙", "C5": "三", "B6": "丁"}
    path = write_cells(tmp_path / "a.xlsx", cells, ["A2:A4", "C5:D6"])
    found, reader = read(path, **NAMES)
    assert [(e.value["类"], e.value["题目"], e.value["答案"]) for e in found] == [
        ("史", "甲", "一"),
        ("史", "乙", "二"),
        ("地", "丙", "三"),
        ("", "丁", "三"),
    ]
    assert reader.blank == 1  # row 4 has nothing of its own


def test_record_merged_over_two_rows_is_one(tmp_path):
    cells = {"A1": "题目", "B1": "答案", "A2": "甲", "B2": "一", "A4": "乙", "B4": "二"}
    path = write_cells(tmp_path / "a.xlsx", cells, ["A2:A3", "B2:B3"])
    assert values(path, **NAMES) == [{"题目": "甲", "答案": "一"}, {"题目": "乙", "答案": "二"}]


def test_headings_of_two_rows(tmp_path):
    cells = {"A1": "题目", "B1": "选项", "D1": "答案", "B2": "A", "C2": "B"}
    cells |= {"A3": "甲", "B3": "一", "C3": "二", "D3": "A"}
    path = write_cells(tmp_path / "a.xlsx", cells, ["A1:A2", "B1:C1", "D1:D2"])
    found, reader = read(path, options=["A", "B"], **NAMES)
    assert [(e.locator, e.value) for e in found] == [
        ("s!A3", {"题目": "甲", "A": "一", "B": "二", "答案": "A"})
    ]
    assert reader.facts == {"sheets": "s (headings in row 2)"}


# ------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize(
    "code, value, shown",
    [
        ("General", 1949, "1949"),
        ("General", 0.1 + 0.2, "0.3"),
        ("General", -5, "-5"),
        ("General", 1e20, "1E+20"),
        ("0", 2.5, "3"),
        ("0.00", 3.14159, "3.14"),
        ("0.00", 1.005, "1.01"),  # what Excel shows: it rounds the 15 digits, not the double
        ("0.00", -0.004, "0.00"),
        ("#,##0", 1234567.5, "1,234,568"),
        ("#,##0.00", -1234.5, "-1,234.50"),
        ("0%", 0.25, "25%"),
        ("0.0%", 0.1255, "12.6%"),
        ("000000", 42, "000042"),
        ("0.###", 2.5, "2.5"),
        ("#", 0, ""),
        ("0,", 12345, "12"),
        ('0.0,,"M"', 12345678, "12.3M"),
        ('"第"0"题"', 7, "第7题"),
        ("0.00E+00", 12345, "1.23E+04"),
        ("##0.0E+0", 12345, "12.3E+3"),
        ('0;-0;"无"', 0, "无"),
        ("[Red]0.0;[Blue](0.0)", -3, "(3.0)"),
        ("[$¥-804]#,##0.00", 3, "¥3.00"),
        ('_ * #,##0.00_ ;_ * -#,##0.00_ ;_ * "-"??_ ;_ @_ ', 12.5, "12.50"),
        ('_ * #,##0.00_ ;_ * -#,##0.00_ ;_ * "-"??_ ;_ @_ ', 0, "-"),
        ("@", 12, "12"),
        ("yyyy/m/d", 44927, "2023/1/1"),
        ("yyyy-mm-dd hh:mm:ss", 44927.5, "2023-01-01 12:00:00"),
        ('yyyy"年"m"月"d"日"', 18172, "1949年10月1日"),
        ("yyyy年m月", 44927, "2023年1月"),
        ("[$-804]aaaa", 44927, "星期日"),
        ("d-mmm-yy", 44927, "1-Jan-23"),
        ("dddd", 44927, "Sunday"),
        ("h:mm", 0.999, "23:58"),
        ("h:mm AM/PM", 0.75, "6:00 PM"),
        ('上午/下午h"时"mm"分"', 0.25, "上午6时00分"),
        ("[h]:mm:ss", 1.25, "30:00:00"),
        ("mm:ss.0", 0.0007, "01:00.5"),
        ("m/d", 60, "2/29"),  # Excel takes 1900 for a leap year
        ("yyyy/m/d", 59, "1900/2/28"),
        ("yyyy/m/d", 61, "1900/3/1"),
        ("[$-F800]dddd, mmmm dd, yyyy", 44927, "2023-01-01"),
    ],
)
def test_numbers_as_shown(tmp_path, code, value, shown):
    path = write_cells(tmp_path / "a.xlsx", {"A1": "v", "B1": "w", "A2": (value, code), "B2": "x"})
    found, reader = read(path)
    assert found[0].value["v"] == shown
    assert "number formats not applied" not in reader.facts


@pytest.mark.parametrize(
    "code, value, shown",
    [
        ("# ?/?", 0.5, "0.5"),
        ("[DBNum1]0", 3, "3"),
        ("[>100]0.0;0", 3, "3"),
        ("000-0000", 1234567, "1234567"),
        ('[DBNum1]yyyy"年"m"月"', 44927, "2023-01-01"),
        ("[DBNum1]h:mm", 44927.25, "2023-01-01 06:00:00"),
    ],
)
def test_formats_that_are_not_known_are_told(tmp_path, code, value, shown):
    path = write_cells(tmp_path / "a.xlsx", {"A1": "v", "A2": (value, code)})
    found, reader = read(path)
    assert found[0].value["v"] == shown
    assert reader.facts["number formats not applied"] == code


def test_built_in_formats(tmp_path):
    path = tmp_path / "a.xlsx"
    xfs = "".join(f'<xf numFmtId="{number}"/>' for number in (0, 9, 10, 14, 22, 31, 46, 58, 99))
    cells = "".join(
        f'<row r="{n + 2}"><c r="A{n + 2}" s="{n}"><v>1.5</v></c></row>' for n in range(10)
    )
    head = '<row r="1"><c r="A1" t="inlineStr"><is><t>v</t></is></c></row>'
    write_xml(path, head + cells, styles=f"<cellXfs>{xfs}</cellXfs>")
    assert column(path) == [
        *("1.5", "150%", "150.00%", "1900-01-01", "1900-01-01 12:00", "1900年1月1日"),
        *("36:00:00", "1月1日", "1.5", "1.5"),
    ]


def test_dates_counted_from_1904(tmp_path):
    cells = {"A1": "v", "A2": (1462, "yyyy/m/d")}
    path = write_cells(tmp_path / "a.xlsx", cells)
    assert column(path) == ["1904/1/1"]
    head = '<row r="1"><c r="A1" t="inlineStr"><is><t>v</t></is></c></row>'
    row = '<row r="2"><c r="A2" s="0"><v>0</v></c></row>'
    styles = '<cellXfs><xf numFmtId="14"/></cellXfs>'
    write_xml(path, head + row, styles=styles, book='<workbookPr date1904="1"/>')
    assert column(path) == ["1904-01-01"]


def test_truth_values_formulas_and_texts(tmp_path):
    path = tmp_path / "a.xlsx"
    rows = (
        '<row><c t="inlineStr"><is><t>v</t></is></c></row>'  # without places: one after the other
        '<row><c t="b"><v>1</v></c></row>'
        '<row><c t="b"><v>0</v></c></row>'
        '<row><c t="str"><f>A1</f><v>算出</v></c></row>'
        "<row><c><f>1+1</f><v>2</v></c></row>"
        '<row><c t="s"><v>0</v></c></row>'
        '<row><c t="s"><v>1</v></c></row>'
        '<row><c t="d"><v>2023-01-01T00:00:00</v></c></row>'
        '<row><c t="str"><f>""</f><v></v></c></row>'
        "<row><!-- a comment --><?and so on?><c><!-- --><v>3</v></c></row>"
    )
    texts = (
        "<si><r><t>富</t></r><r><rPr><b/></rPr><t>文本</t></r><rPh><t>ふ</t></rPh></si>"
        "<si><t>行一_x000D_\n行二 _x005F_x</t></si>"
    )
    write_xml(path, rows, texts)
    assert column(path) == [
        "TRUE",
        "FALSE",
        "算出",
        "2",
        "富文本",
        "行一\n行二 _x",
        "2023-01-01",
        "3",
    ]


def test_errors_are_malformed_where_they_are_used(tmp_path):
    path = tmp_path / "a.xlsx"
    rows = (
        '<row r="1"><c r="A1" t="str"><v>题目</v></c><c r="B1" t="str"><v>答案</v></c>'
        '<c r="C1" t="str"><v>注</v></c></row>'
        '<row r="2"><c r="A2" t="str"><v>甲</v></c><c r="B2" t="e"><v>#N/A</v></c></row>'
        '<row r="3"><c r="A3" t="str"><v>乙</v></c><c r="B3"><f>1+1</f></c></row>'
        '<row r="4"><c r="A4" t="str"><v>丙</v></c><c r="B4"><v>1</v></c>'
        '<c r="C4" t="e"><v>#REF!</v></c></row>'
    )
    write_xml(path, rows)
    found, _ = read(path, **NAMES)
    assert [entry.reason for entry in found] == ["malformed_row", "malformed_row", None]
    assert found[0].detail == "B2 shows an error (#N/A)" and "#N/A" in found[0].original
    assert "save it" in found[1].detail
    assert found[2].value["注"] == "#REF!"
    assert [entry.reason for entry in read(path)[0]] == ["malformed_row"] * 3


def test_dates_of_other_writers(tmp_path):
    rows = [("v",), (datetime.date(1949, 10, 1),), (datetime.time(12, 30),), (True,)]
    path = make.write_xlsx(tmp_path / "a.xlsx", {"s": rows})
    assert column(path) == ["1949-10-01", "12:30:00", "TRUE"]


def test_empty_cells_are_left_to_cleaning(tmp_path):
    path = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, (1, None, "一"), (2, "乙", None)]})
    found = [(value["题目"], value["答案"]) for value in values(path, **NAMES)]
    assert found == [("", "一"), ("乙", "")]


TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30) | st.just("_x0041_")
NUMBERS = st.floats(-1e12, 1e12).map(lambda x: float(f"{x:.9g}")) | st.integers(-(10**9), 10**9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, NUMBERS), min_size=1, max_size=5))
def test_any_rows_read_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "a.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("s")
        sheet.write_row(0, 0, ["题目", "答案"])
        for number, (text, value) in enumerate(rows, start=1):
            sheet.write_string(number, 0, text)
            sheet.write_number(number, 1, value)
    found = values(path, **NAMES)
    assert [value["题目"] for value in found] == [text for text, _ in rows]
    assert [float(value["答案"]) for value in found] == [value for _, value in rows]


@settings(max_examples=300, deadline=None)
@given(
    st.text('0#?.,%;"\\_* @yYmdhsaE+-/:[]年DBNum1$804>AMP上午/下午Gener', max_size=14),
    st.floats(-1e9, 1e9) | st.integers(-3_000_000, 3_000_000),
)
def test_any_format_code_shows_something(code, value):
    show, _ = compile_format(code)
    assert isinstance(show(value), str)


def test_agrees_with_calamine_on_the_medical_workbook():
    if not MEDQA.is_file():
        pytest.skip("shared/data is not here")
    found, _ = read(MEDQA, sheet="DrugQA", question="Question", answer="Answer")
    assert len(found) == 690 and not any(entry.reason for entry in found)
    assert (found[0].locator, found[-1].locator) == ("DrugQA!A2", "DrugQA!A691")
    sheet = python_calamine.CalamineWorkbook.from_path(str(MEDQA)).get_sheet_by_name("DrugQA")
    headings, *rows = sheet.to_python()
    others = [dict(zip(headings, map(str, row), strict=True)) for row in rows]
    assert [entry.value for entry in found] == [
        {name.strip(): text.replace("\r\n", "\n") for name, text in row.items()} for row in others
    ]


# -------------------------------------------------------------------------------------- .xls


def test_xls(tmp_path):
    cells = {(0, 0): "类", (0, 1): "题目", (0, 2): "答案", (1, 0): "史", (1, 1): "甲", (1, 2): 1949}
    cells |= {(2, 1): "乙", (2, 2): True, (4, 1): "丙", (4, 2): 0.25}
    path = write_xls(tmp_path / "a.xls", cells, merged=[(1, 2, 0, 0)])
    found, reader = read(path, **NAMES)
    assert [(entry.locator, entry.value) for entry in found] == [
        ("题库!B2", {"类": "史", "题目": "甲", "答案": "1949"}),
        ("题库!B3", {"类": "史", "题目": "乙", "答案": "TRUE"}),
        ("题库!B5", {"类": "", "题目": "丙", "答案": "0.25"}),
    ]
    assert reader.blank == 1
    assert reader.facts["number formats not applied"] == "those of .xls files"
    assert "no column '问'" in message(path, question="问", answer="答案")


def test_workbooks_are_known_by_content(tmp_path):
    new = make.write_xlsx(tmp_path / "a.xlsx", {"题库": [HEAD, (1, "甲", "一")]})
    renamed = new.rename(tmp_path / "new.xls")
    assert len(values(renamed, **NAMES)) == 1
    old = write_xls(tmp_path / "old.xlsx", {(0, 0): "v", (1, 0): "甲"})
    assert "before Office 2007" in message(old)
    old = old.rename(tmp_path / "old.dat")
    assert column(old) == ["甲"]


# ------------------------------------------------------------------------------ what is wrong


def test_file_that_is_none(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_text("题目,答案\n")
    assert "not an Excel workbook" in message(path, **NAMES)
    path.write_bytes(make.write_docx(tmp_path / "a.docx", "甲->乙").read_bytes())
    assert "not an Excel workbook" in message(path, **NAMES)
    path = tmp_path / "a.xls"
    path.write_text("<html><table></table></html>")
    assert "not an Excel workbook" in message(path, **NAMES)
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    assert "Excel workbook" in message(path, **NAMES)


@pytest.mark.parametrize(
    "rows, texts, words",
    [
        ('<row r="2"><c r="A2" t="s"><v>5</v></c></row>', "<si><t>a</t></si>", "cell A2"),
        ('<row r="2"><c r="A2" t="s"><v>-1</v></c></row>', "<si><t>a</t></si>", "cell A2"),
        ('<row r="2"><c r="甲2"><v>5</v></c></row>', "", "cell 甲2"),
        ('<row r="2"><c r="ZZZ2"><v>5</v></c></row>', "", "cell ZZZ2"),
        ('<row r="99999999"><c><v>5</v></c></row>', "", "row 99999999"),
        ('<row r="2"><c r="A2"><v>5</c></row>', "", "sheet1.xml is damaged"),
    ],
)
def test_damage_within_is_told_with_its_place(tmp_path, rows, texts, words):
    head = '<row r="1"><c r="A1" t="inlineStr"><is><t>v</t></is></c></row>'
    path = write_xml(tmp_path / "a.xlsx", head + rows, texts)
    assert words in message(path)


def test_cells_far_apart_take_no_memory(tmp_path):
    """A reader that keeps the whole area of a sheet would need 16 billion cells here."""
    rows = [("v",), ("甲",)]
    path = tmp_path / "a.xlsx"
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.active["XFD1048576"] = "远"
    book.save(path)
    found, reader = read(path)
    assert [entry.value for entry in found] == [{"v": "甲"}, {"v": "", "XFD": "远"}]
    assert reader.blank == 1_048_573


def test_zip_bomb_and_document_types(tmp_path):
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/a.xml", bytes(40 * 2**20))
    assert "zip bomb" in message(path)
    row, texts = '<row><c t="s"><v>0</v></c></row>', "<si><t>v</t></si>"
    good = write_xml(tmp_path / "good.xlsx", row, texts, "<cellXfs><xf/></cellXfs>")
    with zipfile.ZipFile(good) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    for name in parts:
        with zipfile.ZipFile(path, "w") as archive:
            for other, text in parts.items():
                head = '<!DOCTYPE d [<!ENTITY x "text">]>' if other == name else ""
                archive.writestr(other, head + text)
        assert "document type" in message(path) and name in message(path)


def test_paths_in_a_workbook_lead_nowhere_else(tmp_path):
    secret = tmp_path / "secret.xml"
    secret.write_text("<a/>")
    good = write_xml(tmp_path / "good.xlsx", "<row><c><v>1</v></c></row>")
    path = tmp_path / "a.xlsx"
    for target in ("../../../secret.xml", str(secret), "..\\..\\secret.xml"):
        with zipfile.ZipFile(good) as archive, zipfile.ZipFile(path, "w") as copy:
            for name in archive.namelist():
                text = archive.read(name).decode()
                copy.writestr(name, text.replace("worksheets/sheet1.xml", target))
        assert "is missing" in message(path)


def test_too_many_texts_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("readers.workbook.MAX_SHARED_TEXTS", 20)
    path = write_xml(tmp_path / "a.xlsx", '<row><c t="s"><v>0</v></c></row>', "<si><t>v</t></si>")
    assert "as .csv" in message(path)


PEAK = """
import resource, sys
from pathlib import Path
from readers.xlsx import XlsxReader
print(sum(1 for _ in XlsxReader(Path(sys.argv[1]), {})))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    def peak(count):
        path = tmp_path / "a.xlsx"
        with xlsxwriter.Workbook(path, {"constant_memory": True}) as book:
            sheet = book.add_worksheet("s")
            for number in range(count + 1):
                sheet.write_row(number, 0, [f"v{number}", number, "text" * 20])
        folder = make.ROOT / "workflow" / "scripts" / "corpus"
        command = [sys.executable, "-c", PEAK, path]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        entries, kilobytes = map(int, found.stdout.split())
        assert entries == count
        return kilobytes

    assert peak(30_000) < peak(3_000) + 4_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["xlsx", "stored", "xls"])
def test_damaged_files_end_in_entries_or_in_a_message(tmp_path: Path, kind):
    path = tmp_path / ("a.xls" if kind == "xls" else "a.xlsx")
    if kind == "xls":
        cells = {(0, 0): "题目", (0, 1): "答案"}
        cells |= {(n, c): f"甲{n}" if c else n / 7 for n in range(1, 20) for c in range(2)}
        write_xls(path, cells, merged=[(1, 2, 0, 0)])
    else:
        cells = {"A1": "题目", "B1": "答案", "A2": (44927, "yyyy/m/d"), "B2": (0.5, "0%")}
        cells |= {f"{c}{n}": f"{c}{n}" for n in range(3, 20) for c in "AB"}
        write_cells(path, cells, ["C3:C5"])
    if kind == "stored":  # not packed, so that damage reaches the XML
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as copy:
            for name, data in parts.items():
                copy.writestr(name, data)
    good, rng = path.read_bytes(), random.Random(kind)
    outcomes = Counter()
    for number in range(120 if kind == "xls" else 500):  # a process each for .xls
        path.write_bytes(make.damaged(good, rng, number))
        try:
            entries, _ = read(path)
            assert all(entry.locator and (entry.reason or entry.value) for entry in entries)
            outcomes["entries"] += 1
        except SourceError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["message"] += 1
    assert outcomes["message"] > 20


def test_column_letters():
    names = [column_letters(n) for n in (0, 25, 26, 51, 52, 701, 702)]
    assert names == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
    assert [column_index(name) for name in names] == [0, 25, 26, 51, 52, 701, 702]
