"""Every mistake in a configuration gives one clear message, before any job starts."""

import pytest
import yaml

TINY = {
    "source": "tiny",
    "text": ["resources/corpora/civil_service/facts.txt"],
    "prompt_template": "qwen_chat",
}
QUESTIONS = "resources/corpora/civil_service/questions.docx"
MISTAKES = {
    "unknown key, near one": (
        {"runs": {"tiny-qlora": {"training": {"learning_rat": 0.1}}}},
        "runs.tiny-qlora.training: unknown key 'learning_rat'. Did you mean 'learning_rate'?",
    ),
    "unknown key, top level": (
        {"evalaution": {}},
        "top level: unknown key 'evalaution'. Did you mean 'evaluation'?",
    ),
    "unknown key of a kind of base model": (
        {"base_models": {"tiny": {"hidden": 256}}},
        "base_models.tiny: unknown key 'hidden'. Did you mean 'hidden_size'?",
    ),
    "wrong type": (
        {"runs": {"tiny-qlora": {"training": {"steps": "many"}}}},
        "runs.tiny-qlora.training.steps: 'many' is not of type integer.",
    ),
    "not among the choices": (
        {"accelerator": "gpu"},
        "accelerator: 'gpu' is not one of auto, cpu, cuda.",
    ),
    "out of range": (
        {"corpus": {"split": {"heldout": -0.5}}},
        "corpus.split.heldout: -0.5 must be at least 0.",
    ),
    "key missing": (
        {"base_models": {"mine": {"source": "local", "prompt_template": "qwen_chat"}}},
        "base_models.mine: the key 'path' is missing.",
    ),
    "bad regular expression": (
        {"corpus": {"clean": {"adverts": ["("]}}},
        "corpus.clean.adverts.0: '(' is not a regular expression: "
        "missing ), unterminated subpattern at position 0.",
    ),
    "missing source": (
        {"corpus": {"sources": [{"path": "my/questions.docx"}]}},
        "corpus.sources.0.path: the file my/questions.docx does not exist.",
    ),
    "unknown format": (
        {"corpus": {"sources": [{"path": "questions.pdf"}]}},
        "corpus.sources.0.path: questions.pdf has the suffix '.pdf'; known are docx, xlsx, xls, "
        "csv, tsv, json, jsonl, parquet, txt, md, also with .gz or .zst behind.",
    ),
    "neither a share nor a number": (
        {"corpus": {"split": {"heldout": 1.5}}},
        "corpus.split.heldout: 1.5 is neither a share below 1 nor a whole number of questions.",
    ),
    "mapping that makes no row": (
        {"corpus": {"sources": [{"path": QUESTIONS, "question": "q"}]}},
        "corpus.sources.0: question: this does not make a row. Name question and answer",
    ),
    "pattern without a group": (
        {"corpus": {"sources": [{"path": QUESTIONS, "patterns": ["(?P<question>.*)=.*"]}]}},
        "corpus.sources.0.patterns.0: '(?P<question>.*)=.*' lacks the named group (?P<answer>...).",
    ),
    "review that is not there": (
        {"corpus": {"reviewed": "mine.xlsx"}},
        "corpus.reviewed: the file mine.xlsx does not exist. `snakemake review` writes",
    ),
    "review that a run would replace": (
        {"corpus": {"reviewed": "results/civil_service/corpus/review.xlsx"}},
        "corpus.reviewed: results/civil_service/corpus/review.xlsx lies in results/",
    ),
    "missing text": (
        {"base_models": {"tiny": {"text": ["nowhere.txt"]}}},
        "base_models.tiny.text.0: the file nowhere.txt does not exist.",
    ),
    "missing model": (
        {
            "base_models": {
                "mine": {"source": "local", "path": "models/x", "prompt_template": "qwen_chat"}
            }
        },
        "base_models.mine.path: the folder models/x does not exist.",
    ),
    "head_dim": (
        {"base_models": {"tiny": {"head_dim": 32}}},
        "base_models.tiny.head_dim: 32 is not 64 or 128, which TurboMind needs.",
    ),
    "group size": (
        {"base_models": {"tiny": {"intermediate_size": 700}}},
        "base_models.tiny.intermediate_size: 700 is not a multiple of the AWQ group size 128.",
    ),
    "control on several texts": (
        {
            "base_models": {
                "control": TINY
                | {
                    "text": TINY["text"] * 2,
                    "withhold": "resources/corpora/civil_service/facts_index.jsonl",
                }
            }
        },
        "base_models.control.withhold: needs exactly one file in text, to count lines.",
    ),
    "unknown prompt template": (
        {"base_models": {"tiny": {"prompt_template": "qwen_chatt"}}},
        "base_models.tiny.prompt_template: 'qwen_chatt' is not one of default, zephyr, ",
    ),
    "unknown base": (
        {"runs": {"second": {"base_model": "tinny"}}},
        "runs.second.base_model: 'tinny' is not among base_models (tiny, tiny-general). "
        "Did you mean 'tiny'?",
    ),
    "no base at all": (
        {"runs": {"second": {"training": {"steps": 1}}}},
        "runs.second: the key 'base_model' is missing (or start_from).",
    ),
    "stages in a senseless order": (
        {"runs": {"tiny-qlora": {"stages": [{"method": "sft"}, {"method": "grpo"}]}}},
        "runs.tiny-qlora.stages: grpo needs a reward model; put {method: reward} before it.",
    ),
    "key of a stage": (
        {"runs": {"tiny-qlora": {"stages": [{"method": "sft", "training": {"step": 1}}]}}},
        "runs.tiny-qlora.stages.0.training: unknown key 'step'. Did you mean 'steps'?",
    ),
    "key of a grid": (
        {"runs": {"tiny-qlora": {"matrix": {"training.lr": [0.1]}}}},
        "runs.tiny-qlora-lr0.1.stages.0.training: unknown key 'lr'.",
    ),
    "value of a grid": (
        {"runs": {"tiny-qlora": {"matrix": {"training.lora.r": [0]}}}},
        "runs.tiny-qlora-r0.stages.0.training.lora.r: 0 must be at least 1.",
    ),
    "a GPU's optimiser on a CPU": (
        {
            "accelerator": "cpu",
            "runs": {"tiny-qlora": {"training": {"optimizer": "paged_adamw_8bit"}}},
        },
        "runs.tiny-qlora: stage sft: training.optimizer: paged_adamw_8bit needs a GPU",
    ),
    "reinforcement of all weights": (
        {
            "runs": {
                "tiny-qlora": {
                    "training": {"finetuning": "full"},
                    "stages": [{"method": name} for name in ("sft", "reward", "grpo")],
                }
            }
        },
        "runs.tiny-qlora: stage grpo: training.finetuning: grpo trains an adapter;",
    ),
    "no held-out questions": (
        {"corpus": {"split": {"heldout": 0}}},
        "corpus.split.heldout: 0 leaves no held-out questions for evaluation.benchmarks heldout, "
        "heldout_mcq.",
    ),
    "names that one folder cannot hold": (
        {"runs": {"Tiny-QLoRA": {"base_model": "tiny"}}},
        "runs.tiny-qlora: differs from 'Tiny-QLoRA' in upper and lower case only",
    ),
    "domain that is a folder of the workflow": (
        {"domain": "base_models"},
        "domain: 'base_models' is the name of a folder of the workflow's own",
    ),
    "run that is a folder of the workflow": (
        {"runs": {"corpus": {"base_model": "tiny"}}},
        "runs.corpus: is the name of a folder of the workflow's own",
    ),
    "name that is no folder": (
        {"domain": "../up"},
        "domain: '../up' does not match",
    ),
}


