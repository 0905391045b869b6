"""What is done to the letters of a text on request, and what language it is in."""

import functools
import re
from collections.abc import Callable

import opencc
import pyarrow as pa
from py3langid.langid import MODEL_FILE, LanguageIdentifier

# Full-width letters, digits and the space that is as wide as a character. Full-width punctuation
# stays: in Chinese text it is the right one.
_WIDE = {0x3000: " "} | {
    code: chr(code - 0xFEE0)
    for first, last in (("０", "９"), ("Ａ", "Ｚ"), ("ａ", "ｚ"))
    for code in range(ord(first), ord(last) + 1)
}
_HAS_WIDE = re.compile(f"[{''.join(map(chr, _WIDE))}]")
_CONVERSIONS = {"simplified": "t2s", "traditional": "s2t"}
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def half_width(text: str) -> str:
    """Full-width letters, digits and spaces as ASCII; punctuation stays as it is.

    >>> half_width("ＡＢ１２，　好")
    'AB12， 好'
    """
    return text.translate(_WIDE) if _HAS_WIDE.search(text) else text


@functools.lru_cache
def _converter(name: str) -> opencc.OpenCC:
    return opencc.OpenCC(name)


def conversion(width: str, chinese: str) -> Callable[[str], str] | None:
    """What corpus.clean.width and corpus.clean.chinese do to a text; None if nothing."""
    steps = [half_width] if width == "half" else []
    if chinese != "keep":
        converter = _converter(_CONVERSIONS[chinese])
        steps.append(lambda text: converter.convert(text) if _HAN.search(text) else text)
    if not steps:
        return None

    def convert(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return convert


def convert_column(column: pa.Array, convert: Callable[[str], str]) -> pa.Array:
    """A column of texts, or of messages or lists of them, with all texts converted."""
    if isinstance(column, pa.ListArray):
        values = column.values
        if isinstance(values, pa.StructArray):
            role, content = values.field("role"), values.field("content")
            values = pa.StructArray.from_arrays(
                [role, convert_column(content, convert)], fields=list(values.type)
            )
        else:
            values = convert_column(values, convert)
        # the offsets tell where a missing list begins, the mask that it is missing
        mask = column.is_null() if column.null_count else None
        return pa.ListArray.from_arrays(column.offsets, values, type=column.type, mask=mask)
    texts = [None if text is None else convert(text) for text in column.to_pylist()]
    return pa.array(texts, column.type)


# What a text of a domain corpus may plausibly be in: of all 97 known languages, some rare one
# is often taken for the likeliest of a short text.
_LIKELY = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "pt", "ru", "th", "vi", "zh")
# Fewer letters than these do not tell. A Chinese character says more than a letter.
LEAST_LETTERS = 20
LEAST_CHARACTERS = 8
SURE = 0.95
ENOUGH = 300  # characters; more make it slower and hardly surer
_NO_LETTER = re.compile(r"[\W\d_]+")


class Languages:
    """Tells which texts are not in one of the languages wanted."""

    def __init__(self, wanted: tuple[str, ...]):
        """Load the model.

        Raises:
            ValueError: a language is not one that can be recognised.
        """
        self._wanted = set(wanted)
        self._identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        known = set(self._identifier.labels)
        if unknown := sorted(self._wanted - known):
            raise ValueError(
                f"{', '.join(unknown)} cannot be recognised. Known are: {', '.join(sorted(known))}."
            )
        self._identifier.set_languages(sorted({*_LIKELY, *wanted}))

    def stranger(self, text: str) -> str | None:
        """The language of a text that is surely not in one of the wanted ones, else None.

        Texts too short to tell pass: a formula, a name, a number.
        """
        # punctuation and digits of a Chinese text would speak for other languages
        words = " ".join(_NO_LETTER.split(text[:ENOUGH]))
        letters = words.replace(" ", "")
        wide = sum(ord(letter) >= 0x0E00 for letter in letters[:LEAST_LETTERS])
        if len(letters) < (LEAST_CHARACTERS if 2 * wide > len(letters) else LEAST_LETTERS):
            return None
        language, probability = self._identifier.classify(words)
        return None if language in self._wanted or probability < SURE else language
