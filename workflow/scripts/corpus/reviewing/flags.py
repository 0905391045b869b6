"""What deserves a person's look in the rows of a review, and what may be done about it."""

from array import array
from collections import Counter
from collections.abc import Iterable

from cleaning.rules import Rules
from normalise import digest, key_form

from .previous import Item
from .sheet import with_pair

LABELS = {
    "malformed_row": "无法解析",
    "no_delimiter": "不是问答",
    "undecodable": "乱码",
    "unknown_shape": "字段不明",
    "empty_question": "问题为空",
    "empty_answer": "答案为空",
    "advert": "广告",
    "too_short_question": "问题过短",
    "too_short_answer": "答案过短",
    "too_long_question": "问题过长",
    "too_long_answer": "答案过长",
    "language": "语言不符",
    "duplicate": "重复",
    "conflicting_answers": "答案冲突",
    "repaired": "乱码已修复",
    "swapped": "问答颠倒",
    "edited": "沿用修改",
}
RESCUE = "填写 question 和 answer 即可采用 / fill in question and answer to use it"
ADVICE = {
    "empty_question": "填写问题，或删除 / fill in the question, or delete",
    "empty_answer": "填写答案，或删除 / fill in the answer, or delete",
    "advert": "删去广告文字 / take the advert out",
    "too_short_question": "补充完整，或删除 / complete it, or delete",
    "too_short_answer": "补充完整，或删除 / complete it, or delete",
    "too_long_question": "缩短，或分成几行 / shorten it, or make several lines of it",
    "too_long_answer": "缩短，或分成几行 / shorten it, or make several lines of it",
    "repaired": "请核对文字 / compare the text with the source",
    "swapped": "答案是问句 / the answer is a question",
}
REJECTED, DOUBTFUL, EDITED = "rejected", "doubtful", "edited"
# So many answers to one question are listed, and so much of each.
LISTED = 4
QUOTED = 200


class Flags:
    """Flags and suggestions for all rows of a review, from hashes of their texts."""

    def __init__(self, items: Iterable[Item], rules: Rules):
        """Look at all items; they have to come in the same order every time.

        Args:
            items: to be iterated twice.
            rules: what makes a row unusable.
        """
        self._problems: dict[int, tuple[str, str]] = {}
        self._numbers, self._questions, self._pairs = array("Q"), array("Q"), array("Q")
        self._first: dict[int, int] = {}  # pair -> position of its first row
        self._rows_of: Counter = Counter()  # pair -> how many rows have it
        self._pairs_of: dict[int, int | list[int]] = {}  # question -> its pair, or pairs
        for position, item in enumerate(items):
            self._add(position, item, rules)
        self._answers = self._conflicting(items)
        self._if_conflicting = REJECTED if rules.conflicting_answers == "reject" else DOUBTFUL

    def __len__(self) -> int:
        return len(self._numbers)

    def _add(self, position: int, item: Item, rules: Rules) -> None:
        edited = item.shown != item.pair
        problem = rules.problem(with_pair(item.row, *item.shown) if edited else item.row)
        if problem:
            self._problems[position] = problem
        self._numbers.append(item.number or 0)
        if problem or item.delete:
            self._questions.append(0)
            self._pairs.append(0)
            return
        question, answer = map(key_form, item.shown)
        question_key, pair = int(digest(question), 16), int(digest(question, answer), 16)
        self._questions.append(question_key)
        self._pairs.append(pair)
        self._rows_of[pair] += 1
        if self._first.setdefault(pair, position) == position:
            known = self._pairs_of.get(question_key)
            if known is None:
                # a bare number where a list of one would take eight times the memory
                self._pairs_of[question_key] = pair
            elif isinstance(known, list):
                known.append(pair)
            else:
                self._pairs_of[question_key] = [known, pair]

    def _conflicting(self, items: Iterable[Item]) -> dict[int, str]:
        """The answers that contradict one another, by pair."""
        several = (pairs for pairs in self._pairs_of.values() if isinstance(pairs, list))
        positions = {self._first[pair]: pair for pairs in several for pair in pairs}
        if not positions:
            return {}
        return {
            positions[position]: item.shown[1]
            for position, item in enumerate(items)
            if position in positions
        }

    def of(self, position: int, item: Item) -> tuple[list[str], list[str], str | None]:
        """Flags, suggestions and the gravest of REJECTED, DOUBTFUL and EDITED, None if none."""
        flags, suggestions, gravity = [], [], None
        if item.shown != item.pair:
            flags.append("edited")
            gravity = EDITED
        elif item.row["repaired"]:
            flags.append("repaired")
            suggestions.append(ADVICE["repaired"])
            gravity = DOUBTFUL
        if position in self._problems:
            reason, detail = self._problems[position]
            flags.append(reason)
            unread = item.row["reason"] and item.shown == item.pair
            suggestions += filter(None, [detail, RESCUE if unread else ADVICE.get(reason)])
            gravity = REJECTED
        elif self._pairs[position]:
            if found := self._conflict(position):
                flags.append("conflicting_answers")
                suggestions.append(found)
                gravity = self._if_conflicting
            if (first := self._first[self._pairs[position]]) != position:
                flags.append("duplicate")
                same = self._name(first)
                suggestions.append(f"与 {same} 相同，可删除 / same as {same}, may be deleted")
                gravity = REJECTED
            if _is_question(item.shown[1]) and not _is_question(item.shown[0]):
                flags.append("swapped")
                suggestions.append(ADVICE["swapped"])
                gravity = gravity or DOUBTFUL
        return [f"{flag} {LABELS.get(flag, '')}".strip() for flag in flags], suggestions, gravity

    def _conflict(self, position: int) -> str | None:
        pairs = self._pairs_of[self._questions[position]]
        if not isinstance(pairs, list):
            return None
        ranked = sorted(pairs, key=lambda pair: (-self._rows_of[pair], self._first[pair]))
        most, total = self._rows_of[ranked[0]], sum(self._rows_of[pair] for pair in pairs)
        if most > self._rows_of[ranked[1]]:
            return (
                f"多数答案（{most}/{total}）/ the answer of most rows ({most} of {total}): "
                f"{self._quote(ranked[0])}"
            )
        named = "; ".join(map(self._quote, ranked[:LISTED]))
        more = f"; + {len(ranked) - LISTED}" if len(ranked) > LISTED else ""
        return f"请选定一个答案 / decide for one answer: {named}{more}"

    def _quote(self, pair: int) -> str:
        answer = self._answers[pair]
        text = answer if len(answer) <= QUOTED else f"{answer[:QUOTED]}…"
        return f"“{text}” ({self._name(self._first[pair])})"

    def _name(self, position: int) -> str:
        number = self._numbers[position]
        return f"row {number}" if number else "新增行 / an added row"


def _is_question(text: str) -> bool:
    return text.rstrip().endswith(("?", "？"))
