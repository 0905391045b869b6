"""Paths in any language, results on another disk, and artefacts published as the README says."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest
import short_chain
import yaml
from conftest import ROOT, clone_to

DATA = "我的 数据"
FILE = "人 们's [1] $HOME %s.csv"


@pytest.fixture(scope="module")
def other_disk(tmp_path_factory):
    """A folder on another file system than the tests' own."""
    memory = Path("/dev/shm")
    own = tmp_path_factory.getbasetemp().stat().st_dev
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == own:
        pytest.skip(f"{memory} is not another file system here")
    with tempfile.TemporaryDirectory(dir=memory, prefix="结果 ") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, other_disk):
    """A function that runs Snakemake in a clone all of whose paths are awkward."""
    clone = clone_to(tmp_path_factory.mktemp("工作 目录's") / "fine tuning (1)")
    (clone.folder / "results").symlink_to(other_disk)
    config = yaml.safe_load(yaml.safe_dump(short_chain.CONFIG))
    config["corpus"]["sources"] = [{"path": DATA}]
    config["base_models"]["mini"]["text"] = [f"{DATA}/../人 们.txt"]
    short_chain.write(clone.folder, config)
    (clone.folder / DATA).mkdir()
    (clone.folder / "people.csv").rename(clone.folder / DATA / FILE)
    (clone.folder / "people.txt").rename(clone.folder / "人 们.txt")
    (clone.folder / "config.yaml").rename(clone.folder / "配置 1.yaml")
    return partial(clone.snakemake, "--cores", "all", "--configfile", "配置 1.yaml", "--")


def test_results_may_lie_on_another_disk(elsewhere, other_disk):
    result = elsewhere("corpus")
    assert result.returncode == 0, result.stdout
    assert FILE in (other_disk / "short/corpus/ledger.json").read_text("utf-8")
    assert "Nothing to be done" in elsewhere("corpus").stdout


@pytest.mark.by_hand
def test_the_whole_chain_on_another_disk(elsewhere, other_disk):
    result = elsewhere("all")
    assert result.returncode == 0, result.stdout[-8000:]
    assert (other_disk / "short/report.html").stat().st_size > 100_000
    assert "Nothing to be done" in elsewhere("all").stdout


def test_another_working_folder(tmp_path, snakemake):
    """The folder that README.md describes, which is how `snakemake` starts it here."""
    short_chain.write(tmp_path)
    result = snakemake("--cores", "2", "--configfile", "config.yaml", "--", "corpus")
    assert result.returncode == 0, result.stdout
    assert (tmp_path / "results/short/corpus/ledger.json").exists()


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """The Python of an environment with Snakemake, its storage plugins and a server for them."""
    folder = tmp_path_factory.mktemp("plugins") / "venv"
    uv = Path(sys.executable).with_name("uv")
    pins = [ROOT / "requirements.txt", ROOT / "tests" / "workflow" / "storage-requirements.txt"]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder],
        [uv, "pip", "install", "--python", folder, *(f"--requirements={pin}" for pin in pins)],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            pytest.skip(f"the storage plugins cannot be installed: {result.stderr[-500:]}")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def s3(plugins, tmp_path_factory):
    """Environment variables for an S3 server on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("s3") / "server.log").open("w") as log:
        command = [plugins.with_name("moto_server"), "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url)
            break
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    yield {
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    server.terminate()
    server.wait()


def publish(plugins, clone, release, variables=None):
    """Run the publish.smk of README.md with another place to publish to; returns what was said."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (text,) = re.findall(r"```python\n(# publish\.smk.*?)```", readme, re.DOTALL)
    text = re.sub(r"^RELEASE = .*$", f"RELEASE = {release!r}", text, flags=re.MULTILINE)
    (clone.folder / "publish.smk").write_text(text, "utf-8")
    command = ["--snakefile", "publish.smk", "--cores", "2"]
    result = subprocess.run(
        [plugins, "-m", "snakemake", *command, "--", "publish"],
        cwd=clone.folder,
        env=os.environ | (variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def files_of(folder):
    """The contents of all files below a folder, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".snakemake_timestamp"
    }


# Downloads all that a bucket holds, with the plugin's own library.
DOWNLOAD = """
import os, pathlib, sys, boto3
server = boto3.resource("s3", endpoint_url=os.environ["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"])
for item in server.Bucket(sys.argv[1]).objects.all():
    path = pathlib.Path(sys.argv[2], item.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    item.Object().download_file(path)
"""


def test_publish_to_s3(plugins, s3, finished, tmp_path):
    said = publish(plugins, finished, "s3://models/1", s3)
    assert re.findall(r"\(Rule: (\w+)\)", said) == ["publish"], "nothing else runs again"
    assert "Nothing to be done" in publish(plugins, finished, "s3://models/1", s3)
    subprocess.run([plugins, "-c", DOWNLOAD, "models", tmp_path], env=os.environ | s3, check=True)
    is_published(finished, tmp_path / "1")


@pytest.mark.skipif(not shutil.which("rsync"), reason="the plugin fs needs rsync")
def test_publish_to_a_disk(plugins, finished, tmp_path):
    release = tmp_path / "发布 1"
    said = publish(plugins, finished, str(release))
    assert re.findall(r"\(Rule: (\w+)\)", said) == ["publish"]
    assert "Nothing to be done" in publish(plugins, finished, str(release))
    is_published(finished, release)


def is_published(clone, release):
    """Compare a release, byte for byte, with the results."""
    assert sorted(path.name for path in release.iterdir()) == ["adapter", "awq", "report.html"]
    results = clone.folder / "results/civil_service"
    assert (release / "report.html").read_bytes() == (results / "report.html").read_bytes()
    for name in ("sft/adapter", "awq"):
        assert files_of(release / Path(name).name) == files_of(results / "tiny-qlora" / name) != {}
