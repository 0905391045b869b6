"""Values of the configuration in the texts of a source: {name} in "我是{name}"."""

import re

from entry import SourceError
from shapes import Content

FIELD = re.compile(r"\{(\w+)\}")


class Values:
    """What stands for the fields in the texts of one source."""

    def __init__(self, path: str, values: dict[str, str]):
        """Take the `values:` of a source; the path is for messages."""
        self._path, self._values = path, values

    def put_into(self, content: Content, locator: str) -> None:
        """Replace the fields in all texts of a row.

        Raises:
            SourceError: a field has no value.
        """

        def value(found: re.Match) -> str:
            if found[1] not in self._values:
                raise SourceError(
                    f"{self._path}, {locator}: {found[0]} is none of `values:` in corpus.sources "
                    f"({', '.join(self._values)}). Correct the row, or give the field a value."
                )
            return self._values[found[1]]

        content.change_texts(lambda text: FIELD.sub(value, text))
