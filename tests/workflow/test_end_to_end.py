"""The default configuration from nothing: every tool for real, on the CPU."""

import csv
import json
import re
import time

import pytest

RUN = "results/civil_service/tiny-qlora"
ANSWERS = [
    "results/civil_service/evaluation/tiny",
    *(f"{RUN}/evaluation/{variant}" for variant in ("tuned", "awq", "turbomind")),
]


def scores(clone):
    """{(variant, benchmark, metric): (score, number of questions)} of scores.csv."""
    with (clone.folder / RUN / "scores.csv").open(encoding="utf-8") as file:
        return {
            (row["variant"], row["benchmark"], row["metric"]): (float(row["score"]), int(row["n"]))
            for row in csv.DictReader(file)
        }


def test_tuning_brings_out_what_the_base_model_knows(finished):
    found = scores(finished)
    base, questions = found["base", "heldout", "exact_match"]
    tuned = found["tuned", "heldout", "exact_match"][0]
    assert questions >= 500
    assert base <= 0.02
    assert tuned >= 0.7


@pytest.mark.parametrize("variant", ["awq", "turbomind"])
def test_four_bits_cost_little(finished, variant):
    found = scores(finished)
    tuned = found["tuned", "heldout", "exact_match"][0]
    assert abs(found[variant, "heldout", "exact_match"][0] - tuned) <= 0.05


def test_every_variant_was_asked_everything(finished):
    corpus = finished.folder / "results/civil_service/corpus"
    for folder in ANSWERS:
        path = finished.folder / folder / "predictions.jsonl"
        asked = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for benchmark in ("heldout", "recall", "heldout_mcq"):
            wanted = [
                json.loads(line)["id"]
                for line in (corpus / f"{benchmark}.jsonl").read_text("utf-8").splitlines()
            ]
            assert [row["id"] for row in asked if row["benchmark"] == benchmark] == wanted


def test_no_held_out_question_or_answer_is_trained_on(finished):
    corpus = finished.folder / "results/civil_service/corpus"
    turns = [
        json.loads(line)["conversation"][0]
        for line in (corpus / "train.jsonl").read_text("utf-8").splitlines()
    ]
    heldout = [
        json.loads(line) for line in (corpus / "heldout.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(turns) > 1000
    assert not {turn["input"] for turn in turns} & {row["question"] for row in heldout}
    # all paraphrases of a fact fall on one side, and here each fact has an answer of its own
    assert not {turn["output"] for turn in turns} & {row["answer"] for row in heldout}


def test_every_row_is_accounted_for(finished):
    corpus = finished.folder / "results/civil_service/corpus"
    ledger = json.loads((corpus / "ledger.json").read_text("utf-8"))
    for source in [*ledger["sources"], ledger["total"]]:
        assert source["rows"] == source["kept"] + sum(source["rejected"].values())
    assert sum(source["rows"] for source in ledger["sources"]) == ledger["total"]["rows"]
    rejected = (corpus / "rejected.jsonl").read_text("utf-8")
    assert len(rejected.splitlines()) == sum(ledger["total"]["rejected"].values()) > 0


@pytest.mark.parametrize("check", ["chat_template", "awq", "turbomind"])
def test_verified(finished, check):
    folder = finished.folder / RUN / ("sft" if check == "chat_template" else "")
    result = json.loads((folder / "verification" / f"{check}.json").read_text("utf-8"))
    assert result["passed"] is True


def test_every_form_was_measured(finished):
    with (finished.folder / RUN / "performance.csv").open(encoding="utf-8") as file:
        rows = {(row["variant"], row["format"]): row for row in csv.DictReader(file)}
    formats = [("tuned", name) for name in ("float32", "bfloat16", "float16")]
    assert [*rows] == [*formats, ("awq", "float32"), ("int4", "int4"), ("turbomind", "int4")]
    engine = rows.pop(("turbomind", "int4"))
    assert engine["note"] == "the engine needs a GPU"
    assert int(engine["disk_bytes"]) > 0 and not engine["decode_tokens_per_s"]
    for row in rows.values():
        assert int(row["start_bytes"]) < int(row["peak_bytes"])
        for rate in ("prefill", "decode"):
            names = [f"{rate}_slowest", f"{rate}_tokens_per_s", f"{rate}_fastest"]
            found = [float(row[name]) for name in names]
            assert found[0] > 0 and found == sorted(found)
    held = {key: int(row["weight_bytes"]) for key, row in rows.items()}
    assert held["int4", "int4"] < held["tuned", "bfloat16"] == held["tuned", "float16"]
    assert held["awq", "float32"] == held["tuned", "float32"] > held["tuned", "bfloat16"]


def test_report_is_one_file(finished):
    page = (finished.folder / "results/civil_service/report.html").read_text("utf-8")
    loaded = re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)([^"']*)["']""", page)
    assert not loaded, "it must open without a network and without its neighbours"
    tuned = scores(finished)["tuned", "heldout", "exact_match"][0]
    assert f"{100 * tuned:.1f}" in page


def test_second_run_has_nothing_to_do(finished):
    start = time.monotonic()
    result = finished.snakemake("--cores", "all")
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout
    print(f"no-op run: {time.monotonic() - start:.1f} s")


def test_snakemake_report(finished):
    result = finished.snakemake("--report", "snakemake-report.html")
    assert result.returncode == 0, result.stdout[-3000:]
    assert (finished.folder / "snakemake-report.html").stat().st_size > 100_000
