"""Text of files in unknown encodings, and the damage that a wrong guess somewhere has left.

No byte is ever dropped: what an encoding has no character for is kept as a surrogate (`KEEP`), so
that its row can be rejected and shown.
"""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import charset_normalizer
import ftfy
import numpy as np
from entry import SourceError

from .compressed import open_bytes

# Longer lines are no rows of a corpus; reading one whole could exhaust the memory.
MAX_LINE = 64 * 2**20
# The first text beyond ASCII decides; so much of it is looked at.
SAMPLE = 2**17
# With fewer bytes than this without a meaning, for each character beyond ASCII, an encoding is
# right and the file damaged. Of text in another encoding, UTF-8 can read next to nothing.
MAX_DAMAGE = 0.02
MAX_DAMAGE_UTF8 = 0.2
# In Chinese text, more than half of all characters are in COMMON; in other text read as Chinese,
# less than a tenth are.
MIN_COMMON = 0.25

# Error handler for decoding: each byte without a meaning becomes U+DC00 + byte.
KEEP = "corpus_keep_bytes"
_BOMS = (
    # the mark of UTF-32 begins with the one of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Programs write the larger character set under the name of the smaller one.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "cp950", "utf-8": "utf-8-sig"}
_BINARY = {
    b"PK\x03\x04": "a zip archive, as Office files are",
    bytes.fromhex("d0cf11e0a1b11ae1"): "an Office file of the format before 2007",
    b"%PDF": "a PDF file",
    b"PAR1": "a parquet file",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
}
# The most frequent characters of Chinese text, simplified and traditional.
COMMON = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里"
    "用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日"
    "军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相"
    "见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名"
    "真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市"
    "直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路"
    "记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运病药医治症"
    "這個們來為國說時會對過發後裡種經麼學現當沒動還進樣開從實軍無與長機將兩間問應戰頭體見產東聲員處義幾條係"
    "氣題爾變總電數報結務場計資許統區隊決馬書則聽卻達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運關點業"
)


class Undecodable(Exception):
    """The text of a row was lost when somebody read it in a wrong encoding; says how."""


def _keep_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in lost), error.end


codecs.register_error(KEEP, _keep_bytes)


# ------------------------------------------------------------------------------ reading files


def open_text(path: Path, options: dict) -> tuple[TextIO, dict[str, str]]:
    """Open a text file, packed or not, for reading with its line ends as they are.

    Args:
        path: the file.
        options: entry of corpus.sources; its `encoding` goes before what is found out.

    Returns:
        The stream, and what was found out: {"encoding"}. Bytes that the encoding has no character
        for are in the text as surrogates; `is_damaged` and `escaped` are for such rows.

    Raises:
        SourceError: the encoding is unknown, or nothing speaks for any.
    """
    encoding = detect(path, options)
    stream = io.TextIOWrapper(open_bytes(path), encoding=encoding, errors=KEEP, newline="")
    return stream, {"encoding": encoding}


def read_lines(stream: TextIO, path: Path, limit: int | None = None) -> Iterator[str]:
    """Lines of a stream with their ends.

    Raises:
        SourceError: a line is longer than the limit, MAX_LINE unless given.
    """
    limit = limit or MAX_LINE
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise too_long(path, f"line {number}", limit)
        yield line


def take_sample(lines: Iterator[str], most: int) -> list[str]:
    """The next lines, as many as wanted or as make a large sample."""
    sample, size = [], 0
    while size < SAMPLE and len(sample) < most and (line := next(lines, None)) is not None:
        sample.append(line)
        size += len(line)
    return sample


def too_long(path: Path, place: str, limit: int) -> SourceError:
    """The error for a row that would not fit into memory."""
    return SourceError(
        f"{path}: {place}: is longer than {limit / 2**20:,.3g} million characters, which is no row "
        "of a corpus. Check the file; split the text into rows."
    )


