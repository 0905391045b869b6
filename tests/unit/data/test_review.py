"""The human review: what a person changes in the workbook arrives, and nothing else does."""

import datetime
import json
import random
import sys
import zipfile
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

import apply_review
import clean
import review
from files import ROWS, ParquetWriter, read_parquet
from reviewing import sheet as review_sheet

CONFIG = {
    **{"max_question_chars": 50, "max_answer_chars": 100, "min_question_chars": 1},
    **{"min_answer_chars": 1, "min_text_chars": 1, "adverts": ["公众号"], "languages": []},
    **{"conflicting_answers": "reject", "near_duplicates": None, "width": "keep"},
    "chinese": "keep",
}
FLAGS, SUGGESTION, DECISION, NOTE = 6, 7, 8, 9


def row(number: int, source: str = "a.docx", **values) -> dict:
    """A row as ingest.py writes it, with only some of its fields filled."""
    empty = dict.fromkeys(ROWS.names) | {"source": source, "locator": f"paragraph {number}"}
    return empty | {"original": f"original {number}"} | values


def pair(number: int, question: str, answer: str, source: str = "a.docx", **values) -> dict:
    """A row with one question and its answer."""
    return row(number, source, kind="chat", messages=messages(question, answer), **values)


def messages(*texts: str) -> list[dict]:
    """Turns of a user and an assistant."""
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


def texts(row: dict) -> tuple[str, ...]:
    """Contents of the messages of a row."""
    return tuple(message["content"] for message in row["messages"])


FIVE = [pair(n, f"问题{n}？", f"答案{n}") for n in range(1, 6)]


class Review:
    """The two scripts as the rules call them, with a person in between."""

    def __init__(self, folder: Path, rows: list[dict] = FIVE):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.sheet, self.edited = folder / "review.xlsx", folder / "edited.xlsx"
        self.extract(rows)

    def extract(self, rows: list[dict], **sha256: str) -> None:
        """What ingest.py would leave behind."""
        self.rows = rows
        with ParquetWriter(self.folder / "rows.parquet", ROWS) as writer:
            for each in rows:
                writer.write(each)
        names = [each["source"] for each in rows]
        counts = {
            "sources": [
                {
                    **{"source": name, "sha256": sha256.get(name.split(".")[0], "0" * 64)},
                    **{"rows": names.count(name), "blank": 0, "repaired": 0, "facts": {}},
                    "not_sampled": 0,
                }
                for name in dict.fromkeys(names)
            ],
            "review": None,
        }
        (self.folder / "ingest.json").write_text(json.dumps(counts), encoding="utf-8")

    @property
    def _extracted(self) -> list[str]:
        folder = self.folder
        return ["--rows", f"{folder / 'rows.parquet'}", "--counts", f"{folder / 'ingest.json'}"]

    def write(self, *more: str, **config) -> "Review":
        """Write the workbook."""
        rules = ["--rules", json.dumps(CONFIG | config)]
        review.main([*self._extracted, *rules, "--review", str(self.sheet), *more])
        return self

    def edit(self, change=lambda sheet: None) -> "Review":
        """Open, change and save the workbook as openpyxl does."""
        book = openpyxl.load_workbook(self.sheet)
        change(book["review"])
        book.save(self.edited)
        return self

    def apply(self) -> tuple[list[dict], dict]:
        """The reviewed rows and the counts of the review."""
        outputs = [self.folder / "reviewed.parquet", self.folder / "reviewed.json"]
        for output in outputs:
            output.unlink(missing_ok=True)
        apply_review.main(
            [
                *(*self._extracted, "--review", str(self.edited)),
                *("--reviewed", str(outputs[0]), "--counts-out", str(outputs[1])),
            ]
        )
        self.counts = json.loads(outputs[1].read_text(encoding="utf-8"))
        rows, done = list(read_parquet(outputs[0])), self.counts["review"]
        # no row is lost, whatever was done
        assert len(rows) == sum(source["rows"] for source in self.counts["sources"])
        assert len(self.rows) == sum(done[name] for name in done if name != "added")
        for before, after in zip(self.rows, rows, strict=False):
            assert all(before[name] == after[name] for name in ("source", "locator", "original"))
        return rows, done

    def refusal(self) -> str:
        """What apply_review.py says when it refuses."""
        with pytest.raises(SystemExit) as error:
            self.apply()
        assert not (self.folder / "reviewed.parquet").exists()
        assert "\n" not in error.value.code
        return error.value.code

    def cells(self, name: str = "review") -> list[tuple]:
        """The lines of the workbook below the headings."""
        return list(openpyxl.load_workbook(self.sheet)[name].values)[1:]


