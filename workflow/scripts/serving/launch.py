"""Find the model that `make chat`, `make api` or `make web` is about, and start the program.

    launch.py {chat,api,web} [options]

Runs with the Python of .venv, which reads configurations as Snakemake does; the program itself runs
in envs/serving.yaml and takes this one's place, so that signals and the terminal are its own.
"""

import os
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "config"))
sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))

import options
import starting
import validation
from artefacts import ArtefactError, choose
from lmdeploy_command import command_line
from reading import read_config
from snakemake.exceptions import WorkflowError


def plan(program: str, arguments) -> dict:
    """What the program needs to know, as it can be written as JSON.

    Raises:
        ArtefactError: there is no such model.
    """
    config = read_config(arguments.configfile)
    device = validation.accelerator(config, this_machine_computes=True)
    overlays = ["--configfile", *arguments.configfile] if arguments.configfile else []

    def model_of(variant: str | None):
        return choose(config, arguments.run, variant, device, overlays)

    models = [model_of(arguments.variant)]
    if program == "web" and not arguments.single and not models[0].name.endswith("/base"):
        models.insert(0, model_of("base"))
    run = config["runs"][models[0].name.partition("/")[0]]
    trusted = config["base_models"][run["base_model"]]["trust_remote_code"]
    system = config["corpus"]["system"]
    return starting.plan(config["domain"], device, models, trusted, system, arguments)


def describe(what: dict) -> str:
    """A plan in words, with the command lines of LMDeploy on a GPU."""
    lines = []
    for model in what["models"]:
        if what["device"] == "cuda":
            words = command_line(model, "PORT", 1 / len(what["models"]))
            how = f"LMDeploy on a GPU:\n    {shlex.join(words)}"
        else:
            how = f"transformers on the CPU, {what['dtype']}"
        lines.append(f"{model['name']}: {model['folder']}, by {how}")
    if "port" in what:
        lines.append(f"at http://{what['host']}:{what['port']}")
    return "\n".join(lines)


def main(words: list[str]) -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    program = words[0]
    arguments = options.parser(program).parse_args(words[1:])
    if program in options.PORTS:
        token = os.environ.get(options.TOKEN_VARIABLE, "")
        if mistake := options.token_mistake(arguments.host, token):
            return f"make {program}: {mistake}"
    try:
        what = plan(program, arguments)
    except ArtefactError as error:
        return f"make {program}: {error}"
    except (WorkflowError, validation.ConfigError) as error:
        return f"make {program}: {error}"
    if arguments.dry_run:
        print(describe(what))
        return None
    words = starting.command(program, what)
    variables = {"FINETUNE_RUNNER_PYTHON": sys.executable, **starting.VARIABLES}
    os.execve(words[0], words, os.environ | variables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
