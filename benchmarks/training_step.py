"""What XTuner's training step costs beside plain transformers + peft + bitsandbytes.

    make bench            (after `make run`: it takes the base model and corpus of the default run)

Two comparisons, each in one process on the same data:

1. the same batches of token ids through XTuner's model and optimiser wrapper and through a plain
   loop, step about, with the same nf4 base, LoRA and optimiser: seconds per step, ratio, and the
   losses, which must agree;
2. packed against unpacked batches of the corpus: trained tokens per second (padding not counted).
"""

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "training"))

import launch_xtuner


def plain_model(config, device: str):
    """The model of XTuner's configuration, built with transformers, peft and bitsandbytes alone."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    quantization = dict(config.model.llm.quantization_config)
    quantization.pop("type")
    model = AutoModelForCausalLM.from_pretrained(
        config.pretrained_model_name_or_path,
        dtype=config.compute_dtype,
        quantization_config=BitsAndBytesConfig(**quantization),
        device_map={"": device},
    )
    model.config.use_cache = False
    model = prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=config.model.use_activation_checkpointing
    )
    lora = dict(config.model.lora)
    lora.pop("type")
    lora["target_modules"] = "all-linear"
    return get_peft_model(model, LoraConfig(**lora))


def compare_steps(config, batches: list[dict], device: str, threads: int) -> dict:
    """Time XTuner's step and the plain one on the same batches, step about.

    Args:
        config: XTuner's configuration of a run.
        batches: token ids, labels and attention mask, each of shape (batch, length).

    Returns:
        median seconds per step of both, their ratio, and the last loss of both.
    """
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS

    torch.manual_seed(0)
    tuned = MODELS.build(copy.deepcopy(config.model)).to(device).train()
    wrapper = build_optim_wrapper(tuned, config.optim_wrapper)
    torch.manual_seed(0)
    plain = plain_model(config, device).train()
    trained = [parameter for parameter in plain.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, betas=(0.9, 0.999), weight_decay=0
    )
    wanted = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    assert wanted == sum(p.numel() for p in trained), "the two do not train the same parameters"

    seconds = {"xtuner": [], "plain": []}
    for batch in batches:
        batch = {key: value.to(device) for key, value in batch.items()}
        start = time.perf_counter()
        loss = tuned.train_step({"data": batch, "data_samples": None}, wrapper)["loss"].item()
        seconds["xtuner"].append(time.perf_counter() - start)
        start = time.perf_counter()
        plain_loss = plain(**batch).loss
        plain_loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        plain_loss = plain_loss.item()
        seconds["plain"].append(time.perf_counter() - start)
    # the first steps warm up caches and allocators
    medians = {name: statistics.median(values[3:]) for name, values in seconds.items()}
    return {
        "steps": len(batches),
        "threads": threads,
        "xtuner_seconds_per_step": round(medians["xtuner"], 4),
        "plain_seconds_per_step": round(medians["plain"], 4),
        "ratio": round(medians["xtuner"] / medians["plain"], 3),
        "xtuner_last_loss": round(loss, 4),
        "plain_last_loss": round(plain_loss, 4),
    }


def corpus_batches(config, pack: bool, length: int, rows: int, steps: int) -> list[dict]:
    """The first batches that XTuner itself makes of the corpus, packed or not."""
    from mmengine.registry import DATASETS

    settings = config.train_dataset.copy()
    settings.update(pack_to_max_length=pack, max_length=length, shuffle_before_pack=False)
    dataset = DATASETS.build(settings)
    collate = config.train_dataloader.collate_fn.type
    made = []
    for start in range(0, rows * steps, rows):
        rows_of_batch = [dataset[(start + offset) % len(dataset)] for offset in range(rows)]
        made.append(collate(rows_of_batch)["data"])
    return made


def tokens_per_second(config, batches: list[dict], device: str) -> dict:
    """Trained tokens a second of XTuner's step on these batches, padding not counted."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS

    model = MODELS.build(copy.deepcopy(config.model)).to(device).train()
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    seconds, tokens, places = 0.0, 0, 0
    for number, batch in enumerate(batches):
        batch = {key: value.to(device) for key, value in batch.items()}
        start = time.perf_counter()
        model.train_step({"data": batch, "data_samples": None}, wrapper)["loss"].item()
        if number >= 3:
            seconds += time.perf_counter() - start
            tokens += int(batch["attention_mask"].sum())
            places += batch["input_ids"].numel()
    return {
        "tokens_per_second": round(tokens / seconds),
        "padding_share": round(1 - tokens / places, 3),
        "tokens_per_step": round(tokens / (len(batches) - 3)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("results/civil_service/tiny-qlora/sft/training/config.py"),
        help="XTuner's configuration of a finished run",
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--output", type=Path, default=Path("results/benchmarks/training_step.json")
    )
    arguments = parser.parse_args()
    if not arguments.config.is_file():
        sys.exit(f"training_step: {arguments.config} does not exist; `make run` writes it.")
    torch.set_num_threads(arguments.threads)
    launch_xtuner.prepare()
    from mmengine.config import Config

    config = Config.fromfile(arguments.config)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    unpacked = corpus_batches(config, False, config.max_length, 8, arguments.steps)
    packed = corpus_batches(config, True, 512, 1, arguments.steps)
    result = {
        "machine": {"processor": platform.processor() or platform.machine(), "device": device},
        "step": compare_steps(config, unpacked, device, arguments.threads),
        "unpacked": tokens_per_second(config, unpacked, device),
        "packed": tokens_per_second(config, packed, device),
    }
    ratio = result["packed"]["tokens_per_second"] / result["unpacked"]["tokens_per_second"]
    result["packed_over_unpacked"] = round(ratio, 2)
    text = json.dumps(result, indent=1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
