"""The reader of Word documents: pairs, patterns, multiple choice, tables, and damaged files."""

import random
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import corpus_files as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readers import SourceError
from readers.docx import DocxReader
from readers.numbered import NotRead, parse_choice
from readers.pairs import split_pair

CIVIL_SERVICE = make.ROOT.parent / "shared" / "data" / "civil_service" / "src.docx"


def read(path, **options):
    reader = DocxReader(path, {"path": str(path), **options})
    return list(reader), reader


def pairs(path, **options):
    found = (entry.value for entry in read(path, **options)[0] if not entry.reason)
    return [(value["question"], value["answer"]) for value in found]


def outcome(path, **options):
    """Locator, and value or reason, of each entry."""
    return [(entry.locator, entry.value or entry.reason) for entry in read(path, **options)[0]]


def message(path, **options):
    with pytest.raises(SourceError) as error:
        read(path, **options)
    text = str(error.value)
    assert str(path) in text and "\n" not in text
    return text


def table(*rows, before=""):
    """XML of a table; a cell is a text, or XML that begins with "<w:"."""

    def cell(content):
        inner = content if content.startswith("<w:") else make.paragraph(content)
        return f"<w:tc>{inner}</w:tc>"

    inner = "".join(f"<w:tr>{''.join(cell(c) for c in cells)}</w:tr>" for cells in rows)
    return f"<w:tbl>{before}{inner}</w:tbl>"


def merged(content, kind):
    """XML inside a cell merged with others: "restart", "continue", or a number of columns."""
    inner = f'<w:gridSpan w:val="{kind}"/>' if kind.isdigit() else f'<w:vMerge w:val="{kind}"/>'
    return f"<w:tcPr>{inner}</w:tcPr>{make.paragraph(content)}"


# ---------------------------------------------------------------------------------------- pairs


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
def test_delimiters(text, expected):
    assert split_pair(text) == expected


def test_locators_count_all_paragraphs_and_runs_are_joined(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx", "标题", "", make.paragraph("问", "题-", ">", "答案"), "   "
    )
    entries, reader = read(path)
    assert [(e.locator, e.reason, e.value) for e in entries] == [
        ("paragraph 1", "no_delimiter", None),
        ("paragraph 3", None, {"question": "问题", "answer": "答案"}),
    ]
    assert reader.blank == 2
    assert entries[0].original == "标题" and "no arrow" in entries[0].detail


def test_word_specials(tmp_path):
    def run(inner):
        return f"<w:p><w:r><w:t>问题</w:t>{inner}<w:t>答案</w:t></w:r></w:p>"

    path = make.write_docx(
        tmp_path / "a.docx",
        run('<w:sym w:font="Wingdings" w:char="F0E0"/>'),  # Word's own correction of "-->"
        run("<w:noBreakHyphen/><w:t>&gt;</w:t>"),
        run("<w:t>-&gt;</w:t><w:tab/>"),
        run("<w:t>-&gt;</w:t><w:br/><w:t>第一行</w:t><w:br/>"),
        run('<w:t>-&gt;</w:t><w:sym w:font="x" w:char="D800"/>'),  # half a character is none
        # a tab stop is no tab; deleted text is no text
        "<w:p><w:pPr><w:tabs><w:tab w:val='left'/></w:tabs></w:pPr><w:del><w:r><w:delText>旧"
        "</w:delText></w:r></w:del><w:r><w:t>问题-&gt;答案</w:t></w:r></w:p>",
    )
    expected = [("问题", "答案")] * 3 + [("问题", "第一行\n答案")] + [("问题", "答案")] * 2
    assert pairs(path) == expected


def test_several_pairs_in_one_paragraph(tmp_path):
    lines = "<w:br/>".join(f"<w:t>{text}</w:t>" for text in ("甲-&gt;1", "注", "乙-&gt;2"))
    path = make.write_docx(tmp_path / "a.docx", f"<w:p><w:r>{lines}</w:r></w:p>")
    assert outcome(path) == [
        ("paragraph 1, line 1", {"question": "甲", "answer": "1"}),
        ("paragraph 1, line 2", "no_delimiter"),
        ("paragraph 1, line 3", {"question": "乙", "answer": "2"}),
    ]


