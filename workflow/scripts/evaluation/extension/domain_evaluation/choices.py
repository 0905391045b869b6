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
_BRACKETS = r"\[\](){}<>【】《》「」“”\"'*$`"
# possessive: a model that has gone wrong may write thousands of blanks
_GAP = rf"[\s:{_BRACKETS}]*+"
_OPTION = r"(?:选项|(?i:option|choice)\b)?"
_RIGHTLY = r"(?:正确|最佳|最合适)的?"
# What states an answer, right before its letter. Among Chinese, a small letter is no word either.
_STATED = [
    re.compile(pattern + _GAP + _OPTION + _GAP + letter)
    for letter, pattern in (
        (
            _LETTER,
            rf"(?:答案|{_RIGHTLY}(?:选项|一项)|正确的)\s*+(?:应该|应当|应|就)?\s*+(?:是|为|选择?)?",
        ),
        (_LETTER, r"(?:^|[\s。,;:我故应题此以知]|应该|应当)\s*+(?:会|将|只能)?\s*+选择?"),
        (_LETTER, r"(?:认为|应该|应当|而)\s*+(?:应该)?是"),
        (
            _CAPITAL,
            r"(?i:\banswer\s*+(?:to\s+the\s+question\s+)?"
            r"(?:\bis\b|\bshould\s+be\b|\bwould\s+be\b|[:*]))",
        ),
        (_CAPITAL, r"(?i:\b(?:correct|right|best)\s+(?:answer|option|choice|one)\s+is\b)"),
        (_CAPITAL, r"\\boxed\s*+\{\s*+(?:\\(?:text|textbf|mathrm|mathbf)\s*+\{)?"),
    )
]
# What denies a statement, or leaves it open, right before it.
_DENIED = re.compile(
    r"(?:不(?:会|能|应该?|应当|可|要|是|认为|觉得|一定)?|没有?|非|错误的?|如果|假如|若|为什么|难道|是否"
    r"|(?i:\bnot|n't|\bnever|\bwrong|\bincorrect|\bif|\bwhy|\bwhether|\bunlikely))"
    rf"(?:{_RIGHTLY}|[^\S\n]|(?i:\b(?:think|believe|say|sure|certain|that|the|correct|right)\b))*$"
)
# What begins with a letter and says that it is the answer.
_RIGHT = re.compile(
    rf"(?:^|[。.;,\n])\s*+{_OPTION}{_GAP}{_CAPITAL}{_GAP}(?:选?项)?\s*+"
    r"(?:(?:是|为)?\s*+(?:正确|对的)|(?i:is\s+(?:the\s+)?(?:correct|right|best|answer)\b))"
)
# What takes a statement back, right after its letter, what makes it a question, and what adds
# another letter to it.
_WRONG = re.compile(
    rf"{_GAP}(?:选?项)?\s*+(?:是|为|(?i:is\b))?\s*+(?:错|不|(?i:wrong|incorrect|not\b))"
)
_ASKED = re.compile(rf"{_GAP}(?:选?项)?\s*+[吗?]")
_AND = r"(?:[^\S\n]|或者?|还是|和|与|及|到|至|[、,;/&|~-]|(?i:or\b|and\b|to\b))+"
_ANOTHER = re.compile(rf"[{_BRACKETS}]*{_AND}{_GAP}{_OPTION}{_GAP}{_CAPITAL}")
# "答案：B超", "Answer: A dog": a letter that belongs to a word, and one that is a word.
_WORD = re.compile(
    r"[\u3400-\u9fff](?<![项选是为正确错不对因故所符最这即也和或与及还到至而])"
    r"|(?<=A)\s+(?!(?:as|and|because|but|for|in|is|not|or|rather|since|which|with)\b)[a-z]"
)
_LABEL = re.compile(rf"{_GAP}{_OPTION}{_GAP}{_LETTER}[{_BRACKETS}]*")
_SEPARATOR = re.compile(r"\s*[.、:,;。!]")
_LISTED = re.compile(rf"{_GAP}{_LETTER}(?:[{_BRACKETS}]|\s*[.、:]|\s*$)")
_ALONE = re.compile(rf"{_GAP}{_OPTION}{_GAP}{_CAPITAL}[{_BRACKETS}]*[.。]?[{_BRACKETS}]*")


def choice_of(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer chooses, None where it chooses none or several.

    An answer chooses an option by stating it ("答案是D", "The answer is (D)"), by beginning with
    its letter ("D", "D. 北京"), by ending with a line of nothing else, or by being nothing but its
    text. One that names two options, or repeats all of them, chooses none.

    Args:
        answer: what a model wrote.
        options: text of each option by its letter, A and so on.
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    if stated := set(_stated(text, options)):
        letter = stated.pop()
        return letter if not stated and letter in options else None
    if chosen := _labelled(text, options) or _concluded(text, options):
        return chosen
    same = [letter for letter, option in options.items() if normalise(option) == normalise(text)]
    return same[0] if len(same) == 1 else None


def _stated(text: str, options: Mapping[str, str]) -> Iterator[str]:
    """Every letter that the text says to be the answer; of "A或B" both."""
    texts = {letter: unicodedata.normalize("NFKC", option) for letter, option in options.items()}
    for pattern in _STATED:
        for found in pattern.finditer(text):
            letter, after = found[1].upper(), text[found.end(1) :]
            own = re.match(rf"[\s.、:{_BRACKETS}]*{re.escape(texts.get(letter, ''))}", after)
            rest = after[own.end() :] if own else after
            if (
                _DENIED.search(text[: found.start()])
                or _WRONG.match(after)
                or _ASKED.match(after)
                or (rest == after and _WORD.match(text, found.end(1)))
            ):
                continue
            yield letter
            for part in (after, rest):
                another = _ANOTHER.match(part)
                if another and not _WRONG.match(part[another.end() :]):
                    yield another[1]
            yield from (
                other
                for other, option in texts.items()
                if re.search(rf"(?m)^\W*{other}\W*(?:{re.escape(option)}\W*)?$", rest)
            )
    yield from (found[1] for found in _RIGHT.finditer(text))


def _concluded(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that is all of the last line, where no other line begins with one."""
    *lines, last = text.split("\n")
    found = _ALONE.fullmatch(last)
    if not found or found[1] not in options or any(map(_LISTED.match, lines)):
        return None
    return found[1]


def _labelled(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a text begins with, where it can only stand for an option."""
    found = _LABEL.match(text)
    if not found or (letter := found[1].upper()) not in options:
        return None
    line, *further = text[found.end() :].split("\n")
    said, texts = normalise(line), {key: normalise(option) for key, option in options.items()}
    own = said.rstrip(".。") in ("", "选项", "项", "答案", texts[letter])
    if not own:
        separated = _SEPARATOR.match(line) or found[0][-1] != found[1]
        # "A dog", "a, b", "C 语言", or the letter of one option with the text of another
        if not separated or found[1].islower() or said in texts.values():
            return None
    named = [] if own else re.findall(_CAPITAL, line)
    named += [listed[1].upper() for each in further if (listed := _LISTED.match(each))]
    return None if (options.keys() & set(named)) - {letter} else letter
