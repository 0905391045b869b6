# Everything that was measured, on one page, and the versions of what measured it.
import platform
import shlex

from snakemake import __version__ as snakemake_version

TOOL_ENVIRONMENTS = ["data", "xtuner", "lmdeploy", "opencompass"]
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
    given = [str(path) for path in workflow.overwrite_configfiles]
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
            # -- ends the rule names: --forcerun takes as many as follow
            {"what": what, "command": f"{command} --forcerun {rule} -- {page}"}
            for what, rule in stages.items()
        ),
        {
            "what": "Print every command of every job, without running any",
            "command": f"{command} --forceall --dry-run --printshellcmds",
        },
    ]


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
            "runner": {
                "Snakemake": snakemake_version,
                "Python of Snakemake": platform.python_version(),
            },
            "commands": rerun_commands(),
        }
    )


rule tool_versions:
    input:
        script=script("report/tool_versions.py"),
    output:
        versions="results/versions/{env}.json",
    log:
        "logs/versions/{env}.log",
    benchmark:
        "results/benchmarks/versions/{env}.tsv"
    wildcard_constraints:
        env="|".join(TOOL_ENVIRONMENTS),
    # First of all: where the environment is made on demand, it is made here, so that the time
    # this takes is not counted as the time of whatever rule needs it first.
    priority: 100
    conda:
        "../../envs/{env}.yaml"
    resources:
        shell_exec=lambda wildcards: env_shell(wildcards.env),
    params:
        env=lambda wildcards: env_id(wildcards.env),
    message:
        "Asking the environment {wildcards.env} for its versions"
    shell:
        "python {input.script} --output {output.versions:q} > {log:q} 2>&1"


rule report:
    input:
        script=script("report/build_report.py"),
        modules=modules("report"),
        page=[script(f"report/page/{name}") for name in ("report.html.j2", "style.css", "page.js")],
        ledger="results/{domain}/corpus/ledger.json",
        rejected="results/{domain}/corpus/rejected.jsonl",
        base_models=[f"results/base_models/{run['base_model']}" for run in RUNS.values()],
        training_logs=of_runs("results/{domain}/{run}/training/log.json"),
        scores=of_runs("results/{domain}/{run}/scores.csv"),
        # expand() varies the last wildcard fastest: all variants of a run come together
        metrics=of_runs(
            "results/{domain}/{run}/evaluation/{variant}/metrics.json", variant=VARIANTS
        ),
        predictions=of_runs(
            "results/{domain}/{run}/evaluation/{variant}/predictions.jsonl",
            variant=VARIANTS,
        ),
        checks=of_runs("results/{domain}/{run}/verification/{check}.json", check=CHECKS),
        versions=expand("results/versions/{env}.json", env=TOOL_ENVIRONMENTS),
    output:
        page=report(
            "results/{domain}/report.html",
            caption="../report/report.rst",
            category="Summary",
            labels={"what": "the whole report"},
        ),
        scores=report(
            "results/{domain}/figures/scores.svg",
            caption="../report/scores.rst",
            category="Scores",
            labels={"what": "chart of all variants"},
        ),
        loss=report(
            "results/{domain}/figures/loss.svg",
            caption="../report/loss_curve.rst",
            category="Training",
            labels={"what": "loss curve"},
        ),
        ledger=report(
            "results/{domain}/figures/ledger.csv",
            caption="../report/ledger.rst",
            category="Corpus",
            labels={"what": "ledger: kept and rejected rows"},
        ),
    log:
        "logs/{domain}/report.log",
    benchmark:
        "results/{domain}/benchmarks/report.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        inventory=report_inventory,
        # a function: Snakemake would take the braces of a string for wildcards
        config=lambda wildcards: as_json(config | {"accelerator": ACCELERATOR}),
        # so many questions of each benchmark are shown with the answers of all variants
        samples=100,
        # a 4-bit model that loses no more than this of its score has kept it
        tolerance=0.03,
    message:
        "Writing the report of {wildcards.domain}"
    shell:
        "python {input.script} --inventory {params.inventory:q} --config {params.config:q} "
        "--samples {params.samples} --tolerance {params.tolerance} "
        "--output {output.page:q} --scores-chart {output.scores:q} "
        "--loss-chart {output.loss:q} --ledger-table {output.ledger:q} > {log:q} 2>&1"