def test_text_box_is_read_once(tmp_path):
    box = make.paragraph("框->内") + table(("问题", "答案"), ("表", "里"))
    path = make.write_docx(
        tmp_path / "a.docx",
        "<w:p><w:r><w:t>外-&gt;面</w:t><mc:AlternateContent>"
        f"<mc:Choice Requires='wps'>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        "</mc:AlternateContent></w:r></w:p>",
        "后->来",
    )
    assert outcome(path) == [
        ("paragraph 1", {"question": "框", "answer": "内"}),
        ("table 1, row 2", {"问题": "表", "答案": "里"}),
        ("paragraph 6", {"question": "外", "answer": "面"}),
        ("paragraph 7", {"question": "后", "answer": "来"}),
    ]


def test_moved_text_and_phonetic_guides_are_read_once(tmp_path):
    run = "<w:r><w:t>{}</w:t></w:r>"
    path = make.write_docx(
        tmp_path / "a.docx",
        f"<w:p><w:moveFrom>{run.format('旧处')}</w:moveFrom>{run.format('汉-&gt;')}<w:moveTo>"
        f"{run.format('新处')}</w:moveTo><w:r><w:ruby><w:rt>{run.format('zì')}</w:rt>"
        f"<w:rubyBase>{run.format('字')}</w:rubyBase></w:ruby></w:r></w:p>",
    )
    assert pairs(path) == [("汉", "新处字")]


def test_strict_namespace(tmp_path):
    space = "http://purl.oclc.org/ooxml/wordprocessingml/main"
    path = make.write_docx(tmp_path / "a.docx", "甲->乙", space=space)
    assert pairs(path) == [("甲", "乙")]


def test_civil_service_document_gives_every_paragraph():
    if not CIVIL_SERVICE.is_file():
        pytest.skip("shared/data is not here")
    entries, reader = read(CIVIL_SERVICE)
    assert Counter(entry.reason for entry in entries) == {None: 41_689, "no_delimiter": 7}
    assert sum(not entry.value["answer"] for entry in entries if entry.value) == 9
    assert reader.blank == 6


# ------------------------------------------------------------------------------------- patterns


def test_patterns_go_first_and_in_their_order(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx", "问：甲->乙 答：丙", "Q: one A: two", "丁->戊", "Q: three"
    )
    patterns = [
        r"^问：(?P<question>.+?)\s*答：(?P<answer>.+)$",
        r"^(?:Q|问)[:：]\s*(?P<question>.+?)\s*A:\s*(?P<answer>.+)$",
    ]
    assert pairs(path, patterns=patterns) == [("甲->乙", "丙"), ("one", "two"), ("丁", "戊")]
    last = read(path, patterns=patterns)[0][-1]
    assert (last.locator, last.reason) == ("paragraph 4", "no_delimiter")
    assert "`patterns:`" in last.detail


def test_patterns_go_before_multiple_choice(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "1. 问", "A. 甲=乙", "B. 丙=丁", "答案：B")
    found = outcome(path, patterns=["(?P<question>.+)=(?P<answer>.+)"])
    assert [place for place, value in found if value != "no_delimiter"] == [
        "paragraph 2",
        "paragraph 3",
    ]


def test_further_groups_of_a_pattern_are_fields(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "[历史] 甲=乙", "丙=丁")
    found = outcome(path, patterns=[r"(?:\[(?P<topic>.+?)\] )?(?P<question>.+)=(?P<answer>.+)"])
    assert found == [
        ("paragraph 1", {"question": "甲", "answer": "乙", "topic": "历史"}),
        ("paragraph 2", {"question": "丙", "answer": "丁"}),
    ]


