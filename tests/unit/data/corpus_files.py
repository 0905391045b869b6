"""Makes small source files for the tests of the corpus stage, and runs the stage on them."""

import json
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import openpyxl

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "corpus"))

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RULES = {"max_question_chars": 50, "max_answer_chars": 100, "adverts": ["公众号", "扫.{0,3}码"]}


def paragraph(*runs: str) -> str:
    """XML of a paragraph with one run per text."""
    inner = "".join(f'<w:r><w:t xml:space="preserve">{escape(run)}</w:t></w:r>' for run in runs)
    return f"<w:p>{inner}</w:p>"


def write_docx(path: Path, *paragraphs: str, head: str = "", space: str = WORD) -> Path:
    """A Word document of texts, or of XML where a paragraph begins with "<w:"."""
    body = "".join(text if text.startswith("<w:") else paragraph(text) for text in paragraphs)
    compatibility = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    xml = (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}<w:document xmlns:w="{space}" '
        f'xmlns:mc="{compatibility}"><w:body>{body}</w:body></w:document>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", xml)
    return path


def write_xlsx(path: Path, sheets: dict[str, list[tuple]], first: tuple[int, int] = (1, 1)) -> Path:
    """A workbook of rows by sheet, whose first cell is at (row, column)."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for down, cells in enumerate(rows):
            for right, cell in enumerate(cells):
                sheet.cell(first[0] + down, first[1] + right, cell)
    book.save(path)
    return path


def write_pairs(path: Path, pairs: list[tuple[str, str]]) -> Path:
    """JSON lines of question and answer."""
    lines = (json.dumps({"question": q, "answer": a}, ensure_ascii=False) for q, a in pairs)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict]:
    """Objects of a file of JSON lines, by the standard library."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def damaged(data, rng, number):
    """Bytes with changed bytes, without their end, without a piece, or with one twice, in turn."""
    data = bytearray(data)
    match number % 4:
        case 0:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 1:
            del data[rng.randrange(len(data)) :]
        case 2:
            start = rng.randrange(len(data))
            del data[start : start + rng.randint(1, 40)]
        case 3:
            start, end = sorted(rng.randrange(len(data)) for _ in range(2))
            data[start:start] = data[start:end]
    return bytes(data)
