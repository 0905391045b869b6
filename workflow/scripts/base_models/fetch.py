"""Publish a base model that exists: a local folder, or a pinned revision on the hub."""

import argparse
import json
import sys
from pathlib import Path

import limits
from manifest import write_manifest

# weights as safetensors only: a pickle runs whatever its author put into it
WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.model", "*.txt", "*.jinja")
CODE = ("*.py",)


class Refused(Exception):
    """The model is not one that this workflow takes; the text says why and what to do."""


def check(folder: Path, trusted: bool, group_size: int | None) -> None:
    """Refuse a model that cannot pass the later stages or that runs code nobody vouched for.

    Args:
        folder: the model.
        trusted: whether its own code may run.
        group_size: of the AWQ quantisation; None where the model is not going to be quantised.

    Raises:
        Refused: it has no safetensors weights, needs its own code without being trusted, or has
            sizes that 4-bit quantisation or TurboMind cannot take.
    """
    if not any(folder.glob("*.safetensors")):
        raise Refused(
            "has no *.safetensors weights. Convert it first: weights in pickle files "
            "(*.bin, *.pth) are not loaded."
        )
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and "auto_map" in json.loads(path.read_text("utf-8")) and not trusted:
            raise Refused(
                f"needs Python code of its own (auto_map in {name}). Read that code, then set "
                "trust_remote_code: true for this base model, or take another one."
            )
    if group_size is None:
        return
    try:
        mistakes = limits.of_folder(folder, group_size)
    except limits.NotAModel as error:
        raise Refused(str(error)) from error
    if mistakes:
        raise Refused("cannot be quantised: " + " ".join(mistakes))


def link(source: Path, folder: Path, patterns: tuple[str, ...]) -> None:
    """Link the wanted files of a local model into the folder: no second copy of the weights."""
    folder.mkdir(parents=True)
    for path in sorted({path for pattern in patterns for path in source.glob(pattern)}):
        (folder / path.name).symlink_to(path.resolve())


def download(repository: str, revision: str, folder: Path, patterns: tuple[str, ...]) -> None:
    """Download the wanted files of a hub model at a commit.

    Raises:
        Refused: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository, revision=revision, local_dir=folder, allow_patterns=list(patterns)
        )
    except Exception as error:  # the hub's client raises its own, requests' and OS errors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise Refused(
            f"could not be downloaded at revision {revision}: {reason} "
            "Check name, revision and network, log in with `huggingface-cli login` if it is gated, "
            "or download it elsewhere and use source: local."
        ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=json.loads, required=True)
    parser.add_argument("--group-size", type=int, help="of the quantisation, if there is one")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    base = arguments.base_model
    patterns = WANTED + (CODE if base["trust_remote_code"] else ())
    name = base["path"] if base["source"] == "local" else base["repository"]
    try:
        if base["source"] == "local":
            link(Path(base["path"]), arguments.output, patterns)
        else:
            download(base["repository"], base["revision"], arguments.output, patterns)
        check(arguments.output, base["trust_remote_code"], arguments.group_size)
    except Refused as error:
        sys.exit(f"fetch: the model {name} {error}")
    write_manifest(
        arguments.output,
        source=name,
        revision=base.get("revision", "a local folder"),
        licence="see the model's own card",
    )


if __name__ == "__main__":
    main()
