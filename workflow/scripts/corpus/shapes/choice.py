"""Multiple choice: which of the options is right, however the answer names it."""

import re
import unicodedata

from .content import Messages, is_blank, is_number, kind_of, malformed, parsed, plain, text_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# How an option begins that repeats its letter: "A. 北京", "（A）北京", "A、北京"
PREFIX = re.compile(
    r"\s*[(（\[【]?\s*([A-Za-z])\s*(?:[)）\]】]\s*[.．、:：]?|[.．、:：])\s*(.*)", re.DOTALL
)
# An answer that is a label alone: "A", "(a)", "A."
LABEL = re.compile(r"[(\[【]?\s*(\w{1,2})\s*[)\]】]?\s*[.、:。]?")
SEPARATORS = re.compile(r"[\s,，、;；/|&+和及与]+")
LABEL_KEYS, TEXT_KEYS = ("key", "label", "id"), ("value", "text", "content", "option")
# Fields whose number counts the options from 0, as the public sets that have them do.
INDEX_NAMES = ("answer_idx", "answer_index", "correct_index", "label")

Options = list[tuple[str, str]]


def read_options(value: object, name: str) -> Options:
    """Label and text of each option; an empty list where the field holds none.

    Args:
        value: a list of texts; of {key, value}; an object of label and text; an object of the
            lists "label" and "text"; or a text with one lettered option on each line.
        name: the field.

    Raises:
        ShapeError: the field holds something else.
    """
    value = parsed(value)
    if is_blank(value):
        return []
    if isinstance(value, str):
        value = value.strip().splitlines()
        if not all(found and found[1].upper() == letter for found, letter in _lettered(value)):
            raise malformed(f"the text in {name!r} does not have its options on lines A., B., ...")
    if isinstance(value, dict) and all(isinstance(value.get(k), list) for k in ("label", "text")):
        labels, texts = value["label"], value["text"]
        if len(labels) != len(texts):
            raise malformed(f"{name!r} has {len(labels)} labels for {len(texts)} texts")
        return _trimmed(list(zip(labels, texts, strict=True)), name)
    if isinstance(value, dict):
        return _trimmed(list(value.items()), name)
    if not isinstance(value, list):
        raise malformed(f"the field {name!r} holds {kind_of(value)}, not a list of options")
    if isinstance(value[0], dict):
        return _trimmed([_labelled(item, name) for item in value], name)
    return from_texts(value, name)


def from_texts(texts: list, name: str) -> Options:
    """Label and text of options in order; their own letters are taken off."""
    texts = [text_of(text, f"option {number} of {name}") for number, text in enumerate(texts, 1)]
    filled = [text for text in texts if not is_blank(text)]
    found = _lettered(filled)
    if filled and all(prefix and prefix[1].upper() == letter for prefix, letter in found):
        texts = [PREFIX.fullmatch(text)[2] if not is_blank(text) else text for text in texts]
    if len(texts) > len(LETTERS):
        raise malformed(f"{name!r} has {len(texts)} options, more than there are letters")
    return _trimmed(list(zip(LETTERS, texts, strict=False)), name)


def choose(
    question: str, options: Options, answers: dict[str, object]
) -> tuple[Messages, list[str]]:
    """Question and right answer as messages, and the texts of all options.

    Args:
        question: the question without its options.
        options: label and text of each.
        answers: by field name, what says which option is right; where several fields do, they
            must agree.

    Raises:
        ShapeError: no option or several are right, or it cannot be known which.
    """
    if len(options) < 2:
        raise malformed("has one option only" if options else "has no options")
    texts = [text for _, text in options]
    found = {name: _right(answer, options, name) for name, answer in answers.items()}
    right = {index for index in found.values() if index is not None}
    if len(right) > 1:
        raise malformed(f"the fields {', '.join(map(repr, found))} name different options")
    answer = texts[right.pop()] if right else ""
    if answer and texts.count(answer) > 1:
        raise malformed(f"two options read {answer!r}, which is the right answer")
    return [("user", question), ("assistant", answer)], texts


