"""A real Slurm of one machine, from Debian's packages, for the time of a test.

Controller, node and authentication run as children of this process, on the loopback interface, and
end with it. The only trace outside of a temporary folder is /etc/slurm/slurm.conf, which is removed
at the end: there is no other place that all of Slurm's programs look at, because the Snakemake
plugin takes the variables of Slurm out of the environment of its jobs.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
ETC = Path("/etc/slurm")
MARK = "# of tests/slurm, removed when these end"
CONF_FILES = [ETC / name for name in ("slurm.conf", "gres.conf", "cgroup.conf")]
# Both partitions are the same machine; `fast` is there to see that a job on a GPU goes to another
# partition than one without.
SLURM_CONF = """{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
# by the tree of processes (linuxproc) it would lose those whose parent has ended first
ProctrackType=proctrack/pgid
TaskPlugin=task/none
# A job that takes more memory than it has asked for is killed, as control groups would do it.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
MailProg=/bin/true
MpiDefault=none
KillWait=10
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=plain Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=fast Nodes=ALL MaxTime=1-00:00:00 State=UP
"""
# A GPU that Slurm can count and hand out; there is none behind it.
GRES_CONF = "{mark}\nNodeName={host} Name=gpu File=/dev/null\n"
# Of version 2 Slurm would want systemd's bus.
CGROUP_CONF = "{mark}\nCgroupPlugin=cgroup/v1\nCgroupAutomount=no\n"


class NoSlurm(Exception):
    """Slurm cannot run here; the text says why."""


class Slurm:
    """The running cluster: `start` it, ask it, `stop` it.

    Attributes:
        node: name of the only node.
        cpus: how many jobs of one thread run at once.
    """

    def __init__(self, folder: Path, cpus: int):
        self.folder = folder
        self.node = socket.gethostname().partition(".")[0]
        self.cpus = cpus
        self._daemons: list[subprocess.Popen] = []
        self._configured = False

    def start(self) -> None:
        """Install what is missing, start the daemons and wait until the node takes jobs.

        Raises:
            NoSlurm: this machine cannot have one, or has one of its own.
        """
        if os.geteuid() != 0:
            raise NoSlurm("Slurm's daemons need root")
        _install()
        self._configure()
        if not _answers(["munge", "-n"]):
            run_folder = Path("/run/munge")
            run_folder.mkdir(mode=0o755, exist_ok=True)
            shutil.chown(run_folder, "munge", "munge")
            self._daemon("munged", "--foreground", "--force", user="munge", group="munge")
            self._wait_for("munged", lambda: _answers(["munge", "-n"]))
        self._daemon("slurmctld", "-D")
        self._wait_for("slurmctld", lambda: "UP" in self.ask("scontrol", "ping"))
        self._daemon("slurmd", "-D", "-N", self.node)
        self._wait_for("slurmd", lambda: self.ask("sinfo", "-h", "-o", "%T").strip() == "idle")

    def stop(self) -> None:
        """End all jobs and daemons, and take the configuration away."""
        if self._daemons:
            self.cancel_all()
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        if self._configured:
            for path in CONF_FILES:
                path.unlink()

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs prints; nothing if it fails."""
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    def order(self, *command: str) -> None:
        """Let one of Slurm's programs do something that must succeed."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def jobs(self) -> dict[str, str]:
        """{job id: what it runs} of the jobs that have not ended, oldest first."""
        listing = self.ask("squeue", "--noheader", "--sort=i", "--states=all", "-o", "%i|%T|%k")
        rows = [line.split("|", 2) for line in listing.splitlines()]
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
        return {job: comment for job, now, comment in rows if not now.startswith(ended)}

    def details(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says of a job, also of one that ended minutes ago."""
        words = self.ask("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def cancel_all(self) -> None:
        """End all jobs, and wait until they have ended."""
        self.ask("scancel", "--user", "root")
        deadline = time.monotonic() + 60
        while self.jobs() and time.monotonic() < deadline:
            time.sleep(0.5)

    def drain(self) -> None:
        """Let the node take no more jobs; what runs there runs on."""
        self.order("scontrol", "update", f"nodename={self.node}", "state=drain", "reason=test")

    def fail(self) -> None:
        """Take the node down as if it had died, with what runs there."""
        self.order("scontrol", "update", f"nodename={self.node}", "state=down", "reason=test")
        # a job that still ran when its node is back would not be started a second time
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "slurmstepd":
                for each in (*process.children(recursive=True), process):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()

    def resume(self) -> None:
        """Let the node take jobs again, and those that lost it start at once."""
        # refused where it is back by itself
        self.ask("scontrol", "update", f"nodename={self.node}", "state=resume")
        for job in self.jobs():
            # two minutes later otherwise; refused for one that runs
            self.ask("scontrol", "update", f"jobid={job}", "starttime=now")

    def _configure(self) -> None:
        # files of our own are left over from a test that was killed
        foreign = [path for path in CONF_FILES if path.exists() and not _is_ours(path)]
        if foreign or "UP" in self.ask("scontrol", "ping"):
            raise NoSlurm(f"this machine has a Slurm already ({', '.join(map(str, foreign))})")
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        values = {
            "mark": MARK,
            "host": self.node,
            "folder": self.folder,
            "cpus": self.cpus,
            "memory": pages * size // 2**20 * 9 // 10,
            "ports": _free_ports(2),
        }
        ETC.mkdir(exist_ok=True)
        self._configured = True
        for path, text in zip(CONF_FILES, (SLURM_CONF, GRES_CONF, CGROUP_CONF), strict=True):
            path.write_text(text.format(**values))

    def _daemon(self, *command: str, **options: str) -> None:
        with (self.folder / f"{command[0]}.log").open("a") as log:
            process = subprocess.Popen(
                [_path_of(command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop the daemons
                **options,
            )
        self._daemons.append(process)

    def _wait_for(self, name: str, is_there) -> None:
        deadline = time.monotonic() + 30
        while not is_there():
            if self._daemons[-1].poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.log").read_text().strip().splitlines()
                raise NoSlurm(f"{name} does not start: {said[-1] if said else 'it says nothing'}")
            time.sleep(0.2)


def _install() -> None:
    """Install Debian's packages where they are missing."""
    if _path_of("slurmctld") and _path_of("slurmd") and _path_of("munged"):
        return
    if not shutil.which("apt-get"):
        raise NoSlurm(f"no apt-get to install {' '.join(PACKAGES)} with")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=quiet, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise NoSlurm(f"apt-get cannot install {' '.join(PACKAGES)}: {said[-1] if said else ''}")


def _path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _answers(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _is_ours(path: Path) -> bool:
    return path.read_text(errors="replace").startswith(MARK)


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _end_with_parent() -> None:
    """Ask the kernel to end this child should its parent be killed."""
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)
