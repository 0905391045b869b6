"""What a repository of a hub holds, compared with what is published."""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))

from contents import Part
from hubs import RemoteFile

# The hubs make these by themselves.
OF_THE_HUB = (".gitattributes", ".gitignore", "configuration.json")


class Failed(Exception):
    """The hub does not do what is asked for; the text says why and what to do."""


@dataclass(frozen=True)
class Repository:
    """A repository as a hub lists it."""

    private: bool
    files: dict[str, RemoteFile]
    revision: str | None = None  # the commit that was listed, where the hub tells


@dataclass(frozen=True)
class Difference:
    """What is to do, by the names of files."""

    new: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # there, and not published


def difference(parts: Iterable[Part], repository: Repository | None) -> Difference:
    """What a repository lacks of the files, and what it has beside them."""
    files = repository.files if repository else {}
    parts = {part.name: part for part in parts}
    return Difference(
        new=[name for name in parts if name not in files],
        replaced=[
            name for name, part in parts.items() if name in files and not _same(part, files[name])
        ],
        others=sorted(set(files) - set(parts) - set(OF_THE_HUB)),
    )


def _same(part: Part, file: RemoteFile) -> bool:
    if part.size != file.size:
        return False
    if file.sha256:
        return part.sha256 == file.sha256
    # small enough to be in git itself
    content = part.path.read_bytes() if part.path else part.content
    return hashlib.sha1(b"blob %d\0" % part.size + content).hexdigest() == file.git_hash