def _right(answer: object, options: Options, name: str) -> int | None:
    """Position of the option that an answer names, None where the answer is empty."""
    if not (isinstance(answer, str) and answer.strip() in (option for _, option in options)):
        answer = parsed(answer)
    if isinstance(answer, list):
        if len(answer) > 1:
            raise malformed(
                f"the field {name!r} names {len(answer)} right options; one can be kept"
            )
        answer = answer[0] if answer else None
    if is_blank(answer):
        return None
    if not isinstance(answer, str) and not is_number(answer):
        raise malformed(f"the field {name!r} holds {kind_of(answer)}, not an option")
    text = str(answer).strip()
    bare = unicodedata.normalize("NFKC", text)
    by_text = [index for index, (_, option) in enumerate(options) if option.strip() == text]
    label = LABEL.fullmatch(bare)
    by_label = _labelled_as(label[1], options) if label else []
    if not by_label and re.fullmatch(r"\d+(\.0)?", bare):
        return _counted(int(float(bare)), isinstance(answer, str), by_text, options, name)
    if by_label and by_text and by_label[0] not in by_text:
        raise malformed(
            f"the answer {text!r} in {name!r} is the label of one option and the text of another"
        )
    if found := by_text or by_label:
        return found[0]
    prefix = PREFIX.fullmatch(text)
    found = _labelled_as(prefix[1], options) if prefix else []
    if found and options[found[0]][1].strip() == prefix[2].strip():
        return found[0]
    letters = SEPARATORS.sub("", bare)
    if len(letters) > 1 and all(_labelled_as(letter, options) for letter in letters):
        raise malformed(f"the answer {text!r} in {name!r} names several options; one can be kept")
    raise malformed(f"the answer {text[:80]!r} in {name!r} is none of the options")


def _counted(number: int, is_text: bool, by_text: list[int], options: Options, name: str) -> int:
    """Position of the option that a number stands for."""
    if name.strip().casefold() in INDEX_NAMES:
        if number >= len(options):
            raise malformed(f"{name!r} is {number}, but the {len(options)} options count from 0")
        return number
    # a number in a text is what the option reads; one that is a number may count the options
    meant = {index for index in (number, number - 1) if 0 <= index < len(options)}
    if by_text and (is_text or not meant - set(by_text)):
        return by_text[0]
    if not meant:
        raise malformed(f"the answer {number} in {name!r} is none of the options")
    raise malformed(
        f"the answer {number} in {name!r} may count the options from 0 or from 1. Give the "
        f"letter or the text, or name the field {INDEX_NAMES[0]} if it counts from 0"
    )


def _labelled_as(label: str, options: Options) -> list[int]:
    return [index for index, (own, _) in enumerate(options) if own.casefold() == label.casefold()]


def _lettered(texts: list) -> list[tuple[re.Match | None, str]]:
    """For each text its match of PREFIX, and the letter that it has by its place."""
    return [
        (PREFIX.fullmatch(text) if isinstance(text, str) else None, letter)
        for text, letter in zip(texts, LETTERS, strict=False)
    ]


def _labelled(item: object, name: str) -> tuple[object, object]:
    if isinstance(item, dict):
        label = next((key for key in LABEL_KEYS if key in item), None)
        text = next((key for key in TEXT_KEYS if key in item), None)
        if label and text:
            return item[label], item[text]
    raise malformed(f"an option of {name!r} has no label and text: {str(plain(item))[:80]}")


def _trimmed(options: list[tuple[object, object]], name: str) -> Options:
    """Options as texts, without blank ones at the end: tables have columns for the most options."""
    read = [
        (text_of(label, f"label of {name}").strip(), text_of(text, f"option {label} of {name}"))
        for label, text in options
    ]
    while read and is_blank(read[-1][1]):
        read.pop()
    if blank := [label for label, text in read if is_blank(text)]:
        raise malformed(f"option {blank[0]} of {name!r} is empty, but not the ones after it")
    return read
