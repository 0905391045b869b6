"""The chain in short, without the 4-bit models, through Slurm: undisturbed, and with its training
disturbed in the ways of a cluster. The end is always the same, byte for byte.
"""

import time

import pytest
from submission import CONFIG, ROOT, outcome, resumed_from

pytest_plugins = ["cluster"]

RUN = "results/short/tiny-qlora"
ADAPTER = f"{RUN}/sft/adapter"
TRAINING = f"{RUN}/sft/training"


@pytest.fixture(scope="module")
def calm(clone):
    """What the chain makes when nobody disturbs it."""
    clone.configure(CONFIG)
    clone.start("--configfile config.yaml")
    clone.finish()
    return outcome(clone.folder / "results/short")


@pytest.fixture
def training(clone, calm):
    """The id of a training job that has written its first checkpoints, to be disturbed."""

    def start(*options, target=ADAPTER):
        clone.start("--configfile config.yaml", "--forcerun train", *options, "--", target)
        work = clone.folder / "results/.work/short/tiny-qlora/sft"
        clone.until(lambda: len(list(work.glob("*/iter_*.pth"))) >= 2)
        return clone.job_of("train")

    yield start
    clone.end()


def test_chain(clone, calm):
    (scores,) = calm.scores
    assert {row[2] for row in scores[1:]} == {"base", "tuned"}
    assert "tiny-qlora/sft/adapter/adapter_model.safetensors" in calm.weights
    assert (clone.folder / "results/short/report.html").exists()


def test_second_submission_has_nothing_to_do(clone, calm):
    clone.start("--configfile config.yaml")
    assert "Nothing to be done" in clone.finish()


def test_cancelled_training(clone, calm, training):
    """A person, or the cluster, cancels the job: it is submitted again, and goes on."""
    job = training(target=f"{RUN}/scores.csv")
    clone.slurm.order("scancel", job)
    said = clone.finish()
    assert f"'{job}' failed, SLURM status is: 'CANCELLED'" in said
    assert resumed_from(clone.folder / TRAINING) > 0
    assert outcome(clone.folder / "results/short") == calm


@pytest.mark.slow
def test_hanging_training(clone, calm, training):
    """It hangs, as on a disk that does not answer: its time is over, and the next one has more."""
    job = training("--set-resources 'train:runtime=attempt*2'")
    assert clone.slurm.details(job)["TimeLimit"] == "00:02:00"
    stopped = clone.processes("train.py")
    assert stopped
    for process in stopped:
        process.suspend()
    retry = clone.until(lambda: (found := clone.job_of("train")) != job and found)
    assert clone.slurm.details(job)["JobState"] == "TIMEOUT"
    assert clone.slurm.details(retry)["TimeLimit"] == "00:04:00"
    clone.finish()
    assert resumed_from(clone.folder / TRAINING) > 0
    assert outcome(clone.folder / "results/short") == calm


@pytest.mark.slow
def test_memory_too_small(clone, calm):
    """The job is killed for what it takes, and the next attempt asks for more."""
    clone.start(
        *("--configfile config.yaml", "--forcerun train"),
        *("--set-resources 'train:mem_mb=attempt*600'", "--", ADAPTER),
    )
    job = clone.until(lambda: clone.job_of("train"))
    retry = clone.until(lambda: (found := clone.job_of("train")) != job and found)
    assert clone.slurm.details(job)["MinMemoryNode"] == "600M"
    assert clone.slurm.details(retry)["MinMemoryNode"] == "1200M"
    clone.finish()
    assert outcome(clone.folder / "results/short") == calm


@pytest.mark.slow
def test_drained_node(clone, calm, training):
    """The administrator drains the node: what runs there ends well, what follows waits."""
    job = training()
    clone.slurm.drain()
    try:
        following = clone.until(lambda: clone.job_of("convert_adapter"))
        time.sleep(10)
        assert clone.slurm.details(job)["JobState"] == "COMPLETED"
        assert clone.slurm.details(following)["JobState"] == "PENDING"
    finally:
        clone.slurm.resume()
    clone.finish()
    assert resumed_from(clone.folder / TRAINING) == 0
    assert outcome(clone.folder / "results/short") == calm


@pytest.mark.slow
def test_failed_node(clone, calm, training):
    """The node goes down: its job is put back into the queue, and goes on when there is a node."""
    job = training()
    clone.slurm.fail()
    try:
        clone.until(lambda: clone.slurm.details(job)["JobState"] != "RUNNING")
    finally:
        clone.slurm.resume()
    clone.finish()
    assert resumed_from(clone.folder / TRAINING) > 0
    assert outcome(clone.folder / "results/short") == calm


def test_gpu_is_asked_for(clone, calm, tmp_path):
    """There is none to run on: the node is drained, and the job looked at while it waits."""
    example = (ROOT / "profiles/slurm/partitions.yaml").read_text(encoding="utf-8")
    partitions = tmp_path / "partitions.yaml"
    partitions.write_text(example.replace("  compute:", "  plain:").replace("  gpu:", "  fast:"))
    clone.slurm.drain()
    try:
        clone.start(
            *("--configfile config.yaml", "--config accelerator=cuda", "--forcerun train"),
            *("--rerun-triggers mtime", f"--slurm-partition-config {partitions}", "--", ADAPTER),
        )
        job = clone.until(lambda: clone.job_of("train"))
        asked = clone.slurm.details(job)
        clone.interrupt()
        assert clone.process.wait(timeout=120) != 0
    finally:
        clone.slurm.resume()
    assert asked["JobState"] == "PENDING"
    assert asked["TresPerJob"] == "gres:gpu:1"
    assert asked["Partition"] == "fast"
    assert clone.slurm.jobs() == {}, "what was submitted is taken back"


def test_accelerator_must_be_named(clone):
    clone.start()
    assert clone.process.wait(timeout=60) != 0
    assert "Set accelerator: cuda or cpu." in clone.said()
