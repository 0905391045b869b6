"""What profiles/slurm says, without a cluster."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "environments"))

import slurm_plugin
from installers import InstallError

# how many GPUs this machine has; a cluster counts its own
OF_ONE_MACHINE = {"resources"}


def read(name):
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text(encoding="utf-8"))


def environments():
    """{rule: the yaml of its environment} of the workflow; rules without one are left out."""
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    found = {}
    for block in re.split(r"^(?:use )?rule ", text, flags=re.MULTILINE)[1:]:
        name, parent = re.match(r"(\w+)(?: as (\w+))?", block).groups()
        if parent:
            found[parent] = found[name]
        elif environment := re.search(r'conda:\s+"\S+/(\S+)"', block):
            found[name] = environment[1]
    return found


def test_repeats_the_default_profile():
    """Snakemake reads one workflow profile: this one must say what the default one says."""
    default, cluster = read("default"), read("slurm")
    assert default.keys() - cluster.keys() == OF_ONE_MACHINE
    shared = default.keys() - OF_ONE_MACHINE
    assert {key: cluster[key] for key in shared} == {key: default[key] for key in shared}


def test_groups_are_of_one_environment():
    """Snakemake refuses others when it submits them: their shells differ."""
    known, groups = environments(), {}
    for rule, group in read("slurm")["groups"].items():
        groups.setdefault(group, set()).add(known[rule])
    assert {group: len(found) for group, found in groups.items()} == dict.fromkeys(groups, 1)


def test_plugin_that_cannot_be_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_ENV_STORE", str(tmp_path / "envs"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-package-has-this-name==1.0\n")
    with pytest.raises(InstallError, match=r"plugin for Slurm was not installed: .*runner\.log"):
        slurm_plugin.add(Path(sys.executable), requirements)