def done(**counts: int) -> dict:
    """Counts of a review, where those that are not named are 0."""
    return dict.fromkeys(("unchanged", "edited", "deleted", "added", "not_reviewed"), 0) | counts


# ------------------------------------------------------------------------ what is shown


def test_shows_each_pair_and_each_row_that_could_not_be_read(tmp_path):
    rows = [*FIVE[:2], row(3, reason="no_delimiter", detail="no -> in it", original="北京 首都")]
    lines = Review(tmp_path, rows).write().cells()
    assert [line[:5] for line in lines] == [
        (1, "a.docx", "paragraph 1", "问题1？", "答案1"),
        (2, "a.docx", "paragraph 2", "问题2？", "答案2"),
        (3, "a.docx", "paragraph 3", None, None),
    ]
    assert [line[DECISION - 1] for line in lines] == ["keep"] * 3
    assert [line[9] for line in lines] == [None, None, "北京 首都"]
    assert lines[2][FLAGS - 1] == "no_delimiter 不是问答"
    assert lines[2][SUGGESTION - 1].startswith("no -> in it\n")


def test_flags_what_cleaning_would_reject_and_suggests_what_to_do(tmp_path):
    rows = [
        pair(1, "法国的首都？", "巴黎"),
        pair(2, "法国的首都", "里昂"),
        pair(3, "法国的首都？", "巴黎。"),
        pair(4, "德国的首都？", "柏林"),
        pair(5, "意大利的首都？", ""),
        pair(6, "西班牙的首都？", "见公众号"),
        pair(7, "英国的首都？", "伦" * 101),
        pair(8, "东京", "日本的首都是哪里？"),
        pair(9, "韩国的首都？", "首尔", repaired="mojibake"),
    ]
    lines = Review(tmp_path, rows).write().cells()
    flags = [(line[FLAGS - 1] or "").split() for line in lines]
    assert [flag[::2] for flag in flags] == [
        *(["conflicting_answers"], ["conflicting_answers"]),
        *(["conflicting_answers", "duplicate"], [], ["empty_answer"], ["advert"]),
        *(["too_long_answer"], ["swapped"], ["repaired"]),
    ]
    most = "the answer of most rows (2 of 3): “巴黎” (row 1)"
    assert all(line[SUGGESTION - 1].split("/ ", 1)[1].startswith(most[:3]) for line in lines[:3])
    assert most in lines[1][SUGGESTION - 1]
    assert "same as row 1," in lines[2][SUGGESTION - 1]
    assert "公众号" in lines[5][SUGGESTION - 1]
    sheet = openpyxl.load_workbook(tmp_path / "review.xlsx")["review"]
    colours = [sheet.cell(line, 1).fill.fgColor.rgb for line in range(2, 11)]
    red, plain, yellow = colours[0], colours[3], colours[7]
    assert len({red, plain, yellow}) == 3
    assert colours == [red] * 3 + [plain] + [red] * 3 + [yellow] * 2


def test_what_the_configuration_keeps_is_only_doubtful(tmp_path):
    rows = [pair(1, "第一？", "甲"), pair(2, "第一？", "乙"), pair(3, "东京", "哪里？")]
    made = Review(tmp_path, rows)
    colours = []
    for decision in ("reject", "keep"):
        made.write(conflicting_answers=decision)
        sheet = openpyxl.load_workbook(made.sheet)["review"]
        colours.append([sheet.cell(line, 1).fill.fgColor.rgb for line in (2, 4)])
    assert colours[0][0] != colours[0][1] == colours[1][0] == colours[1][1]


def test_lists_the_answers_where_none_is_more_frequent(tmp_path):
    rows = [pair(1, "第一？", "甲"), pair(2, "第一？", "乙"), pair(3, "第二？", "丙")]
    lines = Review(tmp_path, rows).write().cells()
    expected = "请选定一个答案 / decide for one answer: “甲” (row 1); “乙” (row 2)"
    assert [line[SUGGESTION - 1] for line in lines] == [expected, expected, None]


