"""What a program of this stage is told, and the command that starts it. Standard library only."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from artefacts import Model

SHELL = Path(__file__).parents[2] / "envshell" / "serving" / "bash"
# Threads of torch that wait for each other by spinning would slow down what else runs.
VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
# Options that say which model; what comes of them is in the plan.
CHOICE = ("configfile", "run", "variant", "single", "dry_run")


def plan(
    domain: str,
    device: str,
    models: Sequence[Model],
    trusted: bool,
    system: str,
    given: Namespace,
) -> dict:
    """What a program needs to know, as it can be written as JSON.

    Args:
        domain: name of the domain.
        device: "cpu" or "cuda".
        models: what to load.
        trusted: whether code in their folders may run.
        system: system prompt of the configuration.
        given: the options, of `options.parser`.
    """
    return {
        "domain": domain,
        "device": device,
        "models": [asdict(model) for model in models],
        "trust_remote_code": trusted,
        **{key: value for key, value in vars(given).items() if key not in CHOICE},
        "system": system if given.system is None else given.system,
    }


def command(program: str, what: dict) -> list[str]:
    """The words that start a program ("api", "chat" or "web") in its environment, with a plan."""
    script = Path(__file__).with_name(f"{program}.py")
    return [str(SHELL), "-c", 'exec python "$@"', "python", str(script), json.dumps(what)]
