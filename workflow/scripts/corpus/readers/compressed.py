"""Bytes of a file as they were before it was packed with gzip or Zstandard."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard
from entry import SourceError

SUFFIXES = {".gz": "gzip", ".zst": "Zstandard"}

# Texts pack 3:1 to 20:1, generated ones up to about 100:1; a bomb is made to reach 1000:1 and more.
MAX_RATIO = 200
# Little data may pack better without harm.
RATIO_APPLIES_FROM = 32 * 2**20
MAX_UNPACKED = 256 * 2**30
# 512 bytes of Zstandard are at most 128 blocks of 128 KiB: 16 MiB at a time, whatever they hold.
_ZSTD_STEP = 512


def unpacked_name(path: Path) -> str:
    """Name of a file without the suffix of its packing.

    >>> unpacked_name(Path("a/rows.csv.gz")), unpacked_name(Path("rows.csv"))
    ('rows.csv', 'rows.csv')
    """
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading bytes, unpacking it if its suffix is .gz or .zst.

    Raises:
        SourceError: the file cannot be opened; while reading: it is not what its suffix says,
            damaged, cut off, or unpacks to a suspicious size.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}.") from error
    if path.suffix.lower() not in SUFFIXES:
        return file
    return io.BufferedReader(_Unpacked(path, file), 2**18)


class _Unpacked(io.RawIOBase):
    """The unpacked bytes as a raw stream that watches how much comes out."""

    def __init__(self, path: Path, file: BinaryIO):
        self._path = path
        self._file = file
        self._pieces = self._gzip() if path.suffix.lower() == ".gz" else self._zstd()
        self._rest = memoryview(b"")
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._rest:
            piece = self._next()
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _next(self) -> bytes | None:
        kind = SUFFIXES[self._path.suffix.lower()]
        try:
            piece = next(self._pieces, None)
        except (EOFError, zlib.error, zstandard.ZstdError, OSError) as error:
            cut_off = isinstance(error, EOFError)
            raise SourceError(
                f"{self._path}: the {kind} data "
                f"{'ends in the middle' if cut_off else f'is damaged ({error})'} after "
                f"{self._size:,} unpacked bytes. Copy or download the file again."
            ) from error
        if piece:
            self._size += len(piece)
            packed = max(self._file.tell(), 1)
            if self._size > MAX_UNPACKED or (
                self._size > RATIO_APPLIES_FROM and self._size / packed > MAX_RATIO
            ):
                raise SourceError(
                    f"{self._path}: {packed:,} bytes unpack to more than {self._size:,}, which "
                    "looks like a zip bomb. Check where the file comes from."
                )
        return piece

    def _gzip(self) -> Iterator[bytes]:
        with gzip.GzipFile(fileobj=self._file) as stream:
            while piece := stream.read1(2**18):
                yield piece

    def _zstd(self) -> Iterator[bytes]:
        # the library's own stream takes a cut-off file for a whole one
        decompressor = zstandard.ZstdDecompressor()
        frame = None
        while chunk := self._file.read(2**16):
            for start in range(0, len(chunk), _ZSTD_STEP):
                rest = chunk[start : start + _ZSTD_STEP]
                while rest:
                    frame = frame or decompressor.decompressobj()
                    if piece := frame.decompress(rest):
                        yield piece
                    rest = b""
                    if frame.eof:
                        rest, frame = frame.unused_data, None
        if frame is not None:
            raise EOFError
