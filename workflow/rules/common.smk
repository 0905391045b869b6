# Loads and validates the configuration, and tells the rules where things are and what they read.
import gc
import json
import os
import re
import shutil
import site
import sys
from pathlib import Path

import snakemake
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod
from snakemake_interface_executor_plugins.settings import ExecMode

# current_basedir, not basedir: it also holds when another workflow imports this one as a module
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).resolve().parents[1]
SCRIPTS = ROOT / "workflow" / "scripts"
if workflow.exec_mode == ExecMode.DEFAULT:
    # Python 3.11 takes what it has compiled on a full disk for whole, and fails at it ever after
    for folder in SCRIPTS.rglob("__pycache__"):
        shutil.rmtree(folder, ignore_errors=True)
for folder in ("config", "environments", "base_models"):
    sys.path.insert(0, str(SCRIPTS / folder))

import benchmark_files
import environments
import imports
import runs
import sources
import validation

EXPORTS = {
    "openai": "openai.jsonl",
    "sharegpt": "sharegpt.jsonl",
    "alpaca": "alpaca.jsonl",
    "parquet": "records.parquet",
    "xtuner_pretrain": "xtuner_pretrain.jsonl",
    "xtuner_preference": "xtuner_preference.jsonl",
}

# The shells in workflow/envshell/ build environments with the Python that runs Snakemake: it has uv.
os.environ.update(FINETUNE_RUNNER_PYTHON=sys.executable)

CONDA = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method

# What workflow/envshell/bash does in the other mode: nothing from outside enters an environment.
# Snakemake itself takes PYTHONPATH away.
CLEAN = "unset PYTHONHOME PYTHONDONTWRITEBYTECODE; export PYTHONNOUSERSITE=1; " if CONDA else ""
if CONDA and not Path(snakemake.__file__).is_relative_to(site.getusersitepackages()):
    # conda fills a new environment by pip, which would leave out what users have installed for
    # themselves. Not where Snakemake itself is installed so: its own jobs could not start.
    os.environ.update(PYTHONNOUSERSITE="1")

# A prefix replaces the strict mode that Snakemake sets.
#
# Threads of torch wait for each other by spinning. Where other work has one of the cores, they then
# wait for whole time slices: one training step in ten takes a second.
#
# Without a seed of its hashes Python writes a set in another order each time: so peft did with the
# layers of an adapter, and the same training gave other bytes.
#
# A script ends with the shell that runs it, where util-linux can see to that: if the shell alone is
# killed, Snakemake takes the job for failed, while the script would go on and write its outputs.
#
# transformers copies the code of a model that brings its own into a cache, under the folder's bare
# name: jobs side by side would import another model's code, or half a file. Each has a cache of its own.
shell.prefix(
    f"set -euo pipefail; {CLEAN}export OMP_WAIT_POLICY=PASSIVE PYTHONHASHSEED=0; "
    "if setpriv --pdeathsig KILL true 2> /dev/null; "
    'then python() {{ setpriv --pdeathsig KILL python "$@"; }}; fi; '
    "export HF_MODULES_CACHE=$(mktemp -d); trap 'rm -r \"$HF_MODULES_CACHE\"' EXIT; "
)

# Planning makes millions of objects that stay, and Python stops every 700 of them to look for those
# that do not: a quarter of the time, with hundreds of runs.
gc.set_threshold(100_000, 20, 20)

try:
    validation.prepare(
        config,
        schema_file=ROOT / "workflow" / "schemas" / "config.schema.yaml",
        config_files=[Path(os.path.relpath(path)) for path in workflow.configfiles],
    )
    # jobs of a cluster (--jobs) run elsewhere: what this machine has says nothing about them
    sends_jobs = workflow.resource_settings.nodes is not None
    ACCELERATOR = validation.accelerator(
        config,
        this_machine_computes=workflow.exec_mode == ExecMode.DEFAULT and not sends_jobs,
        submits=workflow.exec_mode == ExecMode.DEFAULT and sends_jobs,
    )
    validation.check_training(config, ACCELERATOR)
    validation.check_int4(config, ACCELERATOR)
except validation.ConfigError as error:
    raise WorkflowError(str(error))
if workflow.exec_mode == ExecMode.DEFAULT:
    for warning in validation.base_model_warnings(config):
        logger.warning(warning)


