# The model that is tuned: made here, or one that exists. Made once and shared by all runs.


rule withhold_facts:
    input:
        script=script("base_models/withhold_facts.py"),
        modules=modules_of("base_models/withhold_facts.py"),
        text=lambda wildcards: BASE_MODELS[wildcards.base]["text"],
        index=lambda wildcards: BASE_MODELS[wildcards.base]["withhold"],
        heldout="results/{domain}/corpus/heldout.jsonl",
    output:
        text="results/{domain}/withheld/{base}.txt",
    log:
        "logs/{domain}/withheld/{base}.log",
    benchmark:
        "results/{domain}/benchmarks/withhold_facts.{base}.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
    message:
        "Leaving the held-out facts of {wildcards.domain} out of the text of {wildcards.base}"
    shell:
        "python {input.script:q} --text {input.text:q} --index {input.index:q}"
        " --heldout {input.heldout:q} --output {output.text:q} > {log:q} 2>&1"


rule make_tiny_base_model:
    input:
        script=script("base_models/make_tiny.py"),
        modules=modules_of("base_models/make_tiny.py"),
        text=pretraining_text,
    output:
        model=directory("results/base_models/{base}"),
    log:
        "logs/base_models/{base}.log",
    benchmark:
        "results/benchmarks/base_models/{base}.tsv"
    wildcard_constraints:
        base=bases_from("tiny"),
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        gpu=int(ACCELERATOR == "cuda"),
        runtime=lambda wildcards, attempt: attempt
        * (30 + BASE_MODELS[wildcards.base]["steps"] // 50),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
        device=ACCELERATOR,
        base=lambda wildcards: only(
            BASE_MODELS[wildcards.base],
            "architecture",
            "latin",
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "layers",
            "head_dim",
            "steps",
            "seed",
        ),
    message:
        "Making the base model {wildcards.base}: some minutes of pre-training"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --text {input.text:q}"
        " --architecture {params.base[architecture]} --latin {params.base[latin]}"
        " --vocab-size {params.base[vocab_size]}"
        " --hidden-size {params.base[hidden_size]}"
        " --intermediate-size {params.base[intermediate_size]}"
        " --layers {params.base[layers]} --head-dim {params.base[head_dim]}"
        " --steps {params.base[steps]} --seed {params.base[seed]} --threads {threads}"
        " --device {params.device} --output {output.model:q} 3>&2 > {log:q} 2>&1"


rule fetch_base_model:
    input:
        # stands for the whole folder: another model there is another base model
        local=lambda wildcards: (
            f"{BASE_MODELS[wildcards.base]['path']}/config.json"
            if BASE_MODELS[wildcards.base]["source"] == "local"
            else []
        ),
    output:
        model=directory("results/base_models/{base}"),
    log:
        "logs/base_models/{base}.log",
    benchmark:
        "results/benchmarks/base_models/{base}.tsv"
    wildcard_constraints:
        base=bases_from("local", "hub", "modelscope"),
    conda:
        "../../envs/xtuner.yaml"
    resources:
        shell_exec=env_shell("xtuner"),
        # a download of many GB; another attempt goes on with it
        runtime=lambda wildcards, attempt: attempt * 240,
    params:
        kept=kept(),
        # Neither an input nor compared, and no env: a model of many GB is the same, whatever
        # version of the script and of its tools fetches it.
        script=lambda wildcards, input: script("base_models/fetch.py"),
        base=lambda wildcards: json_param(
            only(
                BASE_MODELS[wildcards.base],
                "source",
                "path",
                "repository",
                "revision",
                "trust_remote_code",
            )
        ),
        # an interrupted download lies there and goes on
        work="results/.work/base_models/{base}",
        # Takes the inputs because Snakemake does not compare such params: another choice of
        # variants, or of layers to train, must not fetch again.
        checks=lambda wildcards, input: json_param(
            {"group_size": config["quantization"]["group_size"] if FOUR_BIT else None}
            | only(BASE_MODELS[wildcards.base], "family", "licence", "lora_target_modules")
        ),
    message:
        "Fetching the base model {wildcards.base}"
    shell:
        "{params.kept:q}"
        " python {params.script:q} --base-model {params.base:q} --checks {params.checks:q}"
        " --work {params.work:q} --output {output.model:q} 3>&2 > {log:q} 2>&1"
