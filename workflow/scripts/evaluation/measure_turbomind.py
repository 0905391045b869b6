"""Measure the memory and speed of LMDeploy's engine with one setting of its cache; writes JSON.

Alone in its process, on a GPU. The engine is asked by token ids and answers by token ids, without
LMDeploy's tokenizer and server, as in LMDeploy's own benchmark/profile_generation.py.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from lmdeploy import GenerationConfig, TurbomindEngineConfig
from lmdeploy.messages import ResponseType
from lmdeploy.turbomind import TurboMind
from measuring import NEW_TOKENS, gpu, prompts_of, repeated
from transformers import AutoTokenizer


class EngineError(RuntimeError):
    """The engine did not answer as it was asked to."""


def taken() -> int:
    """Bytes of the GPU's memory that are taken, by whatever runs there.

    Not what PyTorch counts: the engine allocates by itself. What it frees, it keeps.
    """
    free, total = torch.cuda.mem_get_info()
    return total - free


class Engine(TurboMind):
    """LMDeploy's engine, which notes what its weights take before it makes room for the rest.

    Attributes:
        weight_bytes: by so much the taken memory of the GPU grew.
    """

    def _create_weight(self, model_comm) -> None:
        before = taken()
        super()._create_weight(model_comm)
        self.weight_bytes = taken() - before


async def moments(
    instance, session: int, prompt: Sequence[int], new_tokens: int
) -> list[tuple[int, float]]:
    """How many tokens were there after how many seconds, each time some had come.

    Args:
        instance: of the engine.
        session: a number that no other prompt has had.
        prompt: token ids.
        new_tokens: so many are written, whatever they are.

    Raises:
        EngineError: there are fewer, or the engine says that it has failed.
    """
    wish = GenerationConfig(
        max_new_tokens=new_tokens, min_new_tokens=new_tokens, ignore_eos=True, top_k=1
    )
    found, start = [(0, 0.0)], time.perf_counter()
    async for output in instance.async_stream_infer(
        session,
        prompt,
        sequence_start=True,
        sequence_end=True,
        gen_config=wish,
        stream_output=True,
    ):
        if output.status not in (ResponseType.SUCCESS, ResponseType.FINISH):
            raise EngineError(f"LMDeploy's engine answered {output.status.name}")
        if output.num_token > found[-1][0]:
            found.append((output.num_token, time.perf_counter() - start))
    if found[-1][0] < new_tokens:
        raise EngineError(f"LMDeploy's engine wrote {found[-1][0]} of {new_tokens} tokens")
    return found[1:]


def speeds(
    instance, long_prompt: Sequence[int], prompts: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """Tokens per second of reading and of writing, one sequence at a time.

    Args:
        instance: of the engine.
        long_prompt: token ids. It is read until its first new token is there.
        prompts: token ids of questions, in turn; after the first new token, NEW_TOKENS more are
            counted.
    """
    session = itertools.count(1)

    def answer(prompt: Sequence[int], new_tokens: int) -> list[tuple[int, float]]:
        return loop.run(moments(instance, next(session), prompt, new_tokens))

    def prefill(_: int) -> float:
        ((_, seconds),) = answer(long_prompt, 1)
        return len(long_prompt) / seconds

    def decode(turn: int) -> float:
        # several tokens may come at once
        (first, begin), *_, (last, end) = answer(prompts[turn % len(prompts)], NEW_TOKENS + 1)
        return (last - first) / (end - begin)

    with asyncio.Runner() as loop:
        # the first time, kernels are chosen and loaded
        answer(long_prompt, 2)
        return repeated(prefill), repeated(decode)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="TurboMind workspace, or AWQ")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code it brings")
    parser.add_argument("--quant-policy", type=int, required=True, help="as LMDeploy's: 0, 4, 8")
    parser.add_argument("--cache-max-entry-count", type=float, required=True, help="as LMDeploy's")
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines: messages")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)
    # how many blocks its cache has, the engine tells in its log alone
    os.environ["TM_LOG_LEVEL"] = "INFO"
    config = TurbomindEngineConfig(
        quant_policy=args.quant_policy, cache_max_entry_count=args.cache_max_entry_count
    )
    tokenizer = AutoTokenizer.from_pretrained(
        args.tokenizer, trust_remote_code=args.trust_remote_code
    )
    before = taken()
    engine = Engine.from_pretrained(str(args.model), tokenizer=None, engine_config=config)
    ready = taken()
    long_prompt, prompts = prompts_of(tokenizer, args.conversations, engine.session_len)
    try:
        prefill, decode = speeds(engine.create_instance(), long_prompt, prompts)
    except EngineError as error:
        sys.exit(f"measure_turbomind: {error}.")
    result = {
        "weight_bytes": engine.weight_bytes,
        "cache_bytes": ready - before - engine.weight_bytes,
        "peak_bytes": taken() - before,
        "block_tokens": config.cache_block_seq_len,
        "prompt_tokens": len(long_prompt),
        "prefill": prefill,
        "decode": decode,
        "machine": gpu(),
    }
    engine.close()
    args.output.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
