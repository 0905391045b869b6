"""Kill Snakemake, a job, or both, at random moments of the whole chain; compare with a calm run.

    make bench-chaos                            (20 minutes on two cores)
    make bench-chaos ARGS="--target corpus"     (some minutes: the corpus alone)

The chain from a corpus to the report of a 4-bit model goes through twice, on a model that is next
to nothing. The second time SIGKILL hits KILLS times; each time Snakemake is started again. A job
that outlives its Snakemake is left alone: the next start has to deal with it. At the end all
results must be the same, byte for byte, but for those that tell the time; nothing half-done may lie
about, nothing may still be running, and another start must find nothing to do.
"""

import argparse
import collections
import csv
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from processes import LOG, ROOT, jobs, kill, kill_all, script, sha256, start

sys.path.insert(0, str(ROOT / "tests" / "workflow"))

import short_chain

KILLS = 20
VICTIMS = ("Snakemake", "a job", "both")
# Files that tell the time, or how often a training was resumed; the folders hold OpenCompass' and
# TensorBoard's own notes.
TIMED = re.compile(
    r"\.tsv$|/(log|metrics|model_card)\.json$|/((performance|engine)\.csv|report\.html|model_card\.md)$"
    r"|/(opencompass|tensorboard)/"
)
PATIENCE = 900  # seconds for a run to come to its end


def told(folder: Path, since: int, pattern: str) -> int:
    """The last number that Snakemake has said in such a line since a byte of its log, else 0."""
    text = (folder / LOG).read_bytes()[since:].decode("utf-8", "replace")
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def ended(snakemake: subprocess.Popen, folder: Path) -> int:
    """The exit status of a run that is left to end by itself."""
    try:
        return snakemake.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        kill_all(snakemake)
        sys.exit(f"chaos: Snakemake did not come to an end; see {folder / LOG}")


def disturb(folder: Path, target: str, pause: float, generator: random.Random) -> Iterator[dict]:
    """Run to the end, with KILLS kills on the way; yields one row per kill.

    Args:
        folder: where to run.
        target: what Snakemake is to make.
        pause: seconds from the end of a job to a kill, at the most.
        generator: of the moments and the victims.
    """
    victims = [VICTIMS[number % len(VICTIMS)] for number in range(KILLS)]
    generator.shuffle(victims)
    while True:
        log = folder / LOG
        since = log.stat().st_size if log.exists() else 0
        snakemake = start(folder, "--cores", "all", "--", target)
        if not victims:
            if ended(snakemake, folder):
                sys.exit(f"chaos: the run failed; see {log}")
            return
        while snakemake.poll() is None and not jobs(snakemake):
            time.sleep(0.05)
        # spread over the jobs that are left
        number = generator.uniform(0, 2 * told(folder, since, r"^total +(\d+)") / len(victims))
        while snakemake.poll() is None and told(folder, since, r"^(\d+) of \d+ steps") < number:
            time.sleep(0.2)
        moment = time.monotonic() + generator.uniform(0, pause)
        while snakemake.poll() is None and (time.monotonic() < moment or not jobs(snakemake)):
            time.sleep(0.02)
        if snakemake.poll() is not None:
            if snakemake.returncode:
                sys.exit(f"chaos: the run failed; see {log}")
            shutil.rmtree(folder / "results")  # done before all the kills: once more
            continue
        hit = jobs(snakemake)
        row = {
            "killed": victims[-1],
            "while": sorted({name for name in map(script, hit) if name}),
            "steps_done": told(folder, since, r"^(\d+) of \d+ steps"),
            "steps_to_do": told(folder, since, r"^total +(\d+)"),
        }
        victim = victims.pop()
        if victim == "a job":
            # whichever process of it: the shell, its script, or one that this has started
            kill([generator.choice(hit)])
            ended(snakemake, folder)
        else:
            kill_all(snakemake) if victim == "both" else snakemake.kill()
            snakemake.wait()
            start(folder, "--unlock").wait()
        yield row


def remains(folder: Path) -> list[str]:
    """What is left that should not be: folders of unfinished work, notes of it, running jobs."""
    work = [path for path in folder.glob("results/.work/**/*") if path.is_file()]
    found = [str(path) for path in work if path.name != "lock"]
    for name in ("incomplete", "locks"):
        found += [str(path) for path in folder.glob(f".snakemake/{name}/*")]
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder.resolve():
                found.append(f"process {process.pid}: {process.name()}")
        except psutil.Error:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="all", help="what Snakemake is to make")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--work", type=Path, default=Path("results/.work/chaos"))
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/chaos.json"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    calm, disturbed = arguments.work / "calm", arguments.work / "disturbed"
    for folder in (calm, disturbed):
        short_chain.write(folder)
    begun = time.monotonic()
    if ended(start(calm, "--cores", "all", "--", arguments.target), calm):
        sys.exit(f"chaos: the run failed; see {calm / LOG}")
    times = {"calm": time.monotonic() - begun}
    # some jobs take much longer than others
    pause = 2 * times["calm"] / told(calm, 0, r"^total +(\d+)")
    kills, begun = [], time.monotonic()
    for row in disturb(disturbed, arguments.target, pause, random.Random(arguments.seed)):
        kills.append(row)
        print(json.dumps(row), flush=True)
    times["disturbed"] = time.monotonic() - begun
    left = remains(disturbed)

    since = (disturbed / LOG).stat().st_size
    start(disturbed, "--dry-run", "--", arguments.target).wait()
    if b"Nothing to be done" not in (disturbed / LOG).read_bytes()[since:]:
        left.append("another start finds something to do")
    expected, found = (
        {
            name: digest
            for name, digest in sha256(folder / "results", "*").items()
            if not name.startswith(".work/")
        }
        for folder in (calm, disturbed)
    )
    compared = [name for name in expected | found if not TIMED.search(name)]
    different = [name for name in compared if expected.get(name) != found.get(name)]
    counts = collections.Counter(row["killed"] for row in kills)
    result = {
        "target": arguments.target,
        "seed": arguments.seed,
        "seconds": {name: round(value) for name, value in times.items()},
        "kills": kills,
        "files_compared": len(compared),
        "different": different,
        "left": left,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    writer = csv.writer(sys.stdout)
    writer.writerow(("killed", "times"))
    writer.writerows(counts.items())
    print(f"{len(compared)} files compared, {len(different)} differ; {len(left)} things left over")
    if different or left:
        sys.exit(f"chaos: after the kills: {', '.join([*different, *left])}")


if __name__ == "__main__":
    main()