@pytest.mark.parametrize(("overlay", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake(snakemake, tmp_path, overlay, message):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay, allow_unicode=True))
    result = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert result.returncode != 0
    said = [line for line in result.stdout.splitlines() if line.startswith("config: ")]
    assert len(said) == 1, result.stdout
    assert said[0].startswith(f"config: {message}")
    assert "Traceback" not in result.stdout


def test_two_runs_with_one_name(snakemake, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "runs:\n  second:\n    base_model: tiny\n  second:\n    base_model: tiny\n"
    )
    result = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert result.returncode != 0
    assert "config: runs.second: stated twice in mine.yaml, lines 2 and 4." in result.stdout


def test_two_mistakes_are_told_at_once(snakemake, tmp_path):
    overlay = {"domian": "x", "evaluation": {"batch_size": 0}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))
    result = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert "config: top level: unknown key 'domian'. Did you mean 'domain'?" in result.stdout
    assert "config: evaluation.batch_size: 0 must be at least 1." in result.stdout


def test_cuda_where_there_is_none(snakemake, tmp_path, monkeypatch):
    driverless = tmp_path / "bin"
    driverless.mkdir()
    (driverless / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices were found' >&2\nexit 6\n")
    (driverless / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{driverless}:/usr/bin:/bin")
    (tmp_path / "mine.yaml").write_text("accelerator: cuda\n")
    result = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert result.returncode != 0
    assert "config: accelerator: cuda, but `nvidia-smi -L` finds no usable" in result.stdout


def test_null_takes_out_what_the_default_has(snakemake, tmp_path):
    overlay = {"runs": {"tiny-qlora": None, "mine": {"base_model": "tiny"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(overlay))
    result = snakemake("--dry-run", "--quiet", "rules", "--configfile", "mine.yaml")
    assert result.returncode == 0, result.stdout
    result = snakemake("--dry-run", "--configfile", "mine.yaml")
    assert "Training mine" in result.stdout
    assert "Training tiny-qlora" not in result.stdout


def test_the_default_configuration_is_fine(snakemake):
    result = snakemake("--dry-run")
    assert result.returncode == 0, result.stdout