class KnownRuns(dict):
    """The runs by their names; a path of another one is told by a sentence."""

    def __missing__(self, name):
        raise WorkflowError(
            f"There is no run {name!r} in the configuration, only: {', '.join(self)}."
        )


DOMAIN = config["domain"]
SOURCES = sources.all_files(config["corpus"]["sources"])
BENCHMARK_SOURCES = sources.all_files(config["corpus"]["split"]["decontaminate"])
RUNS = KnownRuns(config["runs"])
BASE_MODELS = config["base_models"]
FOUR_BIT = validation.is_four_bit(config)


def any_of(names):
    return "|".join(re.escape(name) for name in names)


wildcard_constraints:
    domain=re.escape(DOMAIN),
    # not their names: Snakemake would search each path for hundreds of them. RUNS knows them.
    run=f"(?!({any_of(validation.RESERVED_RUNS)})/)[^/]+",
    stage=any_of(runs.METHODS),
    base=any_of(BASE_MODELS),
    # not `base`, whose answers are those of all runs that start from it
    variant=any_of([*runs.METHODS, "tuned", "awq", "int4", "turbomind"]),
    export=any_of(EXPORTS.values()),


def script(name):
    """Path of workflow/scripts/NAME, an input wherever it is run, so that an edit reruns."""
    # relative, so that moving or renaming the clone does not look like a change of inputs
    return os.path.relpath(SCRIPTS / name)


def modules_of(name):
    """Paths of all the modules that workflow/scripts/NAME imports."""
    return [os.path.relpath(path) for path in imports.imported_by(SCRIPTS / name, SCRIPTS)]


def env_shell(name):
    """The shell of a rule in envs/NAME.yaml.

    Under --sdm conda Snakemake activates the environment itself. Otherwise the shell is a bash
    that first makes the environment from the very same file and activates it.
    """
    return "bash" if CONDA else str(ROOT / "workflow" / "envshell" / name / "bash")


def env_id(name):
    """Hash of what envs/NAME asks for.

    As a param it makes an edit of an environment rerun its rules, and enter the cache key,
    in conda and in venv mode alike.
    """
    return environments.env_id(name)


def kept(*environment):
    """A param: the command before that of a rule whose outputs are kept for other clones.

    Args:
        environment: the name of the rule's, where an edit of it asks for other outputs.
    """

    start = ["python", script("cache/kept.py"), "--environment", *map(env_id, environment)]

    # takes the inputs because Snakemake does not compare such params: how outputs are kept is no
    # reason to make them again
    def command(wildcards, input, output):
        return [*start, "--inputs", *input, "--outputs", *output, "--"]

    return command


def json_param(value):
    """A narrow slice of the configuration as JSON text, to hand to a script (quote it with :q)."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def only(mapping, *keys):
    """The part of a mapping that a rule reads, so that it does not rerun for the rest."""
    return {key: mapping[key] for key in keys if key in mapping}


def without(mapping, *keys):
    """A mapping without some keys."""
    return {key: value for key, value in mapping.items() if key not in keys}


def rows_of(wildcards):
    """The rows to clean: what a person has made of them, where the configuration names a review."""
    name = "reviewed" if "reviewed" in config["corpus"] else "rows"
    return f"results/{wildcards.domain}/corpus/{name}.parquet"


def row_counts_of(wildcards):
    """How many rows were read, from the step that wrote `rows_of`."""
    name = "review" if "reviewed" in config["corpus"] else "ingest"
    return f"results/{wildcards.domain}/corpus/{name}.json"


def benchmark_rows_of(wildcards):
    """The questions of other benchmarks that training must not contain, a list of one or none."""
    return [f"results/{wildcards.domain}/corpus/benchmarks.parquet"] if BENCHMARK_SOURCES else []


def export_format(wildcards):
    """The format of an exported file."""
    return {file: name for name, file in EXPORTS.items()}[wildcards.export]


def base_of(wildcards):
    """The base model's name: the given one, or that of a run."""
    return wildcards.get("base") or RUNS[wildcards.run]["base_model"]


def base_model_of(wildcards):
    """The base model's folder of a run."""
    return f"results/base_models/{base_of(wildcards)}"


