# Every variant of a run is asked the same questions in the same way, by OpenCompass.


rule evaluate:
    input:
        script=script("evaluation/run_opencompass.py"),
        modules=modules_of("evaluation/run_opencompass.py"),
        # loaded by name
        extension=[
            os.path.relpath(path)
            for path in sorted((SCRIPTS / "evaluation/extension").rglob("*.py"))
        ],
        model=evaluated_model,
        # one tokenizer and one chat template for all, so that all read the same token ids
        tokenizer="results/{domain}/{run}/merged",
        benchmarks=expand(
            "results/{{domain}}/corpus/{benchmark}.jsonl",
            benchmark=config["evaluation"]["benchmarks"],
        ),
    output:
        metrics="results/{domain}/{run}/evaluation/{variant}/metrics.json",
        predictions="results/{domain}/{run}/evaluation/{variant}/predictions.jsonl",
        opencompass=directory("results/{domain}/{run}/evaluation/{variant}/opencompass"),
    log:
        "logs/{domain}/{run}/evaluate_{variant}.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/evaluate_{variant}.tsv"
    conda:
        "../../envs/opencompass.yaml"
    # variants side by side use the cores better than one variant with many threads
    threads: max(1, (workflow.resource_settings.cores or 1) // len(config["evaluation"]["variants"]))
    resources:
        shell_exec=env_shell("opencompass"),
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("opencompass"),
        device=ACCELERATOR,
        batch_size=config["evaluation"]["batch_size"],
        max_new_tokens=config["evaluation"]["max_new_tokens"],
        # A function: Snakemake would take braces in the text for wildcards. Given with "=" below,
        # because :q makes nothing at all of an empty text.
        system=lambda wildcards: config["corpus"]["system"],
        trust=trust_flag,
    message:
        "Asking the variant {wildcards.variant} of {wildcards.run} all questions"
    shell:
        "python {input.script:q} --variant {wildcards.variant} --model {input.model:q}"
        " --tokenizer {input.tokenizer:q} --benchmarks {input.benchmarks:q}"
        " --system={params.system:q} --device {params.device} --batch-size {params.batch_size}"
        " --max-new-tokens {params.max_new_tokens} {params.trust}"
        " --work-dir {output.opencompass:q} --metrics {output.metrics:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule collect_scores:
    input:
        script=script("evaluation/collect_scores.py"),
        metrics=expand(
            "results/{{domain}}/{{run}}/evaluation/{variant}/metrics.json",
            variant=config["evaluation"]["variants"],
        ),
    output:
        scores="results/{domain}/{run}/scores.csv",
    log:
        "logs/{domain}/{run}/collect_scores.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/collect_scores.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
    message:
        "Collecting the scores of {wildcards.run}"
    shell:
        "python {input.script:q} --domain {wildcards.domain} --run {wildcards.run}"
        " --metrics {input.metrics:q} --scores {output.scores:q} > {log:q} 2>&1"
