"""Merge the adapter into its base model with XTuner, and give the tokenizer its chat template."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from chat_template import jinja


def merge(base_model: Path, adapter: Path, merged: Path, max_shard_size: str, device: str) -> None:
    """Write the merged model as float16 safetensors, with XTuner's own tool."""
    launch_xtuner.run(
        "merge",
        [
            *(str(base_model), str(adapter), str(merged)),
            *("--safe-serialization", "--max-shard-size", max_shard_size, "--device", device),
        ],
    )


def write_chat_format(merged: Path, prompt_template: str, trusted: bool) -> None:
    """Write the prompt format of training into the merged tokenizer and generation defaults.

    Args:
        merged: the folder of the merged model.
        prompt_template: a name in `xtuner.utils.PROMPT_TEMPLATE`.
        trusted: whether code in the folder may be run.
    """
    from transformers import AutoTokenizer, GenerationConfig
    from xtuner.dataset.utils import get_bos_eos_token_ids
    from xtuner.utils import PROMPT_TEMPLATE

    template = PROMPT_TEMPLATE[prompt_template]
    tokenizer = AutoTokenizer.from_pretrained(merged, trust_remote_code=trusted)
    bos, eos = get_bos_eos_token_ids(tokenizer)
    tokenizer.chat_template = jinja(
        template,
        bos_token="".join(tokenizer.convert_ids_to_tokens(bos)),
        eos_token="".join(tokenizer.convert_ids_to_tokens(eos)),
    )
    tokenizer.save_pretrained(merged)

    # an answer ends with the template's stop words, which a base model need not know as its end
    stops = {*eos, *tokenizer.convert_tokens_to_ids(template.get("STOP_WORDS", []))}
    stops -= {None, tokenizer.unk_token_id}
    generation = GenerationConfig.from_pretrained(merged)
    generation.eos_token_id = sorted(stops)
    generation.pad_token_id = tokenizer.pad_token_id
    generation.save_pretrained(merged)


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


if __name__ == "__main__":
    main()
