"""What the make_corpus.py of several corpora share: tables in, the same bytes out on every run.

    python make_corpus.py            write the corpus files into its folder
    python make_corpus.py --check    fail when the committed files differ from the tables

Standard library only: tests and scripts in any environment may import it.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openpyxl import Workbook

ZIP_TIME = (2025, 1, 1, 0, 0, 0)


class TableError(ValueError):
    """A table is malformed; the message names file and row."""


@dataclass(frozen=True)
class Row:
    """One row of a source file: `content` in the form its writer takes, and why it is bad.

    `reason` is empty for a good row, else the reason that the corpus stage gives for it.
    """

    content: object
    reason: str = ""
    note: str = ""


def read_table(path: Path, columns: Sequence[str], key: int = 1) -> list[dict[str, str]]:
    """Rows of a tab-separated table.

    Args:
        path: the table; its first line holds the column names.
        columns: the names that it must have, in this order.
        key: so many first columns together name a row; no two rows may share them.

    Raises:
        TableError: other columns, a row with another number of cells, a blank or padded cell, or
            two rows of one name.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].split("\t") != list(columns):
        raise TableError(f"{path.name}: the first line must be '{'<TAB>'.join(columns)}'")
    rows, seen = [], set()
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(columns) or any(not cell or cell != cell.strip() for cell in cells):
            needed = ", ".join(columns)
            raise TableError(
                f"{path.name}, line {number}: needs exactly one text each for {needed}"
            )
        name = tuple(cells[:key])
        if name in seen:
            raise TableError(f"{path.name}, line {number}: given twice: {' '.join(name)}")
        seen.add(name)
        rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def json_line(value: object) -> str:
    """One line of JSON, with Chinese text left readable."""
    return json.dumps(value, ensure_ascii=False)


def scatter(good: Sequence[Row], bad: Sequence[Row], rng: random.Random) -> list[Row]:
    """`good` in its order with each of `bad` put somewhere among it."""
    rows = list(good)
    for row in bad:
        rows.insert(rng.randrange(len(rows) + 1), row)
    return rows


def bad_rows_table(files: Mapping[str, tuple[str, int, Sequence[Row]]]) -> bytes:
    """Tab-separated list of the bad rows: file, locator, reason, note.

    Args:
        files: by name, how the corpus stage begins the place of a row ("line ", "Sheet1!C"), the
            number of the first row, and the rows.
    """
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(("file", "locator", "reason", "note"))
    for name, (place, first, rows) in files.items():
        for number, row in enumerate(rows, start=first):
            if row.reason:
                writer.writerow((name, f"{place}{number}", row.reason, row.note))
    return out.getvalue().encode()


def text_bytes(lines: Sequence[str]) -> bytes:
    """A text file of these lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def zip_bytes(parts: Mapping[str, bytes]) -> bytes:
    """An uncompressed zip archive of the named parts: no zlib can change its bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data)
    return buffer.getvalue()


def workbook_bytes(workbook: Workbook) -> bytes:
    """A workbook as a file, the same bytes on every run with one openpyxl."""
    buffer = io.BytesIO()
    workbook.save(buffer)
    with zipfile.ZipFile(buffer) as package:
        parts = {name: package.read(name) for name in package.namelist()}
    # openpyxl writes the present time into the core properties
    core = "docProps/core.xml"
    parts[core] = re.sub(rb"(<dcterms:\w+ [^>]*>)[^<]*", rb"\g<1>2025-01-01T00:00:00Z", parts[core])
    return zip_bytes(parts)


def run(
    build: Callable[[Path], dict[str, bytes]],
    folder: Path,
    description: str,
    argv: list[str] | None = None,
    views: Mapping[str, Callable[[bytes], object]] | None = None,
) -> int:
    """The command line of a make_corpus.py; returns the exit status.

    Args:
        build: content of every generated file by name, from the tables in a folder.
        folder: where tables and generated files lie.
        description: for --help.
        argv: the arguments, those of the process by default.
        views: what of a file is compared, by name, where not its bytes.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing, compare only")
    parser.add_argument("--folder", type=Path, default=folder, help="folder of the tables")
    args = parser.parse_args(argv)
    try:
        built = build(args.folder)
    except TableError as error:
        sys.exit(f"make_corpus: {error}")
    if not args.check:
        for name, data in built.items():
            (args.folder / name).write_bytes(data)
            print(f"{name}: {len(data):,} bytes")
        return 0
    old = []
    for name, data in built.items():
        path, view = args.folder / name, (views or {}).get(name, bytes)
        if not path.is_file() or view(path.read_bytes()) != view(data):
            old.append(name)
    if old:
        sys.exit(
            f"make_corpus: out of date: {', '.join(old)}. "
            "Do: python make_corpus.py, and commit what it writes."
        )
    return 0
