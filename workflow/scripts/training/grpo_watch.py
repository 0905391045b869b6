"""Callbacks of transformers' Trainer that tell of a training and end one that is of no use."""

import math
import sys
from pathlib import Path

from transformers import TrainerCallback, TrainerState

sys.path.insert(0, str(Path(__file__).parents[1] / "corpus"))
from progress import Progress

# So many steps in a row in which no prompt had a better and a worse answer: nothing is learned.
SAME_STEPS = 20
# Rewards whose standard deviation is less are the same.
SAME_REWARD = 1e-5


class TrainingStopped(Exception):
    """The training leads nowhere; the text says why and what to do."""


def steps_of(history: list[dict]) -> list[dict]:
    """The steps in the Trainer's log; a checkpoint brings those before it along.

    Returns:
        One dict per step: `iteration`, `loss`, `learning_rate`, `grad_norm`, `seconds`; over the
        answers of the step the mean `reward` and its standard deviation `reward_std`,
        `same_reward` (share of the prompts whose answers all got the same reward), `kl` (nats per
        token from the model before the training), `entropy` (nats per token), `answer_tokens`
        and `unfinished` (share of the answers that max_new_tokens cut).
    """
    return [
        {
            "iteration": entry["step"],
            "loss": entry["loss"],
            "learning_rate": entry["learning_rate"],
            "grad_norm": entry["grad_norm"],
            "seconds": entry["step_time"],
            "reward": entry["reward"],
            "reward_std": entry["reward_std"],
            "same_reward": entry["frac_reward_zero_std"],
            "kl": entry["kl"],
            "entropy": entry["entropy"],
            "answer_tokens": entry["completions/mean_length"],
            "unfinished": entry["completions/clipped_ratio"],
        }
        for entry in history
        if "reward" in entry  # not the summary at the end
    ]


class Watch(TrainerCallback):
    """Ends a training whose loss is not a number, or whose rewards tell nothing."""

    def on_log(self, args, state: TrainerState, control, **kwargs) -> None:
        """Look at the step that was just logged.

        Raises:
            TrainingStopped: see the class.
        """
        window = min(SAME_STEPS, state.max_steps)
        recent = steps_of(state.log_history[-window:])
        if not recent:
            return
        last = recent[-1]
        # fp16 skips a step whose gradient is not finite, and scales the next one down
        values = [last["loss"]] if args.fp16 else [last["loss"], last["grad_norm"]]
        if not all(map(math.isfinite, values)):
            raise TrainingStopped(
                f"the loss or its gradient is not a number at step {last['iteration']}. Lower "
                "runs.RUN.training.learning_rate."
            )
        # padding alone makes scores differ in their last digits
        if len(recent) < window or not all(
            step["same_reward"] == 1 or step["reward_std"] < SAME_REWARD for step in recent
        ):
            return
        if max(step["reward_std"] for step in recent) < SAME_REWARD:
            raise TrainingStopped(
                f"the reward model gave every answer of {window} steps the same reward "
                f"({last['reward']:.3f}). It has not learned to tell answers apart: see its "
                "accuracy, and train the stage reward longer or on more pairs."
            )
        raise TrainingStopped(
            f"for {window} steps all answers to a prompt got the same reward, so nothing was "
            f"learned. The model gives one answer only ({last['entropy']:.3f} nats a token): lower "
            "runs.RUN.training.learning_rate, or raise beta or generations; if it was so from the "
            "start, train the stage before it for fewer steps."
        )


class Teller(TrainerCallback):
    """Tells what each step gave, and how much time is left."""

    def on_train_begin(self, args, state: TrainerState, control, **kwargs) -> None:
        """Start the clock."""
        left = state.max_steps - state.global_step
        self._progress = Progress(label="grpo", total_rows=left, unit="steps")

    def on_log(self, args, state: TrainerState, control, **kwargs) -> None:
        """Print the step that was just logged."""
        for step in steps_of(state.log_history[-1:]):
            print(
                f"grpo: step {step['iteration']} of {state.max_steps}: "
                f"reward {step['reward']:.3f}, loss {step['loss']:.4f}, KL {step['kl']:.4f}, "
                f"{step['answer_tokens']:.0f} tokens an answer, "
                f"{step['unfinished']:.0%} unfinished, {step['seconds']:.2f} s",
                flush=True,
            )
            self._progress.update(rows=1)

    def on_train_end(self, args, state: TrainerState, control, **kwargs) -> None:
        """Take the bar away."""
        self._progress.__exit__()
