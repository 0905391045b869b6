"""Runs of several stages and several runs, with every tool for real, on a model that is next to
nothing: what is looked at is the way, not the scores."""

import csv
import json

import pytest
import yaml
from conftest import start_snakemake

PEOPLE = [
    f"{surname}{name}" for surname in "赵钱孙李周吴郑王" for name in ("一", "二", "三", "四", "五")
]
PLACES = "东西南北"
BASE = {
    "source": "tiny",
    "text": ["people.txt"],
    "prompt_template": "qwen_chat",
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 256,
    "layers": 2,
    "steps": 30,
}
TRAINING = {
    "steps": 6,
    "batch_size": 4,
    "max_length": 64,
    "learning_rate": 1.0e-3,
    "pack": False,
    "lora": {"r": 8, "alpha": 16, "dropout": 0.0},
}
CONFIG = {
    "domain": "stages",
    "corpus": {
        "sources": [{"path": f"people.{suffix}"} for suffix in ("md", "csv", "jsonl")],
        "clean": {"near_duplicates": None},
        "split": {"recall": 10, "calibration": 10},
    },
    "base_models": {"mini": BASE},
    "runs": {
        "tiny-qlora": None,
        "staged": {
            "base_model": "mini",
            "training": TRAINING,
            "stages": [
                {"method": "pt", "training": {"finetuning": "full", "pack": True, "steps": 3}},
                {"method": "sft", "training": {"finetuning": "lora"}},
                {"method": "dpo"},
            ],
        },
        "odds": {"start_from": "staged/pt", "training": TRAINING, "stages": [{"method": "orpo"}]},
        "reinforced": {
            "start_from": "staged/sft",
            "training": TRAINING | {"max_new_tokens": 8, "steps": 2},
            "stages": [{"method": "reward"}, {"method": "grpo"}],
        },
    },
    "evaluation": {
        "variants": ["base", "tuned"],
        "benchmarks": ["heldout", "heldout_preference"],
        "max_new_tokens": 8,
    },
}
RUNS = ("staged", "odds", "reinforced")


def write_sources(folder):
    """Texts, questions and preference pairs about where people live."""
    lives = [(person, PLACES[number % 4]) for number, person in enumerate(PEOPLE)]
    text = "\n\n".join(
        f"{person}住在城{place}的一条街上，已经住了很多年。" for person, place in lives
    )
    (folder / "people.md").write_text(text, "utf-8")
    (folder / "people.txt").write_text(text.replace("\n\n", "\n"), "utf-8")
    rows = [f"{person}住在哪里？,{person}住在城{place}。" for person, place in lives]
    (folder / "people.csv").write_text("\n".join(["question,answer", *rows]), "utf-8")
    pairs = [
        {
            "prompt": f"{person}家住城里的哪一边？",
            "chosen": f"{person}家在城{place}。",
            "rejected": f"{person}家在城外，具体我也说不好。",
        }
        for person, place in lives
    ]
    lines = "\n".join(json.dumps(pair, ensure_ascii=False) for pair in pairs)
    (folder / "people.jsonl").write_text(lines, "utf-8")


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """The folder in which three runs of six methods have run."""
    folder = tmp_path_factory.mktemp("stages")
    write_sources(folder)
    (folder / "stages.yaml").write_text(yaml.safe_dump(CONFIG, allow_unicode=True), "utf-8")
    result = start_snakemake("--cores", "all", "--configfile", "stages.yaml", folder=folder)
    assert result.returncode == 0, result.stdout[-8000:]
    return folder


def scores(folder, run):
    """{(variant, benchmark)} of the scores of a run."""
    with (folder / "results/stages" / run / "scores.csv").open(encoding="utf-8") as file:
        return {(row["variant"], row["benchmark"]) for row in csv.DictReader(file)}


def test_every_stage_has_its_scores(staged):
    asked = ("heldout", "heldout_preference")
    variants = {
        "staged": ("base", "pt", "sft", "tuned"),
        "odds": ("base", "tuned"),
        "reinforced": ("base", "tuned"),
    }
    for run, names in variants.items():
        wanted = {(variant, benchmark) for variant in names for benchmark in asked}
        if run == "reinforced":
            wanted.add(("reward", "heldout_preference"))
        assert scores(staged, run) == wanted


