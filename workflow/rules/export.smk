# From XTuner's checkpoint to a merged Hugging Face model that is asked as it was trained.


rule convert_adapter:
    input:
        script=script("training/launch_xtuner.py"),
        config="results/{domain}/{run}/training/config.py",
        checkpoint="results/{domain}/{run}/training/checkpoint.pth",
        base_model=base_model_of,
    output:
        adapter=directory("results/{domain}/{run}/adapter"),
    log:
        "logs/{domain}/{run}/convert_adapter.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/convert_adapter.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("xtuner"),
    message:
        "Converting the checkpoint of {wildcards.run} to a Hugging Face adapter"
    shell:
        "python {input.script:q} pth_to_hf {input.config:q} {input.checkpoint:q}"
        " {output.adapter:q} --safe-serialization > {log:q} 2>&1"


rule merge_adapter:
    input:
        script=script("export/merge_adapter.py"),
        modules=modules_of("export/merge_adapter.py"),
        base_model=base_model_of,
        adapter="results/{domain}/{run}/adapter",
    output:
        merged=directory("results/{domain}/{run}/merged"),
    log:
        "logs/{domain}/{run}/merge_adapter.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/merge_adapter.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("xtuner"),
        device=ACCELERATOR,
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Merging the adapter of {wildcards.run} into its base model"
    shell:
        "python {input.script:q} --base-model {input.base_model:q} --adapter {input.adapter:q}"
        " --prompt-template {params.prompt_template:q} {params.trust}"
        " --device {params.device} --merged {output.merged:q} > {log:q} 2>&1"


rule check_chat_template:
    input:
        script=script("export/check_chat_template.py"),
        modules=modules_of("export/check_chat_template.py"),
        merged="results/{domain}/{run}/merged",
        train="results/{domain}/corpus/train.jsonl",
    output:
        result="results/{domain}/{run}/verification/chat_template.json",
    log:
        "logs/{domain}/{run}/check_chat_template.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/check_chat_template.tsv"
    conda:
        "../../envs/xtuner.yaml"
    resources:
        shell_exec=env_shell("xtuner"),
    params:
        env=env_id("xtuner"),
        prompt_template=prompt_template_of,
        trust=trust_flag,
    message:
        "Comparing the prompts of training and serving of {wildcards.run}"
    shell:
        "python {input.script:q} --merged {input.merged:q} --train {input.train:q}"
        " --prompt-template {params.prompt_template:q} {params.trust}"
        " --output {output.result:q} > {log:q} 2>&1"
