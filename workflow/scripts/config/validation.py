"""One clear message per mistake in the configuration, before any job starts.

Runs inside Snakemake, while the rules are read.
"""

import difflib
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import benchmark_files
import gates
import limits
import runs
import sources
import table
import tiny
import yaml
from jsonschema import Draft202012Validator, FormatChecker, validators

# what the workflow itself puts beside the domains in results/, and beside the runs of a domain
RESERVED_DOMAINS = ("base_models", "benchmarks", "tokenizers", "versions")
RESERVED_RUNS = ("benchmarks", "corpus", "evaluation", "figures", "questions", "withheld")
RESERVED = "is the name of a folder of the workflow's own; take any other than"


class ConfigError(Exception):
    """The configuration cannot be used; the text names every mistake, one line each."""


def prepare(config: dict, schema_file: Path, config_files: list[Path]) -> None:
    """Check a configuration, and make of it, in place, what the rules read.

    Args:
        config: the merged configuration as the user wrote it.
        schema_file: its JSON schema.
        config_files: the files it was read from, to find keys that a file states twice.

    Raises:
        ConfigError: with one line per mistake.
    """
    schema = yaml.load(schema_file.read_text(encoding="utf-8"), table.LOADER)
    take_out_nulls(config)
    check_form(config, schema, config_files)
    try:
        config["runs"] = runs.expand(config["runs"])
    except runs.RunError as error:
        _raise(str(error).splitlines())
    known = table.read()
    config["base_models"] = {
        name: table.fill_in(name, base, known) for name, base in config["base_models"].items()
    }
    # what a grid or a table has put together is checked like what was written
    check_form(config, schema, [], _FillingIn)
    check_meaning(config)


def take_out_nulls(config: dict) -> None:
    """Remove the runs and base models that an overlay sets to null; it can only add others."""
    for key in ("base_models", "runs"):
        if isinstance(config.get(key), dict):
            config[key] = {name: entry for name, entry in config[key].items() if entry is not None}


def check_form(
    config: dict,
    schema: dict,
    config_files: list[Path],
    validator: type[Draft202012Validator] = Draft202012Validator,
) -> None:
    """Check names, types and ranges of the keys, as written by the user.

    Args:
        config: the merged configuration, defaults not yet filled in.
        schema: JSON schema of the configuration (draft 2020-12).
        config_files: the files it was read from, to find keys that a file states twice.
        validator: the class that checks it; _FillingIn also fills in the defaults.

    Raises:
        ConfigError: with one line per mistake.
    """
    mistakes = [line for path in config_files for line in _repeated_keys(path)]
    checks = validator(schema, format_checker=FormatChecker(formats=["regex"]))
    for error in checks.iter_errors(config):
        mistakes += _describe(error)
    _raise(mistakes)


def check_meaning(config: dict) -> None:
    """Check what a schema cannot: files that exist, names that are defined, sizes that fit.

    Args:
        config: the configuration with all defaults filled in.

    Raises:
        ConfigError: with one line per mistake.
    """
    mistakes = _domain(config) + _sources(config) + _split(config)
    _raise(mistakes + _base_models(config) + _runs(config) + _evaluation(config))


def base_model_warnings(config: dict) -> list[str]:
    """One line for each base model that a run uses in a way it was not made for."""
    known = table.read()
    used = {run["base_model"] for run in config["runs"].values()}
    return [
        line
        for name in sorted(used)
        for line in table.warnings_of(name, config["base_models"][name], known)
    ]


