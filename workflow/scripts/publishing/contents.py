"""Which files of a run are published, and what must not be among them. Standard library only."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

CARD = "README.md"
TOKENIZER = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*"),
    *("vocab.*", "merges.txt", "*.tiktoken", "generation_config.json"),
)
MODEL = (*TOKENIZER, "config.json", "*.safetensors", "model.safetensors.index.json")
BELONGS = {
    "adapter": ("adapter_config.json", "adapter_model.safetensors"),
    "merged": MODEL,
    "awq": MODEL,
    # its own names of weights have no endings
    "turbomind": (*MODEL, "lmdeploy_chat_template.json", "triton_models/*"),
}
# What lies there for this machine: notes, and the configuration of the training.
LEFT_OUT = (CARD, "manifest.json", "xtuner_config.py", ".snakemake_timestamp")
# They run whatever their author put into them when they are loaded.
PICKLES = ("*.bin", "*.pth", "*.pt", "*.pkl", "*.pickle", "*.ckpt")
LEGAL = ("LICENSE*", "NOTICE*")
# Text that is no JSON, of the tools.
NOTES = (".yaml", ".yml", ".py", ".jinja", ".txt")
MAKE_AGAIN = "Take that out, or remove the folder and let it be made again."
BASE_KEY = "base_model_name_or_path"
# It says where a model was saved or loaded from, and nothing reads it.
ORIGIN_KEY = "_name_or_path"


class Refused(Exception):
    """It is not published; the text says why and what to do."""


@dataclass(frozen=True)
class Part:
    """A file as it is published."""

    name: str  # in the repository
    size: int  # bytes
    sha256: str
    path: Path | None  # where it lies; None if it is `content`
    content: bytes = b""
    changed: int = 0  # the time of its last change, in ns


def collect(plan: Mapping[str, Any], card: str) -> list[Part]:
    """The files that are published, by their names.

    Args:
        plan: {"form": one of BELONGS, "folder": that of the form, "tokenizer": the folder of the
            run's model, "base_folder", "base": {"repository", "revision"}, "trusted": whether the
            model may bring code}.
        card: the model card.

    Raises:
        Refused: there are files that do not belong, or ones that name this machine's folders.
    """
    form = plan["form"]
    folder = Path(plan["folder"])
    belongs = (*BELONGS[form], *LEGAL, *(("*.py",) if plan["trusted"] else ()))
    found: dict[str, Path] = {}
    strangers = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # links to folders are LMDeploy's, to what is in the folder anyway
        if path.is_dir() or name in LEFT_OUT:
            continue
        known = any(fnmatch(name, pattern) for pattern in belongs)
        if not known or any(fnmatch(name, pattern) for pattern in PICKLES):
            strangers.append(name)
        found[name] = path
    if strangers:
        raise Refused(
            f"{folder} holds files that do not belong to it: {', '.join(strangers)}. Remove them, "
            "or remove the folder and let it be made again. Nothing is published with pickles "
            "(*.bin, *.pth): they run code."
        )
    if not any(name.endswith(".safetensors") or "weights/" in name for name in found):
        raise Refused(f"{folder} holds no weights. Remove it and let it be made again.")
    if form == "adapter":
        found |= _matching(Path(plan["tokenizer"]), TOKENIZER)
    found = _matching(Path(plan["base_folder"]), LEGAL) | found
    parts = [_content(CARD, card.encode())]
    for name, path in found.items():
        if path.suffix in NOTES and str(Path.cwd()) in path.read_text("utf-8", errors="replace"):
            raise Refused(f"{path} names a place on this machine. {MAKE_AGAIN}")
        content = _public(path, name, plan["base"]) if name.endswith(".json") else None
        parts.append(_file(name, path) if content is None else _content(name, content))
    return sorted(parts, key=lambda part: part.name)


def changed(parts: list[Part]) -> list[str]:
    """The names of the files that are no longer what they were when they were collected."""
    return [
        part.name
        for part in parts
        if part.path
        and (
            not part.path.is_file()
            or (part.path.stat().st_mtime_ns, part.path.stat().st_size) != (part.changed, part.size)
        )
    ]


def _matching(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    return {path.name: path for pattern in patterns for path in sorted(folder.glob(pattern))}


def _file(name: str, path: Path) -> Part:
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(name, status.st_size, digest, path, changed=status.st_mtime_ns)


def _content(name: str, content: bytes) -> Part:
    return Part(name, len(content), hashlib.sha256(content).hexdigest(), None, content)


def _public(path: Path, name: str, base: Mapping[str, Any]) -> bytes | None:
    """A JSON file without the places of this machine; None if it can stay as it is.

    Raises:
        Refused: it names a place that cannot be left out.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    edited = False
    if isinstance(value, dict):
        edited = value.pop(ORIGIN_KEY, None) is not None
        if BASE_KEY in value:
            value |= {BASE_KEY: base["repository"], "revision": base["revision"]}
            edited = True
    for key, text in _texts(value):
        if _is_local(text):
            raise Refused(f"{path}: {key} names a place on this machine, {text!r}. {MAKE_AGAIN}")
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode() if edited else None


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, child in value.items():
            # of a tokenizer, thousands of tokens, some of which may look like anything
            if name not in ("vocab", "merges", "added_tokens", "added_tokens_decoder"):
                yield from _texts(child, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for child in value:
            yield from _texts(child, key)


def _is_local(text: str) -> bool:
    if len(text) > 4096 or "\n" in text:
        return False
    return bool(re.match(r"(~|\.{0,2})/[\w.-]+/|[A-Za-z]:\\|results/|file:", text)) or (
        "/" in text and Path(text).exists()
    )
