# From the sources to records, training conversations and evaluation questions; every row is
# accounted for in ledger.json. One rule per thing that can change alone: another number of
# recalled questions must not train again, another system prompt must not read the sources again.
# Texts of the configuration are given by functions: Snakemake would take the braces of a regular
# expression, such as .{0,6}, in a plain param for a wildcard. Long work writes its progress to
# file descriptor 3, which is the terminal, and to the log.
CORPUS = config["corpus"]
REPEATS = sources.repeats(SOURCES)


rule corpus:
    input:
        f"results/{DOMAIN}/corpus/ledger.json",
        f"results/{DOMAIN}/corpus/corpus_card.md",
        expand(
            f"results/{DOMAIN}/corpus/exports/{{file}}",
            file=[EXPORTS[name] for name in CORPUS["exports"]],
        ),
    message:
        "Corpus of {config[domain]}: see {input}"


rule review:
    input:
        f"results/{DOMAIN}/corpus/review.xlsx",
    message:
        "Copy {input} to a folder of your own, edit the copy, and name it as corpus.reviewed"


rule ingest:
    input:
        script=script("corpus/ingest.py"),
        modules=modules_of("corpus/ingest.py"),
        sources=[source["path"] for source in SOURCES],
    output:
        rows="results/{domain}/corpus/rows.parquet",
        counts="results/{domain}/corpus/ingest.json",
    log:
        "logs/{domain}/ingest.log",
    benchmark:
        "results/{domain}/benchmarks/ingest.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        sources=lambda wildcards: json_param([without(source, "repeat") for source in SOURCES]),
        # only a sample depends on the seed
        seed=lambda wildcards: (
            ["--seed", str(CORPUS["split"]["seed"])]
            if any("sample" in source for source in SOURCES)
            else []
        ),
    message:
        "Reading the corpus sources of {wildcards.domain}"
    shell:
        "python {input.script:q} --sources {params.sources:q} --rows {output.rows:q}"
        " --counts {output.counts:q} {params.seed:q} --threads {threads} 3>&2 > {log:q} 2>&1"


# The questions of other benchmarks, read in the same way.
use rule ingest as ingest_benchmarks with:
    input:
        script=script("corpus/ingest.py"),
        modules=modules_of("corpus/ingest.py"),
        sources=[source["path"] for source in BENCHMARK_SOURCES],
    output:
        rows="results/{domain}/corpus/benchmarks.parquet",
        counts="results/{domain}/corpus/benchmarks.json",
    log:
        "logs/{domain}/ingest_benchmarks.log",
    benchmark:
        "results/{domain}/benchmarks/ingest_benchmarks.tsv"
    params:
        env=env_id("data"),
        sources=lambda wildcards: json_param(BENCHMARK_SOURCES),
        seed=[],
    message:
        "Reading the benchmarks that training on {wildcards.domain} must not contain"


rule write_review:
    input:
        script=script("corpus/review.py"),
        modules=modules_of("corpus/review.py"),
        rows="results/{domain}/corpus/rows.parquet",
        counts="results/{domain}/corpus/ingest.json",
        # the sources have changed since: what a person edited is carried over
        previous=CORPUS.get("reviewed", []),
    output:
        review="results/{domain}/corpus/review.xlsx",
    log:
        "logs/{domain}/write_review.log",
    benchmark:
        "results/{domain}/benchmarks/write_review.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        rules=lambda wildcards: json_param(CORPUS["clean"]),
        previous=lambda wildcards: (
            ["--previous", CORPUS["reviewed"]] if "reviewed" in CORPUS else []
        ),
    message:
        "Writing the workbook to review the corpus of {wildcards.domain}"
    shell:
        "python {input.script:q} --rows {input.rows:q} --counts {input.counts:q}"
        " --rules {params.rules:q} {params.previous:q} --review {output.review:q}"
        " > {log:q} 2>&1"


rule apply_review:
    input:
        script=script("corpus/apply_review.py"),
        modules=modules_of("corpus/apply_review.py"),
        rows="results/{domain}/corpus/rows.parquet",
        counts="results/{domain}/corpus/ingest.json",
        review=CORPUS.get("reviewed", []),
    output:
        reviewed="results/{domain}/corpus/reviewed.parquet",
        counts="results/{domain}/corpus/review.json",
    log:
        "logs/{domain}/apply_review.log",
    benchmark:
        "results/{domain}/benchmarks/apply_review.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
    message:
        "Taking over what was edited in {input.review}"
    shell:
        "python {input.script:q} --rows {input.rows:q} --counts {input.counts:q}"
        " --review {input.review:q} --reviewed {output.reviewed:q}"
        " --counts-out {output.counts:q} > {log:q} 2>&1"


rule clean:
    input:
        script=script("corpus/clean.py"),
        modules=modules_of("corpus/clean.py"),
        rows=rows_of,
        against=benchmark_rows_of,
    output:
        records="results/{domain}/corpus/records.parquet",
        rejected="results/{domain}/corpus/rejected.jsonl",
        table="results/{domain}/corpus/rejected.csv",
    log:
        "logs/{domain}/clean.log",
    benchmark:
        "results/{domain}/benchmarks/clean.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        rules=lambda wildcards: json_param(CORPUS["clean"]),
        split=lambda wildcards: json_param(only(CORPUS["split"], "heldout", "seed")),
    message:
        "Cleaning and splitting the corpus of {wildcards.domain}"
    shell:
        "python {input.script:q} --rows {input.rows:q} --rules {params.rules:q}"
        " --split {params.split:q} --against {input.against:q} --records {output.records:q}"
        " --rejected {output.rejected:q} --rejected-table {output.table:q} --threads {threads}"
        " 3>&2 > {log:q} 2>&1"


