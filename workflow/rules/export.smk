# From the checkpoint of a stage to a Hugging Face model that is asked as it was trained.


rule convert_adapter:
    input:
        script=script("training/launch_xtuner.py"),
        modules=modules_of("training/launch_xtuner.py"),
        config="results/{domain}/{run}/{stage}/training/config.py",
        checkpoint="results/{domain}/{run}/{stage}/training/checkpoint.pth",
        model=start_of,
    output:
        adapter=directory("results/{domain}/{run}/{stage}/adapter"),
    log:
        "logs/{domain}/{run}/{stage}/convert_adapter.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/convert_adapter.tsv"
    wildcard_constraints:
        stage=stages_where(
            lambda method, training: method not in ("reward", "grpo")
            and training["finetuning"] != "full"
        ),
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
    message:
        "Converting the checkpoint of {wildcards.run}, {wildcards.stage}, to an adapter"
    shell:
        "{params.kept:q}"
        " python {input.script:q} pth_to_hf {input.config:q} {input.checkpoint:q}"
        " {output.adapter:q} --safe-serialization 3>&2 > {log:q} 2>&1"


rule merge_adapter:
    input:
        script=script("export/merge_adapter.py"),
        modules=modules_of("export/merge_adapter.py"),
        model=start_of,
        adapter="results/{domain}/{run}/{stage}/adapter",
    output:
        merged=directory("results/{domain}/{run}/{stage}/merged"),
    log:
        "logs/{domain}/{run}/{stage}/merge_adapter.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/merge_adapter.tsv"
    wildcard_constraints:
        stage=stages_where(
            lambda method, training: method != "reward" and training["finetuning"] != "full"
        ),
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
        device=ACCELERATOR,
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Merging the adapter of {wildcards.run}, {wildcards.stage}, into its model"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --base-model {input.model:q} --adapter {input.adapter:q}"
        " --prompt-template {params.prompt_template:q} {params.trust}"
        " --device {params.device} --merged {output.merged:q} 3>&2 > {log:q} 2>&1"


rule export_full:
    input:
        script=script("export/export_full.py"),
        modules=modules_of("export/export_full.py"),
        config="results/{domain}/{run}/{stage}/training/config.py",
        checkpoint="results/{domain}/{run}/{stage}/training/checkpoint.pth",
        model=start_of,
    output:
        merged=directory("results/{domain}/{run}/{stage}/merged"),
    log:
        "logs/{domain}/{run}/{stage}/export_full.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/export_full.tsv"
    wildcard_constraints:
        stage=stages_where(
            lambda method, training: method != "reward" and training["finetuning"] == "full"
        ),
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Writing the model of {wildcards.run}, {wildcards.stage}, all of whose weights were trained"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --config {input.config:q} --checkpoint {input.checkpoint:q}"
        " --prompt-template {params.prompt_template:q} {params.trust}"
        " --merged {output.merged:q} 3>&2 > {log:q} 2>&1"


rule convert_reward_model:
    input:
        script=script("export/convert_reward_model.py"),
        modules=modules_of("export/convert_reward_model.py"),
        config="results/{domain}/{run}/reward/training/config.py",
        checkpoint="results/{domain}/{run}/reward/training/checkpoint.pth",
        model=lambda wildcards: start_of(wildcards, "reward"),
    output:
        model=directory("results/{domain}/{run}/reward/model"),
    log:
        "logs/{domain}/{run}/reward/convert_reward_model.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/reward/convert_reward_model.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("xtuner"),
        env=env_id("xtuner"),
    message:
        "Writing the reward model of {wildcards.run}"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --config {input.config:q} --checkpoint {input.checkpoint:q}"
        " --model {output.model:q} 3>&2 > {log:q} 2>&1"


rule write_tokenizer:
    input:
        script=script("export/write_tokenizer.py"),
        modules=modules_of("export/write_tokenizer.py"),
        model="results/base_models/{base}",
    output:
        tokenizer=directory("results/tokenizers/{base}"),
    log:
        "logs/write_tokenizer_{base}.log",
    benchmark:
        "results/benchmarks/write_tokenizer_{base}.tsv"
    conda:
        "../../envs/xtuner.yaml"
    resources:
        shell_exec=env_shell("xtuner"),
    params:
        env=env_id("xtuner"),
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Writing the tokenizer of {wildcards.base} with the chat template of its trainings"
    shell:
        "python {input.script:q} --base-model {input.model:q}"
        " --prompt-template {params.prompt_template:q} {params.trust}"
        " --tokenizer {output.tokenizer:q} > {log:q} 2>&1"


rule check_chat_template:
    input:
        script=script("export/check_chat_template.py"),
        modules=modules_of("export/check_chat_template.py"),
        merged="results/{domain}/{run}/{stage}/merged",
        train=training_data_of,
    output:
        result="results/{domain}/{run}/{stage}/verification/chat_template.json",
    log:
        "logs/{domain}/{run}/{stage}/check_chat_template.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/{stage}/check_chat_template.tsv"
    conda:
        "../../envs/xtuner.yaml"
    resources:
        shell_exec=env_shell("xtuner"),
    params:
        env=env_id("xtuner"),
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Comparing the prompts of training and serving of {wildcards.run}, {wildcards.stage}"
    shell:
        "python {input.script:q} --merged {input.merged:q} --train {input.train:q}"
        " --method {wildcards.stage} --prompt-template {params.prompt_template:q} {params.trust}"
        " --output {output.result:q} > {log:q} 2>&1"
