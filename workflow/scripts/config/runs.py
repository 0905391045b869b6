"""Runs as the rules see them: grids spelled out, every stage with its whole settings.

Standard library only: runs inside Snakemake, while the rules are read.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping

METHODS = ("pt", "sft", "dpo", "orpo", "reward", "grpo")
# What of a run a grid may vary.
GRID_KEYS = ("base_model", "training.")


class RunError(Exception):
    """Runs that make no sense; the text names every mistake, one line each."""


def expand(runs: Mapping[str, dict]) -> dict[str, dict]:
    """Spell out what the configuration says in short.

    Args:
        runs: `runs` of the configuration, checked by its schema, defaults not yet filled in.

    Returns:
        name -> {"base_model", "stages": [{"method", "training"}, ...], "start_from" or not there}.
        A run with a `matrix` becomes one run per combination, the settings of a run are merged
        into each of its stages, and a run that starts from a stage of another has its base model.

    Raises:
        RunError: with one line per mistake.
    """
    mistakes: list[str] = []
    single = {}
    for name, run in runs.items():
        for combination, one in _grid(name, run, mistakes):
            if combination in single:
                mistakes.append(f"runs.{name}: the name {combination!r} of a combination is taken.")
            single[combination] = one
    expanded = {}
    for name, run in single.items():
        if "start_from" in run and "base_model" in run:
            mistakes.append(
                f"runs.{name}: has both base_model and start_from; a run that starts from a stage "
                "of another has its base model. Remove one."
            )
        elif "start_from" not in run and "base_model" not in run:
            mistakes.append(f"runs.{name}: the key 'base_model' is missing (or start_from).")
        shared = run.get("training", {})
        expanded[name] = {key: run[key] for key in ("base_model", "start_from") if key in run}
        expanded[name]["stages"] = [
            {
                "method": stage["method"],
                "training": _merged(shared, stage.get("training", {})),
            }
            for stage in run.get("stages", [{"method": "sft"}])
        ]
    for name in expanded:
        mistakes += _order(name, expanded)
    if not mistakes:
        for name, run in expanded.items():
            run["base_model"] = _base_model(name, expanded, mistakes)
    if mistakes:
        raise RunError("\n".join(mistakes))
    return expanded


def policy_stages(run: Mapping) -> list[str]:
    """The stages that change the model itself; a reward model is trained beside it."""
    return [stage["method"] for stage in run["stages"] if stage["method"] != "reward"]


def training_of(run: Mapping, method: str) -> dict:
    """The settings of a stage of a run."""
    return next(stage["training"] for stage in run["stages"] if stage["method"] == method)


def settings_read(method: str, training: Mapping) -> dict:
    """The settings that a stage depends on, so that an edit of another one does not train it again.

    How many processes train together is not among them: the rules say that on the command line.
    """
    unread = {"gpus", "nodes", "deepspeed"}
    unread |= {"finetuning"} if method == "grpo" else {"generations", "max_new_tokens"}
    # the rules read what may be cut; grpo looks at its prompts itself
    unread |= set() if method == "grpo" else {"max_truncated"}
    unread |= set() if method in ("dpo", "orpo", "grpo") else {"beta"}
    unread |= set() if method in ("pt", "sft") else {"pack"}
    unread |= {"lora"} if training["finetuning"] == "full" else set()
    return {key: value for key, value in training.items() if key not in unread}


def start_of(runs: Mapping[str, dict], name: str, method: str) -> tuple[str, str] | None:
    """(run, stage) whose merged model a stage starts from; None for the base model."""
    run = runs[name]
    methods = [stage["method"] for stage in run["stages"]]
    before = [stage for stage in methods[: methods.index(method)] if stage != "reward"]
    if before:
        return name, before[-1]
    return tuple(run["start_from"].split("/")) if "start_from" in run else None


def _grid(name: str, run: dict, mistakes: list[str]) -> Iterator[tuple[str, dict]]:
    """(name, run) of each combination of a run's matrix; the run itself without one."""
    matrix = run.get("matrix")
    if not matrix:
        yield name, run
        return
    unknown = [key for key in matrix if not key.startswith(GRID_KEYS)]
    mistakes += [
        f"runs.{name}.matrix: {key!r} is neither base_model nor a key of training, such as "
        "training.learning_rate or training.lora.r."
        for key in unknown
    ]
    if unknown:
        return
    for values in itertools.product(*matrix.values()):
        one = copy.deepcopy({key: value for key, value in run.items() if key != "matrix"})
        suffix = ""
        for key, value in zip(matrix, values, strict=True):
            *parents, last = key.split(".")
            node = one
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
            text = str(value).lower() if isinstance(value, bool) else str(value)
            suffix += f"-{text}" if last == "base_model" else f"-{last}{text}"
        yield name + suffix, one


def _merged(shared: Mapping, own: Mapping) -> dict:
    """Settings of a run with those of one of its stages over them."""
    result = copy.deepcopy(dict(shared))
    for key, value in own.items():
        nested = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if nested else copy.deepcopy(value)
    return result


def _order(name: str, runs: Mapping[str, dict]) -> Iterator[str]:
    run = runs[name]
    methods = [stage["method"] for stage in run["stages"]]
    where = f"runs.{name}.stages"
    for method in METHODS:
        if methods.count(method) > 1:
            yield f"{where}: {method} stands twice; make the second one a run that starts from it."
    if not policy_stages(run):
        yield (
            f"{where}: reward alone trains no model that answers. Put it behind sft, or before "
            "grpo."
        )
    if "pt" in methods[1:]:
        yield f"{where}: pt must come first: pre-training on text unlearns how to answer."
    if "grpo" in methods and "reward" not in methods[: methods.index("grpo")]:
        yield f"{where}: grpo needs a reward model; put {{method: reward}} before it."
    if "start_from" in run:
        other, _, stage = run["start_from"].partition("/")
        if other not in runs:
            yield f"runs.{name}.start_from: {other!r} is not among the runs ({', '.join(runs)})."
        elif stage not in policy_stages(runs[other]):
            known = ", ".join(policy_stages(runs[other]))
            yield f"runs.{name}.start_from: {other} has no stage {stage!r} to start from ({known})."


def _base_model(name: str, runs: Mapping[str, dict], mistakes: list[str]) -> str:
    """The base model at the beginning of a chain of runs."""
    chain = [name]
    while "start_from" in runs[chain[-1]]:
        following = runs[chain[-1]]["start_from"].partition("/")[0]
        if following in chain:
            mistakes.append(
                f"runs.{name}.start_from: {' -> '.join([*chain, following])} is a circle."
            )
            return ""
        chain.append(following)
    return runs[chain[-1]]["base_model"]
