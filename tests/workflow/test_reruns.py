"""What an edit runs again: what depends on it, and nothing else."""

import os
import re
import shutil

import pytest
import yaml
from conftest import ROOT

RUN = {
    *("convert_adapter", "merge_adapter", "check_chat_template", "quantize_awq", "verify_awq"),
    *("convert_turbomind", "verify_turbomind", "evaluate", "collect_scores"),
    *("measure_performance", "compare_runs", "report", "model_card"),
}
TRAINED = {"count_tokens", "train", *RUN}
FOUR_BIT = {
    *("quantize_awq", "verify_awq", "convert_turbomind", "verify_turbomind"),
    *("measure_performance", "evaluate", "collect_scores", "compare_runs", "report"),
    "model_card",
}
# the base model is asked again where its questions or the way of asking are others, and not because
# what starts from it is trained again
ASKED = {"evaluate_base", "evaluate"}
SCORED = {*ASKED, "collect_scores", "compare_runs", "report", "model_card"}
# what the scripts of the report are told of the runs
LISTED = {"inventory", "compare_runs", "report", "model_card"}
DESCRIBED = {"ledger", "corpus_card", "report", "model_card"}
RECORDS = {
    *("conversations", "calibration", "questions", "heldout_pairs", "local_benchmark"),
    *DESCRIBED,
    *TRAINED,
    "evaluate_base",
}
ASKED_AGAIN = {"write_tokenizer", "evaluate_base"}
BASE = {"make_tiny_base_model", *ASKED_AGAIN, *TRAINED}

OVERLAYS = {
    "answers may be longer": ({"evaluation": {"max_new_tokens": 16}}, SCORED),
    "more questions at a time": ({"evaluation": {"batch_size": 64}}, SCORED),
    "fewer benchmarks": (
        {"evaluation": {"benchmarks": ["heldout"]}},
        {"questions", *DESCRIBED, *SCORED, *LISTED},
    ),
    "fewer variants": (
        {"evaluation": {"variants": ["base", "tuned"]}},
        {"collect_scores", *LISTED},
    ),
    "a variant that is served": (
        {"evaluation": {"variants": ["base", "tuned", "awq", "turbomind", "served"]}},
        {"tool_versions", "evaluate_served", "collect_scores", *LISTED},
    ),
    "a gate": ({"evaluation": {"gates": ["tuned on heldout >= 10"]}}, {"report", "gates"}),
    "calibration of the quantisation": ({"quantization": {"calibration_samples": 32}}, FOUR_BIT),
    "length of its texts": ({"quantization": {"calibration_length": 128}}, FOUR_BIT),
    "learning rate": (
        {"runs": {"tiny-qlora": {"training": {"learning_rate": 5.0e-4}}}},
        {"render_config", *TRAINED, *LISTED},
    ),
    "what sft does not read": (
        {"runs": {"tiny-qlora": {"training": {"beta": 0.5, "generations": 8}}}},
        LISTED,
    ),
    # what the report shows of the configuration
    "what may be cut": (
        {"runs": {"tiny-qlora": {"training": {"max_truncated": 0.5}}}},
        LISTED,
    ),
    "another run": (
        {"runs": {"second": {"base_model": "tiny", "training": {"steps": 10}}}},
        # measured is the first run of a base model; those of an overlay come first
        {"render_config", *TRAINED, *LISTED},
    ),
    # what is trained on it is a later stage: the earlier ones stay as they are
    "a stage behind": (
        {"runs": {"tiny-qlora": {"stages": [{"method": "sft"}, {"method": "dpo"}]}}},
        {"export", "render_config", *TRAINED, *LISTED},
    ),
    "number of recalled questions": (
        {"corpus": {"split": {"recall": 100}}},
        {"questions", *DESCRIBED, *SCORED},
    ),
    "number of calibration conversations": (
        {"corpus": {"split": {"calibration": 64}}},
        {"calibration", *DESCRIBED, *FOUR_BIT},
    ),
    "system prompt": (
        {"corpus": {"system": "你是助手。"}},
        {
            *("conversations", "calibration", "heldout_pairs", "local_benchmark"),
            *DESCRIBED,
            *TRAINED,
            "evaluate_base",
        },
    ),
    "rules of cleaning": (
        {"corpus": {"clean": {"max_answer_chars": 1000}}},
        {"clean", *RECORDS},
    ),
    "seed of the split": ({"corpus": {"split": {"seed": 1}}}, {"clean", *RECORDS}),
    "one source less": (
        {"corpus": {"sources": [{"path": "resources/corpora/civil_service/questions.docx"}]}},
        {"ingest", "clean", *RECORDS},
    ),
    "licence": ({"corpus": {"license": "mit"}}, {"corpus_card", "report", "model_card"}),
    "an export": ({"corpus": {"exports": ["openai"]}}, {"export", "report"}),
    "steps of pre-training": (
        {"base_models": {"tiny": {"steps": 100}}},
        BASE,
    ),
    "prompt template": (
        {"base_models": {"tiny": {"prompt_template": "internlm2_chat"}}},
        {"render_config", *ASKED_AGAIN, *TRAINED},
    ),
    # what `auto` finds where there is no GPU; the report names the file of this edit
    "accelerator": ({"accelerator": "cpu"}, {"report"}),
    "a base model that no run uses": (
        {"base_models": {"tiny-general": {"steps": 100}}},
        {"report"},
    ),
    "another domain": (
        {"domain": "other"},
        {"ingest", "clean", "render_config", *RECORDS, *LISTED},
    ),
}
# what is edited, by what, and what runs again
FILES = {
    "a script": ("workflow/scripts/training/train.py", "# edited\n", {"train", *RUN}),
    "a module of scripts": (
        "workflow/scripts/quantization/packing.py",
        "# edited\n",
        FOUR_BIT - {"quantize_awq"},
    ),
    "a module that other stages use": (
        "workflow/scripts/training/launch_xtuner.py",
        "# edited\n",
        {*ASKED_AGAIN, *TRAINED},
    ),
    "the server, which no variant is asked through": (
        "workflow/scripts/serving/api_app.py",
        "# edited\n",
        set(),
    ),
    "how models are measured": (
        "workflow/scripts/evaluation/measure_model.py",
        "# edited\n",
        {"measure_performance", "report"},
    ),
    # of the variants asked by default, none computes in 4 bits
    "computing in 4 bits": (
        "workflow/scripts/quantization/int4_model.py",
        "# edited\n",
        {"measure_performance", "report"},
    ),
    "how outputs are kept": ("workflow/scripts/cache/kept.py", "# edited\n", set()),
    "how the configuration is checked": (
        "workflow/scripts/config/validation.py",
        "# edited\n",
        set(),
    ),
    # it also looks for the questions of other benchmarks in the corpus
    "the ledger": (
        "workflow/scripts/corpus/ledger.py",
        "# edited\n",
        {"local_benchmark", *DESCRIBED, *SCORED},
    ),
    "the page of the report": (
        "workflow/scripts/report/page/style.css",
        "/* edited */\n",
        {"report"},
    ),
    "an environment": ("envs/lmdeploy.yaml", "# edited\n", {*FOUR_BIT, "tool_versions"}),
    "the second half of an environment": (
        "envs/xtuner.post-deploy.sh",
        "# edited\n",
        {*BASE, "tool_versions"},
    ),
    "a source": (
        "resources/corpora/civil_service/questions.jsonl",
        '{"question": "谁？", "answer": "他"}\n',
        {"ingest", "clean", *RECORDS},
    ),
    "the text of a base model": (
        "resources/corpora/civil_service/facts.txt",
        "他是谁。\n",
        BASE,
    ),
    "a caption": ("workflow/report/scores.rst", "Edited.\n", set()),
    "the documentation": ("README.md", "Edited.\n", set()),
    "a rule's message": (
        "workflow/rules/training.smk",
        ("Training {wildcards.run}", "Now training"),
        set(),
    ),
    "threads of a rule": ("workflow/rules/training.smk", ("threads: 2", "threads: 3"), set()),
    "memory of a rule": (
        "workflow/rules/common.smk",
        ("attempt * (3_000", "attempt * (4_000"),
        set(),
    ),
    "white space and comments of the rules": (
        "workflow/rules/training.smk",
        ("    params:", "\n    # edited\n    params:"),
        set(),
    ),
    "white space and comments of the configuration": (
        "config/config.yaml",
        ("\nruns:", "\n\n# edited\n\nruns:"),
        set(),
    ),
    # Snakemake compares the text of a command: in doubt it runs again
    "white space of a command": (
        "workflow/rules/quantization.smk",
        ('" --seed {params.seed}', '"  --seed {params.seed}'),
        FOUR_BIT,
    ),
}