def stages_where(condition):
    """A constraint of the wildcard `stage` behind `run`: the stages for which condition(method,
    training) holds.

    Whether a stage has an adapter depends on its run, and a constraint sees one wildcard alone;
    so it looks back at the run before it in the path.
    """
    known = [
        (name, stage["method"], condition(stage["method"], stage["training"]))
        for name, run in RUNS.items()
        for stage in run["stages"]
    ]
    some = {method for _, method, holds in known if holds}
    mixed = some & {method for _, method, holds in known if not holds}
    found = [
        *sorted(some - mixed),
        *(
            f"(?<=/{re.escape(name)}/){stage}"
            for name, stage, holds in known
            if stage in mixed and holds
        ),
    ]
    return "|".join(found) or "(?!)"  # matches nothing


def training_of(wildcards):
    """The settings of a stage."""
    return runs.training_of(RUNS[wildcards.run], wildcards.stage)


def merged_of(domain, run, stage):
    """The folder of a stage's model."""
    return f"results/{domain}/{run}/{stage}/merged"


def start_of(wildcards, stage=None):
    """The model that a stage starts from: the given one, or that of the wildcard."""
    start = runs.start_of(RUNS, wildcards.run, stage or wildcards.stage)
    return merged_of(wildcards.domain, *start) if start else base_model_of(wildcards)


def final_model_of(wildcards):
    """The model of a run: that of its last stage."""
    return merged_of(wildcards.domain, wildcards.run, policy_stages_of(wildcards.run)[-1])


def policy_stages_of(run):
    """The stages of a run that change the model itself."""
    return runs.policy_stages(RUNS[run])


def has_reward_model(run):
    """Whether a run trains a reward model."""
    return any(stage["method"] == "reward" for stage in RUNS[run]["stages"])


def variants_of(run):
    """The models of a run that are asked: with `tuned` also those of the stages before it."""
    return [
        name
        for variant in config["evaluation"]["variants"]
        for name in ([*policy_stages_of(run)[:-1], "tuned"] if variant == "tuned" else [variant])
    ]


def evaluation_of(run, variant):
    """The folder of a variant's answers. What a run starts from is asked once for all such runs: a
    base model apart from them, a stage of another run as a variant of that one."""
    if variant != "base":
        return f"results/{DOMAIN}/{run}/evaluation/{variant}"
    start = runs.start_of(RUNS, run, RUNS[run]["stages"][0]["method"])
    if not start:
        return f"results/{DOMAIN}/evaluation/{RUNS[run]['base_model']}"
    other, stage = start
    is_last = stage == policy_stages_of(other)[-1]
    return f"results/{DOMAIN}/{other}/evaluation/{'tuned' if is_last else stage}"


def answers_of(run, file):
    """The paths of such a file of all variants of a run."""
    return [f"{evaluation_of(run, variant)}/{file}" for variant in variants_of(run)]


def measurements_of(run):
    """The tables of a run's sizes, memory and speeds: of transformers, on a GPU of LMDeploy's engine.

    Of each base model the first run is measured: the others have as many weights. None without 4
    bits, and on a CPU none that brings code of its own, which the int4 kernel does not run.
    """
    base = RUNS[run]["base_model"]
    first = next(name for name in RUNS if RUNS[name]["base_model"] == base)
    not_run = ACCELERATOR == "cpu" and BASE_MODELS[base]["trust_remote_code"]
    if run != first or not FOUR_BIT or not_run:
        return []
    names = ["performance", "engine"] if ACCELERATOR == "cuda" else ["performance"]
    return [f"results/{DOMAIN}/{run}/{name}.csv" for name in names]


def engine_variant():
    """The 4-bit variant that LMDeploy's engine is measured with: the workspace, where one is made."""
    made = {"turbomind", "served"} & set(config["evaluation"]["variants"])
    return "turbomind" if made else "awq"


def training_data_of(wildcards):
    """What a stage is trained on."""
    name = {"pt": "exports/xtuner_pretrain", "sft": "train"}.get(
        wildcards.stage, "exports/xtuner_preference"
    )
    return f"results/{wildcards.domain}/corpus/{name}.jsonl"


def bases_from(*sources):
    """Names of the base models of these sources, as a wildcard constraint."""
    names = [name for name, base in BASE_MODELS.items() if base["source"] in sources]
    return any_of(names) or "(?!)"  # matches nothing


def pretraining_text(wildcards):
    """The sentences a tiny base model reads; without the held-out facts in a control experiment."""
    base = BASE_MODELS[wildcards.base]
    return f"results/{DOMAIN}/withheld/{wildcards.base}.txt" if "withhold" in base else base["text"]


