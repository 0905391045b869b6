"""What the readers of Office files (zip archives of XML) have in common."""

import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from entry import SourceError
from lxml import etree

# Deflate packs at most 1032:1, real documents 5:1 to 30:1 (worst known: empty tables, about 100:1).
MAX_RATIO = 200
# Small members may pack better without harm.
RATIO_APPLIES_FROM = 32 * 2**20
MAX_MEMBER = 4 * 2**30
# A password-protected document, and a .doc or .xls, is an OLE compound file.
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
# What damage shows as: in the XML, in the packed data, and in the positions noted in the archive.
DAMAGE = (
    etree.XMLSyntaxError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
)


def open_archive(path: Path, kind: str) -> zipfile.ZipFile:
    """Open the archive of an Office file after a look at its table of contents.

    Args:
        path: the file.
        kind: what it should be, for messages ("a Word document").

    Raises:
        SourceError: not an archive, encrypted, or members that unpack to suspicious sizes.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        if is_ole(path):
            raise SourceError(
                f"{path}: is password-protected or of the format before Office 2007. Save it as "
                f"{path.suffix} without a password."
            ) from error
        raise SourceError(
            f"{path}: is not {kind} or is damaged ({error}). Open it in Office and save it again "
            f"as {path.suffix}."
        ) from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}.") from error
    for member in archive.infolist():
        # a reader stops at the stated size, so a false statement cannot get around this
        size, packed = member.file_size, max(member.compress_size, 1)
        if size > MAX_MEMBER or (size > RATIO_APPLIES_FROM and size / packed > MAX_RATIO):
            archive.close()
            raise SourceError(
                f"{path}: its part {member.filename} unpacks from {packed:,} to {size:,} bytes, "
                "which looks like a zip bomb. Check where the file comes from."
            )
        if member.flag_bits & 1:
            archive.close()
            raise SourceError(f"{path}: is encrypted. Save it without a password.")
    return archive


def is_ole(path: Path) -> bool:
    """Whether a file is an OLE compound file (.xls, or any Office file with a password)."""
    with path.open("rb") as file:
        return file.read(len(OLE_MAGIC)) == OLE_MAGIC


@contextlib.contextmanager
def damage_reported(path: Path, part: str) -> Iterator[None]:
    """Turn what damage to a part of an archive shows as into a SourceError."""
    try:
        yield
    except DAMAGE as error:
        raise SourceError(
            f"{path}: its part {part} is damaged ({error}). Open it in Office and save it again."
        ) from error


def parse_part(
    path: Path, archive: zipfile.ZipFile, part: str, tags: list[str], starts: bool = False
) -> Iterator[tuple[str, etree._Element]]:
    """Elements of a part in the order of their ends, as etree.iterparse gives them.

    The caller clears what it has seen (`forget`), or the whole part is held in memory.

    Args:
        path: the file, for messages.
        archive: its archive.
        part: name of the part.
        tags: tags to report, as "{namespace}name", or "{*}name" for any namespace.
        starts: report the starts of the elements too.

    Raises:
        SourceError: damage, or a document type, which could pull in files or expand without end.
    """
    with damage_reported(path, part), archive.open(part) as stream:
        # resolve_entities off and huge_tree off: neither files of this machine nor unlimited
        # amounts of text can be pulled in by an entity
        events = etree.iterparse(
            stream,
            events=("start", "end") if starts else ("end",),
            tag=tags,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        checked = False
        for event, element in events:
            if not checked:
                if element.getroottree().docinfo.internalDTD is not None:
                    raise SourceError(
                        f"{path}: declares a document type in {part}, which Office never does. "
                        "Check where the file comes from."
                    )
                checked = True
            yield event, element


def forget(element: etree._Element) -> None:
    """Free an element that has ended, and what lies before it in its parent."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


def parent_name(element: etree._Element) -> str:
    """Name of the element around another, without its namespace; "" where there is none."""
    parent = element.getparent()
    return "" if parent is None else parent.tag.rpartition("}")[2]
