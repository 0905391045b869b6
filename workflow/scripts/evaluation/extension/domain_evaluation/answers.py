"""Comparing a free-form answer with its reference, for Chinese and mixed text.

Standard library only: any environment may import it.
"""

import re
import unicodedata

# What separates a number's parts belongs to the number: 3.14 is not 314, 1/2 is not 12.
_INSIDE_NUMBER = frozenset(".:/")
_AFTER_NUMBER = frozenset("%‰")
_MINUS = frozenset("-−‐–")

_SEPARATOR = "\0"


def _fold(text: str) -> str:
    # casefold can undo the compatibility form (U+1E9E becomes ss), hence the second pass
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _is_dropped(character: str) -> bool:
    """Punctuation (P*), white space (Z*), control characters (C*); symbols (S*) carry meaning."""
    return unicodedata.category(character)[0] in "PZC"


def _is_latin(character: str) -> bool:
    return "a" <= character <= "z"


def _separated(text: str) -> str:
    """Folded text in which everything that is not compared has become a separator."""
    folded = _fold(text)
    kept = []
    for position, character in enumerate(folded):
        before = folded[position - 1] if position else ""
        after = folded[position + 1] if position + 1 < len(folded) else ""
        number_before, number_after = before.isdecimal(), after.isdecimal()
        inside_number = number_before and number_after
        if character in _MINUS and number_after and not (number_before or _is_latin(before)):
            kept.append("-")
        elif character == "," and inside_number:
            pass  # 1,000 is 1000
        elif (character in _INSIDE_NUMBER and inside_number) or (
            character in _AFTER_NUMBER and number_before
        ):
            kept.append(character)
        elif _is_dropped(character):
            kept.append(_SEPARATOR)
        else:
            kept.append(character)
    return "".join(kept)


def normalise(text: str) -> str:
    """Return the part of an answer that is compared.

    Unicode compatibility form (full-width becomes half-width), case folded, without punctuation,
    white space and control characters. Signs that make a number what it is stay: the decimal point,
    the minus, the ratio and the fraction between digits, the percent sign after them. Text made of
    nothing but punctuation keeps it, so that such a reference can still be answered.
    """
    compared = _separated(text).replace(_SEPARATOR, "")
    return compared or "".join(c for c in _fold(text) if unicodedata.category(c)[0] not in "ZC")


def exact_match(prediction: str, reference: str) -> bool:
    """Whether both texts are the same answer after normalise(); an empty prediction never is."""
    answer = normalise(prediction)
    return bool(answer) and answer == normalise(reference)


def contains(prediction: str, reference: str) -> bool:
    """Whether the reference occurs in the prediction after normalise().

    A number must stand alone ("5" is not in "15" nor in "5.2"), and so must a Latin word or
    symbol ("Fe" is not in "feature"); Chinese text has no word boundaries, any place counts.
    """
    wanted = normalise(reference)
    if not wanted or not normalise(prediction):
        return False
    pattern = f"{_SEPARATOR}*".join(re.escape(character) for character in wanted)
    if wanted[0].isdecimal():
        pattern = r"(?<![0-9])(?<![0-9][.:/])(?<!-)" + pattern
    elif _is_latin(wanted[0]):
        pattern = r"(?<![a-z0-9])" + pattern
    if wanted[-1].isdecimal():
        pattern += r"(?![0-9%‰])(?![.:/][0-9])"
    elif _is_latin(wanted[-1]):
        pattern += r"(?![a-z0-9])"
    if re.search(pattern, _separated(prediction)):
        return True
    # a reference that is all punctuation has been cut out of the separated text
    return not _separated(reference).strip(_SEPARATOR) and wanted in _fold(prediction)