def test_wrong_patterns_are_refused(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "甲->乙")
    for pattern, words in (("(", "no regular expression"), ("(?P<question>.)", "named answer")):
        with pytest.raises(SourceError, match=words) as error:
            read(path, patterns=[pattern])
        assert "`patterns:`" in str(error.value)


def test_pairs_have_the_names_of_the_mapping(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "甲->乙", table(("题目", "答案"), ("丙", "丁")))
    assert [value for _, value in outcome(path, question="题目", answer="答案")] == [
        {"题目": "甲", "答案": "乙"},
        {"题目": "丙", "答案": "丁"},
    ]


# ------------------------------------------------------------------------------ multiple choice

OPTIONS = ["合肥", "芜湖", "安庆", "黄山"]
CHOICE = {"question": "安徽的省会是", "options": OPTIONS, "answer": "芜湖"}


@pytest.mark.parametrize(
    "paragraphs",
    [
        ["12. 安徽的省会是", "A. 合肥", "B. 芜湖", "C. 安庆", "D. 黄山", "答案：B"],
        ["12、安徽的省会是", "A、合肥 B、芜湖\tC、安庆  D、黄山", "正确答案: B"],
        ["（12）安徽的省会是", "Ａ．合肥　Ｂ．芜湖", "Ｃ．安庆　Ｄ．黄山", "参考答案：Ｂ。"],
        [
            "第12题 安徽的省会是",
            "A合肥".replace("A", "A："),
            "B：芜湖",
            "C)安庆",
            "(D)黄山",
            "Answer: B",
        ],
        ["１２．安徽的省会是", "A.合肥B.芜湖C.安庆D.黄山", "【答案】B"],
        [
            "12) 安徽的省会是",
            "(a) 合肥",
            "(b) 芜湖",
            "(c) 安庆",
            "(d) 黄山",
            "The correct answer is b.",
        ],
        ["安徽的省会是", "A. 合肥", "B. 芜湖", "C. 安庆", "D. 黄山 答案：B"],
        ["12. 安徽的省会是", "A. 合肥;", "B. 芜湖;", "C. 安庆;", "D. 黄山", "答案：芜湖"],
        ["12. 安徽的省会是", "A. 合肥", "B. 芜湖", "C. 安庆", "D. 黄山", "答案：B. 芜湖"],
        ["12. 安徽的", "省会是", "", "A. 合肥 B. 芜湖", "C. 安庆", "D. 黄山", "故选B。"],
    ],
)
def test_multiple_choice(tmp_path, paragraphs):
    path = make.write_docx(tmp_path / "a.docx", "第一章", "甲->乙", *paragraphs, "第二章", "丙->丁")
    last = len(paragraphs) + 2
    question = "安徽的\n省会是" if "省会是" in paragraphs else CHOICE["question"]
    assert outcome(path) == [
        ("paragraph 1", "no_delimiter"),
        ("paragraph 2", {"question": "甲", "answer": "乙"}),
        (f"paragraphs 3-{last}", {**CHOICE, "question": question}),
        (f"paragraph {last + 1}", "no_delimiter"),
        (f"paragraph {last + 2}", {"question": "丙", "answer": "丁"}),
    ]
    entries, reader = read(path)
    assert entries[2].original == "\n".join(filter(None, paragraphs))
    assert reader.facts == {"blocks of multiple choice": 1}


def test_answer_in_the_brackets_of_the_question_does_not_stay_there(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "3. 省会是（ B ）。", "A. 合肥", "B. 芜湖")
    ((_, value),) = outcome(path)
    assert value == {"question": "省会是（ ）。", "options": ["合肥", "芜湖"], "answer": "芜湖"}


def test_brackets_that_are_no_answer(tmp_path):
    lines = ["3. 维生素（C）又称（ ）", "A. 抗坏血酸", "B. 视黄醇", "答案：A"]
    ((_, value),) = outcome(make.write_docx(tmp_path / "a.docx", *lines))
    assert (value["question"], value["answer"]) == ("维生素（C）又称（ ）", "抗坏血酸")