def test_no_text_becomes_a_formula_or_a_link(tmp_path):
    dangerous = ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "https://example.org", "-2+3", "{=1}"]
    rows = [pair(n, text, text) for n, text in enumerate(dangerous)]
    bad = row(9, "=evil.docx", reason="malformed_row", detail="=1+1", original="=1+1")
    Review(tmp_path, [*rows, bad]).write()
    with zipfile.ZipFile(tmp_path / "review.xlsx") as archive:
        names = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        sheets = [archive.read(name) for name in names]
    assert len([name for name in names if name.endswith(".xml")]) == 4
    assert not any(b"<f>" in sheet or b"<f " in sheet or b"hyperlink" in sheet for sheet in sheets)
    assert not any(name.endswith(".rels") for name in names)


def test_is_made_for_editing(tmp_path):
    Review(tmp_path).write()
    book = openpyxl.load_workbook(tmp_path / "review.xlsx")
    assert book.sheetnames[:2] == ["review", "help"]
    assert [book[name].sheet_state for name in book.sheetnames] == ["visible"] * 2 + [
        "veryHidden"
    ] * 2
    sheet = book["review"]
    assert sheet.freeze_panes == "B2"
    assert sheet.auto_filter.ref == "A1:J6"
    (validation,) = sheet.data_validations.dataValidation
    assert validation.formula1 == '"keep,delete"'
    assert "H2" in validation.sqref
    assert "H500000" in validation.sqref
    # Excel makes no date or formula of what is typed into a text cell
    assert sheet["D2"].number_format == "@"
    help_text = [cell for line in book["help"].values for cell in line]
    assert any("删除" in cell for cell in help_text)
    assert any("corpus: reviewed:" in cell for cell in help_text)


def test_the_same_rows_make_the_same_file(tmp_path):
    one, two = Review(tmp_path / "1").write(), Review(tmp_path / "2").write()
    assert one.sheet.read_bytes() == two.sheet.read_bytes()


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(review, "MAX_ROWS", 4)
    with pytest.raises(SystemExit, match=r"5 rows to review, but a sheet of Excel holds 4"):
        Review(tmp_path).write()


def test_nothing_to_review_is_said(tmp_path):
    with pytest.raises(SystemExit, match="hold no single question"):
        Review(tmp_path, [row(1, kind="text", text="一篇文章")]).write()


# ------------------------------------------------------------------------ what comes back

SPECIAL = [
    *("a\r\nb", "a\rb", "  两边有空格 ", "\ttab\t", "_x000D_", "_x005F_", "lit _x0041_ x"),
    *("\x01x\x0bx\x7f", "\ufffe?", "0042", "42", "1/2", "50%", "TRUE", "=1+1", "'quoted", "😀" * 9),
    *("\u00a0nbsp\u3000", "line\u2028separator", "\ufeffmark", "<b>&amp;</b>", "a\n\n\nb"),
]


def test_an_untouched_review_changes_nothing(tmp_path):
    rows = [pair(n, text, text[::-1]) for n, text in enumerate(SPECIAL)]
    rows += [
        row(70, reason="malformed_row", detail="no JSON", original="{\x00"),
        pair(71, "有提示", "答", meta='{"a": 1}', side="heldout", repaired="mojibake"),
    ]
    rows[-1]["messages"].insert(0, {"role": "system", "content": "你是医生"})
    made = Review(tmp_path, rows).write()
    made.edited = made.sheet
    assert made.apply() == (rows, done(unchanged=len(rows)))
    made.edited = tmp_path / "edited.xlsx"
    assert made.edit().apply() == (rows, done(unchanged=len(rows)))


# what a parquet file can hold: any text without lone surrogates
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_text_survives(tmp_path_factory, pairs):
    rows = [pair(n, *texts) for n, texts in enumerate(pairs)]
    made = Review(tmp_path_factory.mktemp("any"), rows).write().edit()
    assert made.apply() == (rows, done(unchanged=len(rows)))


