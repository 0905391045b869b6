"""Measure the memory and speed of one model in transformers, alone in its process; writes JSON."""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import NEW_TOKENS, gpu, prompts_of, repeated
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1] / "quantization"))
import int4_model

FORMATS = ("float32", "bfloat16", "float16", "int4")


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


def load(folder: Path, number_format: str, device: str, trusted: bool) -> PreTrainedModel:
    """The model of a folder in one of FORMATS; int4 wants AWQ weights, and the device "cpu".

    Args:
        trusted: whether code that the model brings may run.
    """
    if number_format == "int4":
        return int4_model.load(folder)
    dtype = getattr(torch, number_format)
    model = AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=dtype, trust_remote_code=trusted
    )
    return model.to(device).eval()


def now(device: str) -> float:
    """Seconds of a clock, read once the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


@torch.inference_mode()
def speeds(
    model: PreTrainedModel,
    device: str,
    long_prompt: Sequence[int],
    prompts: Sequence[Sequence[int]],
) -> tuple[list[float], list[float]]:
    """Tokens per second of reading and of writing, one sequence at a time.

    Args:
        model: on the device.
        device: "cpu" or "cuda".
        long_prompt: token ids, read as a whole each time.
        prompts: token ids of questions, in turn; NEW_TOKENS are written after each. How fast it
            was read is not counted.
    """

    def read(ids: Sequence[int]) -> Any:
        return model(torch.tensor([ids], device=model.device), use_cache=True)

    def prefill(_: int) -> float:
        start = now(device)
        read(long_prompt)
        return len(long_prompt) / (now(device) - start)

    def decode(turn: int) -> float:
        output = read(prompts[turn % len(prompts)])
        start = now(device)
        for _ in range(NEW_TOKENS):
            token = output.logits[:, -1:].argmax(-1)
            output = model(token, past_key_values=output.past_key_values, use_cache=True)
        return NEW_TOKENS / (now(device) - start)

    # the first time, libraries choose and compile what they use
    read(prompts[0])
    return repeated(prefill), repeated(decode)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code they bring")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)

    tokenizer = AutoTokenizer.from_pretrained(
        args.tokenizer, trust_remote_code=args.trust_remote_code
    )
    before = resident("VmRSS")
    model = load(args.model, args.format, args.device, args.trust_remote_code)
    context = model.config.max_position_embeddings
    long_prompt, prompts = prompts_of(tokenizer, args.conversations, context)
    prefill, decode = speeds(model, args.device, long_prompt, prompts)
    result = {
        "weight_bytes": weight_bytes(model),
        "prompt_tokens": len(long_prompt),
        "prefill": prefill,
        "decode": decode,
    }
    if args.device == "cuda":
        # what the allocator holds, not what tensors fill of it: the GPU can give it to nobody else
        result |= {"peak_bytes": torch.cuda.max_memory_reserved(), "machine": gpu()}
    else:
        result |= {"start_bytes": before, "peak_bytes": resident("VmHWM")}
    args.output.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