def trust_flag(wildcards):
    """Command line switch of a base model whose own code may run."""
    trusted = BASE_MODELS[base_of(wildcards)]["trust_remote_code"]
    return "--trust-remote-code" if trusted else ""


def prompt_template_of(wildcards):
    """The name of XTuner's prompt template of a base model."""
    return BASE_MODELS[base_of(wildcards)]["prompt_template"]


def evaluated_model(wildcards):
    """The model folder of a variant; 4-bit ones are read back from what was written, but int4."""
    variant = wildcards.variant
    if variant == "tuned":
        return final_model_of(wildcards)
    if variant in runs.METHODS:
        return merged_of(wildcards.domain, wildcards.run, variant)
    if variant == "int4":
        return f"results/{wildcards.domain}/{wildcards.run}/awq"
    return f"results/{wildcards.domain}/{wildcards.run}/dequantized/{variant}"


def served_model_of(wildcards):
    """What of the 4-bit model the API serves: on a GPU the workspace, else its weights read back."""
    place = "" if ACCELERATOR == "cuda" else "dequantized/"
    return f"results/{wildcards.domain}/{wildcards.run}/{place}turbomind"


def questions_for(variant):
    """The question files of the benchmarks that a variant is asked."""
    evaluation = config["evaluation"]
    left_out = benchmark_files.not_asked(variant, evaluation)
    return [
        f"results/{{domain}}/{'questions' if name in evaluation['local'] else 'corpus'}/{name}.jsonl"
        for name in evaluation["benchmarks"]
        if name not in left_out
    ]


def local_modes(wildcards):
    """How the benchmarks on this machine are asked, as JSON text."""
    local = benchmark_files.local_of(config["evaluation"])
    return json_param({name: only(entry, "mode", "instruction") for name, entry in local.items()})


def base_settings_of(wildcards):
    """What training reads of a base model's settings, as JSON text."""
    base = BASE_MODELS[base_of(wildcards)]
    keys = ("prompt_template", "trust_remote_code", "lora_target_modules")
    return json_param({key: base.get(key) for key in keys})


def processes_of(wildcards):
    """Command line options of a training on several GPUs; none on one."""
    training = training_of(wildcards)
    options = [f"--{key}={training[key]}" for key in ("gpus", "nodes") if training[key] > 1]
    return options + [f"--deepspeed={training[key]}" for key in ("deepspeed",) if key in training]


def gpus_of(wildcards):
    """How many GPUs a training takes, on all its nodes together."""
    training = training_of(wildcards)
    return training["gpus"] * training["nodes"] if ACCELERATOR == "cuda" else 0


def model_size(input):
    """Bytes of the model that a job reads."""
    name = next(name for name in ("model", "merged", "awq") if name in input.keys())
    folder = Path(input[name])
    folder.stat()  # where it is not yet made this raises, and Snakemake asks again later
    # of a TurboMind workspace the weights lie deeper
    return sum(path.stat().st_size for path in folder.rglob("*"))


# Memory and time are for clusters, which end a job that takes more than it has asked for. Each retry
# asks for more.


def memory_of(wildcards, input, attempt):
    """MB of the host's memory for a job that holds a model: libraries, and the model twice."""
    return attempt * (3_000 + 2 * model_size(input) // 10**6)


def runtime_of(wildcards, input, attempt):
    """Minutes for a job that reads, writes or asks a model."""
    return attempt * (60 + model_size(input) // (200 * 10**6))


def training_runtime_of(wildcards, input, attempt):
    """Minutes for a training on a slow machine of its kind.

    An estimate: what one attempt does not manage, the next one goes on with.
    """
    stage = wildcards.get("stage", "grpo")
    training = runs.training_of(RUNS[wildcards.run], stage)
    rows = training["steps"] * training["batch_size"] * training["gradient_accumulation"]
    rows *= training["generations"] if stage == "grpo" else 1
    # 8 operations for each token and weight, of two bytes: forwards, again, and backwards
    operations = 4 * rows * training["max_length"] * model_size(input)
    operations_per_minute = 60 * (10**14 if ACCELERATOR == "cuda" else 2 * 10**10)
    return runtime_of(wildcards, input, attempt) + attempt * operations // operations_per_minute
