"""The shape of a row by the names of its fields.

The first of these that fits decides, whatever else the row has; the rest goes to meta.

1. preference: `chosen` and `rejected` (or response_chosen, chosen_response, ...), the prompt in
   prompt, question, query, instruction (+ input), conversations, messages, conversation, or in
   the answers themselves
2. conversations: `conversation` (XTuner), `messages` (OpenAI), `conversations` (ShareGPT,
   ms-agent), `chat` (MOSS), `plain_text` (MOSS)
3. multiple choice: a question, options (one field, or the fields A, B, C, ...) and an answer;
   where a row has no options in them it is a question with an answer
4. Alpaca: `instruction` and `output` (or response, answer), with input or context
5. a question and its answer, by the first two names of PAIRS that are both there
6. plain text: one of `text`, `content`, `document`, 正文, beside no field of the above

Names are compared without case, width, and ":" or "*" around them; a space or "-" counts as "_".
A field `system` becomes a system message, `history` earlier turns. An empty question or answer is
left to cleaning, which has a reason for it.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable
from functools import partial

from . import choice, moss
from .content import Content, Messages, ShapeError, is_blank, malformed, meta_of, parsed, text_of
from .preference import preference
from .turns import check_chat, history_of, read_turns

Builder = Callable[[dict], Content]

CHOSEN = ("chosen", "response_chosen", "chosen_response", "answer_chosen", "answer_zh_chosen")
REJECTED = tuple(name.replace("chosen", "rejected") for name in CHOSEN)
PROMPTS = ("prompt", "question", "query", "instruction", "input", "问题", "题目", "提问")
TURNS = ("conversation", "messages", "conversations", "dialogue", "dialog", "chat", "plain_text")
SYSTEMS = ("system", "system_prompt", "meta_instruction")
OPTIONS = ("options", "option", "choices", "选项", "备选项", "候选答案")
# "{}" is a letter; the first set with A and B that a row has
# "{}" is a letter; the first set with A and B that a row has
OPTION_COLUMNS = (
    "{}",
    "选项{}",
    "{}选项",
    "option_{}",
    "option{}",
    "choice_{}",
    "choice{}",
    "op{}",
)
ALPACA_OUTPUTS = ("output", "response", "answer", "completion", "target")
ALPACA_INPUTS = ("input", "context")
CHINESE_QUESTIONS = (
    *("问题", "题目", "题干", "试题", "提问", "标准问题", "标准问", "用户问题", "问题内容"),
    *("题目内容", "题干内容", "试题内容", "问题描述", "问"),
)
CHINESE_ANSWERS = (
    *("答案", "正确答案", "标准答案", "参考答案", "回答", "答复", "回复", "标准回答"),
    *("回答内容", "答案内容", "解答", "答"),
)
PAIRS = (
    *(("question", "answer"), ("query", "response"), ("prompt", "response")),
    *(("prompt", "completion"), ("ask", "answer"), ("input", "output"), ("q", "a")),
    *itertools.product(CHINESE_QUESTIONS, CHINESE_ANSWERS),
    *(("question", "response"), ("question", "output"), ("question", "completion")),
    *(("query", "answer"), ("prompt", "answer"), ("prompt", "output"), ("input", "response")),
    *(("input", "answer"), ("user", "assistant"), ("human", "assistant")),
)
QUESTIONS = tuple(dict.fromkeys(question for question, _ in PAIRS))
ANSWERS = tuple(dict.fromkeys(answer for _, answer in PAIRS))
CHOICE_QUESTIONS = (
    *("question", *CHINESE_QUESTIONS, "stem", "question_stem", "query", "prompt", "ask"),
)
CHOICE_ANSWERS = (
    *("answer", "answerkey", "answer_key", "correct_answer", "correct_option", "correct", "target"),
    *(*CHINESE_ANSWERS, "正确选项"),
)
TEXTS = ("text", "content", "document", "正文")
# Beside a text these say that it is one half of something.
NOT_BESIDE_TEXT = {*QUESTIONS, *ANSWERS, "summary", "摘要", "translation", "译文", "target"}
# Fields that say which row it is; beside them a lone question is a question without its answer.
ABOUT = {"id", "uid", "index", "no", "source", "category", "序号", "编号", "分类", "来源", ""}

KNOWN = (
    "conversation, messages, conversations, chat, plain_text; question + answer and the like; "
    "instruction + output; prompt + chosen + rejected; question + options + answer; text"
)


class Names:
    """The fields of a row by their folded names, and which of them a shape has used."""

    def __init__(self, names: tuple[str, ...]):
        self.all = names
        self.used: set[str] = set()
        self._by_fold: dict[str, str] = {}
        for name in names:
            fold = _folded(str(name))
            if fold == name or fold not in self._by_fold:
                self._by_fold[fold] = name

    def __contains__(self, fold: str) -> bool:
        return fold in self._by_fold

    def __iter__(self):
        return iter(self._by_fold)

    def first(self, folds: tuple[str, ...]) -> str | None:
        """The first field there is of these, counted as used."""
        fold = next((fold for fold in folds if fold in self._by_fold), None)
        return self.take(fold) if fold else None

    def take(self, fold: str) -> str:
        """The field of this name, counted as used."""
        self.used.add(self._by_fold[fold])
        return self._by_fold[fold]

    def rest(self) -> tuple[str, ...]:
        """The fields not used."""
        return tuple(name for name in self.all if name not in self.used)


def _folded(name: str) -> str:
    """The name without what people put around headings: "*题目：", "Option A", "选项Ａ"."""
    folded = unicodedata.normalize("NFKC", name).strip(" \t\r\n:*").casefold()
    return re.sub(r"[\s-]+", "_", folded)


def recognise(fields: tuple[str, ...]) -> Builder:
    """Function that makes the content of rows with these fields, or raises ShapeError."""
    names = Names(fields)
    if (names.first(CHOSEN) is None) != (names.first(REJECTED) is None):
        return partial(_unknown, Names(fields))
    for shape in (_preference, _turns, _choice, _alpaca, _pair, _plain_text):
        names = Names(fields)
        if build := shape(names):
            return _guarded(build, Names(fields))
    return partial(_unknown, Names(fields))


def _unknown(names: Names, row: dict) -> Content:
    del row
    found = ", ".join(names.all[:20]) or "none"
    hint = ""
    question, answer = names.first(QUESTIONS), names.first(ANSWERS)
    if half_pair := names.first(CHOSEN + REJECTED):
        hint = f" {half_pair!r} is one half of a preference, whose other half is missing."
    elif bool(question) != bool(answer):
        half, other = (question, "answer") if question else (answer, "question")
        hint = f" {half!r} is known, but no field for the {other}."
    raise ShapeError(
        "unknown_shape",
        f"the fields {found} are of no known shape.{hint} Known: {KNOWN}. Say which field is what "
        "in corpus.sources, for example `question: FIELD` and `answer: FIELD`",
    )


# --- fields that change what the others mean -------------------------------------------------


def _guarded(build: Builder, names: Names) -> Builder:
    """The builder behind checks of fields that a text cannot stand for."""
    guards = []
    for fold in ("images", "image", "videos", "audios"):
        if fold in names:
            guards.append((names.take(fold), is_blank, "holds pictures or sound beside the text"))
    for fold in ("kto_tag", "label"):
        if fold in names:
            reason = "marks the answer as a bad one"
            guards.append((names.take(fold), lambda value: value is not False, reason))
    if not guards:
        return build

    def guarded(row: dict) -> Content:
        for name, is_harmless, reason in guards:
            if not is_harmless(row[name]):
                raise malformed(f"the field {name!r} {reason}")
        return build(row)

    return guarded


# --- shapes, in the order in which they are tried --------------------------------------------


def _preference(names: Names) -> Builder | None:
    chosen, rejected = names.first(CHOSEN), names.first(REJECTED)
    if not chosen or not rejected:
        return None
    system, history = names.first(SYSTEMS), names.first(("history",))
    prompt = names.first(PROMPTS)
    extra = None
    if prompt and _folded(prompt) == "instruction":
        extra = names.first(ALPACA_INPUTS)
    turns = None if prompt else names.first(TURNS)
    rest = names.rest()

    def build(row: dict) -> Content:
        messages: Messages = []
        if turns:
            messages, _ = read_turns(row[turns], turns)
        elif prompt:
            value = parsed(row[prompt]) if not extra else row[prompt]
            if isinstance(value, list) and value and isinstance(value[0], dict):
                messages, _ = read_turns(value, prompt)
            else:
                asked = _joined(row, prompt, extra)
                messages = [("user", asked)]
        messages = _with_context(messages, row, system, history)
        sides = {chosen: row[chosen], rejected: row[rejected]}
        return preference(messages, prompt or turns or "", sides, meta_of(row, rest))

    return build


def _turns(names: Names) -> Builder | None:
    turns = names.first(TURNS)
    if not turns:
        return None
    is_plain = _folded(turns) == "plain_text"
    system = names.first((*SYSTEMS, "prefix") if is_plain else SYSTEMS)
    # elsewhere it may count messages
    count = names.first(("num_turns",)) if is_plain or _folded(turns) == "chat" else None
    rest = names.rest()

    def build(row: dict) -> Content:
        messages, notes = read_conversation(row[turns], turns, row[count] if count else None)
        if system:
            messages = _with_context(messages, row, system, None)
        if messages[0] == ("user", "") and is_pretraining(messages, row[turns]):
            return Content("text", text=messages[1][1], meta=meta_of(row, rest))
        meta = meta_of(row, rest)
        if notes:
            meta[turns] = notes
        return Content("chat", check_chat(messages, turns), meta=meta)

    return build


def read_conversation(value: object, name: str, count: object) -> tuple[Messages, object]:
    """Messages of a conversation in any form, and what else it holds.

    Args:
        value: the field `name`: a list of turns, the object or the text of MOSS.
        count: the number of turns that the row states, used where the form is that of MOSS.

    Raises:
        ShapeError: the field holds nothing of the kind.
    """
    value = parsed(value)
    if isinstance(value, dict):
        return moss.read_chat(value, name, count)
    if isinstance(value, str):
        return moss.read_plain_text(value, name, count), None
    return read_turns(value, name)


def is_pretraining(messages: Messages, value: object) -> bool:
    """Whether a conversation is XTuner's form of a text to pre-train on: one empty input."""
    if len(messages) != 2 or is_blank(messages[1][1]):
        return False
    value = parsed(value)
    return isinstance(value, list) and "input" in value[0]


