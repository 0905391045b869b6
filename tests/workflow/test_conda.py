"""`--sdm conda` by a real conda: every environment solved, the corpus and the report made."""

import os
import re
import shutil
import subprocess
import sys
from functools import partial

import local_conda
import pytest
import short_chain
from conftest import ROOT, Clone, start_snakemake

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


def test_conda_and_venv_mode_give_the_same(conda, finished, tmp_path, monkeypatch):
    """The corpus from nothing is the same, byte for byte; the report is made of what is there."""
    options, variables = conda
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    corpus = start_snakemake(*options, "--cores", "2", "--", "corpus", folder=tmp_path)
    assert corpus.returncode == 0, corpus.stdout
    assert "Activating conda environment" in corpus.stdout
    for file in ("records.parquet", "train.jsonl", "heldout.jsonl", "ledger.json"):
        path = f"results/civil_service/corpus/{file}"
        assert (tmp_path / path).read_bytes() == (finished.folder / path).read_bytes()

    clone = Clone(tmp_path / "clone")
    shutil.copytree(finished.folder, clone.folder, symlinks=True)
    snakemake = partial(clone.snakemake, *options)
    nothing = snakemake("--dry-run")
    assert "Nothing to be done" in nothing.stdout, nothing.stdout
    results = clone.folder / "results" / "civil_service"
    before = (results / "comparison.csv").read_bytes()
    for file in ("report.html", "comparison.csv", "tiny-qlora/scores.csv"):
        (results / file).unlink()
    report = snakemake("--cores", "2")
    assert report.returncode == 0, report.stdout
    rules = set(re.findall(r"\(Rule: (\w+)\)", report.stdout))
    assert rules == {"collect_scores", "compare_runs", "report", "all"}
    assert (results / "comparison.csv").read_bytes() == before
    assert (results / "report.html").exists()
    back = clone.snakemake("--dry-run")
    assert "Nothing to be done" in back.stdout, back.stdout


@pytest.mark.by_hand
def test_the_whole_chain_by_conda(conda, tmp_path, monkeypatch):
    """Every environment with its post-deploy script; the scores are those of the other mode."""
    options, variables = conda
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    scores = []
    for folder, mode in ((tmp_path / "venv", []), (tmp_path / "conda", options)):
        short_chain.write(folder)
        snakemake = partial(start_snakemake, "--configfile", "config.yaml", folder=folder)
        run = snakemake(*mode, "--cores", "2")
        assert run.returncode == 0, run.stdout
        assert (folder / "results/short/report.html").exists()
        scores.append((folder / "results/short/tiny-qlora/scores.csv").read_text("utf-8"))
        other = snakemake(*([] if mode else options), "--dry-run")
        assert "Nothing to be done" in other.stdout, other.stdout
    assert scores[0] == scores[1]
