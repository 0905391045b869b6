"""Jobs that a Snakemake which was killed has left running.

SIGKILL, or the kernel where memory is short, ends Snakemake and not its jobs. The next Snakemake
starts them again: two would write to the same files, perhaps of two configurations. Runs inside
Snakemake, before its first job.
"""

import contextlib
import os
from pathlib import Path

import psutil

# Jobs inherit it, and hand it on to whatever they start: who started them, and in which folder.
VARIABLE = "FINETUNE_SNAKEMAKE"
PATIENCE = 5  # seconds to end by themselves


def mark() -> str:
    """What VARIABLE is for the jobs of this process."""
    return f"{os.getpid()} {os.getcwd()}"


def stop() -> list[str]:
    """End the jobs in this folder whose Snakemake is gone, on this machine.

    Returns:
        Their names, one for each job.
    """
    left = _left_running()
    known = {process.pid for process in left}
    names = [_name(process) for process in left if _parent(process) not in known]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=PATIENCE)[1]:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=PATIENCE)
    return names


def _left_running() -> list[psutil.Process]:
    here, own_space = os.getcwd(), os.readlink("/proc/self/ns/pid")
    found = []
    for process in psutil.process_iter():
        # a process may end meanwhile, or belong to another user
        with contextlib.suppress(psutil.Error, OSError):
            owner, _, folder = process.environ().get(VARIABLE, "").partition(" ")
            # in a container the same number is another process
            same_space = os.readlink(f"/proc/{process.pid}/ns/pid") == own_space
            if folder == here and same_space and not _is_alive(int(owner)):
                found.append(process)
    return found


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return process.ppid()


def _name(job: psutil.Process) -> str:
    """The script that a job runs, or how its process is called."""
    with contextlib.suppress(psutil.Error):
        for process in [job, *job.children(recursive=True)]:
            for word in process.cmdline():
                if word.endswith(".py") and Path(word).name != "kept.py":  # which runs another
                    return Path(word).stem
        return job.name()
    return "a job that has ended by now"
