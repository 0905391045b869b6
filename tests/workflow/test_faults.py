"""What breaks a run ends in a clear message, and the next start ends as if nothing had happened.

`make bench-chaos` does the same at random moments of the whole chain; here it is the corpus alone.
"""

import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import short_chain
from conftest import ROOT, clone_to

sys.path.insert(0, str(ROOT / "benchmarks"))

import processes

CORPUS = ("--cores", "2", "--", "corpus")
STAYS_LOCKED = "It can be removed with the --unlock argument"


def run(folder, *arguments):
    """Snakemake to its end: its exit status, and what it said."""
    log = folder / processes.LOG
    since = log.stat().st_size if log.exists() else 0
    status = processes.start(folder, *arguments).wait()
    return status, log.read_bytes()[since:].decode("utf-8", "replace")


def outcome(folder):
    """sha256 of every file of the corpus."""
    return processes.sha256(folder / "results/short/corpus", "*")


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The outcome of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("calm")
    short_chain.write(folder)
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    return outcome(folder)


@pytest.fixture
def folder(tmp_path):
    short_chain.write(tmp_path)
    return tmp_path


@pytest.fixture
def reading(folder):
    """Snakemake while its first job reads the sources, and that job, stopped as it does so."""
    snakemake = processes.start(folder, *CORPUS)
    job = processes.wait_for(snakemake, "ingest")
    assert job, (folder / processes.LOG).read_text()
    job.suspend()
    yield snakemake, job
    processes.kill([job])
    snakemake.kill()
    snakemake.wait()


def test_a_second_start_in_the_same_folder(folder, reading, calm):
    snakemake, job = reading
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert "make sure that no other Snakemake process is trying to create the same files" in said
    assert job.status() == psutil.STATUS_STOPPED, "the first one is not disturbed"
    job.resume()
    assert snakemake.wait() == 0
    assert outcome(folder) == calm


def test_snakemake_alone_is_killed(folder, reading, calm):
    snakemake, job = reading
    snakemake.kill()
    snakemake.wait()
    assert job.is_running(), "nobody has told it to end"
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert STAYS_LOCKED in said
    assert run(folder, "--unlock")[0] == 0
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert "had left jobs running in this folder. They were stopped" in said
    assert "where needed: ingest." in said
    assert not job.is_running()
    assert outcome(folder) == calm


@pytest.mark.parametrize("victim", ["the script", "the shell around it"])
def test_a_job_is_killed(folder, reading, calm, victim):
    snakemake, job = reading
    (job if victim == "the script" else job.parent()).kill()
    assert snakemake.wait() != 0
    said = (folder / processes.LOG).read_text()
    assert "Error in rule ingest" in said
    assert "A job was killed from outside" in said
    # setpriv as in the shell of the jobs, which can do without it
    if shutil.which("setpriv"):
        assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert outcome(folder) == calm


def test_snakemake_and_its_jobs_are_killed(folder, reading, calm):
    snakemake, _ = reading
    processes.kill_all(snakemake)
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert STAYS_LOCKED in said
    assert run(folder, "--unlock")[0] == 0
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert "had left jobs running" not in said
    assert outcome(folder) == calm


def test_ctrl_c(folder, reading, calm):
    snakemake, job = reading
    for process in [*processes.jobs(snakemake), snakemake]:  # as a terminal does
        process.send_signal(signal.SIGINT)
    job.resume()
    assert snakemake.wait() != 0
    assert "on user request" in (folder / processes.LOG).read_text()
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert outcome(folder) == calm


def mount(*arguments):
    """Run mount; returns whether it did, which takes the rights of root."""
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(folder):
    """A file system of its own as the folder of the results."""
    disk = folder / "results"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=24k", "none", disk):
        pytest.skip("mounting a disk takes the rights of root, and a kernel that lets a container")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_the_disk_is_full(folder, small_disk, calm):
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert "No space left on device" in said, "the job says so"
    assert f"The disk of {small_disk} is full" in said
    assert mount("-o", "remount,size=64m", small_disk)
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert outcome(folder) == calm


def test_the_disk_of_everything_is_full(folder, small_disk, calm):
    """Also that of Snakemake's notes, and of what Python compiles."""
    assert mount("-o", "remount,size=256m", small_disk)
    clone = clone_to(small_disk / "clone")
    short_chain.write(clone.folder)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
    options = ("--configfile", "config.yaml", *CORPUS)
    full = clone.snakemake(*options)
    assert full.returncode != 0
    assert "No space left on device" in full.stdout
    filler.unlink()
    again = clone.snakemake(*options)
    assert again.returncode == 0, again.stdout
    assert outcome(clone.folder) == calm


def test_the_disk_is_read_only(folder, small_disk, calm):
    assert mount("-o", "remount,size=64m,ro", small_disk)
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert f"{small_disk} cannot be written: it is mounted read-only" in said
    assert "Traceback" not in said
    assert mount("-o", "remount,rw", small_disk)
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert outcome(folder) == calm


def test_the_folder_belongs_to_somebody_else(folder, calm):
    results = folder / "results"
    results.mkdir(mode=0o555)
    if os.access(results, os.W_OK):
        pytest.skip("root may write everywhere")
    status, said = run(folder, *CORPUS)
    assert status != 0
    assert f"{results} cannot be written" in said
    results.chmod(0o755)
    status, said = run(folder, *CORPUS)
    assert status == 0, said
    assert outcome(folder) == calm
