"""What a row says, whatever its fields are called.

`Shape` turns the named fields of a row, as a reader yields them, into `Content`: by the mapping of
the source where the configuration has one (mapping.py), otherwise by the names of the fields
(recognise.py, which lists the shapes and their order).
"""

from collections.abc import Iterable

from entry import SourceError

from .content import Content, ShapeError, kind_of
from .mapping import KEYS, Mapping
from .recognise import Builder, recognise

__all__ = ["Content", "Shape", "ShapeError"]

# Rows of one source have few different sets of fields. Where names are made of data there is no
# end of them, and they must not fill the memory.
MOST_BUILDERS = 2_000
MOST_FIELDS = 10_000


class Shape:
    """Makes the content of the rows of one source.

    Attributes:
        fields: names of all fields seen so far, in the order of their first sight, as the keys of
            a mapping. Processes that read parts of one source pass their union to `check`.
    """

    def __init__(self, options: dict):
        """Prepare for a source.

        Args:
            options: its entry in corpus.sources.

        Raises:
            SourceError: a template is wrong, or the keys of the mapping do not go together.
        """
        try:
            mapped = any(options.get(key) is not None for key in KEYS)
            self._mapping = Mapping(options) if mapped else None
        except SourceError as error:
            path = options.get("path")
            raise SourceError(f"{path}: {error}" if path else str(error)) from error
        self._builders: dict[tuple[str, ...], Builder] = {}
        self.fields: dict[str, None] = {}

    def content(self, value: dict | list) -> Content:
        """The content of a row.

        Args:
            value: its fields by name; or a bare list of turns.

        Raises:
            ShapeError: the row does not fit the shape, or the fields are of no known shape.
        """
        if type(value) is not dict:
            if not isinstance(value, list):
                raise ShapeError("malformed_row", f"the row is {kind_of(value)}, not an object")
            value = {"conversation": value}
        try:
            return self.builder(value)(value)
        except RecursionError:
            detail = "has lists or objects nested too deep to be read"
            raise ShapeError("malformed_row", detail) from None

    def builder(self, row: dict) -> Builder:
        """What makes the content of a row, and of all others of the same fields."""
        names = tuple(row)
        return self._builders.get(names) or self._new_builder(names)

    def _new_builder(self, names: tuple[str, ...]) -> Builder:
        kept = names
        if len(self.fields) > MOST_FIELDS:
            kept = [name for name in names if self._mapping and name in self._mapping.names]
        self.fields.update(dict.fromkeys(kept))
        if self._mapping is None:
            build = recognise(names)
        else:
            recognised = recognise(names) if self._mapping.is_partial else None
            build = self._mapping.builder(names, recognised)
        if len(self._builders) >= MOST_BUILDERS:
            self._builders.clear()
        self._builders[names] = build
        return build

    def check(self, path: object, fields: Iterable[str] | None = None) -> None:
        """Say so where a field of the mapping is in no row of the source; call it after the last.

        Args:
            path: the source.
            fields: names of all fields seen, where several processes have read the source.

        Raises:
            SourceError: rows were seen, and none of them has a field that the mapping needs.
        """
        seen = self.fields if fields is None else dict.fromkeys(fields)
        if self._mapping is None or not seen:
            return
        if problem := self._mapping.missing(seen):
            raise SourceError(f"{path}: {problem}")
