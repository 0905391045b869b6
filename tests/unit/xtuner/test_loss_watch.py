"""A training that leads nowhere ends with advice."""

from types import SimpleNamespace

import pytest
import torch
from loss_watch import WINDOW, LossWatch, TrainingStopped
from mmengine.logging import MessageHub


def watch(losses, name, max_iters=1000, start=0, method="sft", finetuning="qlora"):
    """Feed the losses of the iterations from `start` on; messages are kept under `name`."""
    hook = LossWatch(method, finetuning)
    runner = SimpleNamespace(max_iters=max_iters, message_hub=MessageHub.get_instance(name))
    for runner.iter, loss in enumerate(losses, start=start):
        hook.after_train_iter(runner, runner.iter, outputs={"loss": torch.tensor(loss)})


def test_a_loss_that_falls_is_left_alone():
    watch([4.0 * 0.99**number for number in range(1000)], "falls")


def test_a_loss_that_was_small_from_the_start_is_left_alone():
    watch([0.05] * 1000, "small")


def test_not_a_number():
    nan = float("nan")
    watch([4.0] * 10 + [nan] + [3.0] * 50, "one skipped batch")
    with pytest.raises(TrainingStopped, match="not a number at iteration 53 and the 2 before it"):
        watch([4.0] * 50 + [nan] * 30, "nan")


def test_a_loss_that_does_not_fall():
    with pytest.raises(TrainingStopped, match=r"not fallen in 200 iterations \(2\.000 at first"):
        watch([2.0] * 1000, "flat")
    watch([2.0] * 199, "too early to tell")
    with pytest.raises(TrainingStopped, match="in 1000 iterations"):
        watch([2.0] * 5000, "long", max_iters=5000)


@pytest.mark.parametrize("method", ["pt", "orpo"])
def test_a_loss_that_may_stay_is_left_alone(method):
    watch([2.0] * 1000, f"stays {method}", method=method)


@pytest.mark.parametrize("method", ["dpo", "reward"])
def test_a_loss_that_stays_where_it_begins_by_construction(method):
    with pytest.raises(TrainingStopped, match=r"not moved from 0\.6931 in 200 iterations\. Raise"):
        watch([0.69315] * 1000, f"stuck {method}", method=method)
    watch([0.693] * 100 + [0.695] * 900, f"noise {method}", method=method)
    watch([0.693] * 100 + [0.6] * 900, f"falls {method}", method=method)


def test_the_advice_names_the_keys_that_there_are():
    with pytest.raises(TrainingStopped) as error:
        watch([2.0] * 1000, "lora", finetuning="lora")
    assert "Raise runs.RUN.training.learning_rate or lora.r, or check" in str(error.value)
    with pytest.raises(TrainingStopped) as error:
        watch([2.0] * 1000, "full", finetuning="full")
    assert "Raise runs.RUN.training.learning_rate, or check" in str(error.value)


def test_a_loss_that_rises():
    with pytest.raises(TrainingStopped, match=r"has risen from 2\.000 to 4\.000 in 120 iterations"):
        watch([2.0] * 100 + [4.0] * 20, "rises")
    with pytest.raises(TrainingStopped, match=r"has risen from 0\.693"):
        watch([0.693] * 100 + [1.2] * 20, "rises dpo", method="dpo")


def test_a_training_that_goes_on_knows_how_it_began():
    watch([2.0] * WINDOW, "resumed")
    watch([0.5] * 400, "resumed", start=100)
    with pytest.raises(TrainingStopped, match=r"has risen from 2\.000"):
        watch([4.0] * WINDOW, "resumed", start=500)
