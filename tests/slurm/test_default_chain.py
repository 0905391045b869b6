"""The embedded example through Slurm, every job of it."""

import csv

import pytest

pytest_plugins = ["cluster"]

RUN = "results/civil_service/tiny-qlora"


@pytest.mark.slow
def test_default_chain(clone):
    """Its training on a GPU that Slurm hands out, and that nothing is behind."""
    clone.start("--config accelerator=cpu", "--set-resources train:gpu=1")
    job = clone.until(lambda: clone.job_of("train"), timeout=3000)
    assert clone.slurm.details(job)["TresPerJob"] == "gres:gpu:1"
    process, *_ = clone.until(lambda: clone.processes("train.py"))
    assert process.environ()["CUDA_VISIBLE_DEVICES"] == "0"
    clone.finish(timeout=3000)
    with (clone.folder / RUN / "scores.csv").open(encoding="utf-8") as file:
        scores = {
            (row["variant"], row["benchmark"], row["metric"]): float(row["score"])
            for row in csv.DictReader(file)
        }
    assert scores["base", "heldout", "exact_match"] <= 0.02
    assert scores["tuned", "heldout", "exact_match"] >= 0.7
    assert (clone.folder / "results/civil_service/report.html").exists()