def test_edits_deletions_and_additions_are_recognised(tmp_path):
    rejected = row(6, reason="no_delimiter", detail="", original="中国 北京")
    hopeless = row(7, reason="no_delimiter", detail="", original="目录")
    system = pair(8, "第八？", "八", meta='{"k": 1}', side="heldout")
    system["messages"].insert(0, {"role": "system", "content": "你是医生"})
    made = Review(tmp_path, [*FIVE, rejected, hopeless, system]).write()

    def change(sheet):
        sheet["E2"] = "更好的答案1"
        sheet.cell(3, DECISION, "delete")
        sheet.cell(3, NOTE, "无关")
        sheet["D7"], sheet["E7"] = "中国的首都？", "北京"
        sheet["E9"] = "捌"
        sheet.append([None, None, None, "新问题？", "新答案"])
        sheet.append([None, None, None, "没有答案？"])
        sheet.delete_rows(5)

    rows, counts = made.edit(change).apply()
    assert counts == done(unchanged=3, edited=3, deleted=2, added=2)
    assert [each["reviewed"] for each in rows] == [
        *("edited", None, None, None, None, "edited", None, "edited", "added", "added")
    ]
    assert texts(rows[0]) == ("问题1？", "更好的答案1")
    assert rows[0] == FIVE[0] | {"messages": rows[0]["messages"], "reviewed": "edited"}
    assert [(each["reason"], each["detail"]) for each in rows[1:4]] == [
        ("deleted_in_review", "无关"),
        (None, None),
        ("deleted_in_review", "its line was removed from the sheet"),
    ]
    assert texts(rows[1]) == texts(FIVE[1])
    # rescued: no reason any more, the original stays
    assert (rows[5]["kind"], rows[5]["reason"], rows[5]["detail"]) == ("chat", None, None)
    assert (texts(rows[5]), rows[5]["original"]) == (("中国的首都？", "北京"), "中国 北京")
    assert rows[6] == hopeless
    assert texts(rows[7]) == ("你是医生", "第八？", "捌")
    assert (rows[7]["meta"], rows[7]["side"]) == ('{"k": 1}', "heldout")
    source = str(made.edited)
    # the line numbers are those that the person sees
    assert [(each["source"], each["locator"]) for each in rows[8:]] == [
        (source, "review!A9"),
        (source, "review!A10"),
    ]
    assert texts(rows[8]) == ("新问题？", "新答案")
    assert json.loads(rows[8]["original"]) == {"question": "新问题？", "answer": "新答案"}
    assert texts(rows[9]) == ("没有答案？", "")
    assert made.counts["sources"][-1]["source"] == source
    assert made.counts["sources"][-1]["rows"] == 2
    assert len(made.counts["sources"][-1]["sha256"]) == 64


def test_sorting_columns_and_blank_lines_make_no_difference(tmp_path):
    made = Review(tmp_path).write()

    def change(sheet):
        head, *lines = (list(line) for line in sheet.values)
        lines.reverse()
        order = [4, 7, 0, 9, 3, 2, 1, 5]
        sheet.delete_rows(1, 10)
        # the table need not begin in the first line
        sheet.append([])
        sheet.append(["我的备注", *(f" {head[n].title()} " for n in order)])
        for line in lines:
            sheet.append(["随便", *(line[n] for n in order)])
            sheet.append([])
        sheet["B5"] = "改过"
        sheet["A40"] = "这里没有内容"

    rows, counts = made.edit(change).apply()
    assert counts == done(unchanged=4, edited=1)
    assert texts(rows[4]) == ("问题5？", "答案5")
    assert texts(rows[3]) == ("问题4？", "改过")
    assert made.counts["sources"][-1]["blank"] > 0


def test_the_right_row_is_edited_after_sorting(tmp_path):
    made = Review(tmp_path).write()

    def change(sheet):
        head, *lines = (list(line) for line in sheet.values)
        sheet.delete_rows(1, 10)
        for line in [head, *reversed(lines)]:
            sheet.append(line)
        sheet["E2"] = "第五个答案"

    rows, counts = made.edit(change).apply()
    assert counts == done(unchanged=4, edited=1)
    assert texts(rows[4]) == ("问题5？", "第五个答案")


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        *((42, "42"), (42.0, "42"), (2.5, "2.5"), (-7, "-7"), (1e20, "1E+20")),
        *((datetime.date(2020, 1, 2), "2020-01-02"), (True, "TRUE")),
        *(("  空格 \n", "空格"), ("第一行\r\n第二行", "第一行\n第二行"), ("_x000D_甲", "甲")),
    ],
)
def test_what_was_typed_arrives_as_text(tmp_path, typed, read):
    made = Review(tmp_path).write().edit(lambda sheet: sheet.__setitem__("E2", typed))
    rows, counts = made.apply()
    assert (texts(rows[0])[1], counts["edited"]) == (read, 1)


