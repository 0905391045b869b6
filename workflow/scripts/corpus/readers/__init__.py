"""One reader per file format, all of one shape.

A reader is made from a path and the options of the source, and iterated once. It yields `Row`s in
the order of the file, without holding the file in memory where the format allows that, counts
what is blank in `blank`, and raises `SourceError` when the source as a whole cannot be read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from .docx import DocxReader
from .jsonl import JsonlReader
from .row import Row, SourceError
from .xlsx import XlsxReader

__all__ = ["READERS", "Reader", "Row", "SourceError", "open_source"]


class Reader(Protocol):
    """Shape of the classes in READERS."""

    blank: int

    def __init__(self, path: Path, options: dict): ...

    def __iter__(self) -> Iterator[Row]: ...


READERS: dict[str, type[Reader]] = {
    ".docx": DocxReader,
    ".xlsx": XlsxReader,
    ".jsonl": JsonlReader,
}


def open_source(source: dict) -> Reader:
    """The reader of a source.

    Args:
        source: an entry of the configuration's corpus.sources, with "path" and the options of
            its format ("sheet", "question", "answer").

    Raises:
        SourceError: the file is missing or its suffix is unknown.
    """
    path = Path(source["path"])
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise SourceError(
            f"{path}: no reader for the suffix {path.suffix!r}. "
            f"Convert the file to one of {', '.join(READERS)}."
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"{path}: {what}. Correct the path in corpus.sources.")
    return reader(path, source)
