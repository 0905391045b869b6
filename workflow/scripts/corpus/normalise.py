"""The form in which two texts count as the same, and the hashes made of it."""

import functools
import hashlib
import re
import unicodedata

# NFKC would turn 10² into 102.
RAISED = {ord(raised): f"^{digit}" for digit, raised in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−~"), "-")
# Punctuation that tells numbers apart: 1.5 and 15, 3:1, 1/2, 1937-1945, -5.
_IN_NUMBERS = re.compile(r"(?<!\d)[.,:/]|[.,:/-](?!\d)")
MEANINGFUL = set(".,:/-%‰#&*@")


class _Deletions(dict):
    """A table for str.translate that drops punctuation, spaces and control characters."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        drop = unicodedata.category(character)[0] in "PZC" and character not in MEANINGFUL
        self[code] = None if drop else code
        return self[code]


_deletions = _Deletions()


def normalise(text: str) -> str:
    """Reduce a text to what distinguishes it: NFKC, case-folded, no punctuation, no space.

    Punctuation inside numbers stays. Of a text that is nothing but punctuation, all of it stays.

    >>> normalise("《Hello》，  World ！") == normalise("hello world")
    True
    >>> normalise("1.5"), normalise("－5 ℃"), normalise("……")
    ('1.5', '-5°c', '......')
    """
    text = unicodedata.normalize("NFKC", text.translate(RAISED)).casefold().translate(DASHES)
    text = "".join(text.split())
    return _IN_NUMBERS.sub("", text).translate(_deletions) or text


# Texts longer than this are not worth the trouble: what else differs, their near-duplicates show.
LONG = 200


def key_form(text: str) -> str:
    """The form in which two texts of any length are the same question or answer.

    Of a short text the normalised one. Of a long one the characters in lower case and of one
    width, without white space: `characters.key_forms` makes it of whole columns at once.
    """
    if len(text) <= LONG:
        return normalise(text)
    return "".join(map(_fold, text))


@functools.lru_cache(65_536)
def _fold(character: str) -> str:
    folded = unicodedata.normalize("NFKC", character).casefold().translate(DASHES)
    one = folded if len(folded) == 1 else character
    return "" if one.isspace() else one


def is_blank(text: str) -> bool:
    """Whether a text holds no letter, digit or sign: nothing but punctuation and space."""
    return all(unicodedata.category(character)[0] in "PZC" for character in text)


def content_id(question: str, answer: str) -> str:
    """Id of a record, 16 hexadecimal digits, from its normalised question and answer."""
    return digest(question, answer)


def digest(*parts: str | int) -> str:
    """A stable hash of texts and numbers, 16 hexadecimal digits."""
    data = "\x1f".join([str(part) for part in parts]).encode()
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def fraction(*parts: str | int) -> float:
    """A stable pseudo-random number in [0, 1) made of texts and numbers."""
    # 52 bits: the quotient is exact, so that 1.0 cannot come out by rounding
    return int(digest(*parts)[:13], 16) / 2**52
