"""Make a tiny base model on the spot: tokenizer, random weights, a few minutes of pre-training.

It learns what the given sentences state and nothing else, so that a laptop can run the whole chain
on a model that really knows something and really has no idea of how to answer a question.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from manifest import write_manifest
from tiny_architectures import ARCHITECTURES, make_model
from tiny_tokenizer import PIECES, train_tokenizer
from transformers import PreTrainedModel

# 1,024 tokens a step: many small steps learn more in the time than few large ones
SEQUENCE, BATCH = 256, 4
WARMUP, WEIGHT_DECAY = 50, 0.1
# divided by the width of the model, as a narrow one takes larger steps: 0.003 for 256
LEARNING_RATE = 0.768


def read_sentences(paths: list[Path]) -> list[str]:
    """The lines of the files that are not blank, in order: each counts once, whatever its file.

    Raises:
        ValueError: a file has none, or is not encoded in UTF-8.
    """
    sentences: list[str] = []
    for path in paths:
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: is not UTF-8 ({error}). Convert it first.") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ValueError(f"{path}: no sentence in it.")
        sentences += found
    return sentences


def batches(documents: list[list[int]], steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Endless shuffled epochs of the documents, packed into (BATCH, SEQUENCE) token ids."""
    generator, need = random.Random(seed), BATCH * SEQUENCE
    buffer: list[int] = []
    order: list[int] = []
    for _ in range(steps):
        while len(buffer) < need:
            if not order:
                order = list(range(len(documents)))
                generator.shuffle(order)
            buffer += documents[order.pop()]
        yield torch.tensor(buffer[:need]).view(BATCH, SEQUENCE)
        buffer = buffer[need:]


def learning_rate(step: int, steps: int, width: int) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak, for a model of this hidden size."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return LEARNING_RATE / width * min(1.0, (step + 1) / WARMUP) * max(cosine, 0.01)


def has_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def embedding_matrices(model: PreTrainedModel) -> list[torch.Tensor]:
    """The input and the output matrix of the model's tokens, (vocabulary, hidden); one if tied."""
    matrices = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    return list({id(matrix): matrix for matrix in matrices}.values())


def separate_unseen(
    matrices: list[torch.Tensor], initial: list[torch.Tensor], documents: list[list[int]]
) -> None:
    """Give tokens that no document holds, such as the marks of a chat, a direction of their own.

    The softmax pushes them away from every position, all in one direction, so that after the
    pre-training they are almost the same vector and a fine-tuning cannot learn which of them to
    write. Each gets its random vector from before the pre-training added, in place.
    """
    unseen = torch.ones(len(matrices[0]), dtype=torch.bool, device=matrices[0].device)
    unseen[sorted({token for document in documents for token in document})] = False
    with torch.no_grad():
        for matrix, before in zip(matrices, initial, strict=True):
            matrix[unseen] += before[unseen]


def pretrain(
    model: PreTrainedModel, documents: list[list[int]], steps: int, seed: int, device: str
) -> None:
    """Train all parameters of the model in place on next-token prediction."""
    embeddings = embedding_matrices(model)
    initial = [matrix.detach().clone() for matrix in embeddings]
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": WEIGHT_DECAY},
            {"params": others, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=True,
    )
    bf16 = has_bf16(device)
    numbers = "bfloat16 autocast" if bf16 else "float32, as this machine has no bfloat16 units,"
    print(f"pre-training in {numbers} on {device}, {torch.get_num_threads()} threads", flush=True)
    start = time.monotonic()
    model.train()
    for step, ids in enumerate(batches(documents, steps, seed)):
        ids = ids.to(device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, model.config.hidden_size)
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten()
        )
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()} at step {step}; try another seed.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            seconds = time.monotonic() - start
            left = seconds / (step + 1) * (steps - step - 1)
            progress = f"step {step + 1}/{steps} loss {loss.item():.3f}"
            print(f"{progress} {seconds:.0f} s, {left:.0f} s left", flush=True)
    separate_unseen(embeddings, initial, documents)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="a sentence a line")
    parser.add_argument("--architecture", choices=ARCHITECTURES, required=True)
    parser.add_argument("--latin", choices=tuple(PIECES), required=True)
    for name in ("vocab-size", "hidden-size", "intermediate-size", "layers", "head-dim"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    try:
        sentences = read_sentences(arguments.text)
        tokenizer = train_tokenizer(sentences, arguments.vocab_size, arguments.latin)
    except ValueError as error:
        sys.exit(f"make_tiny: {error}")
    model, code = make_model(
        architecture=arguments.architecture,
        hidden_size=arguments.hidden_size,
        intermediate_size=arguments.intermediate_size,
        layers=arguments.layers,
        head_dim=arguments.head_dim,
        tokenizer=tokenizer,
        folder=arguments.output,
    )
    model.to(arguments.device)
    documents = [tokenizer(sentence)["input_ids"] for sentence in sentences]
    print(
        f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens in the vocabulary, "
        f"{len(documents):,} sentences, {sum(map(len, documents)):,} tokens",
        flush=True,
    )
    try:
        pretrain(model, documents, arguments.steps, arguments.seed, arguments.device)
    except ValueError as error:
        sys.exit(f"make_tiny: {error}")
    model.to("cpu").save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    write_manifest(
        arguments.output,
        source="made by this workflow" + (f", with the code in {code}" if code else ""),
        revision=f"seed {arguments.seed}, {arguments.steps} steps",
        licence="that of this workflow" + (", its code Apache-2.0" if code else ""),
    )


if __name__ == "__main__":
    main()
