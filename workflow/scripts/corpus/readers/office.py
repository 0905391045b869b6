"""What the readers of Office files (zip archives of XML) have in common."""

import zipfile
from pathlib import Path

from .row import SourceError

# Deflate packs at most 1032:1, real documents 5:1 to 30:1 (worst known: empty tables, about 100:1).
MAX_RATIO = 200
# Small members may pack better without harm.
RATIO_APPLIES_FROM = 32 * 2**20
MAX_MEMBER = 4 * 2**30
# A password-protected document, and a .doc or .xls, is an OLE compound file.
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")


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
        with path.open("rb") as file:
            ole = file.read(len(OLE_MAGIC)) == OLE_MAGIC
        if ole:
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
