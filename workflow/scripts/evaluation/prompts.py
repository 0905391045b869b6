"""What a model is shown of a question, in each of the ways of asking.

Standard library only: scripts of several environments import it.
"""

import re

# How the answer comes about in each way of asking: two chats, of which the first shows no options,
# and two plain texts.
MODES = {
    "options": "log-likelihood of each option's text as the answer to the question",
    "generation": "greedy decoding up to the end of the turn",
    "perplexity": "log-likelihood of each option's letter, after plain text with all options",
    "cloze": "log-likelihood of plain text with each option in its blank",
}
PLAIN = ("perplexity", "cloze")

_BLANK = re.compile(r"_{2,}|＿+|（\s*）|\(\s*\)")
_CHINESE = re.compile(r"[\u3400-\u9fff]")

Question = dict[str, str]
Turns = list[tuple[str, str]]


def letters_of(question: Question) -> tuple[str, ...]:
    """The letters of a question's options; none of free answers."""
    return tuple(key for key in sorted(question) if len(key) == 1 and key.isupper())


def with_options(question: Question) -> str:
    """A question with its options, in the form in which multiple choice is trained."""
    return "\n".join([question["question"], *(f"{x}. {question[x]}" for x in letters_of(question))])


def turns(mode: str, instruction: str, examples: list[Question], question: Question) -> Turns:
    """(role, text) of the turns of a chat up to the answer that is asked for.

    Args:
        mode: "options" or "generation".
        instruction: text in front of each question; empty: none.
        examples: questions that are answered first.
        question: the one that is asked.
    """
    shows = mode == "generation"

    def asked(row: Question) -> str:
        text = with_options(row) if shows else row["question"]
        return f"{instruction}\n{text}" if instruction else text

    said: Turns = []
    for row in examples:
        answer = row["answer"]
        text = f"{answer}. {row[answer]}" if letters_of(row) else answer
        said += [("HUMAN", asked(row)), ("BOT", text)]
    return [*said, ("HUMAN", asked(question))]


def plain_text(
    mode: str, instruction: str, examples: list[Question], question: Question
) -> tuple[str, dict[str, str]]:
    """The text before the options part, and by letter how it goes on.

    Args:
        mode: "perplexity" or "cloze".
        instruction: text in front of it all; empty: none.
        examples: questions that are answered first.
        question: the one that is asked.
    """
    form = _lettered if mode == "perplexity" else _filled
    blocks = [instruction] if instruction else []
    for row in examples:
        start, ways = form(row)
        blocks.append(start + ways[row["answer"]])
    start, ways = form(question)
    separator = "\n\n" if mode == "perplexity" else "\n"
    return separator.join([*blocks, start]), ways


def _lettered(row: Question) -> tuple[str, dict[str, str]]:
    cue, space = ("答案：", "") if _CHINESE.search(row["question"]) else ("Answer:", " ")
    return f"{with_options(row)}\n{cue}", {letter: space + letter for letter in letters_of(row)}


def _filled(row: Question) -> tuple[str, dict[str, str]]:
    text = row["question"]
    blank = _BLANK.search(text)
    start, end = (text[: blank.start()], text[blank.end() :]) if blank else (text, "")
    space = "" if blank or _CHINESE.search(text) else " "
    return start, {letter: space + row[letter] + end for letter in letters_of(row)}
