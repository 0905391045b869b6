"""Runs spelled out: grids, stages with their settings, and where each stage starts."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "workflow" / "scripts" / "config"))

import runs

STAGED = {
    "base_model": "tiny",
    "training": {"steps": 100, "lora": {"r": 8, "alpha": 16}},
    "stages": [
        {"method": "pt", "training": {"finetuning": "full", "lora": {"r": 4}}},
        {"method": "sft"},
        {"method": "reward"},
        {"method": "grpo"},
    ],
}


def test_a_run_without_stages_is_fine_tuned():
    expanded = runs.expand({"a": {"base_model": "tiny", "training": {"steps": 3}}})
    assert expanded == {
        "a": {"base_model": "tiny", "stages": [{"method": "sft", "training": {"steps": 3}}]}
    }


def test_a_stage_has_the_settings_of_its_run_and_its_own():
    expanded = runs.expand({"a": STAGED})["a"]
    assert runs.training_of(expanded, "pt") == {
        "steps": 100,
        "finetuning": "full",
        "lora": {"r": 4, "alpha": 16},
    }
    assert runs.training_of(expanded, "sft") == STAGED["training"]
    assert STAGED["training"]["lora"]["r"] == 8, "the configuration itself is as it was"


def test_each_stage_starts_from_the_one_before_it():
    expanded = runs.expand(
        {
            "a": STAGED,
            "b": {"start_from": "a/sft", "stages": [{"method": "reward"}, {"method": "dpo"}]},
            "c": {"start_from": "b/dpo"},
        }
    )
    assert runs.start_of(expanded, "a", "pt") is None
    assert runs.start_of(expanded, "a", "sft") == ("a", "pt")
    assert runs.start_of(expanded, "a", "reward") == ("a", "sft")
    assert runs.start_of(expanded, "a", "grpo") == ("a", "sft"), "a reward model answers nothing"
    assert runs.start_of(expanded, "b", "reward") == ("a", "sft")
    assert runs.start_of(expanded, "b", "dpo") == ("a", "sft")
    assert runs.start_of(expanded, "c", "sft") == ("b", "dpo")
    assert {run["base_model"] for run in expanded.values()} == {"tiny"}
    assert runs.policy_stages(expanded["a"]) == ["pt", "sft", "grpo"]


def test_a_grid_is_a_run_for_each_combination():
    expanded = runs.expand(
        {
            "grid": {
                "base_model": "tiny",
                "training": {"lora": {"alpha": 16}},
                "matrix": {"training.learning_rate": [0.001, 0.0001], "training.lora.r": [8, 16]},
            }
        }
    )
    assert list(expanded) == [
        "grid-learning_rate0.001-r8",
        "grid-learning_rate0.001-r16",
        "grid-learning_rate0.0001-r8",
        "grid-learning_rate0.0001-r16",
    ]
    assert runs.training_of(expanded["grid-learning_rate0.0001-r8"], "sft") == {
        "lora": {"alpha": 16, "r": 8},
        "learning_rate": 0.0001,
    }


def test_a_grid_over_base_models_and_yes_or_no():
    expanded = runs.expand(
        {"g": {"matrix": {"base_model": ["a", "b"], "training.pack": [True, False]}}}
    )
    assert {name: run["base_model"] for name, run in expanded.items()} == {
        "g-a-packtrue": "a",
        "g-a-packfalse": "a",
        "g-b-packtrue": "b",
        "g-b-packfalse": "b",
    }


def test_a_stage_reads_what_it_depends_on_alone():
    training = {"finetuning": "full", "lora": {}, "beta": 0.1, "pack": True, "gpus": 2, "steps": 1}
    assert set(runs.settings_read("pt", training)) == {"finetuning", "pack", "steps"}
    assert set(runs.settings_read("dpo", training)) == {"finetuning", "beta", "steps"}
    training["finetuning"] = "lora"
    assert "lora" in runs.settings_read("sft", training)
    assert set(runs.settings_read("grpo", training)) == {"lora", "beta", "steps"}


BASE = {"base_model": "tiny"}
MISTAKES = {
    "no base": ({"a": {}}, "runs.a: the key 'base_model' is missing (or start_from)."),
    "two starts": ({"a": BASE, "b": BASE | {"start_from": "a/sft"}}, "runs.b: has both"),
    "twice": (
        {"a": BASE | {"stages": [{"method": "sft"}, {"method": "sft"}]}},
        "runs.a.stages: sft stands twice",
    ),
    "no model": ({"a": BASE | {"stages": [{"method": "reward"}]}}, "reward alone trains no model"),
    "texts after answers": (
        {"a": BASE | {"stages": [{"method": "sft"}, {"method": "pt"}]}},
        "runs.a.stages: pt must come first",
    ),
    "no reward": (
        {"a": BASE | {"stages": [{"method": "grpo"}, {"method": "reward"}]}},
        "runs.a.stages: grpo needs a reward model",
    ),
    "unknown run": ({"a": {"start_from": "b/sft"}}, "'b' is not among the runs (a)."),
    "unknown stage": (
        {"a": BASE, "b": {"start_from": "a/dpo"}},
        "runs.b.start_from: a has no stage 'dpo' to start from (sft).",
    ),
    "a circle": (
        {"a": {"start_from": "b/sft"}, "b": {"start_from": "a/sft"}},
        "runs.a.start_from: a -> b -> a is a circle.",
    ),
    "a grid over something else": (
        {"a": BASE | {"matrix": {"stages": [1]}}},
        "runs.a.matrix: 'stages' is neither base_model nor a key of training",
    ),
    "a name taken": (
        {"a-r8": BASE, "a": BASE | {"matrix": {"training.lora.r": [8]}}},
        "runs.a: the name 'a-r8' of a combination is taken.",
    ),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_told(given, message):
    with pytest.raises(runs.RunError) as error:
        runs.expand(given)
    assert message in str(error.value)
