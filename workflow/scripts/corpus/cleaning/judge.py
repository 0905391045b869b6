"""Looks at each row by itself: whether it can be used, and its keys to compare it with others.

Most rows are fine, and that is found out for whole columns; a row that might not be is looked at
by `rules.Rules`, which alone decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from files import NAME, flat_messages

from .adverts import Adverts
from .contents import MESSAGE_COLUMNS, all_texts, names, trimmed
from .keys import Keys, keys_of
from .near_duplicates import Signatures, sign
from .rows import Group
from .rules import FINAL, Rules, length_limits
from .split import EITHER, HELDOUT, TRAIN
from .texts import conversion, convert_column

CONTENT_COLUMNS = ["kind", "messages", "chosen", "rejected", "text", "options"]
SIDES = {None: EITHER, "train": TRAIN, "heldout": HELDOUT}


@dataclass(slots=True)
class Judged:
    """What is known of some rows.

    Attributes:
        usable: whether nothing is wrong with a row itself.
        given: the side that the configuration says, of `split`.
        keys: to compare them with others.
    """

    usable: np.ndarray
    given: np.ndarray
    keys: Keys

    @classmethod
    def joined(cls, parts: "list[Judged]") -> "Judged":
        """Several batches as one; they are empty afterwards."""
        keys = {}
        for field in fields(Keys):
            arrays = [getattr(part.keys, field.name) for part in parts]
            for part in parts:  # so that not all is in memory twice
                setattr(part.keys, field.name, None)
            if field.name == "asked_starts":
                sizes = np.concatenate([[0], *map(np.diff, arrays)])
                keys[field.name] = np.cumsum(sizes).astype(np.int64)
            else:
                keys[field.name] = _joined(arrays, DTYPES.get(field.name, np.uint64))
        return cls(
            _joined([part.usable for part in parts], bool),
            _joined([part.given for part in parts], np.uint8),
            Keys(**keys),
        )


DTYPES = {"kinds": np.uint8, "draws": np.float64, "blank": bool}


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays])


Problem = tuple[int, str, str]  # row, reason, detail


class Judge:
    """Judges the rows of a file."""

    def __init__(self, rules: Rules, seed: int, benchmark: bool = False):
        """Judge by rules; of a benchmark all that asks anything is used."""
        self._rules, self._seed, self._benchmark = rules, seed, benchmark
        self._adverts = Adverts(rules.adverts)

    def batches(self, group: Group) -> Iterator[tuple[Judged, list[Problem], Signatures | None]]:
        """Every batch of a row group; rows of problems and signatures count from its start."""
        columns = [*CONTENT_COLUMNS, "side", "reason"]
        reasons = [batch.column("reason") for _, batch in group.batches(["reason"])]
        if any(column.null_count < len(column) for column in reasons):
            columns += ["original", "detail"]
        for _, batch in group.batches(columns):
            yield self._batch(batch)

    def _batch(self, raw: pa.RecordBatch) -> tuple[Judged, list[Problem], Signatures | None]:
        rules = self._rules
        batch = trimmed(raw)
        keys = keys_of(batch, self._seed)
        problems = []
        if self._benchmark:
            usable = batch.column("kind").is_valid().to_numpy(zero_copy_only=False) & ~keys.blank
            suspects = np.empty(0, np.int64)
        else:
            usable = np.ones(len(batch), bool)
            (suspects,) = np.nonzero(self._suspicious(raw, batch, keys))
        for row, content in zip(
            suspects.tolist(), raw.take(pa.array(suspects)).to_pylist(), strict=True
        ):
            if problem := rules.problem(content):
                problems.append((row, problem[0], problem[1] or ""))
        usable[[row for row, _, _ in problems]] = False
        given = np.array([SIDES[side] for side in names(batch.column("side"))], np.uint8)
        signatures = None
        if rules.near_duplicates is not None:
            signatures = sign(all_texts(batch), usable, rules.near_duplicates)
        return Judged(usable, given, keys), problems, signatures

    def _suspicious(self, raw: pa.RecordBatch, batch: pa.RecordBatch, keys: Keys) -> np.ndarray:
        """Rows that may be unusable: all that are, and some more."""
        rules = self._rules
        if rules.languages:
            return np.ones(len(batch), bool)
        found = raw.column("reason").is_valid().to_numpy(zero_copy_only=False)
        found = found | keys.blank
        for name in MESSAGE_COLUMNS:
            column = batch.column(name)
            if column.null_count < len(column):
                starts, roles, contents = flat_messages(column)
                lengths = pc.utf8_length(contents).to_numpy()
                least, most = length_limits(rules, roles)
                wrong = np.flatnonzero((lengths < least) | (lengths > most))
                found[np.searchsorted(starts, wrong, side="right") - 1] = True
        text = batch.column("text")
        if text.null_count < len(text):
            lengths = pc.utf8_length(text.fill_null("")).to_numpy()
            found |= (keys.kinds == 3) & (lengths < max(rules.min_text_chars, 1))
        return found | self._adverts.rows(raw)


class Converter:
    """Writes rows in other letters: width and Chinese characters."""

    def __init__(self, rules: Rules):
        self._rules = rules

    def batches(self, group: Group) -> Iterator[pa.RecordBatch]:
        """Every batch of a row group, converted.

        Adverts are looked for in what was there before, too: the patterns may be in the letters
        of the source or in those that are wanted.
        """
        convert = conversion(self._rules.width, self._rules.chinese)
        search = Adverts(self._rules.adverts)
        for _, batch in group.batches(None):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            adverts = np.flatnonzero(search.rows(batch))
            if len(adverts):
                rows = batch.take(pa.array(adverts)).to_pylist()
                reasons, details = names(batch.column("reason")), batch.column("detail").to_pylist()
                for index, row in zip(adverts.tolist(), rows, strict=True):
                    if row["reason"] not in FINAL and (found := self._rules.advert(row)):
                        reasons[index], details[index] = found
                columns["reason"] = pa.array(reasons, pa.string()).dictionary_encode().cast(NAME)
                columns["detail"] = pa.array(details, pa.string())
            for name in CONTENT_COLUMNS[1:]:
                columns[name] = convert_column(columns[name], convert)
            yield pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)
