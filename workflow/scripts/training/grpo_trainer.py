"""trl's GRPOTrainer, set up from the settings of a stage."""

from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from grpo_checkpoints import Stamper
from grpo_prompts import Messages, order
from grpo_reward import RewardModel
from grpo_watch import Teller, Watch
from peft import LoraConfig
from precision import auto_dtype
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
)
from trl import GRPOConfig, GRPOTrainer


def number_format(precision: str, device: str) -> torch.dtype:
    """The number format of the frozen weights.

    Args:
        precision: "auto", "bf16" or "fp16"; a CPU always computes in float32.
        device: "cpu" or "cuda".
    """
    if device == "cpu":
        return torch.float32
    return {"auto": auto_dtype, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def reward_function(
    reward_model: RewardModel,
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int,
) -> Callable[..., list[float]]:
    """The function that trl asks for the rewards of answers.

    It reads the tokens of an answer, not trl's text of it: that text lacks all special tokens, so
    that the policy could write some that the reward model never sees.
    """
    ends = policy.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}

    def reward(prompts: list[Messages], completion_ids: list[list[int]], **_) -> list[float]:
        # the chat template writes the end of an answer
        answers = tokenizer.batch_decode(
            [ids[:-1] if ids[-1] in ends else ids for ids in completion_ids],
            clean_up_tokenization_spaces=False,
        )
        conversations = [
            [*prompt, {"role": "assistant", "content": answer}]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return reward_model.score(conversations, batch_size)

    return reward


def build(
    model_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    reward_model: RewardModel,
    prompts: list[Messages],
    training: dict,
    base_model: dict,
    device: str,
    work: Path,
) -> GRPOTrainer:
    """A trainer that is ready to start.

    Args:
        model_folder: the model before the training.
        tokenizer: the model's, with its chat template.
        reward_model: scores the answers.
        prompts: to be answered, each one short enough.
        training: the settings of the stage.
        base_model: `trust_remote_code` and `lora_target_modules` are read.
        device: "cpu" or "cuda".
        work: folder of the checkpoints.
    """
    # InternLM2's own code asks how long the cache may grow; transformers has taken that away
    DynamicCache.get_max_length = lambda cache: None
    dtype = number_format(training["precision"], device)
    policy = AutoModelForCausalLM.from_pretrained(
        model_folder, trust_remote_code=base_model["trust_remote_code"], dtype=dtype
    )
    answers = training["batch_size"] * training["generations"]
    asked = training["steps"] * training["gradient_accumulation"] * training["batch_size"]
    optimizer = training["optimizer"]
    settings = GRPOConfig(
        output_dir=str(work),
        # what XTuner's configurations of the other stages say
        optim="adamw_torch" if optimizer == "adamw" else optimizer,
        learning_rate=training["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_ratio=training["warmup_ratio"],
        max_grad_norm=1.0,
        max_steps=training["steps"],
        per_device_train_batch_size=answers,
        gradient_accumulation_steps=training["gradient_accumulation"],
        # answers are written batch by batch, or accumulation would save no memory
        steps_per_generation=1,
        gradient_checkpointing=training.get("gradient_checkpointing", device == "cuda"),
        seed=training["seed"],
        use_cpu=device == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        beta=training["beta"],
        num_generations=training["generations"],
        max_completion_length=training["max_new_tokens"],
        shuffle_dataset=False,  # `order` has done it
        save_steps=training["checkpoint_every"],
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it hides them from Watch
        report_to="tensorboard",
        logging_dir=str(work / "tensorboard"),
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=reward_function(reward_model, policy, tokenizer, answers),
        args=settings,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]).select(
            order(len(prompts), asked, training["seed"])
        ),
        processing_class=tokenizer,
        callbacks=[Teller(), Watch(), Stamper()],
        peft_config=LoraConfig(
            r=training["lora"]["r"],
            lora_alpha=training["lora"]["alpha"],
            lora_dropout=training["lora"]["dropout"],
            # peft's word for all but the head, which XTuner leaves out, too
            target_modules=base_model.get("lora_target_modules") or "all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
