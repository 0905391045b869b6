"""Which folder of a run is served, and whether it is there. Standard library only."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runs import policy_stages, start_of

# From a run's best form to its plainest. Without a GPU the 4-bit weights could only be read back,
# which makes nothing smaller: the model is served as training left it.
PREFERENCE = {"cuda": ("turbomind", "awq", "tuned"), "cpu": ("tuned",)}
WORKSPACE = Path("triton_models/weights/config.yaml")


class ArtefactError(Exception):
    """There is nothing to serve; the text says what is missing and which command makes it."""


@dataclass(frozen=True)
class Model:
    """A model to serve.

    Attributes:
        name: how clients call it, "RUN/VARIANT".
        folder: its weights; a model's folder or a TurboMind workspace.
        tokenizer: the folder whose tokenizer, chat template and stop words are used: that of the
            run's final model for all its variants, as in evaluation.
        form: "model", "awq" or "turbomind".
    """

    name: str
    folder: str
    tokenizer: str
    form: str


def choose(
    config: Mapping, run: str | None, variant: str | None, device: str, options: Sequence[str] = ()
) -> Model:
    """Find the model that is meant.

    Args:
        config: the configuration, its runs expanded.
        run: name of a run; None for the first.
        variant: as in `scores.csv`: base, tuned, awq, turbomind or a stage; None for the best form
            that exists for this machine.
        device: "cpu" or "cuda".
        options: Snakemake's options for this configuration, to be repeated in messages.

    Raises:
        ArtefactError: the name means nothing, or the model is not made yet.
    """
    runs = config["runs"]
    if run is None:
        run = next(iter(runs))
    elif run not in runs:
        raise ArtefactError(f"there is no run {run!r}; the configuration has {', '.join(runs)}")
    stages = policy_stages(runs[run])
    known = ("base", *stages, "tuned", "awq", "turbomind")
    if variant is not None and variant not in known:
        raise ArtefactError(f"{run} has no variant {variant!r}; it has {', '.join(known)}")
    wanted = (variant,) if variant else PREFERENCE[device]
    models = [_model(config, run, name, device) for name in wanted]
    for model in models:
        if not missing(model):
            return model
    model = models[-1]
    targets = dict.fromkeys(missing(model))
    command = shlex.join([*options, "--", *targets])
    raise ArtefactError(
        f"there is no {model.name} yet ({', '.join(targets)}). This makes it:\n"
        f"    make run ARGS={shlex.quote(command)}"
    )


def missing(model: Model) -> list[str]:
    """The folders of a model that are not there, or not whole."""
    return [folder for folder in (model.folder, model.tokenizer) if not _is_whole(Path(folder))]


def _model(config: Mapping, run: str, variant: str, device: str) -> Model:
    base = f"results/base_models/{config['runs'][run]['base_model']}"
    place = f"results/{config['domain']}"
    stages = policy_stages(config["runs"][run])
    tokenizer = f"{place}/{run}/{stages[-1]}/merged"
    form = "model"
    if variant in ("awq", "turbomind"):
        # LMDeploy's engine needs a GPU; what is asked in evaluation runs everywhere
        form = variant if device == "cuda" else "model"
        folder = f"{place}/{run}/{'' if device == 'cuda' else 'dequantized/'}{variant}"
    elif variant == "tuned":
        folder = tokenizer
    elif variant == "base":
        first = config["runs"][run]["stages"][0]["method"]
        start = start_of(config["runs"], run, first)
        folder = f"{place}/{start[0]}/{start[1]}/merged" if start else base
    else:
        folder = f"{place}/{run}/{variant}/merged"
    return Model(f"{run}/{variant}", folder, tokenizer, form)


def _is_whole(folder: Path) -> bool:
    weights = (folder / WORKSPACE).is_file() or any(folder.glob("*.safetensors"))
    return weights and (folder / "config.json").is_file()