def check_training(config: dict, accelerator: str) -> None:
    """Check the settings of training that need a GPU.

    Args:
        config: the configuration with all defaults filled in and its runs expanded.
        accelerator: the accelerator in force.

    Raises:
        ConfigError: with one line per mistake.
    """
    mistakes = []
    for name, run in config["runs"].items():
        for stage in run["stages"]:
            training, method = stage["training"], stage["method"]
            where = f"runs.{name}: stage {method}: training"
            several = training["gpus"] * training["nodes"] > 1
            if accelerator != "cuda":
                asked = {
                    "optimizer": training["optimizer"] != "adamw",
                    "precision": training["precision"] != "auto",
                    "gpus": several,
                    "deepspeed": "deepspeed" in training,
                }
                mistakes += [
                    f"{where}.{key}: {training[key]} needs a GPU (accelerator: cuda)."
                    for key, needs_gpu in asked.items()
                    if needs_gpu
                ]
            if method == "grpo" and training["finetuning"] == "full":
                mistakes.append(f"{where}.finetuning: grpo trains an adapter; take lora or qlora.")
            if method == "grpo" and (several or "deepspeed" in training):
                mistakes.append(f"{where}: grpo runs on one GPU; leave gpus and deepspeed out.")
            reference = method == "dpo" and training["finetuning"] == "full"
            if reference and training.get("deepspeed", "").startswith("zero3"):
                mistakes.append(
                    f"{where}.deepspeed: XTuner copies the model as the reference of dpo, which "
                    f"{training['deepspeed']} does not allow; take zero2, or finetuning: lora."
                )
    _raise(mistakes)


def check_int4(config: dict, accelerator: str) -> None:
    """Check that the variant int4, where it is asked for, can be computed.

    Args:
        config: the configuration with all defaults filled in and its runs expanded.
        accelerator: the accelerator in force.

    Raises:
        ConfigError: with one line per mistake.
    """
    if "int4" not in config["evaluation"]["variants"]:
        return
    where, mistakes = "evaluation.variants: int4", []
    if accelerator == "cuda":
        mistakes.append(
            f"{where} computes on a CPU only, and the accelerator is cuda. Leave it out: on a GPU "
            "LMDeploy's engine runs the 4-bit model (make api)."
        )
    used = dict.fromkeys(run["base_model"] for run in config["runs"].values())
    mistakes += [
        f"{where} runs transformers' own code only, and base_models.{name} brings code of its own. "
        "Leave int4 out."
        for name in used
        if config["base_models"][name]["trust_remote_code"]
    ]
    _raise(mistakes)


def accelerator(config: dict, this_machine_computes: bool, submits: bool = False) -> str:
    """The accelerator in force, "cpu" or "cuda".

    Args:
        config: the configuration with all defaults filled in.
        this_machine_computes: False where jobs are sent elsewhere, so that a missing GPU here
            says nothing.
        submits: whether this is the process that sends them.

    Raises:
        ConfigError: cuda is asked for on a machine that has no usable NVIDIA GPU, or nothing
            where nobody can look for one.
    """
    asked = config["accelerator"]
    if asked == "auto" and submits:
        raise ConfigError(
            "config: accelerator: auto looks for a GPU on this machine, and --jobs (of the command "
            "line or a profile) sends the work to others. Set accelerator: cuda or cpu."
        )
    if asked == "cuda" and this_machine_computes and not has_cuda():
        raise ConfigError(
            "config: accelerator: cuda, but `nvidia-smi -L` finds no usable NVIDIA GPU on this "
            "machine. Set accelerator: cpu (or auto), or submit to a cluster with a profile."
        )
    if asked == "auto":
        return "cuda" if has_cuda() else "cpu"
    return asked


def is_four_bit(config: dict) -> bool:
    """Whether any run is quantised at all: only then the limits of AWQ and TurboMind apply."""
    four_bit = {"awq", "int4", "turbomind", "served"}
    return bool(four_bit & set(config["evaluation"]["variants"]))


