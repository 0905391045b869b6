"""The files behind the sources of a corpus: a path, a folder or a pattern each.

Runs inside Snakemake, while the rules are read: standard library only.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FORMATS = ("docx", "xlsx", "xls", "csv", "tsv", "json", "jsonl", "parquet", "txt", "md")
COMPRESSIONS = (".gz", ".zst")
# An option of these formats only; all others have a meaning for every format.
OPTIONS = {
    "sheet": ("xlsx", "xls"),
    "header_row": ("xlsx", "xls"),
    "delimiter": ("csv", "tsv"),
    "encoding": ("csv", "tsv", "json", "jsonl", "txt", "md"),
    "patterns": ("docx", "txt", "md"),
    "unit": ("txt", "md"),
}
# What office programs and file managers leave beside the files of a person.
LITTER = ("~$*", "Thumbs.db", "desktop.ini", ".*")
MAPPINGS = (
    {"question", "answer"},
    {"text"},
    {"messages"},
    {"question", "chosen", "rejected"},
    {"chosen", "rejected"},
)
PLACES = ("question", "answer", "system", "text", "chosen", "rejected", "messages", "options")


class SourceMistake(Exception):
    """A source of the configuration cannot be used; the text has no place in front of it."""


def format_of(source: dict, path: Path) -> str:
    """The format of a source's file: what the source says, else the suffix.

    Raises:
        SourceMistake: no reader is known for the suffix.
    """
    if "format" in source:
        return source["format"]
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    suffix = name.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise SourceMistake(
            f"{path} has the suffix {name.suffix!r}; known are {', '.join(FORMATS)}, also with "
            ".gz or .zst behind. Convert the file, or name its format with `format:`."
        )
    return suffix


def files_of(source: dict) -> list[dict]:
    """One entry per file of a source: the source itself with the path of a file.

    A folder stands for all files in it and below, a pattern (`*`, `?`, `[...]`, `**`) for those
    that match. Files are in the order of their names.

    Raises:
        SourceMistake: nothing is there, or a folder holds a file that no reader is known for.
    """
    text = source["path"]
    if "\0" in text or text.startswith("~"):
        raise SourceMistake(f"{text!r} is not a path. Write it in full.")
    path = Path(text)
    if path.is_dir():
        found = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        found = [file for file in found if not any(map(file.match, LITTER))]
        what = f"the folder {path} holds no files"
    elif path.exists() or not glob.has_magic(text):
        found = [path]
        what = ""
    else:
        found = [Path(name) for name in glob.glob(text, recursive=True) if os.path.isfile(name)]
        what = f"no file matches {text}"
    if not found:
        raise SourceMistake(f"{what}. Correct the path.")
    for file in found:
        _check_options(source, format_of(source, file), file)
        if set(str(file)) & set("{}"):
            raise SourceMistake(f"{file}: Snakemake takes braces for wildcards. Rename it.")
        if not file.exists():
            raise SourceMistake(f"the file {file} does not exist.")
        if not file.is_file():
            raise SourceMistake(f"{file} is not a file that can be read to its end.")
    return [{**source, "path": str(file)} for file in sorted(found)]


def all_files(sources: Iterable[dict]) -> list[dict]:
    """The entries of all files of checked sources, in their order.

    A sample is drawn from all files of its source: `sample_of` tells which belong together.
    """
    return [
        {**entry, "sample_of": number} if "sample" in source else entry
        for number, source in enumerate(sources)
        for entry in files_of(source)
    ]


def repeats(files: Iterable[dict]) -> dict[str, int]:
    """By path, how often the conversations of a file are trained on, where that is not once."""
    return {file["path"]: file["repeat"] for file in files if file.get("repeat", 1) > 1}


def mistakes_of(where: str, sources: list[dict]) -> Iterator[str]:
    """One line per mistake in a list of sources.

    Args:
        where: the key of the list, such as "corpus.sources".
        sources: its value.
    """
    seen: dict[tuple, int] = {}
    times: dict[str, int] = {}
    for index, source in enumerate(sources):
        place = f"{where}.{index}"
        yield from (f"{place}{line}" for line in _mapping(source))
        yield from (f"{place}{line}" for line in _amounts(where, source))
        try:
            entries = files_of(source)
        except SourceMistake as mistake:
            yield f"{place}.path: {mistake}"
            continue
        for entry in entries:
            # one workbook may be named once for each of its sheets
            key = (os.path.realpath(entry["path"]), str(entry.get("sheet")))
            if seen.setdefault(key, index) != index:
                yield (
                    f"{place}.path: {entry['path']} is already read by {where}.{seen[key]}. "
                    "Take one of them out: its rows would be duplicates."
                )
            # records are known by their file
            if times.setdefault(key[0], source.get("repeat", 1)) != source.get("repeat", 1):
                yield (
                    f"{place}.repeat: {entry['path']} is named with another `repeat:` before. "
                    "All sheets of a workbook are repeated equally often; correct one of them."
                )


def _check_options(source: dict, kind: str, file: Path) -> None:
    for option, kinds in OPTIONS.items():
        if option in source and kind not in kinds:
            raise SourceMistake(
                f"{file} is read as {kind}, for which `{option}:` has no meaning; it is for "
                f"{', '.join(kinds)}."
            )


def _amounts(where: str, source: dict) -> Iterator[str]:
    for key in ("sample", "repeat"):
        if key in source and where != "corpus.sources":
            yield f".{key}: what is read here is kept out of training as a whole. Take the key out."
    if source.get("side") == "heldout" and source.get("repeat", 1) > 1:
        yield ".repeat: has no meaning with `side: heldout`, which is never trained on."


def _mapping(source: dict) -> Iterator[str]:
    for index, pattern in enumerate(source.get("patterns", [])):
        if missing := {"question", "answer"} - set(re.compile(pattern).groupindex):
            groups = " and ".join(f"(?P<{name}>...)" for name in sorted(missing))
            yield f".patterns.{index}: {pattern!r} lacks the named group {groups}."
    # a system prompt may stand beside whatever else is recognised
    named = {place for place in PLACES if place in source} - {"system"}
    if named and not any(needed <= named for needed in MAPPINGS):
        yield (
            f": {', '.join(sorted(named))}: this does not make a row. Name question and answer "
            "(with options for multiple choice), or text, or messages, or chosen and rejected."
        )
