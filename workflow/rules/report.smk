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


rule inventory:
    output:
        inventory="results/{domain}/inventory.json",
    log:
        "logs/{domain}/inventory.log",
    localrule: True
    params:
        # its sum, because Snakemake shows what has changed of a param: tens of kilobytes
        sha256=lambda wildcards: hashlib.sha256(report_inventory(wildcards).encode()).hexdigest(),
    message:
        "Listing what the report of {wildcards.domain} is made of"
    run:
        # not on a command line, which many runs would make too long
        Path(output.inventory).write_text(report_inventory(wildcards), encoding="utf-8")


rule compare_runs:
    input:
        script=script("report/compare_runs.py"),
        modules=modules_of("report/compare_runs.py"),
        inventory="results/{domain}/inventory.json",
        scores=of_runs("results/{domain}/{run}/scores.csv"),
    output:
        comparison=report(
            "results/{domain}/comparison.csv",
            caption="../report/comparison_table.rst",
            category="Scores",
            labels={"what": "table of all runs"},
        ),
        chart=report(
            "results/{domain}/figures/comparison.svg",
            caption="../report/comparison.rst",
            category="Scores",
            labels={"what": "chart of all runs"},
        ),
    log:
        "logs/{domain}/compare_runs.log",
    benchmark:
        "results/{domain}/benchmarks/compare_runs.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
    message:
        "Comparing the runs of {wildcards.domain}"
    shell:
        "python {input.script:q} --inventory {input.inventory:q}"
        " --comparison {output.comparison:q} --chart {output.chart:q} > {log:q} 2>&1"


rule report:
    input:
        script=script("report/build_report.py"),
        modules=modules_of("report/build_report.py"),
        page=[script(f"report/page/{name}") for name in ("report.html.j2", "style.css", "page.js")],
        inventory="results/{domain}/inventory.json",
        ledger="results/{domain}/corpus/ledger.json",
        rejected="results/{domain}/corpus/rejected.jsonl",
        base_models=[f"results/base_models/{base}" for base in used_base_models()],
        training_logs=of_stages("results/{domain}/{run}/{stage}/training/log.json"),
        scores=of_runs("results/{domain}/{run}/scores.csv"),
        metrics=of_variants("metrics.json"),
        predictions=of_variants("predictions.jsonl"),
        prompts=of_policy_stages("results/{domain}/{run}/{stage}/verification/chat_template.json"),
        checks=of_runs("results/{domain}/{run}/verification/{check}.json", check=CHECKS),
        performance=[path for run in RUNS for path in measurements_of(run)],
        versions=expand("results/versions/{env}.json", env=TOOL_ENVIRONMENTS),
        local=local_summaries().values(),
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
        context=report_context,
        # a function: Snakemake would take the braces of a string for wildcards
        config=lambda wildcards: as_json(without(config, "runs") | {"accelerator": ACCELERATOR}),
        # so many questions of each benchmark are shown with the answers of all variants
        samples=100,
        # a 4-bit model that loses no more than this of its score has kept it
        tolerance=0.03,
    message:
        "Writing the report of {wildcards.domain}"
    shell:
        "python {input.script:q} --inventory {input.inventory:q} "
        "--context {params.context:q} --config {params.config:q} "
        "--samples {params.samples} --tolerance {params.tolerance} "
        "--output {output.page:q} --scores-chart {output.scores:q} "
        "--loss-chart {output.loss:q} --ledger-table {output.ledger:q} > {log:q} 2>&1"


# After the page, which shows them: who reads why the run has failed finds all numbers there.
rule gates:
    input:
        script=script("report/check_gates.py"),
        modules=modules_of("report/check_gates.py"),
        inventory="results/{domain}/inventory.json",
        scores=of_runs("results/{domain}/{run}/scores.csv"),
        page="results/{domain}/report.html",
    output:
        gates="results/{domain}/gates.json",
    log:
        "logs/{domain}/gates.log",
    benchmark:
        "results/{domain}/benchmarks/gates.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        gates=lambda wildcards: json_param(config["evaluation"]["gates"]),
        first=config["evaluation"]["benchmarks"][0],
    message:
        "Comparing the scores of {wildcards.domain} with the gates"
    shell:
        "python {input.script:q} --inventory {input.inventory:q} --gates {params.gates:q}"
        " --first {params.first:q} --report {input.page:q} --out {output.gates:q} > {log:q} 2>&1"
