"""The command that starts one process of a training for each GPU, on one machine or several."""

import shlex
import socket
import sys
from collections.abc import Mapping

# Where the first node listens if nobody says; XTuner takes a random one, which the others of
# several nodes cannot know.
PORT = 29500


class ClusterError(ValueError):
    """The processes of a training cannot be started; the text says what is missing."""


def worker_command(
    script: list[str], gpus: int, nodes: int, environment: Mapping[str, str]
) -> list[str]:
    """torchrun's command line for a training.

    On one machine torchrun finds a free port. Under Slurm a step of one task per node starts
    torchrun everywhere, and the nodes meet at this one. Elsewhere the same command runs on every
    node by hand, with the variables that XTuner reads: NODE_RANK, ADDR and PORT.

    Args:
        script: the Python file of a process and its arguments.
        gpus: processes on each node.
        nodes: machines.
        environment: of this process.

    Raises:
        ClusterError: several nodes are asked for and nothing tells where they are.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={gpus}"]
    if nodes == 1:
        return [*torchrun, "--standalone", *script]
    torchrun += [f"--nnodes={nodes}"]
    port = environment.get("PORT", str(PORT))
    if "SLURM_JOB_NUM_NODES" in environment:
        given = int(environment["SLURM_JOB_NUM_NODES"])
        if given < nodes:
            raise ClusterError(
                f"runs.RUN.training.nodes is {nodes} and this Slurm job has {given}. Ask for them "
                "in the resources of the rule train (nodes), or lower the key."
            )
        meeting = [
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={socket.gethostname()}:{port}",
            f"--rdzv-id={environment['SLURM_JOB_ID']}",
        ]
        # --overlap: this script itself may run in a step that holds the job's resources
        step = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap"]
        return [*step, *torchrun, *meeting, *script]
    missing = [name for name in ("NODE_RANK", "ADDR") if name not in environment]
    if missing:
        raise ClusterError(
            f"runs.RUN.training.nodes is {nodes}, and {' and '.join(missing)} not set. Run in a "
            "Slurm job of so many nodes, or start this command on every node with NODE_RANK (0, 1, "
            f"...), ADDR (of node 0) and PORT (else {PORT}): {shlex.join(sys.argv)}"
        )
    return [
        *torchrun,
        f"--node-rank={environment['NODE_RANK']}",
        f"--master-addr={environment['ADDR']}",
        f"--master-port={port}",
        *script,
    ]
