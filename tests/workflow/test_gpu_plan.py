"""What would be measured on a GPU. Nothing is run: there is none."""

import re

import pytest
import yaml
from conftest import ROOT

RUN = "results/civil_service/tiny-qlora"
# Of a job with a message, a dry run shows nothing else.
DETAILED = f"""
include: "{ROOT / "Snakefile"}"

for step in workflow.rules:
    step.message = None
"""


@pytest.fixture
def planned(snakemake, tmp_path, monkeypatch):
    """Returns {rule: what a dry run says of its job} of an overlay."""
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Made-up GPU (UUID: GPU-0)'\n")
    (driver / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver}:/usr/bin:/bin")
    (tmp_path / "detailed.smk").write_text(DETAILED)

    def plan(accelerator, **overlay):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"accelerator": accelerator, **overlay}))
        options = ("--dry-run", "--cores", "4", "--configfile", path, "--", "all")
        result = snakemake("--snakefile", tmp_path / "detailed.smk", *options)
        assert result.returncode == 0, result.stdout[-3000:]
        jobs = re.findall(r"^rule (\w+):\n((?: {4}.*\n)+)", result.stdout, re.MULTILINE)
        return {
            rule: dict(line.strip().split(": ", 1) for line in said.splitlines())
            for rule, said in jobs
        }

    return plan


def test_engine_on_a_gpu(planned):
    jobs = planned("cuda")
    engine, performance = jobs["measure_engine"], jobs["measure_performance"]
    assert f"{RUN}/turbomind" in engine["input"].split(", ")
    assert engine["output"] == f"{RUN}/engine.csv"
    for job in (engine, performance):
        # nothing else computes meanwhile, on the GPU or a core
        assert "gpu=1" in job["resources"].split(", ")
        assert job["threads"] == "4"
    assert not {f"{RUN}/awq", f"{RUN}/turbomind"} & set(performance["input"].split(", "))
    read = set(jobs["report"]["input"].split(", "))
    assert {f"{RUN}/engine.csv", f"{RUN}/performance.csv"} <= read


def test_engine_takes_the_awq_folder_where_no_workspace_is_made(planned):
    jobs = planned("cuda", evaluation={"variants": ["base", "tuned", "awq"]})
    assert f"{RUN}/awq" in jobs["measure_engine"]["input"].split(", ")
    assert "convert_turbomind" not in jobs


def test_a_model_that_brings_code_is_measured_on_a_gpu(planned):
    own_code = {
        "architecture": "internlm2",
        "trust_remote_code": True,
        "head_dim": 128,
        "lora_target_modules": ["wqkv", "wo", "w1", "w2", "w3"],
    }
    measured = {"measure_engine", "measure_performance"}
    assert measured <= set(planned("cuda", base_models={"tiny": own_code}))
    assert not measured & set(planned("cpu", base_models={"tiny": own_code}))


def test_a_cpu_has_no_engine(planned):
    jobs = planned("cpu")
    assert "measure_engine" not in jobs
    assert f"{RUN}/awq" in jobs["measure_performance"]["input"].split(", ")
    assert "gpu=0" in jobs["measure_performance"]["resources"].split(", ")
    assert f"{RUN}/engine.csv" not in jobs["report"]["input"]


def test_nothing_is_measured_without_4_bits(planned):
    jobs = planned("cuda", evaluation={"variants": ["base", "tuned"]})
    assert "evaluate" in jobs
    assert not {"measure_engine", "measure_performance"} & set(jobs)
