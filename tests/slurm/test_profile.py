"""What profiles/slurm says, without a cluster."""

from pathlib import Path

import yaml

PROFILES = Path(__file__).parents[2] / "profiles"
# how many GPUs this machine has; a cluster counts its own
OF_ONE_MACHINE = {"resources"}


def read(name):
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text(encoding="utf-8"))


def test_repeats_the_default_profile():
    """Snakemake reads one workflow profile: this one must say what the default one says."""
    default, cluster = read("default"), read("slurm")
    assert default.keys() - cluster.keys() == OF_ONE_MACHINE
    shared = default.keys() - OF_ONE_MACHINE
    assert {key: cluster[key] for key in shared} == {key: default[key] for key in shared}