def _choice(names: Names) -> Builder | None:
    question = names.first(CHOICE_QUESTIONS)
    answers = [first] if (first := names.first(CHOICE_ANSWERS)) else []
    # a `label` beside an answer may label anything
    indexes = [name for name in choice.INDEX_NAMES if name != "label" or not answers]
    answers += [names.take(fold) for fold in indexes if fold in names]
    options = names.first(OPTIONS)
    columns = [] if options else _option_columns(names)
    if not question or not answers or not (options or columns):
        return None
    system, context = names.first(SYSTEMS), _context(names)
    rest = names.rest()

    def build(row: dict) -> Content:
        _refuse_context(row, context)
        if options:
            found = choice.read_options(row[options], options)
        else:
            found = choice.from_texts([row[name] for name in columns], columns[0])
        asked = text_of(row[question], question)
        meta = meta_of(row, rest)
        if not found:
            said = _open_answer(row[answers[0]], answers[0])
            messages = _with_context([("user", asked), ("assistant", said)], row, system, None)
            return Content("chat", messages, meta=meta)
        messages, texts = choice.choose(asked, found, {name: row[name] for name in answers})
        messages = _with_context(messages, row, system, None)
        return Content("choice", messages, options=texts, meta=meta)

    return build


def _open_answer(value: object, name: str) -> str:
    """The answer to a question without options, where it is no trace of options that are lost."""
    said = text_of(value, name)
    if _folded(name) in choice.INDEX_NAMES or re.fullmatch(r"\s*[A-Ha-h]\s*", said):
        raise malformed(
            f"the answer {said!r} in {name!r} names an option, but there are no options"
        )
    return said