def rows_of(folder, run, variant):
    """What the scores of a run say of a variant, less the names of both."""
    with (folder / "results/stages" / run / "scores.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == variant]
    return [list(row.values())[3:] for row in rows]


def test_what_runs_start_from_is_asked_once(staged):
    results = staged / "results/stages"
    asked = {path.parent.relative_to(results) for path in results.rglob("predictions.jsonl")}
    assert {str(path) for path in asked if "reward" not in path.parts} == {
        *("evaluation/mini", "odds/evaluation/tuned", "reinforced/evaluation/tuned"),
        *(f"staged/evaluation/{variant}" for variant in ("pt", "sft", "tuned")),
    }
    for run, stage in (("odds", "pt"), ("reinforced", "sft")):
        assert rows_of(staged, run, "base") == rows_of(staged, "staged", stage)


def test_the_base_model_is_asked_by_the_tokenizer_of_its_tuned_models(staged):
    base = staged / "results/tokenizers/mini"
    files = [path for path in base.iterdir() if not path.name.startswith(".")]
    assert {"chat_template.jinja", "tokenizer.json"} <= {path.name for path in files}
    for path in files:
        tuned = staged / "results/stages/staged/dpo/merged" / path.name
        assert path.read_bytes() == tuned.read_bytes(), path.name


def test_comparison_has_every_run(staged):
    with (staged / "results/stages/comparison.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == set(RUNS)


def test_every_stage_has_changed_the_model_it_started_from(staged):
    results = staged / "results/stages"
    models = [
        staged / "results/base_models/mini",
        *(results / "staged" / stage / "merged" for stage in ("pt", "sft", "dpo")),
        results / "odds/orpo/merged",
        results / "reinforced/grpo/merged",
    ]
    weights = set()
    for model in models:
        manifest = json.loads((model / "manifest.json").read_text("utf-8"))
        weights.add(manifest["files"]["model.safetensors"]["sha256"])
    assert len(weights) == len(models)


def test_every_stage_tells_what_it_did(staged):
    for run, stage in (
        *(("staged", stage) for stage in ("pt", "sft", "dpo")),
        ("odds", "orpo"),
        ("reinforced", "reward"),
        ("reinforced", "grpo"),
    ):
        log = staged / "results/stages" / run / stage / "training/log.json"
        content = json.loads(log.read_text("utf-8"))
        assert content["summary"]["method"] == stage
        assert content["steps"], f"{run}, {stage}: no step was logged"


def test_a_later_stage_does_not_train_the_earlier_ones_again(staged):
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    config["runs"]["staged"]["stages"][2]["training"] = {"beta": 0.2}
    (staged / "edited.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    result = start_snakemake("--dry-run", "--configfile", "edited.yaml", folder=staged)
    assert result.returncode == 0, result.stdout[-3000:]
    trained = [line for line in result.stdout.splitlines() if line.startswith("Job")]
    trained = [line.partition(": Training ")[2] for line in trained if ": Training " in line]
    assert [line.partition(";")[0] for line in trained] == ["staged, dpo"]


def test_a_run_that_fails_leaves_the_others(staged):
    config = yaml.safe_load(yaml.safe_dump(CONFIG))
    # no conversation has room in so few tokens
    config["runs"] |= {"failing": {"base_model": "mini", "training": TRAINING | {"max_length": 16}}}
    config["runs"] |= {"late": {"base_model": "mini", "training": TRAINING | {"steps": 3}}}
    (staged / "failing.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    result = start_snakemake("--cores", "all", "--configfile", "failing.yaml", folder=staged)
    assert result.returncode != 0
    assert "max_length" in result.stdout
    assert "To report on them without failing, set these to null" in result.stdout
    assert ("tuned", "heldout") in scores(staged, "late")
    assert not (staged / "results/stages/failing/scores.csv").exists()
