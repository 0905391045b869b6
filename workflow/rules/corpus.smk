# From the sources to records, training conversations and evaluation questions; every row is
# accounted for in ledger.json. One rule per thing that can change alone: another number of
# recalled questions must not train again, another system prompt must not read the sources again.
# Texts of the configuration are given by functions: Snakemake would take the braces of a regular
# expression, such as .{0,6}, in a plain param for a wildcard.
CORPUS = config["corpus"]


rule ingest:
    input:
        script=script("corpus/ingest.py"),
        modules=modules("corpus/readers", "corpus/files.py"),
        sources=[source["path"] for source in CORPUS["sources"]],
    output:
        rows="results/{domain}/corpus/rows.parquet",
        counts="results/{domain}/corpus/ingest.json",
    log:
        "logs/{domain}/ingest.log",
    benchmark:
        "results/{domain}/benchmarks/ingest.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        sources=lambda wildcards: json_param(CORPUS["sources"]),
    message:
        "Reading the corpus sources of {wildcards.domain}"
    shell:
        "python {input.script:q} --sources {params.sources:q} --rows {output.rows:q}"
        " --counts {output.counts:q} > {log:q} 2>&1"


rule clean:
    input:
        script=script("corpus/clean.py"),
        modules=modules("corpus/files.py", "corpus/normalise.py"),
        rows="results/{domain}/corpus/rows.parquet",
    output:
        records="results/{domain}/corpus/records.parquet",
        rejected="results/{domain}/corpus/rejected.jsonl",
    log:
        "logs/{domain}/clean.log",
    benchmark:
        "results/{domain}/benchmarks/clean.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        rules=lambda wildcards: json_param(CORPUS["clean"]),
        heldout=CORPUS["split"]["heldout"],
        seed=CORPUS["split"]["seed"],
    message:
        "Cleaning and splitting the corpus of {wildcards.domain}"
    shell:
        "python {input.script:q} --rows {input.rows:q} --rules {params.rules:q}"
        " --heldout {params.heldout} --seed {params.seed}"
        " --records {output.records:q} --rejected {output.rejected:q} > {log:q} 2>&1"


rule conversations:
    input:
        script=script("corpus/conversations.py"),
        modules=modules("corpus/files.py", "corpus/normalise.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        train="results/{domain}/corpus/train.jsonl",
    log:
        "logs/{domain}/conversations.log",
    benchmark:
        "results/{domain}/benchmarks/conversations.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        system=lambda wildcards: CORPUS["system"],
    message:
        "Writing the training conversations of {wildcards.domain}"
    shell:
        "python {input.script:q} --records {input.records:q} --system={params.system:q}"
        " --out {output.train:q} > {log:q} 2>&1"


rule calibration:
    input:
        script=script("corpus/conversations.py"),
        modules=modules("corpus/files.py", "corpus/normalise.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        calibration="results/{domain}/corpus/calibration.jsonl",
    log:
        "logs/{domain}/calibration.log",
    benchmark:
        "results/{domain}/benchmarks/calibration.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        system=lambda wildcards: CORPUS["system"],
        seed=CORPUS["split"]["seed"],
        size=CORPUS["split"]["calibration"],
    message:
        "Sampling conversations of {wildcards.domain} to calibrate the quantisation"
    shell:
        "python {input.script:q} --records {input.records:q} --system={params.system:q}"
        " --sample {params.size} --seed {params.seed} --out {output.calibration:q} > {log:q} 2>&1"


rule questions:
    input:
        script=script("corpus/questions.py"),
        modules=modules(
            "corpus/choices.py",
            "corpus/conversations.py",
            "corpus/files.py",
            "corpus/normalise.py",
        ),
        records="results/{domain}/corpus/records.parquet",
    output:
        heldout="results/{domain}/corpus/heldout.jsonl",
        recall="results/{domain}/corpus/recall.jsonl",
        heldout_mcq="results/{domain}/corpus/heldout_mcq.jsonl",
    log:
        "logs/{domain}/questions.log",
    benchmark:
        "results/{domain}/benchmarks/questions.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        seed=CORPUS["split"]["seed"],
        recall=CORPUS["split"]["recall"],
        # asked here, and not after hours of training
        required=config["evaluation"]["benchmarks"],
    message:
        "Writing the evaluation questions of {wildcards.domain}"
    shell:
        "python {input.script:q} --records {input.records:q} --seed {params.seed}"
        " --recall-size {params.recall} --heldout {output.heldout:q} --recall {output.recall:q}"
        " --heldout-mcq {output.heldout_mcq:q} --required {params.required} > {log:q} 2>&1"


rule ledger:
    input:
        script=script("corpus/ledger.py"),
        modules=modules("corpus/files.py", "corpus/normalise.py"),
        counts="results/{domain}/corpus/ingest.json",
        records="results/{domain}/corpus/records.parquet",
        rejected="results/{domain}/corpus/rejected.jsonl",
        files=expand(
            "results/{{domain}}/corpus/{name}.jsonl",
            name=["train", "heldout", "recall", "heldout_mcq", "calibration"],
        ),
    output:
        ledger="results/{domain}/corpus/ledger.json",
    log:
        "logs/{domain}/ledger.log",
    benchmark:
        "results/{domain}/benchmarks/ledger.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
    message:
        "Accounting for every row of the corpus of {wildcards.domain}"
    shell:
        "python {input.script:q} --counts {input.counts:q} --records {input.records:q}"
        " --rejected {input.rejected:q} --files {input.files:q} --ledger {output.ledger:q}"
        " > {log:q} 2>&1"