def _option_columns(names: Names) -> list[str]:
    for pattern in OPTION_COLUMNS:
        columns = []
        for letter in choice.LETTERS.lower():
            if pattern.format(letter) not in names:
                break
            columns.append(pattern.format(letter))
        if len(columns) > 1:
            return [names.take(fold) for fold in columns]
    return []


def _alpaca(names: Names) -> Builder | None:
    question, answer = names.first(("instruction",)), names.first(ALPACA_OUTPUTS)
    if not question or not answer:
        return None
    return _pair_builder(names, question, names.first(ALPACA_INPUTS), answer)


def _pair(names: Names) -> Builder | None:
    for question, answer in PAIRS:
        if question in names and answer in names:
            return _pair_builder(names, names.take(question), None, names.take(answer))
    question, answer = names.first(QUESTIONS), names.first(ANSWERS)
    if bool(question) != bool(answer) and all(fold in ABOUT for fold in _unused(names)):
        return _pair_builder(names, question, None, answer)
    return None


def _pair_builder(names: Names, question: str | None, extra: str | None, answer: str | None):
    """Builder of question and answer; one of the two may be missing from the rows."""
    system, history = names.first(SYSTEMS), names.first(("history",))
    context = None if extra else _context(names)
    rest = names.rest()

    def build(row: dict) -> Content:
        _refuse_context(row, context)
        asked = _joined(row, question, extra) if question else ""
        said = text_of(row[answer], answer) if answer else ""
        messages = [("user", asked), ("assistant", said)]
        if system or history:
            messages = check_chat(_with_context(messages, row, system, history), "history")
        return Content("chat", messages, meta=meta_of(row, rest))

    return build