def planned(clone, *arguments):
    """The rules that Snakemake would run in the clone, targets left out."""
    result = clone.snakemake("--dry-run", *arguments)
    assert result.returncode == 0, result.stdout
    names = set(re.findall(r"^(\w+) +\d+$", result.stdout, re.MULTILINE))
    return names - {"total", "all"}


@pytest.mark.parametrize(("overlay", "rules"), OVERLAYS.values(), ids=OVERLAYS.keys())
def test_edit_of_the_configuration(finished, tmp_path, overlay, rules):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(overlay, allow_unicode=True))
    assert planned(finished, "--configfile", path) == rules


@pytest.mark.parametrize(("name", "edit", "rules"), FILES.values(), ids=FILES.keys())
def test_edit_of_a_file(finished, name, edit, rules):
    path = finished.folder / name
    before, status = path.read_text("utf-8"), path.stat()
    # added at the end, or put in place of something
    edited = before + edit if isinstance(edit, str) else before.replace(*edit)
    assert edited != before
    try:
        path.write_text(edited, "utf-8")
        assert planned(finished) == rules
    finally:
        path.write_text(before, "utf-8")
        # as if nothing had happened
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_no_edit_of_the_evaluation_trains_again(finished, tmp_path):
    """All its keys at once."""
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text("utf-8"))
    evaluation = {
        "variants": ["tuned", "awq"],
        "benchmarks": ["heldout", "general"],
        "local": {"general": {"mode": "generation"}},
        "gates": ["tuned on heldout >= 10"],
        "max_new_tokens": 16,
        "batch_size": 64,
    }
    assert evaluation.keys() == schema["properties"]["evaluation"]["properties"].keys()
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"evaluation": evaluation}))
    rules = planned(finished, "--configfile", path)
    assert "evaluate" in rules
    assert rules <= {
        *("questions", "local_benchmark", "gates", "measure_performance"),
        *(*DESCRIBED, *SCORED, *LISTED),
    }


def test_a_cache_runs_nothing_again(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path))
    assert planned(finished) == set()


@pytest.mark.skipif(not shutil.which("conda"), reason="there is no conda here")
def test_conda_runs_nothing_again(finished):
    assert planned(finished, "--sdm", "conda") == set()


def test_another_number_of_cores_runs_nothing_again(finished):
    assert planned(finished, "--cores", "1") == set()
