"""Prompts, checkpoints and the watch of a GRPO training."""

import json
import math
from collections import Counter
from types import SimpleNamespace

import grpo_checkpoints
import grpo_prompts
import pytest
from grpo_watch import SAME_STEPS, TrainingStopped, Watch

TRAINING = {"max_length": 40, "max_new_tokens": 8, "max_truncated": 0.1}


def user(text):
    return [{"role": "user", "content": text}]


def test_each_prompt_once(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    prompts = [user("甲"), [{"role": "system", "content": "乙"}, *user("甲")], user("甲")]
    pairs.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    assert grpo_prompts.distinct_prompts(pairs) == prompts[:2]


def test_long_prompts_are_left_out_and_counted(tokenizer):
    prompts = [user("好" * length) for length in range(40)]
    tokens = len(tokenizer.apply_chat_template(user(""), add_generation_prompt=True))
    short = grpo_prompts.short_prompts(prompts, tokenizer, 32)
    assert short == prompts[: 32 - tokens + 1]


def test_how_many_may_be_left_out():
    assert grpo_prompts.problem(100, 10, TRAINING) is None
    assert grpo_prompts.problem(100, 11, TRAINING).startswith(
        "11 of 100 prompts (11.0%) are longer than 32 tokens"
    )
    assert "100.0%" in grpo_prompts.problem(5, 5, TRAINING | {"max_truncated": 1})
    assert "no prompt" in grpo_prompts.problem(0, 0, TRAINING)


def test_every_prompt_is_asked_equally_often_in_another_order():
    numbers = grpo_prompts.order(7, 17, seed=3)
    assert sorted(numbers[:7]) == sorted(numbers[7:14]) == list(range(7))
    assert numbers[:7] != numbers[7:14]
    assert set(Counter(numbers).values()) == {2, 3}
    assert numbers == grpo_prompts.order(7, 17, seed=3) != grpo_prompts.order(7, 17, seed=4)


@pytest.fixture
def checkpoints(tmp_path):
    """Three whole checkpoints."""
    for number in (8, 9, 10):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "optimizer.pt").write_bytes(bytes(100))
        (folder / "trainer_state.json").write_text("{}")
        grpo_checkpoints.stamp(folder)
    return tmp_path


def damage(checkpoint, way):
    if way == "killed before the stamp":
        (checkpoint / grpo_checkpoints.STAMP).unlink()
    elif way == "killed in the stamp":
        (checkpoint / grpo_checkpoints.STAMP).write_text('{"optimizer.pt": "12')
    elif way == "a bit has changed":
        (checkpoint / "optimizer.pt").write_bytes(bytes(99) + b"\1")
    elif way == "a file is missing":
        (checkpoint / "optimizer.pt").unlink()


def test_the_newest_checkpoint(checkpoints, capsys):
    assert grpo_checkpoints.last_whole_checkpoint(checkpoints).name == "checkpoint-10"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "way",
    ["killed before the stamp", "killed in the stamp", "a bit has changed", "a file is missing"],
)
def test_a_checkpoint_that_is_not_whole_is_passed_over(checkpoints, capsys, way):
    damage(checkpoints / "checkpoint-10", way)
    assert grpo_checkpoints.last_whole_checkpoint(checkpoints).name == "checkpoint-9"
    assert capsys.readouterr().out == "grpo: checkpoint-10 is not whole and is removed\n"
    assert not (checkpoints / "checkpoint-10").exists()


def test_no_checkpoint(tmp_path):
    assert grpo_checkpoints.last_whole_checkpoint(tmp_path) is None


def watch(number_of_steps, fp16=False, max_steps=1000, **last):
    """Show the Watch a training's steps; `last` are the values of the last one."""
    usual = {
        "loss": 0.01,
        "grad_norm": 0.5,
        "learning_rate": 1e-4,
        "step_time": 1.0,
        "reward": 0.25,
        "reward_std": 0.0,
        "frac_reward_zero_std": 1.0,
        "kl": 0.0,
        "entropy": 0.125,
        "completions/mean_length": 5.0,
        "completions/clipped_ratio": 0.0,
    }
    history = [usual | {"step": number} for number in range(1, number_of_steps + 1)]
    history[-1] |= last
    state = SimpleNamespace(log_history=history, max_steps=max_steps)
    Watch().on_log(SimpleNamespace(fp16=fp16), state, None)


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_not_a_number(name):
    with pytest.raises(TrainingStopped, match=r"not a number at step 3\. Lower runs"):
        watch(3, **{name: math.nan})


def test_a_gradient_that_overflows_fp16_is_skipped_by_its_scaler():
    watch(3, fp16=True, grad_norm=math.inf)
    with pytest.raises(TrainingStopped):
        watch(3, fp16=True, loss=math.inf)


def test_a_reward_model_that_tells_nothing():
    watch(SAME_STEPS - 1)
    with pytest.raises(TrainingStopped, match=r"of 20 steps the same reward \(0\.250\)"):
        watch(SAME_STEPS)
    with pytest.raises(TrainingStopped, match="of 7 steps"):
        watch(7, max_steps=7)
    with pytest.raises(TrainingStopped, match="the same reward"):
        watch(SAME_STEPS, frac_reward_zero_std=0.0, reward_std=1e-6)


def test_a_model_that_gives_one_answer_only():
    watch(SAME_STEPS, frac_reward_zero_std=0.75, reward_std=1.0)
    with pytest.raises(TrainingStopped, match=r"one answer only \(0\.125 nats a token\)"):
        watch(SAME_STEPS, reward_std=1.0)


def test_the_summary_at_the_end_is_no_step():
    state = SimpleNamespace(log_history=[{"step": 1, "train_loss": 0.1}], max_steps=1)
    Watch().on_log(SimpleNamespace(fp16=False), state, None)