def _plain_text(names: Names) -> Builder | None:
    found = [fold for fold in TEXTS if fold in names]
    if len(found) != 1 or any(fold in NOT_BESIDE_TEXT for fold in names):
        return None
    text = names.take(found[0])
    rest = names.rest()
    return lambda row: Content("text", text=text_of(row[text], text), meta=meta_of(row, rest))


# --- parts of several shapes -----------------------------------------------------------------


def _unused(names: Names) -> list[str]:
    unused = Names(names.rest())
    return list(unused)


def _joined(row: dict, question: str, extra: str | None) -> str:
    """The question, with what it is about on the lines below it."""
    asked = text_of(row[question], question)
    if not extra:
        return asked
    about = text_of(row[extra], extra)
    if is_blank(about):
        return asked
    return about if is_blank(asked) else f"{asked}\n{about}"


def _with_context(
    messages: Messages, row: dict, system: str | None, history: str | None
) -> Messages:
    """The messages behind the earlier turns and the system message of the row."""
    if history:
        earlier = history_of(row[history], history)
        begins_with_system = messages[:1] and messages[0][0] == "system"
        messages = (
            messages[:1] + earlier + messages[1:] if begins_with_system else earlier + messages
        )
    if not system:
        return messages
    text = text_of(row[system], system)
    if is_blank(text) or (messages and messages[0] == ("system", text)):
        return messages
    if messages and messages[0][0] == "system" and not is_blank(messages[0][1]):
        raise malformed(f"the field {system!r} is another system message than the first turn")
    if messages and messages[0][0] == "system":
        messages = messages[1:]
    return [("system", text), *messages]


def _context(names: Names) -> str | None:
    return names.first(("context", "passage", "材料", "背景材料"))


def _refuse_context(row: dict, context: str | None) -> None:
    """A question about a passage makes no sense without it, and where it belongs is not known."""
    if context and not is_blank(row[context]):
        raise ShapeError(
            "unknown_shape",
            f"the field {context!r} may be needed to understand the question. Say so in "
            f'corpus.sources: `question: "{{{context}}}\\n{{QUESTION}}"` and `answer: ANSWER` with '
            "the names of your fields, or leave it out of `question:`",
        )
