"""Render XTuner's configuration of a run from the workflow's."""

import argparse
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, training: dict, base_model: dict, paths: dict, device: str) -> str:
    """The text of XTuner's `config.py`.

    Args:
        template: the Jinja2 template of the file.
        training: `runs.RUN.training` of the workflow's configuration.
        base_model: `base_models.BASE`; its prompt template, trust and LoRA targets are read.
        paths: `base_model`, the model folder, and `train`, the JSON lines of conversations.
        device: "cpu" or "cuda".
    """
    # a schedule that begins and ends at the same iteration is an error in mmengine
    iterations = training["steps"] * training["gradient_accumulation"]
    warmup_iterations = max(1, round(iterations * training["warmup_ratio"]))
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["literal"] = repr
    return environment.get_template(template.name).render(
        training
        | paths
        | {
            "prompt_template": base_model["prompt_template"],
            "trust_remote_code": base_model["trust_remote_code"],
            "lora_target_modules": base_model.get("lora_target_modules"),
            "warmup_iterations": warmup_iterations,
            "cuda": device == "cuda",
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--training", type=json.loads, required=True)
    parser.add_argument("--base-model", type=json.loads, required=True)
    parser.add_argument("--base-model-folder", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    text = render(
        arguments.template,
        arguments.training,
        arguments.base_model,
        {"base_model": arguments.base_model_folder, "train": arguments.train},
        arguments.device,
    )
    arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
