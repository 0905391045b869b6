"""Publish a base model that exists: a local folder, or a pinned revision of a hub's repository."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import hubs
import limits
import table
import yaml
from manifest import NAME as MANIFEST
from manifest import write_manifest

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
# everything but weights: small, and enough to tell whether the model fits
SMALL = ("*.json", "*.model", "*.txt", "*.jinja", "README.md", "LICENSE*", "NOTICE*")
# runs on this machine when the model is loaded
CODE = ("*.py",)


class Refused(Exception):
    """The model is not one that this workflow takes; the text says why and what to do."""


def wanted(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that match one of the patterns, sorted."""
    # a manifest of its own is not the one that is written here, and must not be written through
    others = (name for name in names if name != MANIFEST)
    return sorted(name for name in others if any(fnmatch(name, pattern) for pattern in patterns))


def weights_of(folder: Path, names: Iterable[str]) -> list[str]:
    """The files that hold the weights, as transformers finds them.

    Only safetensors: a pickle (*.bin, *.pth) runs whatever its author put into it. Other
    safetensors files are left out; some repositories hold their weights twice.

    Args:
        folder: a folder that holds the index, if the model has one.
        names: of all the files of the model, there or still on the hub.

    Raises:
        Refused: there are no such weights, or not all of them.
    """
    if INDEX not in names:
        if WEIGHTS not in names:
            raise Refused(
                f"has no {WEIGHTS} and no {INDEX}. Take a revision that has them, or convert it "
                "first: weights in pickle files (*.bin, *.pth) are neither fetched nor loaded."
            )
        return [WEIGHTS]
    index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    shards = sorted(set(index["weight_map"].values()))
    if lost := [shard for shard in shards if shard not in names]:
        raise Refused(f"is not whole: {INDEX} names {', '.join(lost)}, which it does not have.")
    return shards


def check(folder: Path, base: dict, checks: dict) -> None:
    """Refuse a model that cannot pass the later stages, or that runs code nobody vouched for.

    Args:
        folder: the model, weights not needed.
        base: `base_models.NAME` of the configuration; its trust_remote_code is read.
        checks: the rest of it that matters here, family and lora_target_modules, and group_size,
            of the quantisation; None where the model is not going to be quantised.

    Raises:
        Refused: it does not describe a language model, needs its own code without being trusted,
            is of another family than was said, or has sizes that 4-bit quantisation or TurboMind
            cannot take.
    """
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file() or base["trust_remote_code"]:
            continue
        if "auto_map" in json.loads(path.read_text("utf-8")):
            raise Refused(
                f"needs Python code of its own (auto_map in {name}). Read that code, then set "
                "trust_remote_code: true for this base model, or take another one."
            )
    architecture, known = table.architecture_of(folder), table.read()
    if architecture is None:
        raise Refused("has no config.json that names its architecture: not a language model.")
    if line := table.wrong_architecture(architecture, checks, known):
        raise Refused(line)
    if line := table.missing_targets(architecture, checks, known):
        raise Refused(f"cannot be trained: {line}")
    if checks["group_size"] is None:
        return
    try:
        mistakes = limits.of_folder(folder, checks["group_size"])
    except limits.NotAModel as error:
        raise Refused(f"cannot be used: {error}") from error
    if mistakes:
        raise Refused("cannot be quantised: " + " ".join(mistakes))


def licence_of(folder: Path) -> str | None:
    """The licence that a model's card names in its front matter, if it has one."""
    card = folder / "README.md"
    parts = card.read_text("utf-8", errors="replace").split("---\n", 2) if card.is_file() else []
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        head = yaml.safe_load(parts[1])
        found = head["license"]
    except (yaml.YAMLError, LookupError, TypeError):
        return None
    # the hub's word for those it has no name for
    return head.get("license_name", found) if found == "other" else str(found)


def link(base: dict, checks: dict, output: Path) -> None:
    """Link the files of a local model into the folder: no second copy of the weights."""
    source = Path(base["path"])
    names = [path.name for path in source.iterdir() if path.is_file()]
    check(source, base, checks)
    code = CODE if base["trust_remote_code"] else ()
    output.mkdir(parents=True)
    for name in [*wanted(names, (*SMALL, *code)), *weights_of(source, names)]:
        (output / name).symlink_to((source / name).resolve())


def download(base: dict, checks: dict, work: Path, output: Path) -> None:
    """Fetch a model, first what tells whether it fits, then its weights; move it to the output.

    Args:
        base: `base_models.NAME` of the configuration.
        checks: as in `check`.
        work: a folder in which an interrupted download stays and goes on; removed in the end.
        output: the folder to make.
    """
    origin = base["source"], base["repository"], base["revision"]
    folder = work.joinpath(*origin)
    files = {file.name: file for file in hubs.listed(*origin)}
    if INDEX not in files:
        weights_of(folder, files)
    code = CODE if base["trust_remote_code"] else ()
    small = wanted(files, (*SMALL, *code))
    hubs.fetch(*origin, [files[name] for name in small], folder)
    check(folder, base, checks)
    weights = weights_of(folder, files)
    size = sum(files[name].size for name in weights)
    print(f"fetch: {base['repository']}: {len(weights)} files of weights, {size / 1e9:.1f} GB")
    hubs.fetch(*origin, [files[name] for name in weights], folder)
    for path in folder.iterdir():
        if path.is_dir():  # the clients' own notes
            shutil.rmtree(path)
        elif path.name not in (*small, *weights):
            path.unlink()
    shutil.move(folder, output)
    shutil.rmtree(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=json.loads, required=True)
    parser.add_argument("--checks", type=json.loads, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    base, checks, output = arguments.base_model, arguments.checks, arguments.output
    name = base["path"] if base["source"] == "local" else base["repository"]
    origin = {"local": "", "hub": " on the Hugging Face hub", "modelscope": " on ModelScope"}
    try:
        if base["source"] == "local":
            link(base, checks, output)
        else:
            download(base, checks, arguments.work, output)
    except (Refused, hubs.Unavailable) as error:
        sys.exit(f"fetch: the model {name} {error}")
    write_manifest(
        output,
        source=name + origin[base["source"]],
        revision=base.get("revision", "a local folder"),
        licence=licence_of(output) or checks.get("licence", "unknown"),
    )


if __name__ == "__main__":
    main()