@cache
def has_cuda() -> bool:
    """Whether the NVIDIA driver of this machine sees a GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    return listing.returncode == 0 and "GPU " in listing.stdout


def _raise(mistakes: list[str]) -> None:
    if mistakes:
        raise ConfigError("\n".join(f"config: {mistake}" for mistake in mistakes))


def _describe(error) -> list[str]:
    where = ".".join(str(part) for part in error.absolute_path) or "top level"
    value = _short(error.instance)
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            return [_unknown_key(where, key, error) for key in _unknown_keys(error)]
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            return [f"{where}: the key {key!r} is missing." for key in missing][:1]
        case "type":
            return [f"{where}: {value} is not of type {error.validator_value}."]
        case "enum":
            known = [str(choice) for choice in error.validator_value]
            return [f"{where}: {value} is not one of {', '.join(known)}.{_nearest(value, known)}"]
        case "format":
            try:
                re.compile(error.instance)
            except re.error as problem:
                return [f"{where}: {value} is not a regular expression: {problem}."]
        case "const":
            return [f"{where}: {value} is not possible, only {error.validator_value} is."]
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            words = {
                "minimum": "at least",
                "exclusiveMinimum": "more than",
                "maximum": "at most",
                "exclusiveMaximum": "less than",
            }
            return [f"{where}: {value} must be {words[error.validator]} {error.validator_value}."]
        case "pattern":
            return [f"{where}: {value} does not match {error.validator_value}."]
        case "minItems" | "minProperties" | "minLength":
            return [f"{where}: must not be empty."]
        case "uniqueItems":
            return [f"{where}: {value} names something twice."]
    return [f"{where}: {error.message}."]


def _properties(validator, properties: dict, instance, schema: dict) -> Iterator:
    """The check of a mapping's keys, which fills in the defaults of those that are missing."""
    if isinstance(instance, dict):
        for name, part in properties.items():
            if "default" in part:
                instance.setdefault(name, part["default"])
    yield from Draft202012Validator.VALIDATORS["properties"](
        validator, properties, instance, schema
    )


# not snakemake.utils.validate, which would read the schema and go through the runs once more
_FillingIn = validators.extend(Draft202012Validator, {"properties": _properties})


