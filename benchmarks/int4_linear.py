"""What a matrix of a 7B model costs a CPU in 4 bits, beside the same one dense.

    make bench-kernel

A matrix of 4096 x 4096 with random levels, zeros and scales is multiplied by one token (as in
writing an answer) and by 64 (as in reading a prompt): by our linear, which is PyTorch's int4
kernel, and by dense products in float32 and bfloat16, step about in one process. The error is
against the dense product in float64.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
for stage in ("evaluation", "quantization"):
    sys.path.insert(0, str(ROOT / "workflow" / "scripts" / stage))

from int4_model import DTYPE, Int4Linear
from machine import processor
from packing import AWQ_ORDER, dequantize, pack_int4

SIZE, GROUP = 4096, 128
REPETITIONS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=ROOT / "results/benchmarks/int4_linear.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    levels = torch.randint(0, 16, (SIZE, SIZE), dtype=torch.uint8)
    zeros = torch.randint(0, 16, (SIZE // GROUP, SIZE), dtype=torch.uint8)
    scales = (torch.rand(zeros.shape) * 0.02 + 0.001).half()
    linear = Int4Linear(pack_int4(levels, AWQ_ORDER), pack_int4(zeros, AWQ_ORDER), scales)
    dense = dequantize(levels, zeros, scales, GROUP)
    # (out, in), as in a model
    weights = {name: dense.t().contiguous().to(name) for name in (torch.float32, DTYPE)}
    products = {
        "int4": (DTYPE, linear),
        "bfloat16": (DTYPE, lambda x: x @ weights[DTYPE].t()),
        "float32": (torch.float32, lambda x: x @ weights[torch.float32].t()),
    }
    sizes = {str(name).removeprefix("torch."): matrix.nbytes for name, matrix in weights.items()}
    sizes["int4"] = sum(buffer.nbytes for buffer in linear.buffers())

    rows = []
    for tokens in (1, 64):
        inputs = torch.randn(tokens, SIZE)
        wanted = inputs.double() @ dense.double()
        seconds: dict[str, list[float]] = {name: [] for name in products}
        for _ in range(REPETITIONS):
            for name, (dtype, product) in products.items():
                given = inputs.to(dtype)
                start = time.perf_counter()
                product(given)
                seconds[name].append(time.perf_counter() - start)
        for name, (dtype, product) in products.items():
            error = (product(inputs.to(dtype)).double() - wanted).norm() / wanted.norm()
            # the first ones warm up
            times = [1000 * value for value in seconds[name][3:]]
            rows.append(
                {
                    "tokens": tokens,
                    "product": name,
                    "milliseconds": round(statistics.median(times), 3),
                    "fastest": round(min(times), 3),
                    "slowest": round(max(times), 3),
                    "relative_error": float(f"{error.item():.2g}"),
                    "bytes": sizes[name],
                }
            )
    result = {"machine": processor(), "threads": args.threads, "rows": rows}
    text = json.dumps(result, indent=2)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
