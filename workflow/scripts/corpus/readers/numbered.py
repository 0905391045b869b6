"""Numbered multiple choice in running text: a question, its options A, B, C ... and the answer.

    12. 安徽的省会是（ ）        the letter may stand in these brackets instead of an answer line
    A. 合肥    B. 芜湖           options on one line or on lines of their own
    C. 安庆
    答案：A                      or 正确答案 / 参考答案 / Answer; the text of the option will do too
    解析：……                    goes to the field "explanation"

Letters and marks may be half or full width. Right above its options a question needs no number.
`Collector` finds such blocks among paragraphs, `parse_choice` reads one.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

LETTER = "[A-HＡ-Ｈa-hａ-ｈ]"
MARK = r"[、．.：:)）\]】]"
NUMBER = re.compile(
    r"""\s*(?:
        (?:第\s*\d{1,5}\s*题|(?:题目|问题|题|Question|Q)\s*\d{1,5})\s*[、．.：:]?
      | [(（【\[]\s*\d{1,5}\s*[)）】\]]\s*[、．.]?
      | \d{1,5}\s*(?:[、．：:)）]|\.(?!\d))
    )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
OPTION = re.compile(rf"\s*[(（\[【]?\s*({LETTER})\s*{MARK}\s*")
# A further option on the line: behind white space, or right behind other text ("A、北京B、上海").
SPACED = re.compile(rf"(?<=\s)[(（\[【]?\s*({LETTER})\s*{MARK}\s*")
TIGHT = re.compile(r"(?<![A-Za-z])[(（\[【]?([A-HＡ-Ｈ])\s*[、．.：:)）\]】]\s*")
ANSWER = re.compile(
    rf"""\s*[【\[(（]?\s*(?:
        (?: (?:(?:正确|参考|标准|本题)的?)?\s*答案(?:是|为|选)?|正确选?项?[是为]|应选|故选 )
        (?: \s*[】\])）]?\s*[：:.] | \s*[】\])）] | \s | (?=[(（\[【]?\s*{LETTER}(?![A-Za-z])) )
      | (?:the\s+)?(?:correct\s+|right\s+)?(?:answer|ans\.?|key)
        (?: \s*[】\])）]?\s*[：:] | \s*[】\])）] | \s+is\b\s*[：:]? )
    )\s*(.*)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
# Both may stand behind the last option, on its line.
INLINE = re.compile(
    r"\s+(?=[【\[(（]?(?:(?:正确|参考|标准)?答案|解析|(?:correct\s+)?answer|explanation)"
    r"\s*(?:[】\])）]|[：:]))",
    re.IGNORECASE,
)
EXPLANATION = re.compile(
    r"\s*[【\[(（]?\s*(?:(?:试题|答案|本题)?(?:解析|详解|解释)|考点|点评|分析|explanation|rationale)"
    r"\s*[】\])）]?\s*[：:]?\s*",
    re.IGNORECASE,
)
SEVERAL = r"[A-HＡ-Ｈ](?:\s*(?:[、,，和或及与/&+]|or\b|and\b)?\s*[A-HＡ-Ｈ])*"
LETTERS = re.compile(
    rf"[(（\[【]?\s*({SEVERAL}|{LETTER})(?![A-Za-z])\s*[)）\]】]?\s*(?:[、．.：:。;；，,]|$|(?<=\s))"
)
FILLED = re.compile(rf"([(（\[【])\s*({SEVERAL}|[a-h])\s*([)）\]】])")
EMPTY = re.compile(r"[(（\[【]\s*[)）\]】]|_{2,}|＿{2,}")


# Paragraphs: more than any real question has, so that what is held stays small.
MAX_STEM, MAX_BLOCK = 20, 60


class NotRead(Exception):
    """A block of multiple choice cannot be read; the text says why."""


@dataclass(slots=True)
class Paragraph:
    """A paragraph, its number in the document, and what Word writes in front ("A.")."""

    number: int
    text: str
    label: str = ""

    @property
    def shown(self) -> str:
        """The text with the label."""
        return f"{self.label} {self.text.strip()}" if self.label else self.text.strip()


class Collector:
    """Puts paragraphs together that are one block of multiple choice, in the order they come.

    What is no block is given back paragraph by paragraph, so nothing is lost and nothing changes
    where there are no blocks.
    """

    def __init__(self):
        self._stem: list[Paragraph] = []  # may turn out to be the question of a block
        self._is_numbered = False
        self._is_pair = False  # the stem is one itself
        self._block: list[Paragraph] = []  # a question and its first option at least

    def add(self, paragraph: Paragraph, is_pair: bool) -> Iterator[tuple[list[Paragraph], bool]]:
        """Take a paragraph; give what is complete, and whether that is a block or a single one.

        Args:
            paragraph: the next one of the document.
            is_pair: it is a question with its answer already.
        """
        lines = lines_of(paragraph.shown)
        letter = _begins_option(lines[0])
        if self._block:
            goes_on = letter not in (None, "A") or (not is_pair and _is_behind_options(lines[0]))
            if goes_on and len(self._block) < MAX_BLOCK:
                self._block.append(paragraph)
                return
            yield from self.end()
        if letter == "A" and self._stem and (self._is_numbered or not is_pair):
            self._block = [*self._stem, paragraph]
            self._stem = []
            return
        is_number = NUMBER.match(lines[0]) is not None
        if not is_pair and any(_begins_option(line) == "A" for line in lines[1:]):
            yield from self.end()
            self._block, self._is_pair = [paragraph], False  # line breaks instead of paragraphs
        elif is_pair and not is_number:
            yield from self.end()
            yield [paragraph], False
        elif (
            self._is_numbered
            and not (self._is_pair or is_number)
            and 0 < len(self._stem) < MAX_STEM
        ):
            self._stem.append(paragraph)
        else:
            yield from self.end()
            self._stem = [paragraph]
            self._is_numbered, self._is_pair = is_number, is_pair

    def end(self) -> Iterator[tuple[list[Paragraph], bool]]:
        """Give what is left."""
        block, stem, self._block, self._stem = self._block, self._stem, [], []
        # a numbered pair may be a question with an arrow in it, or a pair like any other
        if _is_block(block) and not (self._is_pair and _is_refused(block)):
            yield block, True
        else:
            yield from (([paragraph], False) for paragraph in (*block, *stem))


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def _is_refused(paragraphs: list[Paragraph]) -> bool:
    try:
        parse_choice([line for paragraph in paragraphs for line in lines_of(paragraph.shown)])
    except NotRead:
        return True
    return False


def _begins_option(line: str) -> str | None:
    found = OPTION.match(line)
    return _letters(found[1]) if found else None


def _is_behind_options(line: str) -> bool:
    return ANSWER.match(line) is not None or EXPLANATION.match(line) is not None


def _is_block(paragraphs: list[Paragraph]) -> bool:
    options: list[tuple[str, str]] = []
    for paragraph in paragraphs:
        for line in lines_of(paragraph.shown):
            if OPTION.match(line):
                options += _options_of_line(line, TIGHT, len(options))
    return len(options) > 1


def parse_choice(lines: list[str]) -> tuple[str, list[str], str, str]:
    """Question, options, text of the right option and explanation of the lines of one block.

    Raises:
        NotRead: the options are not A, B, C ..., or none or several of them are the answer.
    """
    lines = [part for line in lines for part in INLINE.split(line) if part.strip()]
    kinds = [
        "explanation" if EXPLANATION.match(line)
        else "answer" if ANSWER.match(line)
        else "option" if OPTION.match(line)
        else "other"
        for line in lines
    ]  # fmt: skip
    first = kinds.index("option")
    stem = "\n".join(line.strip() for line in lines[:first])
    options = _options([line for line, kind in zip(lines, kinds, strict=True) if kind == "option"])
    named = [line for line, kind in zip(lines, kinds, strict=True) if kind == "answer"]
    explained = [
        EXPLANATION.sub("", line, count=1).strip()
        for line, kind in zip(lines, kinds, strict=True)
        if kind == "explanation"
    ]
    question, letters = _question(stem)
    for line in named:
        letters.append(_answer(ANSWER.match(line)[1].strip(), options))
    if not letters:
        raise NotRead("multiple choice without an answer: no line like 答案：B follows the options")
    if len(set(letters)) > 1:
        raise NotRead(f"multiple choice with different answers: {', '.join(letters)}")
    if len(letters[0]) != 1:
        raise NotRead(f"multiple choice with several right options: {letters[0]}")
    place = ord(letters[0]) - ord("A")
    if place >= len(options):
        raise NotRead(f"the answer is {letters[0]}, but the last option is {_letter(len(options))}")
    return question, options, options[place], "\n".join(explained)


def _letters(text: str) -> str:
    return "".join(re.findall("[A-H]", unicodedata.normalize("NFKC", text).upper()))


def _letter(count: int) -> str:
    return chr(ord("A") + count - 1)


def _options(lines: list[str]) -> list[str]:
    """Texts of the options, in whichever reading of the lines their letters run A, B, C ..."""
    found = []
    for further in (SPACED, TIGHT):
        options: list[tuple[str, str]] = []
        for line in lines:
            options += _options_of_line(line, further, len(options))
        found = "".join(letter for letter, _ in options)
        if len(options) > 1 and found == "ABCDEFGH"[: len(found)]:
            if all(text for _, text in options):
                return [text for _, text in options]
            empty = next(letter for letter, text in options if not text)
            raise NotRead(f"multiple choice whose option {empty} is empty")
    raise NotRead(f"multiple choice whose options are not A, B, C in order, but {', '.join(found)}")


def _options_of_line(line: str, further: re.Pattern, before: int) -> list[tuple[str, str]]:
    """Letter and text of the options on a line, of which `before` options precede it."""
    head = OPTION.match(line)
    starts = [(head.start(), head.end(), _letters(head[1]))]
    for found in further.finditer(line, head.end()):
        # "A. 维生素B、维生素C": only the letter that is next begins an option
        if _letters(found[1]) == _letter(before + len(starts) + 1):
            starts.append((found.start(), found.end(), _letters(found[1])))
    ends = [start for start, _, _ in starts[1:]] + [len(line)]
    return [
        (letter, line[begin:end].strip().rstrip(";；"))
        for (_, begin, letter), end in zip(starts, ends, strict=True)
    ]


def _question(stem: str) -> tuple[str, list[str]]:
    """The question without its number, and the answer that was filled in, which is taken out."""
    text = NUMBER.sub("", stem, count=1) if NUMBER.match(stem) else stem
    filled = list(FILLED.finditer(text))
    # with a blank left to fill in, a letter in brackets is a part of the question
    if EMPTY.search(text) or not filled:
        return text.strip(), []
    last = filled[-1]
    text = f"{text[: last.start()]}{last[1]} {last[3]}{text[last.end() :]}"
    return text.strip(), [_letters(last[2])]


def _answer(text: str, options: list[str]) -> str:
    """Letters of an answer line behind its heading."""
    bare = [option.rstrip("。. ") for option in options]
    if text.rstrip("。. ") in bare:
        return _letter(bare.index(text.rstrip("。. ")) + 1)
    if found := LETTERS.match(text):
        return _letters(found[1])
    raise NotRead(f"multiple choice whose answer is none of the options: {text[:80]!r}")
