# The stages of a run, one after the other, each from the model of the one before it: with XTuner,
# and reinforcement learning, which XTuner does not have, with trl.


rule render_config:
    input:
        script=script("training/render_config.py"),
        modules=modules_of("training/render_config.py"),
        template=script("training/config.py.jinja"),
    output:
        config="results/{domain}/{run}/{stage}/training/config.py",
    log:
        "logs/{domain}/{run}/{stage}/render_config.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/render_config.tsv"
    wildcard_constraints:
        stage=stages_where(lambda method, training: method != "grpo"),
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        device=ACCELERATOR,
        training=lambda wildcards: json_param(
            runs.settings_read(wildcards.stage, training_of(wildcards))
        ),
        base=base_settings_of,
        base_model=start_of,
        train=training_data_of,
    message:
        "Writing XTuner's configuration of {wildcards.run}, {wildcards.stage}"
    shell:
        "python {input.script:q} --template {input.template:q} --method {wildcards.stage}"
        " --training {params.training:q} --base-model {params.base:q}"
        " --base-model-folder {params.base_model:q} --train {params.train:q}"
        " --device {params.device} --output {output.config:q} > {log:q} 2>&1"


rule count_tokens:
    input:
        script=script("training/count_tokens.py"),
        modules=modules_of("training/count_tokens.py"),
        config="results/{domain}/{run}/{stage}/training/config.py",
        train=training_data_of,
        model=start_of,
    output:
        lengths="results/{domain}/{run}/{stage}/training/lengths.json",
    log:
        "logs/{domain}/{run}/{stage}/count_tokens.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/count_tokens.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 4
    resources:
        shell_exec=env_shell("xtuner"),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
    message:
        "Counting the tokens that {wildcards.run}, {wildcards.stage}, is trained on"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --config {input.config:q} --train {input.train:q}"
        " --threads {threads} --lengths {output.lengths:q} 3>&2 > {log:q} 2>&1"


rule train:
    input:
        script=script("training/train.py"),
        modules=modules_of("training/train.py"),
        config="results/{domain}/{run}/{stage}/training/config.py",
        train=training_data_of,
        model=start_of,
        lengths="results/{domain}/{run}/{stage}/training/lengths.json",
    output:
        checkpoint="results/{domain}/{run}/{stage}/training/checkpoint.pth",
        log="results/{domain}/{run}/{stage}/training/log.json",
        tensorboard=directory("results/{domain}/{run}/{stage}/training/tensorboard"),
    log:
        "logs/{domain}/{run}/{stage}/train.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/train.tsv"
    wildcard_constraints:
        stage=stages_where(lambda method, training: method != "grpo"),
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=training_runtime_of,
        gpu=gpus_of,
        nodes=lambda wildcards: training_of(wildcards)["nodes"],
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
        # checkpoints of an unfinished training: Snakemake must not delete them after a failure
        work="results/.work/{domain}/{run}/{stage}",
        # Snakemake does not compare params that take `input`, and another limit of what may be cut
        # is no reason to train again
        max_truncated=lambda wildcards, input: training_of(wildcards)["max_truncated"],
        processes=processes_of,
    message:
        "Training {wildcards.run}, {wildcards.stage}; its progress is in {log}"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --config {input.config:q} --train {input.train:q}"
        " --lengths {input.lengths:q} --max-truncated {params.max_truncated}"
        " --manifest {input.model:q}/manifest.json --work {params.work:q} {params.processes:q}"
        " --checkpoint {output.checkpoint:q} --log {output.log:q}"
        " --tensorboard {output.tensorboard:q} 3>&2 > {log:q} 2>&1"


rule train_grpo:
    input:
        script=script("training/train_grpo.py"),
        modules=modules_of("training/train_grpo.py"),
        model=lambda wildcards: start_of(wildcards, "grpo"),
        reward_model="results/{domain}/{run}/reward/model",
        prompts="results/{domain}/corpus/exports/xtuner_preference.jsonl",
    output:
        adapter=directory("results/{domain}/{run}/grpo/adapter"),
        log="results/{domain}/{run}/grpo/training/log.json",
        tensorboard=directory("results/{domain}/{run}/grpo/training/tensorboard"),
    log:
        "logs/{domain}/{run}/grpo/train.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/grpo/train.tsv"
    conda:
        "../../envs/trl.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("trl"),
        mem_mb=memory_of,
        runtime=training_runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("trl"),
        env=env_id("trl"),
        device=ACCELERATOR,
        training=lambda wildcards: json_param(
            runs.settings_read("grpo", runs.training_of(RUNS[wildcards.run], "grpo"))
        ),
        base=base_settings_of,
        work="results/.work/{domain}/{run}/grpo",
    message:
        "Reinforcing what the reward model of {wildcards.run} likes; its progress is in {log}"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --model {input.model:q} --reward-model {input.reward_model:q}"
        " --prompts {input.prompts:q} --training {params.training:q}"
        " --base-model {params.base:q} --device {params.device} --threads {threads}"
        " --work {params.work:q} --adapter {output.adapter:q} --log {output.log:q}"
        " --tensorboard {output.tensorboard:q} 3>&2 > {log:q} 2>&1"
