"""Compare the prompt of training with that of serving, byte by byte and token by token.

XTuner's supervised fine-tuning builds its prompts from its own template; its training on pairs,
evaluation and serving take the chat template of a tokenizer. A difference of one space is a model
that was trained for another prompt than it is asked with.

What is compared are probes, and beside them the rows of the training file: after `sft` its
conversations, after `dpo` and `orpo` both conversations of each pair, as supervised fine-tuning
would write them, with what XTuner makes of the pair. After `pt` nothing was trained in a template,
and the probes alone say whether the model can be asked in it.
"""

import argparse
import copy
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import launch_xtuner

# what a corpus of single questions does not show: several turns, a system prompt, hard characters
PROBES = [
    [{"system": "你是一个助手。", "input": "你好", "output": "你好！"}],
    [{"input": "1+1=?", "output": "2"}, {"input": "再加一\n呢？", "output": " 3 "}],
    [
        {"system": "Be brief.", "input": "  空格 and\ttab ", "output": "𝔘😀"},
        {"input": "{input} {{ x }} {% y %}", "output": "<b>'\"\\n</b>"},
    ],
]


# The other answer where a probe is a pair.
WORSE = "我不知道。"


def rows(path: Path) -> Iterator[dict]:
    """The rows of the training file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def pairs_of(probes: list[list[dict]]) -> Iterator[dict]:
    """Conversations as pairs: the last answer is the chosen one."""
    for probe in probes:
        *prompt, answer = messages_of(probe)
        worse = {"role": "assistant", "content": WORSE}
        yield {"prompt": prompt, "chosen": [answer], "rejected": [worse]}


def turns_of(messages: list[dict]) -> list[dict]:
    """A list of role and content as XTuner's turns."""
    turns: list[dict] = []
    inputs: list[str] = []
    system = {}
    for message in messages:
        if message["role"] == "system":
            system = {"system": message["content"]}
        elif message["role"] == "assistant":
            turns.append(system | {"input": "\n".join(inputs), "output": message["content"]})
            inputs, system = [], {}
        else:
            inputs.append(message["content"])
    return turns


def messages_of(conversation: list[dict]) -> list[dict]:
    """XTuner's turns as a list of role and content."""
    messages = []
    for turn in conversation:
        if turn.get("system"):
            messages.append({"role": "system", "content": turn["system"]})
        messages.append({"role": "user", "content": turn["input"]})
        messages.append({"role": "assistant", "content": turn["output"]})
    return messages


class Comparison:
    """Renders one conversation in both ways with one tokenizer and template."""

    def __init__(self, merged: Path, prompt_template: str, trusted: bool) -> None:
        from transformers import AutoTokenizer
        from xtuner.utils import PROMPT_TEMPLATE

        self.tokenizer = AutoTokenizer.from_pretrained(merged, trust_remote_code=trusted)
        self.template = PROMPT_TEMPLATE[prompt_template]
        # some templates have no place for a system prompt
        self.probes = [
            probe for probe in PROBES if self.template.get("SYSTEM") or "system" not in probe[0]
        ]

    def trained(self, conversation: list[dict]) -> tuple[str, list[int], int]:
        """XTuner's text, its token ids, and the number of ids before the first answer."""
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn, get_bos_eos_token_ids

        example = template_map_fn({"conversation": copy.deepcopy(conversation)}, self.template)
        row = encode_fn(example, self.tokenizer, max_length=sys.maxsize)
        bos, eos = (
            "".join(self.tokenizer.convert_ids_to_tokens(ids))
            for ids in get_bos_eos_token_ids(self.tokenizer)
        )
        text, starts = "", True
        for turn in example["conversation"]:
            text += (bos if starts else "") + turn["input"] + turn["output"]
            text += (eos if turn["need_eos_token"] else "") + turn["sep"]
            starts = turn["need_eos_token"]
        prompt = next(i for i, label in enumerate(row["labels"]) if label >= 0)
        return text, row["input_ids"], prompt

    def difference(self, conversation: list[dict]) -> str | None:
        """What differs, None if nothing does."""
        messages = messages_of(conversation)
        text, ids, prompt = self.trained(conversation)
        first_answer = next(i for i, m in enumerate(messages) if m["role"] == "assistant")

        served = self.tokenizer.apply_chat_template(messages, tokenize=False)
        if text != served:
            return f"training text {text!r}, serving text {served!r}"
        served_ids = self.tokenizer.apply_chat_template(messages)
        if ids != served_ids:
            return f"of the same text {text!r}, training ids {ids}, serving ids {served_ids}"
        asked = self.tokenizer.apply_chat_template(
            messages[:first_answer], add_generation_prompt=True
        )
        if ids[:prompt] != asked:
            return f"prompt in training {ids[:prompt]}, in serving {asked}"
        return None

    def pair_difference(self, pair: dict) -> str | None:
        """What differs between a pair and the same conversations in supervised fine-tuning."""
        from xtuner.dataset.preference_dataset import tokenize

        encoded = tokenize(pair, self.tokenizer, max_length=sys.maxsize)
        for side in ("chosen", "rejected"):
            text, _, _ = self.trained(turns_of(pair["prompt"] + pair[side]))
            ids, labels = encoded[f"{side}_ids"], encoded[f"{side}_labels"]
            expected = self.tokenizer.encode(text, add_special_tokens=False)
            if ids != expected:
                return (
                    f"of a pair {ids}, of the text in supervised fine-tuning {expected} ({text!r})"
                )
            # XTuner takes the length of the prompt alone for that of its part in the whole
            prompt = self.tokenizer.apply_chat_template(pair["prompt"], add_generation_prompt=True)
            masked = next(i for i, label in enumerate(labels) if label >= 0)
            if ids[:masked] != prompt:
                return f"before the answer of a pair {ids[:masked]}, prompt in serving {prompt}"
        return None

    def differences(self, method: str, train: Path) -> Iterator[str | None]:
        """The difference of each probe, and of each row that is trained on in a template."""
        for probe in self.probes:
            yield self.difference(probe)
        if method == "sft":
            for row in rows(train):
                yield self.difference(row["conversation"])
        if method in ("dpo", "orpo"):
            for pair in itertools.chain(pairs_of(self.probes), rows(train)):
                yield self.pair_difference(pair)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("pt", "sft", "dpo", "orpo", "grpo"), required=True)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--prompt-template", required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    launch_xtuner.prepare()
    comparison = Comparison(
        arguments.merged, arguments.prompt_template, arguments.trust_remote_code
    )
    compared, different = 0, 0
    for difference in comparison.differences(arguments.method, arguments.train):
        compared += 1
        if difference:
            different += 1
            if different <= 3:
                print(f"check_chat_template: {difference}", file=sys.stderr)
    if different:
        sys.exit(
            f"check_chat_template: {different} of {compared} conversations are not the same in "
            f"training and serving. The prompt template {arguments.prompt_template} does not fit "
            "this base model's tokenizer; take the one it was made for."
        )
    example = comparison.tokenizer.apply_chat_template(messages_of(PROBES[0]), tokenize=False)
    result = {
        "passed": True,
        "summary": {
            "method": arguments.method,
            "prompt_template": arguments.prompt_template,
            "conversations_compared": compared,
            "conversations_different": different,
            "example": example,
        },
    }
    text = json.dumps(result, ensure_ascii=False, indent=1)
    arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
