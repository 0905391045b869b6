"""A question and its answer in one text: by the patterns of the source, or parted by an arrow."""

import re

from entry import SourceError

from .mapping import names_of

# "->" first: "→" also occurs inside answers ("广州→武汉") of documents that part pairs by "->".
# Word turns a typed "-->" into an arrow and may turn the hyphen into a dash.
ARROWS = (re.compile(r"[-‐‑–—－]+\s?[>＞]"), re.compile("[→⟶➔➜]"))
# Belongs to the delimiter, not to the question; 「？」 is part of the question.
COLON = re.compile(r"\s*[：:]?\s*$")


def split_pair(text: str) -> tuple[str, str] | None:
    """Part "question DELIMITER answer", or None where there is no delimiter.

    >>> split_pair("天安门在哪里？->北京")
    ('天安门在哪里？', '北京')
    >>> split_pair("安徽的省会：->合肥")
    ('安徽的省会', '合肥')
    """
    for arrow in ARROWS:
        if found := arrow.search(text):
            return COLON.sub("", text[: found.start()]).strip(), text[found.end() :].strip()
    return None


class PairFinder:
    """Finds the pair in a text: `patterns:` of the source in their order, then arrows."""

    def __init__(self, options: dict):
        """Compile the patterns.

        Raises:
            SourceError: a pattern is no regular expression or names no question and answer.
        """
        self.question, self.answer = names_of(options)
        self._patterns = [_compiled(pattern) for pattern in options.get("patterns") or []]

    @property
    def expected(self) -> str:
        """What a text that is no pair lacks."""
        arrow = "no arrow such as -> or →"
        return f"matches none of `patterns:` and has {arrow}" if self._patterns else arrow

    def matches_pattern(self, text: str) -> bool:
        """Whether a pattern of the source fits: it goes before all that is built in."""
        return any(pattern.search(text) for pattern in self._patterns)

    def find(self, text: str) -> dict[str, str] | None:
        """The fields of a text, None where it is no pair; further named groups are fields too."""
        for pattern in self._patterns:
            if found := pattern.search(text):
                groups = {name: group.strip() for name, group in found.groupdict("").items()}
                fields = {self.question: groups.pop("question"), self.answer: groups.pop("answer")}
                return fields | {name: group for name, group in groups.items() if group}
        if pair := split_pair(text):
            return dict(zip((self.question, self.answer), pair, strict=True))
        return None


def _compiled(pattern: str) -> re.Pattern:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SourceError(
            f"`patterns:` in corpus.sources: {pattern!r} is no regular expression ({error})."
        ) from error
    if missing := {"question", "answer"} - compiled.groupindex.keys():
        raise SourceError(
            f"`patterns:` in corpus.sources: {pattern!r} has no group named "
            f"{' and none named '.join(sorted(missing))}. Write them as (?P<question>...) and "
            "(?P<answer>...)."
        )
    return compiled
