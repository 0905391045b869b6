"""A hook of mmengine that ends a training which leads nowhere, with advice."""

import math

from mmengine.hooks import Hook

# So many losses in a row that are not numbers; a single one may be a batch that fp16 skips.
NOT_NUMBERS = 3
# Means are taken over so many iterations.
WINDOW = 20
# A training that has not begun to learn after this share of its iterations never will.
SHARE, AT_LEAST = 0.2, 200
# A loss that has fallen by less than this share has not fallen.
FALL = 0.01
# The losses of DPO and of a reward model start at ln 2, whatever the data, and stay there exactly
# if nothing is learned; their noise is larger than this share.
MOVE = 0.001
# One that has risen to so many times its first value diverges.
RISE = 1.5
# A loss that was small from the start has no way to fall.
SMALL = 0.1


class TrainingStopped(Exception):
    """The training leads nowhere; the text says why and what to do."""


class LossWatch(Hook):
    """Ends a training whose loss is not a number, does not fall, or rises.

    Whether the loss has fallen is asked of `sft`, `dpo` and `reward` only: a model may know the
    texts of `pt` before, and in the loss of `orpo` the answers' part may be small from the start.
    """

    priority = "VERY_LOW"

    def __init__(self, method: str, finetuning: str) -> None:
        """Begin with nothing seen.

        Args:
            method: of the stage: pt, sft, dpo, orpo or reward.
            finetuning: qlora, lora or full; the advice follows it.
        """
        self._method = method
        self._raise = "Raise runs.RUN.training.learning_rate"
        if finetuning != "full":
            self._raise += " or lora.r"
        self._losses: list = []
        self._not_numbers = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Take the loss of an iteration; look at a window of them when it is full.

        Raises:
            TrainingStopped: see the class.
        """
        # not .item(): that would wait for the GPU at every iteration
        self._losses.append(outputs["loss"].detach())
        if len(self._losses) < WINDOW:
            return
        losses = [float(loss) for loss in self._losses]
        self._losses.clear()
        for number, loss in enumerate(losses, start=runner.iter + 2 - WINDOW):
            self._not_numbers = 0 if math.isfinite(loss) else self._not_numbers + 1
            if self._not_numbers == NOT_NUMBERS:
                raise TrainingStopped(
                    f"the loss is not a number at iteration {number} and the {NOT_NUMBERS - 1} "
                    "before it. Lower runs.RUN.training.learning_rate."
                )
        self._compare(runner, sum(losses) / WINDOW)

    def _compare(self, runner, mean: float) -> None:
        # in the message hub, which checkpoints hold: a training that goes on knows how it began
        first = runner.message_hub.runtime_info.get("first_loss")
        if first is None:
            runner.message_hub.update_info("first_loss", mean)
            return
        done = runner.iter + 1
        looked_at = max(AT_LEAST, int(SHARE * runner.max_iters))
        if mean > RISE * max(first, SMALL):
            raise TrainingStopped(
                f"the loss has risen from {first:.3f} to {mean:.3f} in {done} iterations. Lower "
                "runs.RUN.training.learning_rate."
            )
        if not looked_at <= done < looked_at + WINDOW:
            return
        if self._method == "sft" and first > SMALL and mean > (1 - FALL) * first:
            raise TrainingStopped(
                f"the loss has not fallen in {done} iterations ({first:.3f} at first, {mean:.3f} "
                f"now). {self._raise}, or check that the prompt template is that of the base model."
            )
        if self._method in ("dpo", "reward") and abs(mean - first) < MOVE * first:
            raise TrainingStopped(
                f"the loss has not moved from {first:.4f} in {done} iterations. {self._raise}."
            )
