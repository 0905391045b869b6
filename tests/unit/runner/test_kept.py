"""Outputs that clones share: what is kept, what is taken, and what a damaged entry leads to."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

KEPT = Path(__file__).parents[3] / "workflow" / "scripts" / "cache" / "kept.py"
# makes a folder and a file of what it reads, and counts how often it ran
MAKE = """
import sys, time
from pathlib import Path
source, model, log, seconds, *options = sys.argv[1:]
time.sleep(float(seconds))
with open("runs", "a") as runs:
    runs.write("x")
text = Path(source).read_text()
if "fail" in text:
    sys.exit(3)
(Path(model) / "parts").mkdir(parents=True)
(Path(model) / "parts" / "model.safetensors").write_text(text * 2)
(Path(model) / "config.json").write_text(text)
Path(log).write_text(text)
"""


class Clone:
    """A folder in which kept.py runs MAKE, as a rule of a clone does."""

    def __init__(self, folder, cache):
        self.folder, self.cache = folder, cache
        (folder / "scripts").mkdir(parents=True)
        (folder / "scripts" / "make.py").write_text(MAKE)
        (folder / "source").write_text("text")

    def start(self, *options, environment="e1", name="model", seconds=0):
        """Start MAKE; NAME and NAME.log are its outputs."""
        rule = [sys.executable, str(KEPT), "--environment", environment]
        rule += ["--inputs", "scripts/make.py", "source", "--outputs", name, f"{name}.log", "--"]
        rule += [sys.executable, "scripts/make.py", "source", name, f"{name}.log", str(seconds)]
        variables = {"FINETUNE_CACHE": str(self.cache)} if self.cache else {}
        return subprocess.Popen(
            [*rule, *options],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if k != "FINETUNE_CACHE"} | variables,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options, status=0, **keywords):
        """Run MAKE to its end; returns what kept.py said."""
        process = self.start(*options, **keywords)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == status, said
        return said

    @property
    def runs(self):
        """How often MAKE ran here."""
        path = self.folder / "runs"
        return len(path.read_text()) if path.exists() else 0

    def outputs(self, name="model"):
        paths = [*sorted((self.folder / name).rglob("*")), self.folder / f"{name}.log"]
        return {
            path.relative_to(self.folder / name if path.suffix != ".log" else self.folder): (
                path.read_text()
            )
            for path in paths
            if path.is_file()
        }


@pytest.fixture
def clones(tmp_path):
    """Two clones that share a cache, which does not exist yet."""
    return [Clone(tmp_path / name, tmp_path / "shared" / "cache") for name in ("one", "two")]


def entries(clone):
    return [path for path in clone.cache.iterdir() if not path.name.startswith(".")]


def test_another_clone_takes_what_one_has_made(clones):
    one, two = clones
    assert "stored in" in one.run()
    assert "taken from" in two.run()
    assert (one.runs, two.runs) == (1, 0)
    assert one.outputs() == two.outputs()
    (entry,) = entries(one)
    assert entry.name.startswith("make-")


def test_without_the_variable_nothing_is_kept(tmp_path):
    clone = Clone(tmp_path / "one", None)
    assert clone.run() == clone.run(name="other") == ""
    assert clone.runs == 2


def test_how_it_runs_and_what_outputs_are_called_does_not_count(clones):
    one, two = clones
    one.run("--threads", "1", "--work", "here")
    two.run("--threads", "2", "--work", "there", name="renamed")
    assert two.runs == 0
    assert list(two.outputs("renamed").values()) == list(one.outputs().values())


@pytest.mark.parametrize(
    "edit",
    [
        lambda clone: (clone.folder / "source").write_text("other"),
        lambda clone: (clone.folder / "scripts" / "make.py").write_text(MAKE + "# edited"),
        lambda clone: {"environment": "e2"},
        lambda clone: {"options": ["--device", "cuda"]},
    ],
    ids=["an input", "the script", "the environment", "the command line"],
)
def test_anything_else_makes_it_again(clones, edit):
    one, two = clones
    one.run()
    keywords = edit(two)
    keywords = keywords if isinstance(keywords, dict) else {}
    two.run(*keywords.pop("options", []), **keywords)
    assert two.runs == 1
    assert len(entries(one)) == 2


def test_weights_are_links_that_cannot_be_written_to(clones):
    one, two = clones
    one.run()
    two.run()
    (entry,) = entries(one)
    kept = entry / "0" / "parts" / "model.safetensors"
    for clone in clones:
        assert (clone.folder / "model" / "parts" / "model.safetensors").samefile(kept)
    for path in entry.rglob("*"):
        assert path.is_dir() or path.name == "entry.json" or not path.stat().st_mode & 0o222


def test_the_small_files_of_a_model_may_be_edited(clones):
    """LMDeploy copies them with their rights, and writes into the copies."""
    one, two = clones
    one.run()
    two.run()
    for clone in clones:
        config = clone.folder / "model" / "config.json"
        assert config.stat().st_mode & 0o200
        config.write_text("edited")
    assert "taken from" in two.run(name="again")
    assert two.outputs("again")[Path("config.json")] == "text"


def test_the_time_of_a_file_is_its_own(clones):
    """Snakemake sets the times of outputs: where they were shared, the other clone would rerun."""
    one, two = clones
    one.run()
    before = (one.folder / "model.log").stat().st_mtime_ns
    two.run()
    os.utime(two.folder / "model.log")
    assert (one.folder / "model.log").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["0/parts/model.safetensors", "1", "entry.json"])
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_damaged_entry_is_told_and_made_again(clones, name, how):
    one, two = clones
    one.run()
    (entry,) = entries(one)
    path = entry / name
    if how == "removed":
        path.unlink()
    else:
        path.chmod(0o644)
        text = path.read_text()
        path.write_text(text[:-1] + "?")  # as long as before
    said = two.run()
    assert f"{entry} is damaged" in said
    assert "made again" in said
    assert two.runs == 1
    assert two.outputs()[Path("parts/model.safetensors")] == "texttext"
    # what was made again has taken its place
    assert entries(one) == [entry]
    assert "taken from" in one.run(name="again")
    assert one.runs == 1
    assert list(one.outputs("again").values()) == list(two.outputs().values())


def test_a_failure_is_not_kept(clones):
    one, _ = clones
    (one.folder / "source").write_text("fail")
    one.run(status=3)
    assert entries(one) == []


def test_a_cache_that_cannot_be_written_to_fails_nothing(clones, tmp_path):
    one, _ = clones
    (tmp_path / "shared").write_text("a file where the folder should be")
    assert "could not be stored" in one.run()
    assert one.runs == 1


def test_links_to_files_elsewhere_are_not_kept(clones):
    """A local base model is linked: to keep it would change the rights of the user's files."""
    one, _ = clones
    script = one.folder / "scripts" / "make.py"
    script.write_text(MAKE + "(Path(model) / 'far').symlink_to(Path(source).resolve())\n")
    mode = (one.folder / "source").stat().st_mode
    assert "not stored" in one.run()
    assert entries(one) == []
    assert (one.folder / "source").stat().st_mode == mode


def test_who_comes_second_waits_and_takes_it(clones):
    one, two = clones
    first = one.start(seconds=2)
    deadline = time.monotonic() + 20
    while not list(one.cache.glob(".locks/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    said = two.run(seconds=2)
    assert "waiting for it" in said
    assert "taken from" in said
    first.communicate(timeout=60)
    assert (one.runs, two.runs) == (1, 0)


def test_a_killed_job_leaves_nothing_running(clones):
    one, _ = clones
    process = one.start(seconds=60)
    deadline = time.monotonic() + 60
    children = []
    while not any("scripts/make.py" in child.cmdline() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        children = psutil.Process(process.pid).children()
    process.kill()
    process.communicate(timeout=60)
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert one.runs == 0
