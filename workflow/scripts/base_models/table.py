"""What is known of base models, config/base_models.yaml, and what a run takes from it.

Standard library and PyYAML only: runs inside Snakemake while the rules are read, and in jobs.
"""

import difflib
import json
from collections.abc import Collection
from pathlib import Path

import yaml

NAME = "config/base_models.yaml"
FILE = Path(__file__).resolve().parents[3] / NAME
FOUR_BIT = ("awq", "turbomind")
# the column that names the repository of a source
REPOSITORY_COLUMNS = {"hub": "repository", "modelscope": "modelscope_repository"}
# XTuner's find_all_linear_names leaves out `lm_head` and `output_layer` only; the head of these has
# another name, and would be trained as if it were one of the layers
OTHER_HEADS = {"InternLM2ForCausalLM": "output"}
# ten times as fast in C, which some builds of PyYAML lack
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read() -> dict[str, dict]:
    """The table: name of a model -> its columns, which are explained in the file."""
    return yaml.load(FILE.read_text(encoding="utf-8"), LOADER)


def fill_in(name: str, base: dict, table: dict[str, dict]) -> dict:
    """A base model of the configuration with what the table knows of it.

    Args:
        name: its name in the configuration.
        base: its keys as the user wrote them. They win over the table.
        table: the known models.

    Returns:
        the keys, and where the model is known also `family`, the name of its entry.
    """
    family = base.get("family", name)
    if base["source"] == "tiny" or family not in table:
        return dict(base)
    entry = table[family]
    known = {key: entry[key] for key in ("prompt_template", "lora_target_modules", "licence")}
    if column := REPOSITORY_COLUMNS.get(base["source"]):
        known["repository"] = entry[column]
        # the table vouches for the repositories it names, and for no other copy of the model
        if base.get("repository", entry[column]) == entry[column]:
            known["trust_remote_code"] = entry["trust_remote_code"]
    return {"family": family} | known | base


def mistakes_of(
    name: str, base: dict, table: dict[str, dict], used: bool, variants: Collection[str]
) -> list[str]:
    """One line per reason why a base model cannot be what the configuration wants of it.

    Args:
        name: its name in the configuration.
        base: its keys, filled in from the table and with the defaults of the schema.
        table: the known models.
        used: whether a run starts from it; what it cannot do matters only then.
        variants: `evaluation.variants`.
    """
    if base["source"] == "tiny":
        return []
    where, family = f"base_models.{name}", base.get("family")
    if family is not None and family not in table:
        return [f"{where}.family: {family!r} is not in {NAME}.{_near(family, table)}"]
    mistakes = []
    needed = ["prompt_template", *(["repository"] if base["source"] in REPOSITORY_COLUMNS else [])]
    if missing := " and ".join(key for key in needed if key not in base):
        mistakes.append(
            f"{where}: {missing} must be given, or an entry of {NAME} as family, which tells it."
            f"{_near(name, table)}"
        )
    architecture = architecture_of(Path(base["path"])) if base["source"] == "local" else None
    if line := wrong_architecture(architecture, base, table):
        mistakes.append(f"{where}.path: {base['path']} {line}")
    elif line := missing_targets(architecture, base, table):
        mistakes.append(f"{where}: {line}")
    if family is None:
        return mistakes
    if table[family]["trust_remote_code"] and not base["trust_remote_code"]:
        mistakes.append(
            f"{where}: {family} needs Python code of its own. Read the *.py files of "
            f"{base.get('path') or base.get('repository')}; then set trust_remote_code: true here, "
            "or take another model."
        )
    return mistakes + (_unsupported(where, family, table[family], variants) if used else [])


def warnings_of(name: str, base: dict, table: dict[str, dict]) -> list[str]:
    """One line for each thing that is possible and probably not meant."""
    family = base.get("family")
    if family is None or base["prompt_template"] == table[family]["prompt_template"]:
        return []
    return [
        f"base_models.{name}.prompt_template: {family} was made for "
        f"{table[family]['prompt_template']}. With {base['prompt_template']} it has to learn "
        "another format of chats from your data."
    ]


def architecture_of(folder: Path) -> str | None:
    """`architectures` in the config.json of a model folder; None where there is none to read."""
    try:
        return json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def wrong_architecture(architecture: str | None, base: dict, table: dict[str, dict]) -> str | None:
    """Why a model of this architecture cannot be of the family that the configuration names."""
    entry = table.get(base.get("family"))
    if architecture is None or entry is None or architecture == entry["architecture"]:
        return None
    return (
        f"is a {architecture}, and {base['family']} a {entry['architecture']}. Name another "
        "family, or give prompt_template and lora_target_modules in place of it."
    )


def missing_targets(architecture: str | None, base: dict, table: dict[str, dict]) -> str | None:
    """Why a model of this architecture needs `lora_target_modules`, where they are missing."""
    if architecture not in OTHER_HEADS or "lora_target_modules" in base:
        return None
    known = next(entry for entry in table.values() if entry["architecture"] == architecture)
    return (
        f"the key 'lora_target_modules' is missing: XTuner would train the head of "
        f"{architecture}, {OTHER_HEADS[architecture]!r}, too. Write "
        f"[{', '.join(known['lora_target_modules'])}]."
    )


def _unsupported(where: str, family: str, entry: dict, variants: Collection[str]) -> list[str]:
    if entry["train"] is not True:
        return [
            f"{where}: {family} cannot be trained and evaluated here: {entry['train']}. Take "
            f"another model. (If your copy of it is mended: under a name that is not in {NAME}, "
            "with a prompt_template of your own, that table is not asked.)"
        ]
    # the workspace of TurboMind is made of the AWQ model, and served; int4 loads the AWQ model
    first = next((variant for variant in FOUR_BIT if entry[variant] is not True), None)
    blocked = (*FOUR_BIT[FOUR_BIT.index(first) :], "served") if first else ()
    blocked += ("int4",) if "awq" in blocked else ()
    asked = [variant for variant in variants if variant in blocked]
    if not asked:
        return []
    rest = ", ".join(variant for variant in variants if variant not in blocked) or "base, tuned"
    return [
        f"{where}: {' and '.join(asked)} cannot be made of {family}: {entry[first]}. Set "
        f"evaluation.variants: [{rest}]."
    ]


def _near(name: str, table: dict[str, dict]) -> str:
    lowered = {known.lower(): known for known in table}
    near = difflib.get_close_matches(name.lower(), lowered, n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(lowered[known] for known in near)}?" if near else ""
