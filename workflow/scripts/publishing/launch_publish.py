"""Find what `make publish` is about, see that it is up to date, and start the program.

Runs with the Python of .venv, which reads configurations as Snakemake does; the program itself runs
in envs/xtuner.yaml, which has the clients of the hubs, and takes this one's place.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "config"))
sys.path.insert(0, str(Path(__file__).parents[1] / "base_models"))
sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

import runs
import validation
from artefacts import ArtefactError, choose
from reading import ROOT, read_config
from snakemake.exceptions import WorkflowError

VARIANTS = {"merged": "tuned", "awq": "awq", "turbomind": "turbomind"}
# the hubs' names in the configuration of base models
SOURCES = {"huggingface": "hub", "modelscope": "modelscope"}
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def _repository(text: str) -> str:
    if not REPOSITORY.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text} is not like USER/NAME")
    return text


def parser() -> argparse.ArgumentParser:
    """The options."""
    result = argparse.ArgumentParser(
        prog="make publish",
        usage='make publish ARGS="--to USER/NAME [options]"',
        description="Send a model with its card to a hub. Without --upload nothing is sent.",
        allow_abbrev=False,
    )
    result.add_argument("--to", type=_repository, required=True, metavar="USER/NAME")
    result.add_argument("--hub", choices=tuple(SOURCES), default="huggingface")
    result.add_argument(
        "--what",
        choices=("adapter", *VARIANTS),
        default="merged",
        help="which form of the model (default: %(default)s)",
    )
    result.add_argument(
        "--configfile", nargs="+", default=[], metavar="FILE", help="overlays, as in make run"
    )
    result.add_argument("--run", help="a run of the configuration (default: the first)")
    result.add_argument("--public", action="store_true", help="for everybody (default: private)")
    result.add_argument(
        "--licence", help="of what is published, where those of base model and data do not tell it"
    )
    result.add_argument(
        "--replace", action="store_true", help="take away what else the repository holds"
    )
    result.add_argument(
        "--stale",
        action="store_true",
        help="as it is, though the configuration or the workflow has changed since",
    )
    result.add_argument("--upload", action="store_true", help="send it")
    return result


def plan(arguments: argparse.Namespace) -> dict:
    """What the program needs to know, as it can be written as JSON.

    Raises:
        ArtefactError: there is nothing to publish, or it could not be used elsewhere.
    """
    config = read_config(arguments.configfile)
    overlays = ["--configfile", *arguments.configfile] if arguments.configfile else []
    form = arguments.what
    # any device will do: what is published is not computed with here
    model = choose(config, arguments.run, VARIANTS.get(form, "tuned"), "cuda", overlays)
    run = model.name.partition("/")[0]
    base_name = config["runs"][run]["base_model"]
    base = config["base_models"][base_name]
    folder = model.folder
    if form == "adapter":
        folder = adapter_of(config, run, arguments.hub)
    place = f"results/{config['domain']}/{run}"
    values = f"{place}/model_card.json"
    targets = [folder, model.tokenizer, values]
    if not arguments.stale or not all(map(os.path.exists, targets)):
        check_fresh(list(dict.fromkeys(targets)), overlays)
    return {
        "form": form,
        "what": f"{config['domain']}, {run}, {form}",
        "folder": folder,
        "tokenizer": model.tokenizer,
        "values": values,
        "base_folder": f"results/base_models/{base_name}",
        "base": {key: base.get(key) for key in ("repository", "revision")},
        "trusted": base["trust_remote_code"],
        "hub": arguments.hub,
        "repository": arguments.to,
        **{key: getattr(arguments, key) for key in ("public", "licence", "replace", "upload")},
    }


def adapter_of(config: dict, run: str, hub: str) -> str:
    """The folder of a run's adapter, if others can load it onto its base model.

    Raises:
        ArtefactError: they cannot.
    """
    stage = runs.policy_stages(config["runs"][run])[-1]
    base = config["base_models"][config["runs"][run]["base_model"]]
    name = config["runs"][run]["base_model"]
    why = None
    if runs.training_of(config["runs"][run], stage)["finetuning"] == "full" and stage != "grpo":
        why = f"{run} has no adapter: all weights were trained"
    elif runs.start_of(config["runs"], run, stage):
        why = f"the adapter of {run} belongs to the model of the stage before it"
    elif base["source"] != SOURCES[hub]:
        where = {"hub": "on Hugging Face", "modelscope": "on ModelScope"}.get(base["source"])
        why = f"the adapter of {run} belongs to {name}, which is " + (
            where or "on no hub, but was made or found on this machine"
        )
    if why:
        raise ArtefactError(f"{why}: nobody could load it. Publish --what merged.")
    return f"results/{config['domain']}/{run}/{stage}/adapter"


def check_fresh(targets: list[str], overlays: list[str]) -> None:
    """Compare with what Snakemake would now make.

    Raises:
        ArtefactError: it would make some of it anew, or for the first time.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--dry-run", *overlays, "--", *targets]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode:
        raise ArtefactError(
            "Snakemake cannot tell whether it is up to date (--stale does not ask it):\n"
            + said.strip()
        )
    if "Nothing to be done" in said:
        return
    # the lines of its table, less the sum
    table = re.search(r"^job +count\n.*?\n(.*?)\ntotal ", said, re.MULTILINE | re.DOTALL)
    jobs = ", ".join(line.split()[0] for line in table[1].splitlines())
    again = shlex.join([*overlays, "--", *targets])
    raise ArtefactError(
        f"it is not what the configuration and the workflow would make now ({jobs} would run). "
        "This makes it:\n"
        f"    make run ARGS={shlex.quote(again)}\n"
        "--stale publishes it as it is."
    )


def main(words: list[str]) -> str | None:
    """Command line; returns a message on failure, as `sys.exit` takes it."""
    try:
        what = plan(parser().parse_args(words))
    except (ArtefactError, WorkflowError, validation.ConfigError) as error:
        return f"make publish: {error}"
    shell = ROOT / "workflow" / "envshell" / "xtuner" / "bash"
    script = Path(__file__).with_name("publish.py")
    command = [str(shell), "-c", 'exec python "$@"', "python", str(script), json.dumps(what)]
    variables = {"FINETUNE_RUNNER_PYTHON": sys.executable, "PYTHONUTF8": "1"}
    os.execve(shell, command, os.environ | variables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
