# Everything that was measured, on one page, and the versions of what measured it.


include: "report_functions.smk"


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
        "python {input.script:q} --output {output.versions:q} > {log:q} 2>&1"


rule report:
    input:
        script=script("report/build_report.py"),
        modules=modules_of("report/build_report.py"),
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
        context=report_context,
        # a function: Snakemake would take the braces of a string for wildcards
        config=lambda wildcards: as_json(config | {"accelerator": ACCELERATOR}),
        # so many questions of each benchmark are shown with the answers of all variants
        samples=100,
        # a 4-bit model that loses no more than this of its score has kept it
        tolerance=0.03,
    message:
        "Writing the report of {wildcards.domain}"
    shell:
        "python {input.script:q} --inventory {params.inventory:q} "
        "--context {params.context:q} --config {params.config:q} "
        "--samples {params.samples} --tolerance {params.tolerance} "
        "--output {output.page:q} --scores-chart {output.scores:q} "
        "--loss-chart {output.loss:q} --ledger-table {output.ledger:q} > {log:q} 2>&1"
