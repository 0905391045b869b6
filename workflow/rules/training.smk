# QLoRA training of a run with XTuner.


rule render_config:
    input:
        script=script("training/render_config.py"),
        template=script("training/config.py.jinja"),
    output:
        config="results/{domain}/{run}/training/config.py",
    log:
        "logs/{domain}/{run}/render_config.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/render_config.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        device=ACCELERATOR,
        training=lambda wildcards: json_param(
            without(RUNS[wildcards.run]["training"], "max_truncated")
        ),
        base=lambda wildcards: json_param(
            {
                key: BASE_MODELS[base_of(wildcards)].get(key)
                for key in (
                    "prompt_template",
                    "trust_remote_code",
                    "lora_target_modules",
                )
            }
        ),
        base_model=base_model_of,
        train="results/{domain}/corpus/train.jsonl",
    message:
        "Writing XTuner's configuration of {wildcards.run}"
    shell:
        "python {input.script:q} --template {input.template:q} --training {params.training:q}"
        " --base-model {params.base:q} --base-model-folder {params.base_model:q}"
        " --train {params.train:q} --device {params.device} --output {output.config:q}"
        " > {log:q} 2>&1"


rule count_tokens:
    input:
        script=script("training/count_tokens.py"),
        modules=modules_of("training/count_tokens.py"),
        config="results/{domain}/{run}/training/config.py",
        train="results/{domain}/corpus/train.jsonl",
        base_model=base_model_of,
    output:
        lengths="results/{domain}/{run}/training/lengths.json",
    log:
        "logs/{domain}/{run}/count_tokens.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/count_tokens.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("xtuner"),
    params:
        env=env_id("xtuner"),
    message:
        "Counting the tokens of the training conversations of {wildcards.run}"
    shell:
        "python {input.script:q} --config {input.config:q} --train {input.train:q}"
        " --threads {threads} --lengths {output.lengths:q} > {log:q} 2>&1"


rule train:
    input:
        script=script("training/train.py"),
        modules=modules_of("training/train.py"),
        config="results/{domain}/{run}/training/config.py",
        train="results/{domain}/corpus/train.jsonl",
        base_model=base_model_of,
        lengths="results/{domain}/{run}/training/lengths.json",
    output:
        checkpoint="results/{domain}/{run}/training/checkpoint.pth",
        log="results/{domain}/{run}/training/log.json",
    log:
        "logs/{domain}/{run}/train.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/train.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("xtuner"),
        # checkpoints of an unfinished training: Snakemake must not delete them after a failure
        work="results/.work/{domain}/{run}",
        # Snakemake does not compare params that take `input`, and another limit of what may be cut
        # is no reason to train again
        max_truncated=lambda wildcards, input: RUNS[wildcards.run]["training"]["max_truncated"],
    message:
        "Training {wildcards.run}; its progress is in {log}"
    shell:
        "python {input.script:q} --config {input.config:q} --train {input.train:q}"
        " --lengths {input.lengths:q} --max-truncated {params.max_truncated}"
        " --manifest {input.base_model:q}/manifest.json --work {params.work:q}"
        " --checkpoint {output.checkpoint:q} --log {output.log:q} > {log:q} 2>&1"