def is_damaged(text: str) -> bool:
    """Whether a text that was read with KEEP has bytes that are no characters."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def escaped(text: str) -> str:
    """The text with what is no character written out: a byte as \\xff, half a character as \\ud83d.

    >>> print(escaped("甲" + chr(0xDCFF) + chr(0xD83D)))
    甲\\xff\\ud83d
    """

    def shown(found: re.Match) -> str:
        code = ord(found[0])
        return f"\\x{code & 0xFF:02x}" if 0xDC00 <= code <= 0xDCFF else f"\\u{code:04x}"

    return _SURROGATE.sub(shown, text)


_SURROGATE = re.compile("[\ud800-\udfff]")


# ---------------------------------------------------------------------------------- detection


def detect(path: Path, options: dict) -> str:
    """Name of the encoding of a text file, as Python's codecs know it.

    Raises:
        SourceError: `encoding` of the options is unknown, the file is no text, or nothing speaks
            clearly for one encoding.
    """
    with open_bytes(path) as file:
        head = file.read(2**16)
        mark = next((name for bom, name in _BOMS if head.startswith(bom)), None)
        if "encoding" in options:
            return _named(path, options["encoding"], mark)
        for magic, kind in _BINARY.items():
            if head.startswith(magic):
                raise SourceError(
                    f"{path}: is not text but {kind}. Give the file the suffix of what it is, or "
                    "say it with `format:` in corpus.sources."
                )
        if found := mark or _wide(head):
            return found
        sample, whole = _first_sample(file, head)
    return _of_sample(path, sample, whole)


def _named(path: Path, name: str, mark: str | None) -> str:
    try:
        codec = codecs.lookup(name)
        "a".encode(name)  # not every codec is one of text
    except (LookupError, ValueError) as error:
        raise SourceError(
            f"{path}: `encoding: {name}` in corpus.sources is not known. Known are utf-8, "
            "utf-16, gb18030, big5, cp1252 and the others of Python's codecs."
        ) from error
    if mark and mark.partition("-")[2][:2] in codec.name:
        return mark  # so that the mark is not taken for text
    return _SUPERSETS.get(codec.name, codec.name)


def _wide(head: bytes) -> str | None:
    """UTF-16 and UTF-32 without a mark, known by where the zero bytes of ASCII are."""
    if b"\0" not in head:
        return None
    units = len(head) // 4
    zeros = [head[place::4].count(0) for place in range(4)]
    if zeros[3] >= units and zeros[2] > 0.9 * units:
        return "utf-32-le"
    if zeros[0] >= units and zeros[1] > 0.9 * units:
        return "utf-32-be"
    texts = {name: _decoded(head, name) for name in ("utf-16-le", "utf-16-be")}
    known = {
        name: sum("\t" <= letter <= "~" or letter in COMMON for letter in text)
        for name, (text, _) in texts.items()
    }
    best, other = sorted(known, key=known.get, reverse=True)
    # bytes of another encoding, two by two, are hanzi too, but not more often common ones
    text, lost = texts[best]
    if not lost and known[best] > 0.08 * len(text) and known[best] > 3 * known[other]:
        return best
    return None


def _first_sample(file: BinaryIO, chunk: bytes) -> tuple[bytes, bool]:
    """The file from its first byte beyond ASCII on, and whether that is all to its end."""
    while chunk and chunk.isascii():
        chunk = file.read(SAMPLE)
    found = _BYTE_BEYOND_ASCII.search(chunk)
    start = chunk[found.start() :] if found else b""
    rest = file.read(SAMPLE) if chunk else b""
    return start + rest, len(rest) < SAMPLE


_BYTE_BEYOND_ASCII = re.compile(rb"[^\0-\x7f]")


def _of_sample(path: Path, sample: bytes, whole: bool) -> str:
    text, lost = _decoded(sample, "utf-8", whole)
    if _damage(text, lost) <= MAX_DAMAGE_UTF8:
        return "utf-8"
    scores = {}
    # cp950 is Big5 as Windows writes it, the other one has the characters of Hong Kong
    for name in ("gb18030", "cp950", "big5hkscs"):
        text, lost = _decoded(sample, name, whole)
        if (damage := _damage(text, lost)) <= MAX_DAMAGE:
            scores[name] = _share_of_common(text) - damage
    best = max(scores, key=scores.get, default=None)
    if best and scores[best] >= MIN_COMMON:
        return best
    guesses = list(charset_normalizer.from_bytes(sample[: 2**15]))
    likely = [guess for guess in guesses if guess.chaos < 0.05 and guess.coherence > 0.5]
    # cp1250 and cp1252 make different words of the same bytes, and both look like words
    if len(likely) == 1:
        same = likely[0].could_be_from_charset
        return "cp1252" if "cp1252" in same else likely[0].encoding
    names = ", ".join(guess.encoding for guess in (likely or guesses)[:5])
    raise SourceError(
        f"{path}: its encoding is neither UTF-8 nor GB18030 nor Big5, and which one it is cannot "
        f"be told for certain{f' ({names}?)' if names else ''}. Name it with `encoding:` in "
        "corpus.sources (the program that wrote the file knows it), or save the file as UTF-8."
    )


def _decoded(data: bytes, encoding: str, whole: bool = False) -> tuple[str, int]:
    """Text of a sample and the number of bytes that are no characters."""
    text = codecs.getincrementaldecoder(encoding)(KEEP).decode(data, final=whole)
    return text, len(_SURROGATE.findall(text)) if is_damaged(text) else 0


def _damage(text: str, lost: int) -> float:
    """Lost bytes per character beyond ASCII."""
    return lost / max(1, len(_BEYOND_ASCII.findall(text))) if lost else 0.0


_BEYOND_ASCII = re.compile("[^\0-\x7f]")
# Punctuation of Chinese text: its code is nearly the same in all of its encodings.
_LETTER = re.compile("[^\0-\x7f\u2010-\u203f\u3000-\u303f\uff00-\uffef]")


def _share_of_common(text: str) -> float:
    letters = _LETTER.findall(text)
    return sum(letter in COMMON for letter in letters) / max(1, len(letters))


# --------------------------------------------------------------------------------- mojibake

# One pass over a text rules out nearly every clean one: letters that UTF-8 begins with when read
# as Latin-1, hanzi that nothing but UTF-8 read as GBK has much of, and what replaces lost bytes.
_SUSPECTS = "".join(map(chr, range(0xC2, 0xF5))) + "\ufffd锛紝銆鐨殑鏄槸涓浜鍦鍙浣锟"
_SUSPECT = re.compile(f"[{_SUSPECTS}\ud800-\udfff]")
_IS_SUSPECT = np.zeros(2**16, bool)  # by the code of a character
_IS_SUSPECT[list(map(ord, _SUSPECTS))] = True
# Of the suspects: such a letter before what the further bytes of UTF-8 become.
_AS_LATIN = re.compile(
    "[\u00c2-\u00f4]"
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]"
)
# U+FFFD in UTF-8, read as GBK.
_LOST_TWICE = "锟斤拷"
_ONLY_THE_ENCODING = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    fix_surrogates=False,
    remove_control_chars=False,
    normalization=None,
    fix_c1_controls=False,
)


def repair(text: str) -> tuple[str, str | None]:
    """Undo that UTF-8 was read as Latin-1 or Windows-1252.

    Returns:
        The text and "mojibake", or the text as it was and None.

    Raises:
        Undecodable: characters of the text are lost for good.
    """
    if not is_suspect(text):
        return text, None
    _check(text)
    if not _AS_LATIN.search(text):
        return text, None
    mended = ftfy.fix_encoding(text, _ONLY_THE_ENCODING)
    if mended == text:
        return text, None
    _check(mended)
    return mended, "mojibake"


def is_suspect(text: str) -> bool:
    """Whether `repair` has to look at a text; nearly every clean one is ruled out."""
    return not text.isascii() and _SUSPECT.search(text) is not None


def any_suspect(text: str) -> bool:
    """`is_suspect` for very many texts put together, in less than half the time."""
    try:
        codes = np.frombuffer(text.encode("utf-16-le"), np.uint16)
    except UnicodeEncodeError:
        return True
    return bool(_IS_SUSPECT.take(codes, mode="clip").any())


def _check(text: str) -> None:
    if is_damaged(text):
        found = _SURROGATE.search(text)
        raise Undecodable(f"{escaped(found[0])} at character {found.start() + 1} is no character")
    if "\ufffd" in text or _LOST_TWICE in text:
        raise Undecodable(
            "has replacement characters (U+FFFD) where a program could not read the original; "
            "take the text from there"
        )
    if _is_utf8_as_gbk(text):
        raise Undecodable(
            "is UTF-8 that was read as GBK, which loses characters; read the original as UTF-8"
        )


def _is_utf8_as_gbk(text: str) -> bool:
    data = text.encode("gb18030", "replace")
    beyond = sum(byte > 0x7F for byte in data)
    # characters of three bytes whose codes are those of hanzi or of their punctuation
    read = len(_HANZI_IN_UTF8.findall(data))
    return read > 1 and 3 * read > 0.6 * beyond


_HANZI_IN_UTF8 = re.compile(rb"[\xe3-\xe9\xef][\x80-\xbf]{2}")
