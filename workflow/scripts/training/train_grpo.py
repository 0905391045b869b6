"""Train a model by reinforcement learning (GRPO) on a reward model, with trl.

For each prompt the model writes several answers; those that the reward model likes better than
the others become more likely. Shao et al., DeepSeekMath, https://arxiv.org/abs/2402.03300

A killed training goes on from its last whole checkpoint, as train.py does.
"""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="with its chat template")
    parser.add_argument("--reward-model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True, help="pairs; their prompts are read")
    parser.add_argument("--training", type=json.loads, required=True, help="JSON, of the stage")
    parser.add_argument("--base-model", type=json.loads, required=True, help="JSON")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="parent of the checkpoints")
    parser.add_argument("--adapter", type=Path, required=True, help="folder to write")
    parser.add_argument("--log", type=Path, required=True, help="json file to write")
    parser.add_argument("--tensorboard", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    # read when the libraries are imported: models are local files, and trl would report its use
    os.environ["HF_HUB_OFFLINE"] = "1"
    if arguments.device == "cuda":
        # one process trains on one GPU, whatever the job was given
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or "0"
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]

    import torch
    from grpo_reward import RewardModelError
    from grpo_watch import TrainingStopped

    try:
        train(arguments)
    except (RewardModelError, TrainingStopped) as error:
        sys.exit(f"grpo: {error}")
    except torch.OutOfMemoryError as error:
        sys.exit(
            f"grpo: {error}\ngrpo: the GPU's memory is too small for this stage. Lower "
            "runs.RUN.training.batch_size (and raise gradient_accumulation by as much), then "
            "generations, max_new_tokens and max_length."
        )


def train(arguments: argparse.Namespace) -> None:
    """Write the adapter and the log.

    Raises:
        RewardModelError: the reward model cannot be used.
        TrainingStopped: the training leads nowhere.
    """
    import torch
    from grpo_prompts import distinct_prompts, problem, short_prompts
    from transformers import AutoTokenizer
    from work_folders import held, work_folder

    torch.set_num_threads(arguments.threads)
    training, trusted = arguments.training, arguments.base_model["trust_remote_code"]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model, trust_remote_code=trusted)
    # some also give token types or positions, which trl hands on to models that know none
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    found = distinct_prompts(arguments.prompts)
    limit = training["max_length"] - training["max_new_tokens"]
    prompts = short_prompts(found, tokenizer, limit)
    if reason := problem(len(found), len(found) - len(prompts), training):
        sys.exit(f"grpo: {reason}")
    print(
        f"grpo: {len(prompts)} prompts; {len(found) - len(prompts)} longer than {limit} tokens are "
        "left out",
        flush=True,
    )
    work = work_folder(
        arguments.work,
        arguments.model / "manifest.json",
        arguments.reward_model / "manifest.json",
        arguments.prompts,
        json.dumps([training, arguments.base_model], sort_keys=True),
    )
    with held(work) as to_do:
        if to_do:
            reinforce(arguments, tokenizer, prompts, len(found) - len(prompts), work)


def reinforce(
    arguments: argparse.Namespace, tokenizer, prompts: list, left_out: int, work: Path
) -> None:
    """Train in the work folder and write the results.

    Args:
        arguments: of the command line.
        tokenizer: of the model.
        prompts: from `short_prompts`.
        left_out: how many were too long.
        work: the folder of the checkpoints.

    Raises:
        RewardModelError: the reward model cannot be used.
        TrainingStopped: the training leads nowhere.
    """
    import grpo_trainer
    from grpo_checkpoints import last_whole_checkpoint, step
    from grpo_reward import RewardModel
    from grpo_watch import TrainingStopped, steps_of
    from work_folders import keep_events

    training = arguments.training
    reward_model = RewardModel(
        arguments.reward_model,
        arguments.base_model["trust_remote_code"],
        arguments.device,
        grpo_trainer.number_format(training["precision"], arguments.device),
    )
    trainer = grpo_trainer.build(
        arguments.model,
        tokenizer,
        reward_model,
        prompts,
        training,
        arguments.base_model,
        arguments.device,
        work,
    )
    checkpoint, started = last_whole_checkpoint(work), time.monotonic()
    resumed = step(checkpoint) if checkpoint else 0
    if resumed:
        print(f"grpo: going on from step {resumed}", flush=True)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RuntimeError as error:
        # sampling from what is no number, on a CPU and on a GPU
        if not re.search("probability tensor contains|device-side assert", str(error)):
            raise
        raise TrainingStopped(
            "the model gives probabilities that are not numbers. Lower "
            "runs.RUN.training.learning_rate."
        ) from error
    trainer.model.save_pretrained(arguments.adapter)
    summary = {
        "method": "grpo",
        "iterations": training["steps"],
        "iterations_resumed_from": resumed,
        "seconds": round(time.monotonic() - started, 1),
        "trained_parameters": trainer.model.num_parameters(only_trainable=True),
        "prompts": len(prompts),
        "prompts_left_out": left_out,
        "batch_size": training["batch_size"],
        "gradient_accumulation": training["gradient_accumulation"],
        "generations": training["generations"],
    }
    text = json.dumps({"summary": summary, "steps": steps_of(trainer.state.log_history)}, indent=1)
    arguments.log.write_text(text + "\n", encoding="utf-8")
    keep_events(work, arguments.tensorboard)


if __name__ == "__main__":
    main()
