"""Which option an answer in free text chooses. Where that is in doubt, none.

OpenCompass' own rules for this take a letter from anywhere, so that a model that says nothing of
sense still chooses, and scores by chance. Standard library only: any environment may import it.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping

from domain_evaluation.answers import normalise

# A letter that stands for an option: no part of a word, of a number or of a name such as C++.
_BEFORE, _AFTER = r"(?<![0-9A-Za-z])", r"(?![0-9A-Za-z+#'])"
_LETTER = rf"{_BEFORE}([A-Za-z]){_AFTER}"
# "The answer is a city": in a sentence, only a capital one does.
_CAPITAL = rf"{_BEFORE}([A-Z]){_AFTER}"
_BRACKETS = r"\[\](){}<>【】《》「」“”\"'*$"
_GAP = rf"[\s:{_BRACKETS}]*"
_OPTION = r"(?:选项|(?i:option|choice)\b)?"
# What states an answer, right before its letter.
_STATED = [
    re.compile(pattern + _GAP + _OPTION + _GAP + _CAPITAL)
    for pattern in (
        r"(?:答案|正确的?(?:选项|一项))\s*(?:应该|应当|应|就)?\s*(?:是|为|选择?)?",
        r"(?:^|我|故|应|应该|应当|本题|所以|因此)\s*(?:会|将)?\s*选择?",
        r"认为\s*(?:应该)?是",
        r"(?i:\banswer\s*(?:to\s+the\s+question\s+)?(?:\bis\b|\bshould\s+be\b|\bwould\s+be\b|[:*]))",
        r"(?i:\b(?:correct|right|best)\s+(?:answer|option|choice|one)\s+is\b)",
        r"\\boxed\s*\{\s*(?:\\text\s*\{)?",
    )
]
# What begins with a letter and says that it is the answer.
_RIGHT = re.compile(
    rf"(?:^|[。;；，,\n])\s*{_OPTION}{_GAP}{_CAPITAL}{_GAP}(?:选?项)?\s*"
    r"(?:(?:是|为)?\s*(?:正确|对的)|(?i:is\s+(?:the\s+)?(?:correct|right|best|answer)\b))"
)
# What takes a statement back, right after its letter, and what adds another letter to it.
_TAKEN_BACK = re.compile(
    rf"{_GAP}(?:选?项)?\s*(?:是|为|(?i:is\b))?\s*(?:错|不|(?i:wrong|incorrect|not\b))"
)
_AND = r"(?:或者?|和|与|及|、|,|/|&|(?i:or\b|and\b))"
_ANOTHER = re.compile(rf"{_GAP}{_AND}{_GAP}{_OPTION}{_GAP}{_CAPITAL}")
_LABEL = re.compile(rf"{_GAP}{_OPTION}{_GAP}{_LETTER}[{_BRACKETS}]*")
_SEPARATOR = re.compile(r"\s*[.、:,;。!]")
_LISTED = re.compile(rf"{_GAP}{_LETTER}(?:[{_BRACKETS}]|\s*[.、:]|\s*$)")


def choice_of(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer chooses, None where it chooses none or several.

    An answer chooses an option by stating it ("答案是D", "The answer is (D)"), by beginning with
    its letter ("D", "D. 北京"), or by being nothing but its text. One that names two options, or
    repeats all of them, chooses none.

    Args:
        answer: what a model wrote.
        options: text of each option by its letter, A and so on.
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    if stated := set(_stated(text)):
        letter = stated.pop()
        return letter if not stated and letter in options else None
    if labelled := _labelled(text, options):
        return labelled
    same = [letter for letter, option in options.items() if normalise(option) == normalise(text)]
    return same[0] if len(same) == 1 else None


def _stated(text: str) -> Iterator[str]:
    """Every letter that the text says to be the answer; of "A或B" both."""
    for pattern in _STATED:
        for found in pattern.finditer(text):
            after = text[found.end() :]
            if not _TAKEN_BACK.match(after):
                yield found[1]
                if another := _ANOTHER.match(after):
                    yield another[1]
    yield from (found[1] for found in _RIGHT.finditer(text))


def _labelled(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a text begins with, where it can only stand for an option."""
    found = _LABEL.match(text)
    if not found or (letter := found[1].upper()) not in options:
        return None
    line, *further = text[found.end() :].split("\n")
    said, texts = normalise(line), {key: normalise(option) for key, option in options.items()}
    own = said in ("", texts[letter])
    if not own:
        separated = _SEPARATOR.match(line) or found[0][-1] != found[1]
        # "A dog", "a, b", "C 语言", or the letter of one option with the text of another
        if not separated or found[1].islower() or said in texts.values():
            return None
    named = [] if own else re.findall(_CAPITAL, line)
    named += [listed[1].upper() for each in further if (listed := _LISTED.match(each))]
    return None if (options.keys() & set(named)) - {letter} else letter
