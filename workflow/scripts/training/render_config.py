"""Render XTuner's configuration of a stage from the workflow's."""

import argparse
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

MODELS = {
    "pt": "SupervisedFinetune",
    "sft": "SupervisedFinetune",
    "dpo": "AnswerDPO",
    "orpo": "AnswerORPO",
    "reward": "RewardModelWithHead",
}
OPTIMIZERS = {
    "adamw": "AdamW",
    "paged_adamw_32bit": "PagedAdamW32bit",
    "paged_adamw_8bit": "PagedAdamW8bit",
}


def render(
    template: Path, method: str, training: dict, base_model: dict, paths: dict, device: str
) -> str:
    """The text of XTuner's `config.py`.

    Args:
        template: the Jinja2 template of the file.
        method: of the stage, a key of MODELS.
        training: `training` of the stage, all keys filled in; `gradient_checkpointing` may be
            missing and is then on for a GPU.
        base_model: `base_models.BASE`; its prompt template, trust and LoRA targets are read.
        paths: `base_model`, the folder of the model that the stage starts from, and `train`, the
            JSON lines of its conversations, texts or pairs.
        device: "cpu" or "cuda".
    """
    iterations = training["steps"] * training["gradient_accumulation"]
    warmup_iterations = round(iterations * training["warmup_ratio"])
    if warmup_iterations < 2:
        # mmengine's warm-up of one iteration never comes to its end: the learning rate stays at
        # the hundred-thousandth part that it begins with
        warmup_iterations = 0
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["literal"] = repr
    return environment.get_template(template.name).render(
        {"gradient_checkpointing": device == "cuda"}
        | training
        | paths
        | {
            "method": method,
            "model_class": MODELS[method],
            "optimizer_class": OPTIMIZERS[training["optimizer"]],
            "prompt_template": base_model["prompt_template"],
            "trust_remote_code": base_model["trust_remote_code"],
            "lora_target_modules": base_model.get("lora_target_modules"),
            "warmup_iterations": warmup_iterations,
            # a short training has a curve, too
            "log_interval": max(1, min(10, iterations // 20)),
            "cuda": device == "cuda",
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--method", choices=MODELS, required=True)
    parser.add_argument("--training", type=json.loads, required=True)
    parser.add_argument("--base-model", type=json.loads, required=True)
    parser.add_argument("--base-model-folder", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    text = render(
        arguments.template,
        arguments.method,
        arguments.training,
        arguments.base_model,
        {"base_model": arguments.base_model_folder, "train": arguments.train},
        arguments.device,
    )
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
