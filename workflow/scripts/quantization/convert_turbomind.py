"""Convert an AWQ model to a TurboMind workspace with `lmdeploy convert` (0.7.3).

The workspace is what `lmdeploy serve api_server WORKSPACE` of the same version loads. Two things
are added to what the tool writes:

* `chat_template.jinja`, which the tool does not copy (it only takes *.json and *.py);
* `lmdeploy_chat_template.json`: the model's own chat template in lmdeploy's terms, for
  `--chat-template`. The tool would otherwise guess one of its built-in templates from words in
  the *path* of the model; `--chat-template base` keeps it from guessing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import launch_lmdeploy
from chat_template import TemplateNotExpressible, describe_template
from model_folder import copy_companions, read_config, write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))
import limits

CHAT_TEMPLATE = "lmdeploy_chat_template.json"


def add_chat_template(model: Path, workspace: Path) -> None:
    """Write the chat template in lmdeploy's format, or say why there is none."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=True)
    try:
        write_json(workspace / CHAT_TEMPLATE, describe_template(tokenizer))
    except TemplateNotExpressible as reason:
        print(
            f"convert_turbomind: WARNING: no {CHAT_TEMPLATE}: {reason}. Apply the tokenizer's "
            "chat template before sending text to the server."
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--awq", type=Path, required=True, help="AWQ model folder")
    parser.add_argument("--model-name", required=True, help="name the server will give the model")
    parser.add_argument("--output", type=Path, required=True, help="workspace to write")
    args = parser.parse_args(argv)

    config = read_config(args.awq)
    scheme = config.get("quantization_config")
    if not scheme:
        sys.exit(f"convert_turbomind: {args.awq} is not an AWQ model (no quantization_config).")
    group_size = scheme["group_size"]
    if mistakes := limits.of_config(config, group_size):
        sys.exit(f"convert_turbomind: {args.awq} cannot be converted: {' '.join(mistakes)}")
    # lmdeploy deletes whatever is at the destination without asking.
    if args.output.exists() and any(args.output.iterdir()):
        sys.exit(f"convert_turbomind: {args.output} is not empty. Remove it first.")

    partial = args.output.with_name(args.output.name + ".partial")
    command = ["convert", args.model_name, str(args.awq), "--dst-path", str(partial)]
    command += ["--model-format", "awq", "--group-size", str(group_size)]
    command += ["--chat-template", "base"]
    status = launch_lmdeploy.launch(
        command, expect=[partial / "triton_models" / "weights" / "config.yaml"]
    )
    if status:
        return status
    copy_companions(args.awq, partial)
    add_chat_template(args.awq, partial)
    if args.output.exists():
        args.output.rmdir()
    os.replace(partial, args.output)
    print(f"convert_turbomind: wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
