"""Merge the adapter into its base model with XTuner, and give the tokenizer its chat template."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from chat_format import write_chat_format, write_origin


def merge(base_model: Path, adapter: Path, merged: Path, max_shard_size: str, device: str) -> None:
    """Write the merged model as float16 safetensors, with XTuner's own tool."""
    launch_xtuner.run(
        "merge",
        [
            *(str(base_model), str(adapter), str(merged)),
            *("--safe-serialization", "--max-shard-size", max_shard_size, "--device", device),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--prompt-template", required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--max-shard-size", default="2GB")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--merged", type=Path, required=True)
    arguments = parser.parse_args()
    merge(
        arguments.base_model,
        arguments.adapter,
        arguments.merged,
        arguments.max_shard_size,
        arguments.device,
    )
    if not any(arguments.merged.glob("*.safetensors")):
        sys.exit("merge_adapter: XTuner ended without writing weights; its log is above.")
    write_chat_format(arguments.merged, arguments.prompt_template, arguments.trust_remote_code)
    write_origin(arguments.merged, arguments.base_model, "merged with its adapter")


if __name__ == "__main__":
    main()