def test_explanations_belong_to_their_question(tmp_path):
    lines = [
        "1. 问",
        "A. 甲",
        "B. 乙",
        "答案：A",
        "解析：因为甲。",
        "2. 问二",
        "A. 丙",
        "B. 丁",
        "答案 B",
    ]
    path = make.write_docx(tmp_path / "a.docx", *lines)
    assert [(place, value.get("explanation")) for place, value in outcome(path)] == [
        ("paragraphs 1-5", "因为甲。"),
        ("paragraphs 6-9", None),
    ]


def test_question_with_line_breaks_in_one_paragraph(tmp_path):
    lines = "<w:br/>".join(f"<w:t>{t}</w:t>" for t in ("1. 问", "A. 甲", "B. 乙", "答案：B"))
    path = make.write_docx(tmp_path / "a.docx", f"<w:p><w:r>{lines}</w:r></w:p>", "丙->丁")
    assert outcome(path) == [
        ("paragraph 1", {"question": "问", "options": ["甲", "乙"], "answer": "乙"}),
        ("paragraph 2", {"question": "丙", "answer": "丁"}),
    ]


@pytest.mark.parametrize(
    "paragraphs, words",
    [
        (["1. 问", "A. 甲", "B. 乙"], "without an answer"),
        (["1. 问", "A. 甲", "B. 乙", "答案：AB"], "several right options: AB"),
        (["1. 问", "A. 甲", "B. 乙", "答案：A、B"], "several right options: AB"),
        (["1. 问（AB）", "A. 甲", "B. 乙"], "several right options: AB"),
        (["1. 问", "A. 甲", "B. 乙", "Answer: A or B"], "several right options: AB"),
        (["1. 问", "A. 甲", "B. 乙", "答案：C"], "the last option is B"),
        (["1. 问", "A. 甲", "B. 乙", "答案：丙"], "none of the options: '丙'"),
        (["1. 问（A）", "A. 甲", "B. 乙", "答案：B"], "different answers: A, B"),
        (["1. 问", "A. 甲", "C. 乙", "答案：C"], "but A, C"),
        (["1. 问", "A. 甲", "B.", "答案：A"], "option B is empty"),
    ],
)
def test_multiple_choice_that_cannot_be_used_says_why(tmp_path, paragraphs, words):
    entries, _ = read(make.write_docx(tmp_path / "a.docx", *paragraphs, "丙->丁"))
    assert [(e.locator, e.reason) for e in entries] == [
        (f"paragraphs 1-{len(paragraphs)}", "malformed_row"),
        (f"paragraph {len(paragraphs) + 1}", None),
    ]
    assert words in entries[0].detail and entries[0].original == "\n".join(paragraphs)


def test_letters_in_an_option_are_no_options():
    lines = ["1. 哪些", "A. 维生素B、维生素C", "B. 维生素D", "答案：A"]
    assert parse_choice(lines)[1] == ["维生素B、维生素C", "维生素D"]


def test_lines_that_only_look_like_multiple_choice_stay_what_they_are(tmp_path):
    texts = ["1. 第一章->甲", "2. 第二章", "说明", "A. 附录", "3. 第三章->丙", "B. 附录", "答案：B"]
    path = make.write_docx(tmp_path / "a.docx", *texts)
    assert outcome(path) == [
        ("paragraph 1", {"question": "1. 第一章", "answer": "甲"}),
        *((f"paragraph {n}", "no_delimiter") for n in (2, 3, 4)),
        ("paragraph 5", {"question": "3. 第三章", "answer": "丙"}),
        *((f"paragraph {n}", "no_delimiter") for n in (6, 7)),
    ]


def test_arrows_within_multiple_choice(tmp_path):
    lines = ["1. A→B是（ ）", "A. 广州→武汉", "B. 武汉→广州", "答案：B"]
    assert outcome(make.write_docx(tmp_path / "a.docx", *lines)) == [
        (
            "paragraphs 1-4",
            {
                "question": "A→B是（ ）",
                "options": ["广州→武汉", "武汉→广州"],
                "answer": "武汉→广州",
            },
        )
    ]


