"""Several processes train together: the command that starts them, and two that really do."""

import json
import os
import subprocess
import sys

import pytest
import stages
import torch
import train
from cluster import ClusterError, worker_command
from xtuner.configs import cfgs_name_path

SCRIPT = ["launch_xtuner.py", "train", "config.py"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def test_one_machine():
    command = worker_command(SCRIPT, gpus=4, nodes=1, environment={})
    assert command == [*TORCHRUN, "--nproc-per-node=4", "--standalone", *SCRIPT]


def test_several_machines_by_hand():
    environment = {"NODE_RANK": "1", "ADDR": "node0", "PORT": "1234"}
    command = worker_command(SCRIPT, gpus=8, nodes=2, environment=environment)
    where = ["--node-rank=1", "--master-addr=node0", "--master-port=1234"]
    assert command == [*TORCHRUN, "--nproc-per-node=8", "--nnodes=2", *where, *SCRIPT]
    with pytest.raises(ClusterError, match="nodes is 2, and ADDR not set"):
        worker_command(SCRIPT, gpus=8, nodes=2, environment={"NODE_RANK": "0"})


def test_several_machines_under_slurm():
    environment = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "77"}
    command = worker_command(SCRIPT, gpus=8, nodes=2, environment=environment)
    assert command[:5] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--overlap"]
    assert command[5:8] == TORCHRUN
    assert "--rdzv-id=77" in command
    assert command[-3:] == SCRIPT
    with pytest.raises(ClusterError, match="this Slurm job has 2"):
        worker_command(SCRIPT, gpus=8, nodes=3, environment=environment)


@pytest.mark.parametrize("several", ["by hand", "under slurm"])
def test_torchrun_reads_the_command_lines(several):
    from torch.distributed.run import config_from_args, parse_args

    environment = {"NODE_RANK": "1", "ADDR": "node0", "PORT": "1234"}
    if several == "under slurm":
        environment = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "77", "PORT": "1234"}
    command = worker_command(SCRIPT, gpus=8, nodes=2, environment=environment)
    config, _, arguments = config_from_args(parse_args(command[command.index("-m") + 2 :]))
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 8)
    assert config.rdzv_endpoint.endswith(":1234") or config.rdzv_configs["rank"] == 1
    assert arguments[-3:] == SCRIPT


def test_two_processes_train_as_one_with_twice_the_batch(project, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, batch_size in ((alone, 2), (together, 1)):
        folder.mkdir()
        training = {"finetuning": "lora", "steps": 6, "checkpoint_every": 2}
        stages.prepare(project, folder, "dpo", batch_size=batch_size, **training)
    stages.run_script(train, **stages.train_options(project, alone, "dpo"))
    command = stages.train_command(project, together, "dpo", "--gpus", "2")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output[-4000:]
    assert "Distributed launcher: pytorch" in output
    assert json.loads((together / "log.json").read_text())["summary"]["processes"] == 2
    one, two = (
        torch.load(folder / "checkpoint.pth", weights_only=True)["state_dict"]
        for folder in (alone, together)
    )
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if "lora_B" in name:
            assert tensor.abs().max() > 1e-3, "it has been trained"
        assert torch.allclose(tensor, two[name], atol=1e-4), name


@pytest.mark.parametrize("name", ["zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"])
def test_deepspeed_goes_to_xtuner_under_its_own_name(name, project, tmp_path, monkeypatch):
    class CommandSeen(Exception):
        pass

    def see(command, gpus, nodes):
        raise CommandSeen(command, gpus, nodes)

    stages.prepare(project, tmp_path, "sft")
    monkeypatch.setattr(train, "run_xtuner", see)
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda module: module == "deepspeed")
    options = stages.train_options(project, tmp_path, "sft")
    with pytest.raises(CommandSeen) as seen:
        stages.run_script(train, **options, deepspeed=name, gpus=8, nodes=2)
    command, gpus, nodes = seen.value.args
    assert (gpus, nodes) == (8, 2)
    given = command[command.index("--deepspeed") + 1]
    assert given == f"deepspeed_{name}"
    assert given in cfgs_name_path, "XTuner has such a file"


def test_deepspeed_that_is_not_there_is_said_at_once(project, tmp_path):
    stages.prepare(project, tmp_path, "sft")
    options = stages.train_options(project, tmp_path, "sft")
    with pytest.raises(SystemExit, match=r"runs\.RUN\.training\.deepspeed is set, and DeepSpeed"):
        stages.run_script(train, **options, deepspeed="zero2")
    assert not (tmp_path / "work").exists()