def _nearest(value: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(value, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _known_keys(error) -> list[str]:
    known = list(error.schema.get("properties", {}))
    if error.validator == "unevaluatedProperties":
        for rule in error.schema.get("allOf", []):
            if Draft202012Validator(rule["if"]).is_valid(error.instance):
                known += rule["then"]["properties"]
    return known


def _unknown_keys(error) -> list[str]:
    known = _known_keys(error)
    return [key for key in error.instance if key not in known]


def _unknown_key(where: str, key: str, error) -> str:
    known = _known_keys(error)
    hint = _nearest(str(key), known) or f" Known keys: {', '.join(known)}."
    return f"{where}: unknown key {key!r}.{hint}"


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _repeated_keys(path: Path) -> list[str]:
    """Keys that one mapping of a YAML file states twice; YAML itself silently keeps the last."""
    mistakes = []

    def visit(node: yaml.Node, where: str) -> None:
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, f"{where}.{index}")
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key_node, value_node in node.value:
                key, line = str(key_node.value), key_node.start_mark.line + 1
                name = f"{where}.{key}".lstrip(".")
                if key in lines:
                    mistakes.append(
                        f"{name}: stated twice in {path}, lines {lines[key]} and {line}. "
                        "Rename or remove one."
                    )
                lines[key] = line
                visit(value_node, name)

    if path.suffix in (".yaml", ".yml"):
        with path.open(encoding="utf-8") as file:
            root = yaml.compose(file, Loader=table.LOADER)
        if root is not None:
            visit(root, "")
    return mistakes


def _domain(config: dict) -> list[str]:
    name = config["domain"]
    if name.lower() in RESERVED_DOMAINS:
        return [f"domain: {name!r} {RESERVED} {', '.join(RESERVED_DOMAINS)}."]
    return []


def _sources(config: dict) -> list[str]:
    corpus = config["corpus"]
    mistakes = [
        *sources.mistakes_of("corpus.sources", corpus["sources"]),
        *sources.mistakes_of("corpus.split.decontaminate", corpus["split"]["decontaminate"]),
    ]
    if reviewed := corpus.get("reviewed"):
        where, path = "corpus.reviewed", Path(reviewed)
        if path.suffix.lower() != ".xlsx":
            mistakes.append(f"{where}: {path} is not an .xlsx workbook.")
        elif path.resolve().is_relative_to(Path("results").resolve()):
            mistakes.append(
                f"{where}: {path} lies in results/, where a later run may replace it. Copy it to a "
                "folder of your own."
            )
        elif not path.is_file():
            mistakes.append(
                f"{where}: the file {path} does not exist. `snakemake review` writes the workbook "
                "to edit; name your edited copy."
            )
    return mistakes


def _split(config: dict) -> list[str]:
    heldout, mistakes = config["corpus"]["split"]["heldout"], []
    if heldout >= 1 and heldout != int(heldout):
        mistakes.append(
            f"corpus.split.heldout: {heldout} is neither a share below 1 nor a whole number of "
            "questions."
        )
    asked = set(benchmark_files.HELD_OUT) & set(config["evaluation"]["benchmarks"])
    explicit = any(source.get("side") == "heldout" for source in config["corpus"]["sources"])
    if asked and heldout == 0 and not explicit:
        mistakes.append(
            "corpus.split.heldout: 0 leaves no held-out questions for "
            f"evaluation.benchmarks {', '.join(sorted(asked))}. Give it a share, such as 0.3, "
            "or take the benchmarks out."
        )
    return mistakes


def _base_models(config: dict) -> list[str]:
    mistakes, group_size = [], config["quantization"]["group_size"]
    known, variants = table.read(), config["evaluation"]["variants"]
    used = {run["base_model"] for run in config["runs"].values()}
    for name, base in config["base_models"].items():
        where = f"base_models.{name}"
        mistakes += table.mistakes_of(name, base, known, name in used, variants)
        if base["source"] == "tiny":
            read = {f"text.{index}": path for index, path in enumerate(base["text"])}
            if "withhold" in base:
                read["withhold"] = base["withhold"]
            mistakes += [
                f"{where}.{key}: the file {path} does not exist."
                for key, path in read.items()
                if not Path(path).is_file()
            ]
            if "withhold" in base and len(base["text"]) != 1:
                mistakes.append(
                    f"{where}.withhold: needs exactly one file in text, to count lines."
                )
            mistakes += [f"{where}{line}" for line in tiny.mistakes_of(base, known)]
            if is_four_bit(config):
                found = limits.of_config(tiny.config_of(base), group_size)
                mistakes += [f"{where}.{message}" for message in found]
        elif base["source"] == "local" and is_four_bit(config):
            try:
                mistakes += [
                    f"{where}.path: {base['path']}: {message}"
                    for message in limits.of_folder(Path(base["path"]), group_size)
                ]
            except limits.NotAModel as error:
                mistakes.append(f"{where}.path: {error}")
    return mistakes


def _runs(config: dict) -> list[str]:
    mistakes, lowered = [], {}
    for name, run in config["runs"].items():
        where = f"runs.{name}"
        if name.lower() in RESERVED_RUNS:
            mistakes.append(f"{where}: {RESERVED} {', '.join(RESERVED_RUNS)}.")
        if run["base_model"] not in config["base_models"]:
            known = config["base_models"]
            mistakes.append(
                f"{where}.base_model: {run['base_model']!r} is not among base_models "
                f"({', '.join(known)}).{_nearest(run['base_model'], known)}"
            )
        if name.lower() in lowered:
            mistakes.append(
                f"{where}: differs from {lowered[name.lower()]!r} in upper and lower case only; "
                "their folders would be one on some file systems."
            )
        lowered[name.lower()] = name
    return mistakes


def _evaluation(config: dict) -> list[str]:
    evaluation = config["evaluation"]
    variants = {
        name: [
            model
            for variant in evaluation["variants"]
            for model in (
                [*runs.policy_stages(run)[:-1], "tuned"] if variant == "tuned" else [variant]
            )
        ]
        for name, run in config["runs"].items()
    }
    # what is not known of a benchmark, such as how it is asked, is looked up from here on
    return list(benchmark_files.mistakes_of(evaluation)) or [
        *benchmark_files.unasked_of(evaluation),
        *gates.mistakes_of(evaluation, variants),
    ]
