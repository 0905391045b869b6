"""Every method with every kind of fine-tuning, from data to a model that can be used."""

import json
from pathlib import Path

import convert_reward_model
import export_full
import launch_xtuner
import merge_adapter
import pytest
import score_reward_model
import stages
import torch
import train
from grpo_reward import RewardModel
from mmengine.config import Config
from stage_models import RewardModelWithHead
from transformers import AutoModelForCausalLM, AutoTokenizer
from xtuner.dataset.preference_dataset import tokenize
from xtuner.registry import BUILDER


@pytest.fixture(scope="module")
def trained(project, tmp_path_factory):
    """A function that trains a stage, once for all tests that ask for it."""
    folders: dict[tuple[str, str], Path] = {}

    def of(method, finetuning):
        if (method, finetuning) not in folders:
            folder = tmp_path_factory.mktemp(f"{method}_{finetuning}")
            options = {"pack": method == "pt", "max_length": 64}
            stages.prepare(project, folder, method, finetuning=finetuning, **options)
            stages.run_script(train, **stages.train_options(project, folder, method))
            folders[method, finetuning] = folder
        return folders[method, finetuning]

    return of


def state_of(folder):
    return torch.load(folder / "checkpoint.pth", weights_only=True)["state_dict"]


def export(project, folder, finetuning):
    """Run the export rules' commands; returns the merged model's folder."""
    merged, config = folder / "merged", stages.config_of(folder)
    if finetuning == "full":
        stages.run_script(
            export_full,
            config=config,
            checkpoint=folder / "checkpoint.pth",
            prompt_template="qwen_chat",
            merged=merged,
        )
        return merged
    adapter = folder / "adapter"
    arguments = [str(config), str(folder / "checkpoint.pth"), str(adapter)]
    launch_xtuner.run("pth_to_hf", [*arguments, "--safe-serialization"])
    stages.run_script(
        merge_adapter,
        base_model=project / "base",
        adapter=adapter,
        prompt_template="qwen_chat",
        device="cpu",
        merged=merged,
    )
    return merged


