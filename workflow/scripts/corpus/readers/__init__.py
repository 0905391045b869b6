"""One reader per file format, all of one shape.

A reader is made from a path and the options of the source, and iterated once. It yields `Entry`s
in the order of the file, without holding the file in memory where the format allows that, counts
what is blank in `blank`, notes what it found out about the file in `facts`, and raises
`SourceError` when the source as a whole cannot be read.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from entry import Entry, SourceError

from .compressed import SUFFIXES, unpacked_name
from .delimited import DelimitedReader, TsvReader
from .docx import DocxReader
from .encoding import escaped, is_damaged
from .json_document import JsonReader
from .jsonl import JsonlReader
from .parquet import ParquetReader
from .text import MarkdownReader, TextReader
from .xlsx import XlsxReader

__all__ = ["READERS", "Entry", "Reader", "SourceError", "open_source"]


class Reader(Protocol):
    """Shape of the classes in READERS."""

    blank: int
    facts: dict[str, str | int]

    def __init__(self, path: Path, options: dict): ...

    def __iter__(self) -> Iterator[Entry]: ...


READERS: dict[str, type[Reader]] = {
    "docx": DocxReader,
    "xlsx": XlsxReader,
    "xls": XlsxReader,
    "csv": DelimitedReader,
    "tsv": TsvReader,
    "json": JsonReader,
    "jsonl": JsonlReader,
    "parquet": ParquetReader,
    "txt": TextReader,
    "md": MarkdownReader,
}
# These need to jump about in the file, and are packed in themselves.
_UNPACKED_ONLY = {"docx", "xlsx", "xls", "parquet"}


def open_source(source: dict) -> Reader:
    """The reader of a source.

    Args:
        source: an entry of the configuration's corpus.sources with the path of one file; its
            `format` goes before the suffix, behind which .gz or .zst may stand.

    Raises:
        SourceError: the file is missing, is no ordinary file, or its format is unknown.
    """
    text = source["path"]
    if "\0" in text:
        raise SourceError(f"{text!r}: a path has no zero byte. Correct it in corpus.sources.")
    if is_damaged(text):
        # the results are UTF-8, and name the file
        raise SourceError(f"{escaped(text)}: the name of the file is not UTF-8. Rename it.")
    path = Path(text)
    _check_file(path)
    kind = source.get("format") or Path(unpacked_name(path)).suffix.lower().removeprefix(".")
    if kind not in READERS:
        what = f"the format {kind!r}" if "format" in source else f"the suffix {path.suffix!r}"
        raise SourceError(
            f"{path}: no reader for {what}. Convert the file to one of {', '.join(READERS)}, or "
            "name its format with `format:` in corpus.sources."
        )
    if kind in _UNPACKED_ONLY and path.suffix.lower() in SUFFIXES:
        raise SourceError(
            f"{path}: {kind} files are read unpacked only. Unpack it; it is compressed in itself."
        )
    return READERS[kind](path, source)


def _check_file(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            path.open("rb").close()
            return
        what = "is a folder" if stat.S_ISDIR(mode) else "is a pipe or device, not a file"
    except FileNotFoundError:
        what = "does not exist"
    except (OSError, ValueError) as error:
        what = f"cannot be opened ({getattr(error, 'strerror', error)})"
    raise SourceError(f"{path}: {what}. Correct the path in corpus.sources.")
