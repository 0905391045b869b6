"""`--sdm conda` by a real conda: every environment solved, the corpus and the report made."""

import os
import re
import shutil
import subprocess
import sys

import local_conda
import pytest
import short_chain
from conftest import ROOT, start_snakemake

ENVS = sorted((ROOT / "envs").glob("*.yaml"))


@pytest.fixture(scope="session")
def conda(tmp_path_factory):
    """Snakemake options and environment variables for a conda with a channel of its own."""
    if reason := local_conda.cannot_be_had():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("conda")
    commands = local_conda.install_conda(folder / "installation")
    local_conda.make_channel(folder / "channels" / "conda-forge")
    variables = local_conda.settings(folder, commands) | {"PYTHONUSERBASE": str(folder / "user")}
    pretend_installed(folder / "user", "pandas")
    return ["--sdm", "conda", "--conda-prefix", folder / "environments"], variables


def pretend_installed(user, package):
    """Give the user a broken package of their own, in the version that an environment wants."""
    version = re.search(rf"- {package}==(\S+)", (ROOT / "envs" / "data.yaml").read_text())[1]
    site = user / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    metadata = site / f"{package}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (site / f"{package}.py").write_text("raise SystemExit('a package of the user is imported')")
    described = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    (metadata / "METADATA").write_text(described)
    (metadata / "RECORD").touch()
    (metadata / "INSTALLER").write_text("pip\n")


@pytest.mark.parametrize("path", ENVS, ids=lambda path: path.stem)
def test_conda_solves_every_environment(conda, tmp_path, path):
    """The part that conda installs; which versions pip then takes is written out in the yaml."""
    _, variables = conda
    command = ["conda", "env", "create", "--dry-run", "--file", path, "--prefix", tmp_path / "env"]
    result = subprocess.run(
        list(map(str, command)), env=os.environ | variables, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert sorted(re.findall(r"::([\w-]+)==", result.stdout)) == ["pip", "python"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A folder in which a short chain has run from nothing, without conda."""
    folder = tmp_path_factory.mktemp("venv")
    short_chain.write(folder)
    run = snakemake_in(folder, "--cores", "2")
    assert run.returncode == 0, run.stdout
    return folder


def snakemake_in(folder, *arguments):
    """Run Snakemake on the short chain of a folder."""
    return start_snakemake("--configfile", "config.yaml", *arguments, folder=folder)


@pytest.mark.by_hand
def test_corpus_and_report_by_conda(conda, chain, tmp_path, monkeypatch):
    """The corpus from nothing is the same, byte for byte; the report is made of what is there."""
    options, variables = conda
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    short_chain.write(tmp_path / "corpus")
    corpus = snakemake_in(tmp_path / "corpus", *options, "--cores", "2", "--", "corpus")
    assert corpus.returncode == 0, corpus.stdout
    assert "Activating conda environment" in corpus.stdout
    for file in ("records.parquet", "train.jsonl", "heldout.jsonl", "ledger.json"):
        path = f"results/short/corpus/{file}"
        assert (tmp_path / "corpus" / path).read_bytes() == (chain / path).read_bytes()

    # as deep as the first: from here the paths of the scripts are written relative to it
    folder = chain.with_name("report")
    shutil.copytree(chain, folder, symlinks=True)
    nothing = snakemake_in(folder, *options, "--dry-run")
    assert "Nothing to be done" in nothing.stdout, nothing.stdout
    results = folder / "results" / "short"
    before = (results / "comparison.csv").read_bytes()
    for file in ("report.html", "comparison.csv", "tiny-qlora/scores.csv"):
        (results / file).unlink()
    # of these alone, or conda would first make the environments of jobs that are done
    rules = ["collect_scores", "compare_runs", "model_card", "report"]
    wanted = ["results/short/report.html", "results/short/comparison.csv"]
    wanted += ["results/short/tiny-qlora/model_card.md"]
    report = snakemake_in(
        folder, *options, "--cores", "2", "--allowed-rules", *rules, "--", *wanted
    )
    assert report.returncode == 0, report.stdout
    assert sorted(set(re.findall(r"\(Rule: (\w+)\)", report.stdout))) == rules
    assert (results / "comparison.csv").read_bytes() == before
    assert (results / "report.html").exists()
    back = snakemake_in(folder, "--dry-run")
    assert "Nothing to be done" in back.stdout, back.stdout


@pytest.mark.by_hand
def test_the_whole_chain_by_conda(conda, chain, tmp_path, monkeypatch):
    """Every environment with its post-deploy script; the scores are those of the other mode."""
    options, variables = conda
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    short_chain.write(tmp_path)
    run = snakemake_in(tmp_path, *options, "--cores", "2")
    assert run.returncode == 0, run.stdout
    scores = "results/short/tiny-qlora/scores.csv"
    assert (tmp_path / scores).read_bytes() == (chain / scores).read_bytes()