rule conversations:
    input:
        script=script("corpus/conversations.py"),
        modules=modules_of("corpus/conversations.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        train="results/{domain}/corpus/train.jsonl",
    log:
        "logs/{domain}/conversations.log",
    benchmark:
        "results/{domain}/benchmarks/conversations.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        system=lambda wildcards: CORPUS["system"],
        repeats=lambda wildcards: json_param(REPEATS),
    message:
        "Writing the training conversations of {wildcards.domain}"
    shell:
        "python {input.script:q} --records {input.records:q} --system={params.system:q}"
        " --repeats {params.repeats:q} --out {output.train:q} --threads {threads} > {log:q} 2>&1"


rule calibration:
    input:
        script=script("corpus/conversations.py"),
        modules=modules_of("corpus/conversations.py"),
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
        modules=modules_of("corpus/questions.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        heldout="results/{domain}/corpus/heldout.jsonl",
        recall="results/{domain}/corpus/recall.jsonl",
        heldout_mcq="results/{domain}/corpus/heldout_mcq.jsonl",
        heldout_preference="results/{domain}/corpus/heldout_preference.jsonl",
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
        required=[
            name for name in config["evaluation"]["benchmarks"] if name in benchmark_files.BUILT_IN
        ],
    message:
        "Writing the evaluation questions of {wildcards.domain}"
    shell:
        "python {input.script:q} --records {input.records:q} --seed {params.seed}"
        " --recall-size {params.recall} --heldout {output.heldout:q} --recall {output.recall:q}"
        " --heldout-mcq {output.heldout_mcq:q}"
        " --heldout-preference {output.heldout_preference:q}"
        " --required {params.required} > {log:q} 2>&1"


rule heldout_pairs:
    input:
        script=script("corpus/exports.py"),
        modules=modules_of("corpus/exports.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        pairs="results/{domain}/corpus/heldout_pairs.jsonl",
    log:
        "logs/{domain}/heldout_pairs.log",
    benchmark:
        "results/{domain}/benchmarks/heldout_pairs.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        system=lambda wildcards: CORPUS["system"],
    message:
        "Writing the held-out preference pairs of {wildcards.domain}"
    shell:
        "python {input.script:q} --records {input.records:q} --system={params.system:q}"
        " --format xtuner_preference --side heldout --out {output.pairs:q} > {log:q} 2>&1"


rule export:
    input:
        script=script("corpus/exports.py"),
        modules=modules_of("corpus/exports.py"),
        records="results/{domain}/corpus/records.parquet",
    output:
        file="results/{domain}/corpus/exports/{export}",
    log:
        "logs/{domain}/export_{export}.log",
    benchmark:
        "results/{domain}/benchmarks/export_{export}.tsv"
    conda:
        "../../envs/data.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        system=lambda wildcards: CORPUS["system"],
        format=export_format,
    message:
        "Writing {output.file} for other programs"
    shell:
        "python {input.script:q} --records {input.records:q} --system={params.system:q}"
        " --format {params.format} --out {output.file:q} --threads {threads} > {log:q} 2>&1"


rule ledger:
    input:
        script=script("corpus/ledger.py"),
        modules=modules_of("corpus/ledger.py"),
        counts=row_counts_of,
        records="results/{domain}/corpus/records.parquet",
        rejected="results/{domain}/corpus/rejected.jsonl",
        against=benchmark_rows_of,
        files=expand(
            "results/{{domain}}/corpus/{name}.jsonl",
            name=[
                *("train", "heldout", "recall", "heldout_mcq", "calibration"),
                *("heldout_preference", "heldout_pairs"),
            ],
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
        repeats=lambda wildcards: json_param(REPEATS),
    message:
        "Accounting for every row of the corpus of {wildcards.domain}"
    shell:
        "python {input.script:q} --counts {input.counts:q} --records {input.records:q}"
        " --rejected {input.rejected:q} --against {input.against:q} --files {input.files:q}"
        " --repeats {params.repeats:q} --ledger {output.ledger:q} 3>&2 > {log:q} 2>&1"


rule corpus_card:
    input:
        script=script("corpus/corpus_card.py"),
        modules=modules_of("corpus/corpus_card.py"),
        template=script("corpus/corpus_card.md.j2"),
        ledger="results/{domain}/corpus/ledger.json",
        records="results/{domain}/corpus/records.parquet",
        rejected="results/{domain}/corpus/rejected.jsonl",
    output:
        card="results/{domain}/corpus/corpus_card.md",
        chart=report(
            "results/{domain}/corpus/lengths.svg",
            caption="../report/lengths.rst",
            category="Corpus",
            labels={"what": "lengths of questions and answers"},
        ),
    log:
        "logs/{domain}/corpus_card.log",
    benchmark:
        "results/{domain}/benchmarks/corpus_card.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        license=lambda wildcards: CORPUS["license"],
        system=lambda wildcards: CORPUS["system"],
    message:
        "Describing the corpus of {wildcards.domain} in {output.card}"
    shell:
        "python {input.script:q} --ledger {input.ledger:q} --records {input.records:q}"
        " --rejected {input.rejected:q} --domain {wildcards.domain:q}"
        " --license={params.license:q} --system={params.system:q} --card {output.card:q}"
        " --chart {output.chart:q} > {log:q} 2>&1"
