"""Quantise a merged model to 4-bit AWQ with `lmdeploy lite auto_awq`.

lmdeploy 0.7.3 writes the weights as pickle (`pytorch_model*.bin`) together with its calibration
statistics. This script keeps names and bits of the weights but publishes them as safetensors,
which `lmdeploy convert` prefers anyway, leaves the statistics out, and takes tokenizer and
generation settings byte for byte from the merged model instead of the re-saved ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_lmdeploy
from architectures import architecture_of
from model_folder import copy_companions, read_config, save_weights, write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))
import limits

BITS = 4


def pickled_tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The tensors of `pytorch_model*.bin` without the second copy of a tied output matrix."""
    import torch

    head = architecture_of(config).head
    files = sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        sys.exit(f"quantize_awq: lmdeploy wrote no pytorch_model*.bin to {folder}.")
    for file in files:
        # weights_only: tensors are read, no code is run.
        for name, tensor in torch.load(file, map_location="cpu", weights_only=True).items():
            if name == head and config.get("tie_word_embeddings"):
                continue
            yield name, tensor


def publish(scratch: Path, merged: Path, output: Path) -> None:
    """Turn lmdeploy's work directory into the AWQ model folder."""
    config = read_config(scratch)
    if "quantization_config" not in config:
        sys.exit("quantize_awq: lmdeploy wrote a config.json without quantization_config.")
    save_weights(pickled_tensors(scratch, config), output)
    copy_companions(merged, output)
    # lmdeploy switches the key/value cache off for calibration and saves that as well.
    config["use_cache"] = read_config(merged).get("use_cache", True)
    write_json(output / "config.json", config)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="merged model folder")
    parser.add_argument("--calibration", type=Path, required=True, help="calibration.jsonl")
    parser.add_argument("--output", type=Path, required=True, help="AWQ model folder to write")
    parser.add_argument("--group-size", type=int, required=True)
    parser.add_argument("--calibration-samples", type=int, required=True)
    parser.add_argument("--calibration-length", type=int, required=True, help="tokens")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    args = parser.parse_args(argv)

    config = read_config(args.model)
    if mistakes := limits.of_awq(config, args.group_size):
        sys.exit(f"quantize_awq: {args.model} cannot be quantised: {' '.join(mistakes)}")
    longest = config.get("max_position_embeddings")
    if longest and args.calibration_length > longest:
        sys.exit(
            f"quantize_awq: calibration_length {args.calibration_length} is longer than the "
            f"model's {longest} positions. Lower quantization.calibration_length."
        )
    if args.output.exists() and any(args.output.iterdir()):
        sys.exit(f"quantize_awq: {args.output} is not empty. Remove it first.")

    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".awq-", dir=args.output.parent) as folder:
        scratch = Path(folder)
        command = ["lite", "auto_awq", str(args.model), "--work-dir", str(scratch)]
        command += ["--w-bits", str(BITS), "--w-group-size", str(args.group_size)]
        command += ["--dtype", "float16", "--device", args.device]
        command += ["--calib-samples", str(args.calibration_samples)]
        command += ["--calib-seqlen", str(args.calibration_length)]
        status = launch_lmdeploy.launch(
            command,
            calibration=args.calibration,
            seed=args.seed,
            expect=[scratch / "config.json"],
        )
        if status:
            return status
        publish(scratch, args.model, args.output)
    print(f"quantize_awq: wrote {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
