"""Write a base model's tokenizer with the chat template that its tuned models have.

So it is asked as they are, and before any of them is there.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner
from chat_format import write_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-model", type=Path, required=True)
    parser.add_argument("--prompt-template", required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    launch_xtuner.prepare()
    write_tokenizer(
        arguments.base_model,
        arguments.prompt_template,
        arguments.trust_remote_code,
        arguments.tokenizer,
    )


if __name__ == "__main__":
    main()