def test_white_space_and_numbers_for_equal_texts_are_no_edits(tmp_path):
    rows = [pair(1, "几？", "42"), pair(2, "多少？", "行一\r\n行二"), pair(3, " 谁？ ", "他")]
    made = Review(tmp_path, rows).write()

    def change(sheet):
        sheet["E2"] = 42
        sheet["E3"] = " 行一_x000D_\n行二\n"
        sheet["D4"] = "谁？"
        sheet["A2"] = "1"

    assert made.edit(change).apply() == (rows, done(unchanged=3))


def test_chinese_decisions_and_empty_ones_are_understood(tmp_path):
    made = Review(tmp_path).write()

    def change(sheet):
        for line, decision in enumerate(["删除", "保留", "DELETE ", None, " Keep"], start=2):
            sheet.cell(line, DECISION, decision)
            if decision is None:
                sheet.cell(line, DECISION).value = None

    rows, counts = made.edit(change).apply()
    assert counts == done(unchanged=3, deleted=2)
    assert [each["reason"] is not None for each in rows] == [True, False, True, False, False]


def test_copied_rows_are_new_ones(tmp_path):
    made = Review(tmp_path).write()

    def change(sheet):
        line = [cell.value for cell in sheet[2]]
        sheet.insert_rows(2)
        for column, value in enumerate(line, start=1):
            sheet.cell(2, column, value)
        # the copy stands above the row that it was made from
        sheet["D2"] = "换一种问法1？"
        sheet.append(line)

    rows, counts = made.edit(change).apply()
    assert counts == done(unchanged=5, added=2)
    assert rows[:5] == FIVE
    assert [texts(each) for each in rows[5:]] == [("换一种问法1？", "答案1"), texts(FIVE[0])]
    assert rows[5]["locator"] == "review!A2"


def test_a_new_line_can_be_dropped_again(tmp_path):
    made = Review(tmp_path).write()
    added = [None, None, None, "新？", "新", None, None, "delete", "还是不要"]
    rows, counts = made.edit(lambda sheet: sheet.append(added)).apply()
    assert counts == done(unchanged=5, added=1)
    assert (rows[5]["reason"], rows[5]["detail"]) == ("deleted_in_review", "还是不要")


def test_what_cannot_be_reviewed_passes_through(tmp_path):
    long = "长" * 32_768
    astral = "😀" * 16_384
    others = [
        pair(2, "太长？", long),
        pair(3, "太长？", astral),
        pair(10, "转义？", "_x005F_x000D_"),
        row(4, kind="chat", messages=messages("一", "二", "三", "四")),
        row(5, kind="text", text="文章"),
        row(6, kind="preference", messages=messages("问"), chosen=messages("好")[:1], rejected=[]),
        row(7, kind="choice", messages=messages("问", "甲"), options=["甲", "乙"]),
    ]
    rows = [FIVE[0], *others, pair(8, "可以？", "长" * 32_767), pair(9, "可以？", "😀" * 16_383)]
    made = Review(tmp_path, rows).write()
    assert [line[0] for line in made.cells()] == [1, 9, 10]
    result, counts = made.edit(lambda sheet: sheet.__setitem__("E2", "改")).apply()
    assert counts == done(unchanged=2, edited=1, not_reviewed=7)
    assert result[1:] == rows[1:]


def test_a_long_original_is_shown_in_part(tmp_path):
    rows = [row(1, reason="malformed_row", detail="", original="😀" * 40_000)]
    made = Review(tmp_path, rows).write()
    shown = made.cells()[0][9]
    assert shown == "😀" * 16_383 + "…"
    assert made.edit().apply() == (rows, done(unchanged=1))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_series_of_changes_adds_up(tmp_path_factory, seed):
    chance = random.Random(seed)
    rows = [
        pair(n, f"问{n}", f"答{n}", source=f"{'ab'[n % 2]}.csv")
        if chance.random() < 0.8
        else row(n, reason="no_delimiter", detail="")
        for n in range(12)
    ]
    made = Review(tmp_path_factory.mktemp("series"), rows).write()
    expected = done()

    def change(sheet):
        head, *lines = (list(line) for line in sheet.values)
        left = []
        for line in lines:
            kind = chance.choice(["unchanged", "edited", "deleted", "decided", "copied"])
            if kind == "edited":
                line[3], line[4] = "新问", f"新答{chance.random()}"
            if kind == "decided":
                line[7] = "delete"
            if kind == "copied":
                left.append([*line[:3], "另一问", *line[4:]])
                expected["added"] += 1
            if kind != "deleted":
                left.append(line)
            name = {"decided": "deleted", "copied": "unchanged"}.get(kind, kind)
            expected[name] += 1
        chance.shuffle(left)
        sheet.delete_rows(1, 20)
        for line in [head, *left]:
            sheet.append(line)

    assert made.edit(change).apply()[1] == expected


