"""Hugging Face model folders on disk: configuration, safetensors shards, tokenizer files."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

INDEX = "model.safetensors.index.json"
# Everything that is neither weights nor the model's configuration goes along with a copy.
COMPANIONS = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.tiktoken",
    "generation_config.json",
    "*.py",
)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder; exits with a sentence when it is missing or broken."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        sys.exit(f"{folder}: no config.json, so this is not a model folder.")
    except ValueError as error:
        sys.exit(f"{folder / 'config.json'}: not valid JSON ({error}).")


def write_json(path: Path, content: Any) -> None:
    """Write JSON (UTF-8, indented) so that the file is either whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def copy_companions(source: Path, target: Path) -> list[str]:
    """Copy tokenizer, chat template, generation settings and model code; returns the names."""
    target.mkdir(parents=True, exist_ok=True)
    names = sorted({path.name for pattern in COMPANIONS for path in source.glob(pattern)})
    for name in names:
        shutil.copyfile(source / name, target / name)
    return names


class Weights:
    """Named tensors of a folder of safetensors files, read one at a time."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            sys.exit(f"{folder}: no *.safetensors file. Save the model with safetensors.")
        self.folder = folder
        self._file_of: dict[str, Path] = {}
        self._open: dict[Path, Any] = {}
        for file in files:
            try:
                self._open[file] = safe_open(file, "pt")
            except Exception as error:
                sys.exit(f"{file}: cannot be read as safetensors ({error}).")
            for name in self._open[file].keys():  # noqa: SIM118 - not a dict, cannot be iterated
                if name in self._file_of:
                    sys.exit(f"{folder}: tensor {name} is in two files.")
                self._file_of[name] = file

    def names(self) -> set[str]:
        return set(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._open[self._file_of[name]].get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._open[self._file_of[name]].get_slice(name).get_shape())


def save_weights(
    tensors: Iterable[tuple[str, torch.Tensor]], folder: Path, max_shard_bytes: int = 2 * 10**9
) -> None:
    """Write named tensors as one or more safetensors shards, holding one shard in memory.

    File names and index are those of transformers' `save_pretrained`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[list[str]] = []
    pending: dict[str, torch.Tensor] = {}
    pending_bytes = total_bytes = 0

    def flush() -> None:
        nonlocal pending, pending_bytes
        path = folder / f"{len(shards)}.partial"
        save_file(pending, path, metadata={"format": "pt"})
        shards.append(list(pending))
        pending, pending_bytes = {}, 0

    for name, tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if pending and pending_bytes + size > max_shard_bytes:
            flush()
        pending[name] = tensor.contiguous()
        pending_bytes += size
        total_bytes += size
    flush()
    if len(shards) == 1:
        os.replace(folder / "0.partial", folder / "model.safetensors")
        return
    weight_map = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05d}-of-{len(shards):05d}.safetensors"
        os.replace(folder / f"{number}.partial", folder / file)
        weight_map.update(dict.fromkeys(names, file))
    write_json(folder / INDEX, {"metadata": {"total_size": total_bytes}, "weight_map": weight_map})
