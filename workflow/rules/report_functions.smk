# What the rules of report.smk and publishing.smk need to know: their inputs, and which file is what.
import hashlib
import platform
import shlex

from snakemake import __version__ as snakemake_version
from snakemake.io import strip_wildcard_constraints

REINFORCED = any(stage["method"] == "grpo" for run in RUNS.values() for stage in run["stages"])
SERVED = "served" in config["evaluation"]["variants"]
TOOL_ENVIRONMENTS = [
    *("data", "xtuner", "opencompass"),
    *(["lmdeploy"] if FOUR_BIT else []),
    # made by uv in either mode; conda would make another one, to ask it for its versions
    *(["serving"] if SERVED and not CONDA else []),
    *(["trl"] if REINFORCED else []),
]
# The checks of what a 4-bit variant is made of: they run, and are shown, where it is evaluated.
CHECKED_BY = {
    "awq": ["awq"],
    "int4": ["awq"],
    "turbomind": ["awq", "turbomind"],
    "served": ["awq", "turbomind"],
}
CHECKS = sorted(
    {check for variant in config["evaluation"]["variants"] for check in CHECKED_BY.get(variant, [])}
)


def as_json(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def of_runs(pattern, **wildcards):
    """The paths of a pattern for every run, in the order of the configuration."""
    return expand(pattern, domain=DOMAIN, run=RUNS, **wildcards)


def of_variants(file):
    """The paths of such a file of all variants of all runs; some are of several runs."""
    return list(dict.fromkeys(path for run in RUNS for path in answers_of(run, file)))


def of_stages(pattern):
    """The paths of a pattern for every stage of every run."""
    return [
        path
        for name, run in RUNS.items()
        for stage in run["stages"]
        for path in expand(pattern, domain=DOMAIN, run=name, stage=stage["method"])
    ]


def of_policy_stages(pattern):
    """The same for the stages that change the model itself."""
    return [
        path
        for run in RUNS
        for path in expand(pattern, domain=DOMAIN, run=run, stage=policy_stages_of(run))
    ]


def used_base_models():
    return list(dict.fromkeys(run["base_model"] for run in RUNS.values()))


def rerun_commands():
    """What a reader types to get these results again, or a part of them."""
    # Snakemake makes these paths absolute; a reader, and a moved clone, want them relative
    given = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    command = ["snakemake", "--cores", "all"]
    # not --sdm conda, of which the page tells: a change of modes makes nothing again
    command += ["--configfile", *given] if given else []
    command = shlex.join(command)
    page = f"results/{DOMAIN}/report.html"
    stages = {
        "Read the corpus again, and all that follows": "ingest",
        "Tune again, and all that follows": "train",
        "Quantise again, and all that follows": "quantize_awq",
        "Ask all questions again": f"evaluate_base evaluate{' evaluate_served' if SERVED else ''}",
        "Only write this page again": "report",
    }
    return [
        {"what": "All of it: runs only what is not up to date", "command": command},
        *(
            # -- because --forcerun takes as many names as follow
            {"what": what, "command": f"{command} --forcerun {rule} -- {page}"}
            for what, rule in stages.items()
        ),
        {
            "what": "Print every command of every job, without running any",
            "command": f"{command} --forceall --dry-run --printshellcmds",
        },
    ]


def report_context(wildcards):
    """What the page says of how it was made; apart from the inventory, because Snakemake does not
    compare params that depend on inputs, and another command line must write the page again."""
    return as_json(
        {
            "runner": {
                "Snakemake": snakemake_version,
                "Python of Snakemake": platform.python_version(),
            },
            "commands": rerun_commands(),
        }
    )


def report_inventory(wildcards):
    """Which file is what, for the scripts: the layout of results/ is known to the rules alone."""
    folder = f"results/{DOMAIN}"
    return as_json(
        {
            "domain": DOMAIN,
            "ledger": f"{folder}/corpus/ledger.json",
            "rejected": f"{folder}/corpus/rejected.jsonl",
            "versions": {env: f"results/versions/{env}.json" for env in TOOL_ENVIRONMENTS},
            "runs": [run_inventory(f"{folder}/{name}", name) for name in RUNS],
            "local": local_summaries(),
            "costs": costs(),
        }
    )


def local_summaries():
    """What was found of the benchmarks on this machine, by their names."""
    return {name: f"results/{DOMAIN}/questions/{name}.json" for name in LOCAL}


def run_inventory(folder, name):
    """The part of the inventory about one run."""
    run, variants = RUNS[name], variants_of(name)
    return {
        "name": name,
        "base_model": run["base_model"],
        "start_from": run.get("start_from"),
        "manifest": f"results/base_models/{run['base_model']}/manifest.json",
        "scores": f"{folder}/scores.csv",
        "metrics": answers_of(name, "metrics.json")[0],
        "variants": variants,
        "predictions": dict(zip(variants, answers_of(name, "predictions.jsonl"), strict=True)),
        "performance": measurements_of(name),
        "stages": [
            stage_inventory(f"{folder}/{stage['method']}", stage) for stage in run["stages"]
        ],
        "verification": {check: f"{folder}/verification/{check}.json" for check in CHECKS},
    }


def stage_inventory(folder, stage):
    """The part of the inventory about one stage of a run."""
    checks = [] if stage["method"] == "reward" else ["chat_template"]
    return {
        **stage,
        "training_log": f"{folder}/training/log.json",
        "verification": {check: f"{folder}/verification/{check}.json" for check in checks},
    }


def inventory_of(wildcards):
    """The part of the inventory about the run of the wildcards."""
    return run_inventory(f"results/{wildcards.domain}/{wildcards.run}", wildcards.run)


def card_details(wildcards):
    """What the model card says of the configuration."""
    name = base_of(wildcards)
    quantised = FOUR_BIT and config["quantization"]
    return json_param(
        {
            "base": {
                "name": name,
                **{key: BASE_MODELS[name].get(key) for key in ("source", "repository", "revision")},
            },
            "system": CORPUS["system"],
            "data_licence": CORPUS["license"],
            "quantization": quantised or None,
        }
    )


def costs():
    """The benchmark files of all jobs that the configuration knows; not all need be there."""
    found = []
    for step in workflow.rules:
        pattern = strip_wildcard_constraints(str(step.benchmark or ""))
        if not pattern or step.name in ("report", "compare_runs", "gates", "model_card"):
            continue
        if "{run}" not in pattern:
            scope = "base model" if "{base}" in pattern else DOMAIN
            scope = "environment" if "{env}" in pattern else scope
            known = {
                "base": used_base_models(),
                "env": TOOL_ENVIRONMENTS,
                "export": EXPORTS.values(),
                # of an empty list, expand would make no path of any pattern
                "benchmark": [*LOCAL] or [""],
            }
            paths = expand(pattern, domain=DOMAIN, **known)
            found += [{"path": path, "job": Path(path).stem, "scope": scope} for path in paths]
            continue
        for name, run in RUNS.items():
            for stage in run["stages"] if "{stage}" in pattern else [{"method": ""}]:
                method = stage["method"]
                scope = f"{name}/{method}" if method else name
                asked = [variant for variant in variants_of(name) if variant != "base"]
                for variant in asked if "{variant}" in pattern else [""]:
                    # not expand, which takes five times as long: there are dozens for each run
                    path = pattern.format(domain=DOMAIN, run=name, stage=method, variant=variant)
                    found.append({"path": path, "job": Path(path).stem, "scope": scope})
    return found
