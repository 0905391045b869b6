"""Multiple-choice questions whose wrong options are answers to similar questions."""

from collections.abc import Iterator

import numpy as np
from normalise import digest, normalise

LETTERS = "ABCD"
# Candidates for wrong options are this many questions at most: each question is compared with all
# of them, so the effort grows with the number of questions and no faster.
POOL = 8_000
POOL_KEY = "pool"  # they are those of the smallest hashes of this and their ids
# A question of the same wording about something else has a similarity of about 0.7, one of another
# kind less than 0.3: what the answers look like decides between questions that are about equally
# similar, and chance sees to it that the same few options are not used again and again.
LIKENESS_WEIGHT = 0.3
NOISE_WEIGHT = 0.1
# If no other question is more similar than this, none has the same wording: then options count for
# looking like the answer (script, length, the last character: 1949年, 山西省), and their questions
# for how they begin and end, where Chinese and English have what is asked for (who, 哪一年, 吗).
SAME_WORDING = 0.5
LOOKS_WEIGHT = 1.0
EDGE = 6
# Different words for yes, and for no, would be two right options.
YES = {
    *("是", "是的", "对", "对的", "能", "可", "可以", "会", "有", "正确", "真"),
    *("yes", "true", "correct"),
}
NO = {
    *("不是", "否", "不对", "错", "错误", "不能", "不可", "不可以", "不会", "没有", "不正确", "假"),
    *("no", "false", "incorrect"),
}
# The most similar questions often share answers; so many are looked at before all of them are.
FIRST_LOOK = 64


def bigrams(text: str) -> list[str]:
    """The distinct pairs of neighbouring characters, edges included."""
    padded = f"^{text}$"
    return sorted({padded[index : index + 2] for index in range(len(padded) - 1)})


class Similarity:
    """Dice coefficient of character bigrams between any text and a fixed pool of texts.

    What questions of one kind have in common ("...的首都是哪里") counts as much as what tells
    them apart, so no weighting by rarity: the aim is the same kind of answer, not the same topic.
    """

    def __init__(self, pool: list[str]):
        postings: dict[str, list[int]] = {}
        sizes = []
        for number, text in enumerate(pool):
            parts = bigrams(text)
            sizes.append(len(parts))
            for part in parts:
                postings.setdefault(part, []).append(number)
        self._sizes = np.array(sizes, dtype=np.float32)
        self._postings = {part: np.array(row, np.int32) for part, row in postings.items()}

    def to(self, text: str) -> np.ndarray:
        """Similarity of a text to each one of the pool, shape (pool,), each in [0, 1]."""
        parts = bigrams(text)
        rows = [self._postings[part] for part in parts if part in self._postings]
        hits = np.concatenate(rows) if rows else np.empty(0, np.int32)
        shared = np.bincount(hits, minlength=len(self._sizes))
        return 2 * shared / (self._sizes + len(parts))


class Likeness:
    """How alike in form an answer is to each of a pool: same script, similar length."""

    def __init__(self, pool: list[str]):
        self._lengths = np.array([len(text) for text in pool], dtype=np.float32)
        self._scripts = np.array([_script(text) for text in pool])
        self._ends = np.array([text[-1:] for text in pool])

    def to(self, text: str) -> np.ndarray:
        """Likeness of a text to each one of the pool, shape (pool,), each in [0, 1]."""
        apart = np.abs(self._lengths - len(text)) / (self._lengths + len(text))
        return 0.5 * (1 - apart) + 0.5 * (self._scripts == _script(text))

    def end_of(self, text: str) -> np.ndarray:
        """Whether each of the pool ends with the same character as a text, shape (pool,)."""
        return self._ends == text[-1:]


def _script(text: str) -> str:
    if any(character.isdigit() for character in text):
        return "number"
    return "ascii" if text.isascii() else "other"


def _edges(text: str) -> str:
    """How a text begins and ends."""
    return text if len(text) <= 2 * EDGE else f"{text[:EDGE]} {text[-EDGE:]}"


def _noise(keys: np.ndarray, text: str) -> np.ndarray:
    """Stable pseudo-random numbers in [0, 1), one per key, others for each text."""
    mixed = (keys ^ np.uint64(int(digest(text), 16))) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(40)) / np.float32(2**24)


def multiple_choice(questions: list[dict], seed: int) -> Iterator[dict]:
    """Multiple-choice form of questions; without those that lack three wrong options.

    The wrong options of a question are answers to other questions of the list, of the most
    similar ones first; no two options are the same or part of one another after normalisation.
    Only the list itself is drawn from: if it is the held-out one, none of the four options is an
    answer that was trained on, and having seen an option gives nothing away.

    Args:
        questions: each {"id", "question", "answer"}.
        seed: draws the order of the options.

    Yields:
        {"id", "question", "A", "B", "C", "D", "answer"}, where answer is the letter.
    """
    pool = sorted(questions, key=lambda item: digest(POOL_KEY, item["id"]))[:POOL]
    answers = np.array([normalise(item["answer"]) for item in pool])
    to_question = Similarity([normalise(item["question"]) for item in pool])
    to_edges = Similarity([_edges(normalise(item["question"])) for item in pool])
    to_answer = Likeness(answers)
    keys = np.array([int(digest("noise", seed, item["id"]), 16) for item in pool], np.uint64)
    for item in questions:
        right = normalise(item["answer"])
        question = normalise(item["question"])
        similarity, likeness = to_question.to(question), to_answer.to(right)
        scores = similarity + LIKENESS_WEIGHT * likeness + NOISE_WEIGHT * _noise(keys, item["id"])
        if not (similarity[answers != right] > SAME_WORDING).any():
            looks = likeness + 0.5 * to_answer.end_of(right) + to_edges.to(_edges(question))
            scores += LOOKS_WEIGHT * looks
        wrong = _wrong_options(scores, answers, right)
        if len(wrong) == len(LETTERS) - 1:
            texts = [item["answer"], *(pool[number]["answer"] for number in wrong)]
            order = sorted(range(4), key=lambda n: digest("option", seed, item["id"], texts[n]))
            yield {
                "id": item["id"],
                "question": item["question"],
                **{letter: texts[n] for letter, n in zip(LETTERS, order, strict=True)},
                "answer": LETTERS[order.index(0)],
            }


def _wrong_options(scores: np.ndarray, answers: list[str], right: str) -> list[int]:
    if len(scores) > FIRST_LOOK:
        best = np.argpartition(-scores, FIRST_LOOK)[:FIRST_LOOK]
        chosen = _distinct(best[np.argsort(-scores[best], kind="stable")], answers, right)
        if len(chosen) == len(LETTERS) - 1:
            return chosen
    return _distinct(np.argsort(-scores, kind="stable"), answers, right)


def _meaning(answer: str) -> str:
    """A normalised answer, or what stands for all that say yes or no."""
    return "\x06" if answer in YES else "\x15" if answer in NO else answer


def _distinct(order: np.ndarray, answers: list[str], right: str) -> list[int]:
    taken, chosen = [_meaning(right)], []
    for number in order:
        answer = _meaning(answers[number])
        # "北京" beside "北京市" would be two right options
        if not any(answer in other or other in answer for other in taken):
            taken.append(answer)
            chosen.append(int(number))
            if len(chosen) == len(LETTERS) - 1:
                break
    return chosen