def test_endless_options_are_not_held(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", "1. 问", "A. 甲", *["B. 乙"] * 500)
    entries, _ = read(path)
    assert sum(entry.original.count("\n") + 1 for entry in entries) == 502
    assert max(entry.original.count("\n") + 1 for entry in entries) <= 60


TEXT = st.text("甲乙丙丁戊abc 0123，。", min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None)
@given(
    question=TEXT,
    options=st.lists(TEXT.filter(lambda t: not t[0].isascii()), min_size=2, max_size=8),
    data=st.data(),
)
def test_any_question_of_multiple_choice_reads_back(question, options, data):
    right = data.draw(st.integers(0, len(options) - 1))
    mark = data.draw(st.sampled_from([". ", "、", "．", "：", ") "]))
    letters = "ABCDEFGH" if data.draw(st.booleans()) else "ＡＢＣＤＥＦＧＨ"
    lines = [f"7、{question}"]
    lines += [f"{letter}{mark}{text}" for letter, text in zip(letters, options, strict=False)]
    lines.append(f"答案：{letters[right]}")
    assert parse_choice(lines) == (question, options, options[right], "")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("1A.BC、 答案：（）问甲-\n", max_size=12), max_size=8))
def test_any_lines_are_read_or_refused(lines):
    try:
        question, options, answer, _ = parse_choice([*lines, "A. x"])
    except NotRead:
        return
    assert answer in options and isinstance(question, str)