def test_cleaning_takes_what_the_person_decided(tmp_path):
    rejected = row(6, reason="no_delimiter", detail="", original="中国 北京")
    conflict = [pair(7, "法国的首都？", "巴黎"), pair(8, "法国的首都？", "里昂")]
    made = Review(tmp_path, [*FIVE, rejected, *conflict, pair(9, "空？", "")]).write()

    def change(sheet):
        sheet.cell(2, DECISION, "delete")
        sheet["D7"], sheet["E7"] = "中国的首都？", "北京"
        sheet["E9"] = "巴黎"
        sheet.append([None, None, None, "德国的首都？", "柏林"])

    made.edit(change).apply()
    clean.main(
        [
            *("--rows", str(tmp_path / "reviewed.parquet"), "--rules", json.dumps(CONFIG)),
            *("--split", json.dumps({"heldout": 0.3, "seed": 42})),
            *("--records", str(tmp_path / "records.parquet")),
            *("--rejected", str(tmp_path / "rejected.jsonl")),
            *("--rejected-table", str(tmp_path / "rejected.csv")),
        ]
    )
    records = {texts(each) for each in read_parquet(tmp_path / "records.parquet")}
    assert records == {
        *(texts(each) for each in FIVE[1:]),
        *(("中国的首都？", "北京"), ("法国的首都？", "巴黎"), ("德国的首都？", "柏林")),
    }
    with (tmp_path / "rejected.jsonl").open(encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert [(each["locator"], each["reason"]) for each in found] == [
        ("paragraph 1", "deleted_in_review"),
        ("paragraph 8", "duplicate"),
        ("paragraph 9", "empty_answer"),
    ]


# ------------------------------------------------------------------------ what is refused


def set_cell(cell: str, value):
    """A change of one cell."""
    return lambda sheet: sheet.__setitem__(cell, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_cell("D1", "题目"), "no column 'question'; its first filled line reads row, source"),
        (lambda sheet: sheet.delete_cols(1), "no column 'row'"),
        (set_cell("J1", "Answer"), "has 2 columns 'answer'"),
        (set_cell("H3", "删了吧"), "line 3, column 'decision': '删了吧' is neither keep"),
        (set_cell("A3", "第二"), "line 3, column 'row': '第二' is no row number"),
        (set_cell("A3", 2.5), "line 3, column 'row': '2.5' is no row number"),
        (set_cell("A3", -2), "line 3, column 'row': '-2' is no row number"),
        (set_cell("A3", 99), "line 3: there is no row 99"),
        (set_cell("A3", "²"), "line 3, column 'row': '²' is no row number"),
        (set_cell("E4", "=1+1"), "line 4, column 'answer': shows an error (formula without a"),
        (set_cell("C2", "paragraph 2"), "row 1 has the locator 'paragraph 1', but the line says"),
        (set_cell("B2", "b.docx"), "row 1 has the source 'a.docx'"),
        (lambda sheet: sheet.delete_rows(1, 9), "no column 'row'; its first filled line reads no"),
    ],
)
def test_a_mistake_is_named(tmp_path, change, says):
    made = Review(tmp_path).write().edit(change)
    message = made.refusal()
    assert says in message
    assert str(made.edited) in message


def test_numbers_filled_down_over_the_rows_are_noticed(tmp_path):
    def change(sheet):
        sheet["A2"], sheet["A3"] = 2, 1

    message = Review(tmp_path).write().edit(change).refusal()
    assert "the columns were not moved together" in message


@pytest.mark.parametrize("column", ["question", "answer"])
def test_a_column_that_was_sorted_alone_is_noticed(tmp_path, column):
    made = Review(tmp_path, [pair(n, f"问题{n}？", f"答案{n}") for n in range(30)]).write()
    number = review_sheet.COLUMNS.index(column) + 1

    def change(sheet):
        values = [sheet.cell(line, number).value for line in range(2, 32)]
        for line, value in enumerate(reversed(values), start=2):
            sheet.cell(line, number, value)
        sheet.cell(31, number, "一处真正的修改")

    assert f"column {column!r}, 29 are the {column} of another row" in made.edit(change).refusal()


