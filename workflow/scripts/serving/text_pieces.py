"""Text as it grows: tokens to text without broken characters, and text up to a stop word."""

from collections.abc import Sequence

BROKEN = "\N{REPLACEMENT CHARACTER}"


class Detokenizer:
    """Turns token ids into text as they come; the pieces together are the text of all ids.

    A token is decoded with those before it, because a tokenizer may write it otherwise at the
    beginning of a text, and it is held back while it ends within a character.
    """

    def __init__(self, tokenizer) -> None:
        self._tokenizer = tokenizer
        # not `skip_special_tokens`: to some the bytes of a rare character are special tokens, too
        self._unseen = frozenset(tokenizer.all_special_ids)
        self._ids: list[int] = []
        self._context = self._done = 0  # ids before `done` are given out, those from `context` on
        # are decoded once more with the next ones

    def add(self, token: int) -> str:
        """The text that is whole with this token; may be empty."""
        if token in self._unseen:
            return ""
        self._ids.append(token)
        text = self._decode(self._ids[self._context :])
        if text.endswith(BROKEN):
            return ""
        return self._give(text)

    def rest(self) -> str:
        """What was held back, at the end of an answer."""
        return self._give(self._decode(self._ids[self._context :]))

    def _give(self, text: str) -> str:
        before = self._decode(self._ids[self._context : self._done])
        self._context, self._done = self._done, len(self._ids)
        return text[len(before) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)


class StopWords:
    """Lets text through up to the first of some words; holds back what may become one."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = [word for word in words if word]
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """The text that can be shown now."""
        if not self._words or self.found:
            return "" if self.found else text
        self._held += text
        places = [place for word in self._words if (place := self._held.find(word)) >= 0]
        if places:
            self.found, shown, self._held = True, self._held[: min(places)], ""
            return shown
        keep = max(
            length
            for word in self._words
            for length in range(len(word))
            if self._held.endswith(word[:length])
        )
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def rest(self) -> str:
        """What was held back and did not become a stop word."""
        held, self._held = self._held, ""
        return held
