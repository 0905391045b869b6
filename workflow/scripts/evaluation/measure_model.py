"""Measure the memory and speed of one model on the CPU, alone in its process; prints JSON."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1] / "quantization"))
import int4_model

FORMATS = ("float32", "bfloat16", "float16", "int4")
REPETITIONS = 5
# A large model is measured fewer times: no further repetition is begun after so many seconds.
PATIENCE = 20.0
PROMPT_TOKENS = 512
NEW_TOKENS = 32


def resident(key: str) -> int:
    """Bytes of memory of this process: "VmRSS" now, "VmHWM" at most so far."""
    # not getrusage, which counts the memory of the process that has started this one, too
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)[1])


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*model.parameters(), *model.buffers())
    }
    return sum(storages.values())


def load(folder: Path, number_format: str) -> PreTrainedModel:
    """The model of a folder in one of FORMATS; int4 wants AWQ weights."""
    if number_format == "int4":
        return int4_model.load(folder)
    dtype = getattr(torch, number_format)
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=dtype).eval()


def repeated(measure: Callable[[int], float]) -> list[float]:
    """measure(0), measure(1), ...: REPETITIONS values, or fewer where that takes too long."""
    values, end = [], time.monotonic() + PATIENCE
    while not values or (len(values) < REPETITIONS and time.monotonic() < end):
        values.append(measure(len(values)))
    return values


@torch.inference_mode()
def speeds(
    model: PreTrainedModel, long_prompt: Sequence[int], prompts: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """Tokens per second of reading and of writing, one sequence at a time.

    Args:
        model: on the CPU.
        long_prompt: token ids, read as a whole each time.
        prompts: token ids of questions, in turn; NEW_TOKENS are written after each. How fast it
            was read is not counted.
    """

    def prefill(_: int) -> float:
        start = time.perf_counter()
        model(torch.tensor([long_prompt]), use_cache=True)
        return len(long_prompt) / (time.perf_counter() - start)

    def decode(turn: int) -> float:
        read = model(torch.tensor([prompts[turn % len(prompts)]]), use_cache=True)
        start = time.perf_counter()
        for _ in range(NEW_TOKENS):
            token = read.logits[:, -1:].argmax(-1)
            read = model(token, past_key_values=read.past_key_values, use_cache=True)
        return NEW_TOKENS / (time.perf_counter() - start)

    # the first time, libraries choose and compile what they use
    model(torch.tensor([prompts[0]]))
    return repeated(prefill), repeated(decode)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer)
    lines = args.conversations.read_text(encoding="utf-8").splitlines()
    conversations = [json.loads(line)["messages"] for line in lines]
    before = resident("VmRSS")
    model = load(args.model, args.format)
    room = model.config.max_position_embeddings - NEW_TOKENS
    prompts = [
        tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)[-room:]
        for messages in conversations[:REPETITIONS]
    ]
    long_prompt = []
    for messages in conversations:
        long_prompt += tokenizer.apply_chat_template(messages)
    long_prompt = long_prompt[: min(PROMPT_TOKENS, room)]
    prefill, decode = speeds(model, long_prompt, prompts)
    result = {
        "weight_bytes": weight_bytes(model),
        "start_bytes": before,
        "peak_bytes": resident("VmHWM"),
        "prompt_tokens": len(long_prompt),
        "prefill": prefill,
        "decode": decode,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