def test_one_answer_for_many_questions_is_no_mistake(tmp_path):
    made = Review(tmp_path, [pair(n, f"问题{n}？", f"答案{n}") for n in range(30)]).write()

    def change(sheet):
        for line in range(3, 32):
            sheet.cell(line, 5, "答案0")

    assert made.edit(change).apply()[1] == done(unchanged=1, edited=29)


@pytest.mark.parametrize("name", ["review", "origin"])
def test_a_missing_sheet_is_named(tmp_path, name):
    made = Review(tmp_path).write().edit()
    book = openpyxl.load_workbook(made.edited)
    del book[name]
    book.save(made.edited)
    assert f"has no sheet {name!r}, only " in made.refusal()


def test_a_review_of_another_form_is_refused(tmp_path):
    made = Review(tmp_path).write().edit()
    book = openpyxl.load_workbook(made.edited)
    book["origin"]["B1"] = "0"
    book.save(made.edited)
    assert "has the form '0', this version reads '1'" in made.refusal()


def test_a_review_older_than_its_source_is_refused(tmp_path):
    both = [*FIVE, pair(1, "另一个？", "是", source="b.csv")]
    made = Review(tmp_path, both).write().edit()
    made.extract(both, b="1" * 64)
    message = made.refusal()
    assert "is older than b.csv, which has changed since" in message
    assert "run `snakemake review` again" in message
    assert "restore b.csv as it was" in message


@pytest.mark.parametrize(
    "now",
    [
        [*FIVE[:4], pair(5, "问题5？", "抽取方式不同")],
        FIVE[:4],
        [*FIVE, pair(6, "多一条？", "是")],
        [FIVE[1], FIVE[0], *FIVE[2:]],
        [*FIVE[:4], row(5, reason="no_delimiter", detail="")],
    ],
)
def test_a_review_of_other_rows_is_refused(tmp_path, now):
    made = Review(tmp_path).write().edit()
    made.extract(now)
    message = made.refusal()
    assert "other rows are extracted from a.docx now" in message
    assert "restore the options of a.docx" in message


def test_a_source_that_is_gone_is_named(tmp_path):
    made = Review(tmp_path, [*FIVE, pair(1, "另一个？", "是", source="b.csv")]).write().edit()
    made.extract(FIVE)
    assert "was made from b.csv too, which is no longer in corpus.sources" in made.refusal()


def test_a_source_that_is_new_goes_on_without_review(tmp_path, capsys):
    made = Review(tmp_path).write().edit(set_cell("E3", "改"))
    new = pair(1, "另一个？", "是", source="0.csv")
    made.extract([new, *FIVE])
    rows, counts = made.apply()
    assert counts == done(unchanged=4, edited=1, not_reviewed=1)
    assert (rows[0], texts(rows[2])) == (new, ("问题2？", "改"))
    assert "0.csv: is not part of" in capsys.readouterr().out


def test_rows_of_a_source_may_come_in_parts(tmp_path):
    first, second = (pair(n, f"表{n}？", f"{n}", source="b.xlsx") for n in (1, 2))
    rows = [first, *FIVE, second]
    made = Review(tmp_path, rows).write().edit(set_cell("E8", "贰"))
    result, counts = made.apply()
    assert counts == done(unchanged=6, edited=1)
    assert (result[:6], texts(result[6])) == (rows[:6], ("表2？", "贰"))


def test_a_file_that_is_no_workbook_is_refused(tmp_path):
    made = Review(tmp_path).write()
    made.edited.write_text("row,question\n", encoding="utf-8")
    assert "is not an Excel workbook" in made.refusal()
    made.edited.unlink()
    assert str(made.edited) in made.refusal()


