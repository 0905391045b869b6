"""What an edit runs again: what depends on it, and nothing else."""

import os
import re
import shutil

import pytest
import yaml

RUN = {
    *("convert_adapter", "merge_adapter", "check_chat_template", "quantize_awq", "verify_awq"),
    *("convert_turbomind", "verify_turbomind", "evaluate", "collect_scores"),
    *("compare_runs", "report"),
}
TRAINED = {"count_tokens", "train", *RUN}
FOUR_BIT = {
    *("quantize_awq", "verify_awq", "convert_turbomind", "verify_turbomind"),
    *("evaluate", "collect_scores", "compare_runs", "report"),
}
SCORED = {"evaluate", "collect_scores", "compare_runs", "report"}
# what the scripts of the report are told of the runs
LISTED = {"inventory", "compare_runs", "report"}
DESCRIBED = {"ledger", "corpus_card", "report"}
RECORDS = {
    *("conversations", "calibration", "questions", "heldout_pairs"),
    *DESCRIBED,
    *TRAINED,
}

OVERLAYS = {
    "answers may be longer": ({"evaluation": {"max_new_tokens": 16}}, SCORED),
    "more questions at a time": ({"evaluation": {"batch_size": 64}}, SCORED),
    "fewer variants": (
        {"evaluation": {"variants": ["base", "tuned"]}},
        {"collect_scores", *LISTED},
    ),
    "calibration of the quantisation": ({"quantization": {"calibration_samples": 32}}, FOUR_BIT),
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
        {"conversations", "calibration", "heldout_pairs", *DESCRIBED, *TRAINED},
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
    "licence": ({"corpus": {"license": "mit"}}, {"corpus_card", "report"}),
    "an export": ({"corpus": {"exports": ["openai"]}}, {"export", "report"}),
    "steps of pre-training": (
        {"base_models": {"tiny": {"steps": 100}}},
        {"make_tiny_base_model", *TRAINED},
    ),
    "another domain": (
        {"domain": "other"},
        {"ingest", "clean", "render_config", *RECORDS, *LISTED},
    ),
}
FILES = {
    "a script": ("workflow/scripts/training/train.py", {"train", *RUN}),
    "a module of scripts": (
        "workflow/scripts/quantization/packing.py",
        FOUR_BIT - {"quantize_awq"},
    ),
    "a module that other stages use": ("workflow/scripts/training/launch_xtuner.py", TRAINED),
    "the ledger": ("workflow/scripts/corpus/ledger.py", DESCRIBED),
    "the page of the report": ("workflow/scripts/report/page/style.css", {"report"}),
    "an environment": ("envs/lmdeploy.yaml", {*FOUR_BIT, "tool_versions"}),
    "a source": ("resources/corpora/civil_service/questions.jsonl", {"ingest", "clean", *RECORDS}),
    "a caption": ("workflow/report/scores.rst", set()),
    "the documentation": ("README.md", set()),
    "a rule's message": ("workflow/rules/training.smk", set()),
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


@pytest.mark.parametrize(("name", "rules"), FILES.values(), ids=FILES.keys())
def test_edit_of_a_file(finished, name, rules):
    path = finished.folder / name
    before, status = path.read_text("utf-8"), path.stat()
    edited = {
        ".smk": before.replace("Training {wildcards.run}", "Now training"),
        ".jsonl": before + '{"question": "谁？", "answer": "他"}\n',
        ".css": before + "/* edited */\n",
    }.get(path.suffix, before + "# edited\n")
    assert edited != before
    try:
        path.write_text(edited, "utf-8")
        assert planned(finished) == rules
    finally:
        path.write_text(before, "utf-8")
        # as if nothing had happened
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.skipif(not shutil.which("conda"), reason="there is no conda here")
def test_conda_runs_nothing_again(finished):
    assert planned(finished, "--sdm", "conda") == set()


def test_another_number_of_cores_runs_nothing_again(finished):
    assert planned(finished, "--cores", "1") == set()
