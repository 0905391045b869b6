"""What a model folder holds and where it came from; standard library only."""

import hashlib
import json
import math
import struct
from pathlib import Path

NAME = "manifest.json"


def count_parameters(path: Path) -> int:
    """Number of elements of all tensors in a safetensors file, from its header.

    Format: 8 bytes little-endian length of a JSON header, which gives each tensor's `shape`
    (https://github.com/huggingface/safetensors#format).
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for tensor in header.values())


def write_manifest(folder: Path, source: str, revision: str, licence: str) -> None:
    """Write `manifest.json`: origin, licence, parameters, sha256 and bytes of each file."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != NAME:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[name] = {"sha256": digest, "bytes": path.stat().st_size}
    manifest = {
        "source": source,
        "revision": revision,
        "licence": licence,
        "parameters": sum(count_parameters(path) for path in folder.rglob("*.safetensors")),
        "files": files,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")