@pytest.mark.parametrize("finetuning", stages.FINETUNINGS)
@pytest.mark.parametrize("method", [name for name in stages.METHODS if name != "reward"])
def test_stage_makes_a_model(method, finetuning, project, trained):
    folder = trained(method, finetuning)
    log = json.loads((folder / "log.json").read_text())
    assert log["summary"]["method"] == method
    assert log["summary"]["finetuning"] == finetuning
    assert log["steps"][-1]["iteration"] == 10
    if method in ("dpo", "orpo"):
        assert 0 <= log["steps"][0]["reward_accuracy"] <= 1
        assert isinstance(log["steps"][0]["reward_margin"], float)
    else:
        assert "reward_margin" not in log["steps"][0]

    merged = export(project, folder, finetuning)
    weights = AutoModelForCausalLM.from_pretrained(merged, torch_dtype="auto")
    assert weights.dtype == torch.float16
    assert weights.config.rope_theta == 123456.0
    assert weights.config.tie_word_embeddings
    base, tuned = stages.base_model(project), weights.state_dict()
    changed = {name for name in base if not torch.equal(base[name].half(), tuned[name])}
    inner = {name for name in base if "_proj" in name}
    assert inner <= changed
    if finetuning == "full":
        assert "model.embed_tokens.weight" in changed
        trained_weights = state_of(folder)
        assert all(
            torch.equal(trained_weights[f"llm.{name}"].half(), tuned[name]) for name in tuned
        )
        assert log["summary"]["trained_parameters"] == weights.num_parameters()
    else:
        assert changed == inner, "only what has an adapter changes"

    manifest = json.loads((merged / "manifest.json").read_text())
    assert manifest["source"].startswith("random weights, ")
    assert manifest["parameters"] == weights.num_parameters(), "tied weights are stored once"
    tokenizer = AutoTokenizer.from_pretrained(merged)
    messages = [{"role": "user", "content": "你好"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<s><|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_stage_starts_from_the_model_of_the_one_before(project, trained, tmp_path):
    before = tmp_path / "before"
    before.mkdir()
    stages.run_script(
        export_full,
        config=stages.config_of(trained("sft", "full")),
        checkpoint=trained("sft", "full") / "checkpoint.pth",
        prompt_template="qwen_chat",
        merged=before / "base",
    )
    stages.write_data(before)
    stages.prepare(before, tmp_path, "dpo", finetuning="lora")
    stages.run_script(train, **stages.train_options(before, tmp_path, "dpo"))
    merged = export(before, tmp_path, "lora")
    embeddings = "model.embed_tokens.weight"
    first, second = (
        AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto").state_dict()
        for folder in (before / "base", merged)
    )
    assert torch.equal(first[embeddings], second[embeddings])
    assert not torch.equal(first[embeddings], stages.base_model(project)[embeddings].half())
    manifest = json.loads((merged / "manifest.json").read_text())
    assert manifest["source"] == "random weights, fully fine-tuned, merged with its adapter"


def scores_of_trained(config, state, conversations, tokenize):
    """The scores by the very model that was trained."""
    model = BUILDER.build(Config.fromfile(config).model)
    assert isinstance(model, RewardModelWithHead)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert not [name for name in missing if "lora" in name or "v_head" in name]
    model.eval()
    with torch.no_grad():
        scores = []
        for conversation in conversations:
            ids = torch.tensor([tokenize(conversation)])
            data = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            scores.append(model(data, mode="tensor")[0, -1, 0].item())
    return scores


@pytest.mark.parametrize("finetuning", stages.FINETUNINGS)
def test_reward_model_scores_as_the_trained_one(finetuning, project, trained):
    folder = trained("reward", finetuning)
    state = state_of(folder)
    assert state["v_head.weight"].abs().sum() > 0, "the head begins with zeros"
    log = json.loads((folder / "log.json").read_text())
    assert 0 <= log["steps"][0]["reward_accuracy"] <= 1
    assert isinstance(log["steps"][0]["reward_margin"], float)

    model, config = folder / "model", stages.config_of(folder)
    checkpoint = folder / "checkpoint.pth"
    stages.run_script(convert_reward_model, config=config, checkpoint=checkpoint, model=model)
    exported = RewardModel(model, trusted=False, device="cpu", dtype=torch.float32)
    pairs = [json.loads(line) for line in (project / "pairs.jsonl").open(encoding="utf-8")][:6]
    conversations = [
        pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")
    ]
    scores = exported.score(conversations, batch_size=5)
    assert len({round(score, 6) for score in scores}) > 6, "the conversations differ in their score"
    expected = scores_of_trained(config, state, conversations, exported.tokens)
    # the adapter was trained on weights in 4 bits, and is merged into those it was made from
    tolerance = 0.05 if finetuning == "qlora" else 1e-5
    assert scores == pytest.approx(expected, abs=tolerance)

    stages.run_script(
        score_reward_model,
        model=model,
        pairs=project / "pairs.jsonl",
        device="cpu",
        batch_size=8,
        max_length=64,
        accuracy=folder / "accuracy.json",
        predictions=folder / "predictions.jsonl",
    )
    result = json.loads((folder / "accuracy.json").read_text())
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").open(encoding="utf-8")]
    benchmark = result["benchmarks"]["heldout_preference"]
    assert result["variant"] == "reward"
    assert benchmark["n"] == len(rows) == 40
    right = sum(row["chosen_score"] > row["rejected_score"] for row in rows)
    assert benchmark["metrics"]["accuracy"] == right / 40
    assert rows[0]["chosen_score"] == pytest.approx(scores[0], abs=1e-5)


def test_a_tie_is_wrong():
    found = score_reward_model.accuracy([(1.0, 1.0), (2.0, 1.0), (0.0, 3.0), (0.0, 0.0)])
    assert found == {"accuracy": 0.25, "ties": 2, "mean_margin": -0.5}


def test_a_pair_is_a_line_whatever_its_answers_hold(tmp_path):
    pair = {"prompt": [], "chosen": "one\u2028two\x85", "rejected": "\u2029"}
    path = tmp_path / "pairs.jsonl"
    path.write_text(2 * (json.dumps(pair, ensure_ascii=False) + "\n"), encoding="utf-8")
    assert score_reward_model.read_pairs(path) == [pair, pair]


def test_a_reward_model_needs_pairs_to_be_scored(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("")
    with pytest.raises(SystemExit, match=r"holds no pair\. corpus\.sources must give"):
        stages.run_script(
            score_reward_model,
            model=tmp_path,
            pairs=tmp_path / "pairs.jsonl",
            device="cpu",
            batch_size=8,
            max_length=64,
            accuracy=tmp_path / "accuracy.json",
            predictions=tmp_path / "predictions.jsonl",
        )


def test_scores_are_of_what_a_training_reads(project, trained, tmp_path):
    """A conversation is cut at max_length, and the reward token comes after the cut."""
    folder, model = trained("reward", "full"), tmp_path / "model"
    config, checkpoint = stages.config_of(folder), folder / "checkpoint.pth"
    stages.run_script(convert_reward_model, config=config, checkpoint=checkpoint, model=model)
    scorer = score_reward_model.CutRewardModel(model, False, "cpu", torch.float32)
    scorer.max_length = 64
    answer = {"role": "assistant", "content": "长" * 100}
    pair = stages.pair("中国？", "长" * 100, "短")
    encoded = tokenize(
        pair,
        BUILDER.build(Config.fromfile(config).tokenizer),
        max_length=64,
        is_reward=True,
        reward_token_id=json.loads((model / "config.json").read_text())["reward_token_id"],
    )
    assert scorer.tokens([*pair["prompt"], answer]) == encoded["chosen_ids"]
    assert len(encoded["chosen_ids"]) == 65
    assert scorer.tokens(pair["prompt"] + pair["rejected"]) == encoded["rejected_ids"]


def test_a_checkpoint_of_another_model_or_that_diverged_is_refused(project, tmp_path):
    weights = {f"llm.{name}": tensor for name, tensor in stages.base_model(project).items()}

    def refused(state):
        torch.save({"state_dict": state}, tmp_path / "checkpoint.pth")
        with pytest.raises(export_full.ExportError) as error:
            export_full.export(project / "base", tmp_path / "checkpoint.pth", tmp_path / "m", False)
        return str(error.value)

    norm = "llm.model.norm.weight"
    assert "model.norm.weight" in refused({k: v for k, v in weights.items() if k != norm})
    assert "float16 cannot hold" in refused(weights | {norm: torch.full((64,), 1e6)})