def write_listed(path, *paragraphs):
    """A document of (text, list, level); lists 1 and 2 are of one definition, 2 begins anew."""

    def listed(text, name, level):
        place = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{name}"/></w:numPr>'
        return make.paragraph(text).replace("<w:p>", f"<w:p><w:pPr>{place}</w:pPr>", 1)

    make.write_docx(path, *(p if isinstance(p, str) else listed(*p) for p in paragraphs))
    levels = "".join(
        f'<w:lvl w:ilvl="{level}"><w:start w:val="1"/><w:numFmt w:val="{kind}"/>'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
        for level, (kind, text) in enumerate([("decimal", "%1、"), ("upperLetter", "%2.")])
    )
    restart = '<w:lvlOverride w:ilvl="1"><w:startOverride w:val="1"/></w:lvlOverride>'
    numbering = (
        f'<w:numbering xmlns:w="{make.WORD}"><w:abstractNum w:abstractNumId="0">{levels}'
        '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
        f'<w:num w:numId="2"><w:abstractNumId w:val="0"/>{restart}</w:num></w:numbering>'
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("word/numbering.xml", numbering)
    return path


def test_numbers_that_word_writes_by_itself(tmp_path):
    path = write_listed(
        tmp_path / "a.docx",
        *(("省会", 1, 0), ("合肥", 1, 1), ("芜湖", 1, 1), "答案：A"),
        *(("大河", 1, 0), ("长江", 1, 1), ("黄河", 1, 1), ("淮河", 1, 1), "答案：C"),
        *("湖泊", ("巢湖", 2, 1), ("太湖", 2, 1), "答案：B"),
        *(("甲->乙", 1, 0), ("丙", 1, 0)),
    )
    entries, _ = read(path)
    assert [(e.value or {}).get("answer") for e in entries] == ["合肥", "淮河", "太湖", "乙", None]
    assert entries[0].value["options"] == ["合肥", "芜湖"]
    assert entries[1].original == "2、 大河\nA. 长江\nB. 黄河\nC. 淮河\n答案：C"
    # what is no multiple choice stays as it was typed
    assert (entries[3].value["question"], entries[4].original) == ("甲", "丙")


def test_formulas_are_read_and_told_and_pictures_told(tmp_path):
    math = "http://schemas.openxmlformats.org/officeDocument/2006/math"
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    path = make.write_docx(
        tmp_path / "a.docx",
        f"<w:p><w:r><w:t>面积-&gt;</w:t></w:r><m:oMath xmlns:m='{math}'><m:r><m:t>πr</m:t></m:r>"
        f"</m:oMath><w:r><a:blip xmlns:a='{drawing}'/></w:r></w:p>",
    )
    entries, reader = read(path)
    assert entries[0].value == {"question": "面积", "answer": "πr"}
    assert reader.facts == {"parts of formulas read as plain text": 1, "pictures left out": 1}


# --------------------------------------------------------------------------------------- tables


def test_table_rows_by_heading(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx",
        "说明->前",
        table(("编号", " 问题 ", "答案"), ("1", "甲", "一"), ("", "", ""), ("2", "乙->丙", "二")),
        "后->来",
    )
    entries, reader = read(path)
    assert [(e.locator, e.value) for e in entries] == [
        ("paragraph 1", {"question": "说明", "answer": "前"}),
        ("table 1, row 2", {"编号": "1", "问题": "甲", "答案": "一"}),
        ("table 1, row 4", {"编号": "2", "问题": "乙->丙", "答案": "二"}),
        ("paragraph 14", {"question": "后", "answer": "来"}),
    ]
    assert entries[1].original == '{"编号":"1","问题":"甲","答案":"一"}'
    assert reader.blank == 1 and reader.facts == {"tables": 1}


def test_table_by_the_headings_of_the_mapping(tmp_path):
    path = make.write_docx(tmp_path / "a.docx", table(("知识点", "说明"), ("甲", "一")))
    assert outcome(path)[0] == ("table 1, row 1", "no_delimiter")
    found = outcome(path, question="什么是{知识点}？", answer="说明")
    assert found == [("table 1, row 2", {"知识点": "甲", "说明": "一"})]


def test_merged_cells_titles_and_columns_without_heading(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx",
        table(
            (merged("题库", "3"),),
            ("问题", "答案", ""),
            (merged("甲", "restart"), "一", "注"),
            (merged("", "continue"), "二", ""),
            (merged("", "continue"), "三", ""),
            (merged("乙", "2"), "丙"),
        ),
    )
    assert outcome(path) == [
        ("table 1, row 1", "no_delimiter"),
        ("table 1, row 3", {"问题": "甲", "答案": "一", "column 3": "注"}),
        ("table 1, row 4", {"问题": "甲", "答案": "二"}),
        ("table 1, row 5", {"问题": "甲", "答案": "三"}),
        ("table 1, row 6", {"问题": "乙", "答案": "", "column 3": "丙"}),
    ]


def test_table_that_cannot_be_read_is_reported_row_by_row(tmp_path):
    path = make.write_docx(
        tmp_path / "a.docx", table(("城市", "省"), ("合肥", "安徽"), ("甲->乙", "丙"))
    )
    entries, _ = read(path)
    assert [(e.locator, e.original, e.reason) for e in entries] == [
        ("table 1, row 1", "城市 | 省", "no_delimiter"),
        ("table 1, row 2", "合肥 | 安徽", "no_delimiter"),
        ("table 1, row 3, cell 1", "甲->乙", None),
        ("table 1, row 3, cell 2", "丙", "no_delimiter"),
    ]
    assert "城市, 省" in entries[0].detail


def test_table_of_one_column_is_a_frame(tmp_path):
    cell = "".join(
        make.paragraph(text) for text in ("1. 问", "A. 甲", "B. 乙", "答案：A", "丙->丁")
    )
    path = make.write_docx(tmp_path / "a.docx", table((cell,)), "戊->己")
    assert [place for place, _ in outcome(path)] == ["paragraphs 1-4", "paragraph 5", "paragraph 6"]


def test_table_within_a_cell_belongs_to_the_cell(tmp_path):
    inner = make.paragraph("见") + table(("a", "b")) + make.paragraph("完")
    path = make.write_docx(tmp_path / "a.docx", table(("问题", "答案"), ("甲", inner)))
    assert outcome(path) == [("table 1, row 2", {"问题": "甲", "答案": "见\na\nb\n完"})]


# ------------------------------------------------------------------------------- what is wrong


def test_file_that_is_none(tmp_path):
    path = tmp_path / "a.docx"
    path.write_bytes(b"")
    assert "not a Word document" in message(path)
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    assert "password" in message(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no document")
    assert "word/document.xml" in message(path)


def test_truncated_or_broken_xml(tmp_path):
    whole = make.write_docx(tmp_path / "a.docx", *(f"问{n}->答" for n in range(200)))
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    assert "damaged" in message(whole)
    broken = make.write_docx(tmp_path / "b.docx", "甲->乙", "<w:p><w:r></w:p>")
    assert "word/document.xml is damaged" in message(broken)


def test_entities_are_not_expanded(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    for definition in (f'SYSTEM "{secret.as_uri()}"', '"text"'):
        path = make.write_docx(
            tmp_path / "a.docx",
            "<w:p><w:r><w:t>甲-&gt;&x;</w:t></w:r></w:p>",
            head=f"<!DOCTYPE d [<!ENTITY x {definition}>]>",
        )
        assert "document type" in message(path)


def test_billion_laughs(tmp_path):
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    path = make.write_docx(
        tmp_path / "a.docx",
        "<w:p w:x='&a11;'><w:r><w:t>&a11;</w:t></w:r></w:p>",
        head=f'<!DOCTYPE d [<!ENTITY a0 "ha">{levels}]>',
    )
    message(path)


def test_zip_bomb(tmp_path):
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(40 * 2**20))
    assert "zip bomb" in message(path)


PEAK = """
import resource, sys
from pathlib import Path
from readers.docx import DocxReader
print(sum(1 for _ in DocxReader(Path(sys.argv[1]), {})))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("kind", ["paragraphs", "rows"])
def test_memory_does_not_grow_with_the_document(tmp_path, kind):
    def peak(count):
        texts = (f"问题{n}->答案{n}" for n in range(count))
        if kind == "rows":
            texts = [table(("问题", "答案"), *(text.split("->") for text in texts))]
        path = make.write_docx(tmp_path / "a.docx", *texts)
        folder = make.ROOT / "workflow" / "scripts" / "corpus"
        command = [sys.executable, "-c", PEAK, path]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        entries, kilobytes = map(int, found.stdout.split())
        assert entries == count
        return kilobytes

    assert peak(40_000) < peak(4_000) + 4_000


def test_numbered_pairs_stay_pairs(tmp_path):
    lines = ["1. 甲->乙", "A. 丙->丁", "B. 戊->己", "2. 庚->辛"]
    assert len(pairs(make.write_docx(tmp_path / "a.docx", *lines))) == 4


@pytest.mark.slow
def test_damaged_files_end_in_entries_or_in_a_message(tmp_path: Path):
    good = make.write_docx(
        tmp_path / "good.docx",
        *(f"问题{n}是什么？->答案{n}" for n in range(20)),
        *("1. 问", "A. 甲", "B. 乙", "答案：B"),
        table((merged("题库", "2"),), ("问题", "答案"), ("甲", merged("一", "restart"))),
    )
    plain = tmp_path / "plain.docx"
    with zipfile.ZipFile(good) as archive, zipfile.ZipFile(plain, "w") as copy:
        for name in archive.namelist():  # not packed, so that damage reaches the XML
            copy.writestr(name, archive.read(name))
    rng = random.Random(7)
    outcomes = Counter()
    for number in range(600):
        path = tmp_path / "damaged.docx"
        data = (good if number % 2 else plain).read_bytes()
        path.write_bytes(make.damaged(data, rng, number // 2))
        try:
            entries, _ = read(path)
            assert all(entry.locator and (entry.reason or entry.value) for entry in entries)
            outcomes["entries"] += 1
        except SourceError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            outcomes["message"] += 1
    assert outcomes["message"] > 50
