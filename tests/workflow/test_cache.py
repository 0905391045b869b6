"""What one clone has made, another one takes: models, trainings, 4-bit forms, answers."""

import csv
import hashlib
import shutil
from pathlib import Path

import pytest
import short_chain
from conftest import Clone, clone_to

DOMAIN = Path("results/short")
RUN = DOMAIN / "tiny-qlora"
MODELS = [
    *("results/base_models/mini", RUN / "sft/adapter", RUN / "sft/merged"),
    *(RUN / "awq", RUN / "turbomind"),
]
# the rules whose outputs are kept: where they log below logs/, and where their time stands
STAGE = ("count_tokens", "train", "convert_adapter", "merge_adapter")
LAST = (
    *("quantize_awq", "convert_turbomind"),
    *(f"evaluate_{variant}" for variant in ("tuned", "awq", "turbomind")),
)
LOGS = [
    "base_models/mini.log",
    "short/evaluate_base_mini.log",
    *(f"short/tiny-qlora/sft/{name}.log" for name in STAGE),
    *(f"short/tiny-qlora/{name}.log" for name in LAST),
]
UNTIL_MERGED = [
    "results/benchmarks/base_models/mini.tsv",
    *(RUN / f"benchmarks/sft/{name}.tsv" for name in STAGE),
]
BENCHMARKS = [
    *UNTIL_MERGED,
    DOMAIN / "benchmarks/evaluate_base_mini.tsv",
    *(RUN / f"benchmarks/{name}.tsv" for name in LAST),
]


def make(folder):
    """A clone with the sources and the configuration of the short chain."""
    clone = clone_to(folder)
    short_chain.write(clone.folder)
    return clone


def run(clone, *arguments):
    """Run Snakemake to its end; returns what it said."""
    result = clone.snakemake("--cores", "all", "--configfile", "config.yaml", *arguments)
    assert result.returncode == 0, result.stdout[-8000:]
    return result.stdout


def contents(clone: Clone):
    """sha256 of each file of the models."""
    return {
        path.relative_to(clone.folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for model in MODELS
        for path in sorted((clone.folder / model).rglob("*"))
        if path.is_file() and path.name != ".snakemake_timestamp"
    }


def seconds(clone, benchmarks=BENCHMARKS):
    """How long the rules whose outputs are kept took; a start of Python is a part of it."""
    return sum(
        float(next(csv.DictReader((clone.folder / path).open(), delimiter="\t"))["s"])
        for path in benchmarks
    )


def nothing_to_do(clone):
    return "Nothing to be done" in run(clone, "--dry-run")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder that the clones share."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache") / "kept"
        patch.setenv("FINETUNE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first(cache, tmp_path_factory):
    """The clone that has made everything."""
    clone = make(tmp_path_factory.mktemp("first"))
    run(clone)
    return clone


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    """The one that comes later."""
    clone = make(tmp_path_factory.mktemp("second"))
    run(clone)
    return clone


def test_a_second_clone_takes_it_all(first, second):
    for name in LOGS:
        assert "kept: stored in" in (first.folder / "logs" / name).read_text("utf-8")
        assert "kept: taken from" in (second.folder / "logs" / name).read_text("utf-8")
    assert contents(first) == contents(second)
    scores = RUN / "scores.csv"
    assert (first.folder / scores).read_bytes() == (second.folder / scores).read_bytes()
    assert seconds(second) < seconds(first) / 5


def test_neither_clone_makes_the_other_run_again(first, second):
    assert nothing_to_do(first)
    assert nothing_to_do(second)


def test_removed_results_come_back_in_seconds(first, second):
    expected = contents(second)
    shutil.rmtree(second.folder / "results")
    said = run(second, "--", RUN / "sft/merged")
    assert said.count("kept: taken from") == 1 + len(STAGE)
    assert seconds(second, UNTIL_MERGED) < seconds(first, UNTIL_MERGED) / 5
    found = contents(second)
    assert found
    assert found.items() <= expected.items()


def test_a_second_domain_takes_the_base_model(first, tmp_path):
    clone = clone_to(tmp_path)
    short_chain.write(clone.folder, short_chain.CONFIG | {"domain": "other"})
    run(clone, "--", "results/base_models/mini")
    assert "kept: taken from" in (clone.folder / "logs/base_models/mini.log").read_text("utf-8")


def test_a_damaged_model_is_not_taken(first, cache, tmp_path, monkeypatch):
    # entries are links to the results of the clones: those of the others stay as they are
    damaged = tmp_path / "damaged"
    shutil.copytree(cache, damaged)
    (entry,) = damaged.glob("merge_adapter-*")
    (weights,) = entry.rglob("model.safetensors")
    weights.chmod(0o644)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    monkeypatch.setenv("FINETUNE_CACHE", str(damaged))
    clone = make(tmp_path / "clone")
    said = run(clone, "--", RUN / "sft/merged")
    assert f"{entry} is damaged (0/model.safetensors is not what was stored)" in said
    found = contents(clone)
    assert found.items() <= contents(first).items()
    # made again, it has taken the place of the damaged one
    assert (
        weights.read_bytes() == (clone.folder / RUN / "sft/merged/model.safetensors").read_bytes()
    )
