"""The fields of a row that the mapping of a source names, before any row is read."""

from dataclasses import dataclass

from shapes.mapping import KEYS
from shapes.template import Template


@dataclass(frozen=True, slots=True)
class Need:
    """One place of the mapping.

    Attributes:
        key: the key in corpus.sources.
        fields: names of fields of which the first that is there is taken.
        optional: none of them need be there.
    """

    key: str
    fields: tuple[str, ...]
    optional: bool = False


def mapped_fields(options: dict) -> list[tuple[str, str]]:
    """Keys of the mapping with the fields that they name.

    >>> mapped_fields({"question": "题目", "answer": "{答案|or:解析}。"})
    [('question', '题目'), ('answer', '答案'), ('answer', '解析')]
    """
    return [(need.key, field) for need in needs_of(options) for field in need.fields]


def needs_of(options: dict) -> list[Need]:
    """What the mapping of a source needs: fields alone, in lists and in templates.

    Raises:
        SourceError: a template is wrong.

    >>> [need.fields for need in needs_of({"question": "题目", "answer": "{答案|or:解析}。"})]
    [('题目',), ('答案', '解析')]
    """
    needs = []
    for key in KEYS:
        value = options.get(key) or []
        for written in [value] if isinstance(value, str) else value:
            if "{" in written:
                template = Template(written, f"`{key}:` in corpus.sources")
                needs += [Need(key, names, optional) for names, optional in template.parts]
            else:
                needs.append(Need(key, (written,)))
    return needs


def names_of(options: dict) -> tuple[str, str]:
    """Names for a question and an answer where the format itself has none.

    They are those of the mapping, for it decides what the fields of a row mean.
    """
    given = (options.get("question"), options.get("answer"))
    return tuple(
        name if name and "{" not in name else default
        for name, default in zip(given, ("question", "answer"), strict=True)
    )