def test_a_zip_bomb_is_refused(tmp_path):
    made = Review(tmp_path).write().edit()
    with zipfile.ZipFile(made.edited, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet99.xml", b"0" * 2**26)
    assert "zip bomb" in made.refusal()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_damaged_workbook_ends_in_a_message_or_in_rows(tmp_path_factory, seed):
    chance = random.Random(seed)
    made = Review(tmp_path_factory.getbasetemp() / "damaged").write().edit()
    data = bytearray(made.edited.read_bytes())
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    made.edited.write_bytes(data)
    try:
        made.apply()
    except SystemExit as error:
        assert str(made.edited) in error.code


# ------------------------------------------------------------------------ an earlier review


def test_edits_are_carried_over_to_a_source_that_has_grown(tmp_path, capsys):
    rejected = row(6, reason="no_delimiter", detail="", original="中国 北京")
    twins = [pair(7, "同样？", "是"), pair(8, "同样？", "是")]
    before = [*FIVE, rejected, *twins]
    made = Review(tmp_path, before).write()

    def change(sheet):
        sheet["E2"] = "改过的答案"
        sheet.cell(3, DECISION, "delete")
        sheet.cell(4, NOTE, "问过专家")
        sheet["E6"] = "改了也没用"
        sheet["D7"], sheet["E7"] = "中国的首都？", "北京"
        sheet.append([None, None, None, "新问题？", "新答案"])
        sheet.delete_rows(9)

    made.edit(change).apply()
    # two rows more in front, another text of row 5
    now = [
        *(pair(1, "更早？", "是"), pair(2, "也更早？", "是")),
        *(each | {"locator": f"paragraph {n}"} for n, each in enumerate(before[:4], start=3)),
        pair(7, "问题5？", "源文件里改了"),
        *(each | {"locator": f"paragraph {n}"} for n, each in enumerate(before[5:], start=8)),
    ]
    made.extract(now, a="1" * 64)
    assert "is older than a.docx" in made.refusal()
    capsys.readouterr()
    made.write("--previous", str(made.edited))
    assert "not carried over: 1\n" in capsys.readouterr().out
    lines = made.cells()
    assert [(line[0], line[3], line[4], line[7], line[8]) for line in lines] == [
        (1, "更早？", "是", "keep", None),
        (2, "也更早？", "是", "keep", None),
        (3, "问题1？", "改过的答案", "keep", None),
        (4, "问题2？", "答案2", "delete", None),
        (5, "问题3？", "答案3", "keep", "问过专家"),
        (6, "问题4？", "答案4", "keep", None),
        (7, "问题5？", "源文件里改了", "keep", None),
        (8, "中国的首都？", "北京", "keep", None),
        (9, "同样？", "是", "keep", None),
        (10, "同样？", "是", "delete", None),
        (None, "新问题？", "新答案", "keep", None),
    ]
    assert [line[FLAGS - 1] for line in lines[2:4]] == ["edited 沿用修改", None]
    assert made.cells("not carried over") == [
        ("5", "a.docx", "paragraph 5", "问题5？", "改了也没用", "keep", None)
    ]
    rows, counts = made.edit().apply()
    assert counts == done(unchanged=6, edited=2, deleted=2, added=1)
    assert texts(rows[2]) == ("问题1？", "改过的答案")
    # and once more, from the review that was carried over
    made.write("--previous", str(made.edited))
    assert made.edit().apply()[1] == counts


@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_carrying_over_to_the_same_source_keeps_everything(tmp_path_factory, seed):
    chance = random.Random(seed)
    rows = [
        pair(n, f"问{chance.randrange(4)}", f"答{chance.randrange(2)}")
        if chance.random() < 0.8
        else row(n, reason="no_delimiter", detail="", original=chance.choice("甲乙"))
        for n in range(10)
    ]
    made = Review(tmp_path_factory.mktemp("again"), rows).write()

    def change(sheet):
        for line in reversed(range(2, 12)):
            kind = chance.randrange(5)
            if kind == 0:
                sheet.cell(line, 4, "新问")
                sheet.cell(line, 5, f"新答{line}")
            if kind == 1:
                sheet.cell(line, DECISION, "删除")
            if kind == 2:
                sheet.delete_rows(line)
            if kind == 3:
                sheet.append([None, None, None, "添", f"加{line}"])

    first = made.edit(change).apply()
    made.write("--previous", str(made.edited))
    again = made.edit().apply()
    assert again[1] == first[1]
    assert [(r["messages"], r["reason"], r["reviewed"]) for r in again[0]] == [
        (r["messages"], r["reason"], r["reviewed"]) for r in first[0]
    ]


def test_rows_that_were_not_sampled_have_no_number():
    read = {"rows": 1_000, "not_sampled": 990}
    sources = [{"source": "a", **read}, {"source": "b", "rows": 5, "not_sampled": 0}]
    assert review.first_rows(sources) == {"a": 1, "b": 11}
