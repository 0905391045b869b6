# What the rules of report.smk need to know: their inputs, and which file is what.
import platform
import shlex

from snakemake import __version__ as snakemake_version

TOOL_ENVIRONMENTS = ["data", "xtuner", *(["lmdeploy"] if FOUR_BIT else []), "opencompass"]
# The checks of what a variant is made of: they run, and are shown, where the variant is evaluated.
CHECKED_BY = {
    "base": [],
    "tuned": ["chat_template"],
    "awq": ["chat_template", "awq"],
    "turbomind": ["chat_template", "awq", "turbomind"],
}
VARIANTS = config["evaluation"]["variants"]
CHECKS = [
    check
    for check in CHECKED_BY["turbomind"]
    if any(check in CHECKED_BY[variant] for variant in VARIANTS)
]


def as_json(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def of_runs(pattern, **wildcards):
    """The paths of a pattern for every run, in the order of the configuration."""
    return expand(pattern, domain=DOMAIN, run=RUNS, **wildcards)


def used_base_models():
    return list(dict.fromkeys(run["base_model"] for run in RUNS.values()))


def rerun_commands():
    """What a reader types to get these results again, or a part of them."""
    # Snakemake makes these paths absolute; a reader, and a moved clone, want them relative
    given = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    command = ["snakemake", "--cores", "all"]
    command += ["--sdm", "conda"] if CONDA else []
    command += ["--configfile", *given] if given else []
    command = shlex.join(command)
    page = f"results/{DOMAIN}/report.html"
    stages = {
        "Read the corpus again, and all that follows": "ingest",
        "Tune again, and all that follows": "train",
        "Quantise again, and all that follows": "quantize_awq",
        "Ask all questions again": "evaluate",
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


def report_inventory(wildcards, input):
    """Which file is what, for the script: the layout of results/ is known to the rules alone."""
    per_run = len(VARIANTS)
    folder = os.path.dirname(os.path.dirname(input.ledger))
    runs = []
    benchmarks = [
        {"path": "results/benchmarks/versions", "scope": "environment"},
        *(
            {"path": f"results/benchmarks/base_models/{base}.tsv", "scope": "base model"}
            for base in used_base_models()
        ),
        {"path": f"{folder}/benchmarks", "scope": wildcards.domain},
    ]
    for number, (name, run) in enumerate(RUNS.items()):
        predictions = input.predictions[number * per_run : (number + 1) * per_run]
        checks = input.checks[number * len(CHECKS) : (number + 1) * len(CHECKS)]
        runs.append(
            {
                "name": name,
                "base_model": run["base_model"],
                "manifest": f"{input.base_models[number]}/manifest.json",
                "scores": input.scores[number],
                "metrics": input.metrics[number * per_run],
                "training_log": input.training_logs[number],
                "predictions": dict(zip(VARIANTS, predictions)),
                "verification": dict(zip(CHECKS, checks)),
            }
        )
        benchmarks.append({"path": f"{folder}/{name}/benchmarks", "scope": name})
    return as_json(
        {
            "domain": wildcards.domain,
            "ledger": input.ledger,
            "rejected": input.rejected,
            "runs": runs,
            "benchmarks": benchmarks,
            "versions": dict(zip(TOOL_ENVIRONMENTS, input.versions)),
        }
    )
