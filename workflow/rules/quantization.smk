# 4-bit AWQ of the merged model, its TurboMind workspace, and the proof of each.


rule quantize_awq:
    input:
        script=script("quantization/quantize_awq.py"),
        modules=modules_of("quantization/quantize_awq.py"),
        merged=final_model_of,
        calibration="results/{domain}/corpus/calibration.jsonl",
    output:
        awq=directory("results/{domain}/{run}/awq"),
    log:
        "logs/{domain}/{run}/quantize_awq.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/quantize_awq.tsv"
    conda:
        "../../envs/lmdeploy.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("lmdeploy"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("lmdeploy"),
        env=env_id("lmdeploy"),
        device=ACCELERATOR,
        group_size=config["quantization"]["group_size"],
        samples=config["quantization"]["calibration_samples"],
        length=config["quantization"]["calibration_length"],
        seed=config["corpus"]["split"]["seed"],
    message:
        "Quantising {wildcards.run} to 4-bit AWQ"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --model {input.merged:q} --calibration {input.calibration:q}"
        " --output {output.awq:q} --device {params.device} --group-size {params.group_size}"
        " --calibration-samples {params.samples} --calibration-length {params.length}"
        " --seed {params.seed} 3>&2 > {log:q} 2>&1"


rule verify_awq:
    input:
        script=script("quantization/verify_awq.py"),
        modules=modules_of("quantization/verify_awq.py"),
        merged=final_model_of,
        awq="results/{domain}/{run}/awq",
    output:
        report="results/{domain}/{run}/verification/awq.json",
        dense=directory("results/{domain}/{run}/dequantized/awq"),
    log:
        "logs/{domain}/{run}/verify_awq.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/verify_awq.tsv"
    conda:
        "../../envs/lmdeploy.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("lmdeploy"),
        mem_mb=memory_of,
        runtime=runtime_of,
    params:
        env=env_id("lmdeploy"),
    message:
        "Comparing every 4-bit matrix of {wildcards.run} with the merged model"
    shell:
        "python {input.script:q} --merged {input.merged:q} --awq {input.awq:q}"
        " --report {output.report:q} --dense {output.dense:q} > {log:q} 2>&1"


rule convert_turbomind:
    input:
        script=script("quantization/convert_turbomind.py"),
        modules=modules_of("quantization/convert_turbomind.py"),
        awq="results/{domain}/{run}/awq",
        # a model that is not what it should be is not converted
        verified="results/{domain}/{run}/verification/awq.json",
    output:
        workspace=directory("results/{domain}/{run}/turbomind"),
    log:
        "logs/{domain}/{run}/convert_turbomind.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/convert_turbomind.tsv"
    conda:
        "../../envs/lmdeploy.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("lmdeploy"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("lmdeploy"),
        env=env_id("lmdeploy"),
    message:
        "Converting the AWQ model of {wildcards.run} to a TurboMind workspace"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --awq {input.awq:q} --model-name {wildcards.run:q}"
        " --output {output.workspace:q} 3>&2 > {log:q} 2>&1"


rule verify_turbomind:
    input:
        script=script("quantization/verify_turbomind.py"),
        modules=modules_of("quantization/verify_turbomind.py"),
        awq="results/{domain}/{run}/awq",
        workspace="results/{domain}/{run}/turbomind",
    output:
        report="results/{domain}/{run}/verification/turbomind.json",
        dense=directory("results/{domain}/{run}/dequantized/turbomind"),
    log:
        "logs/{domain}/{run}/verify_turbomind.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/verify_turbomind.tsv"
    conda:
        "../../envs/lmdeploy.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("lmdeploy"),
        mem_mb=memory_of,
        runtime=runtime_of,
    params:
        env=env_id("lmdeploy"),
    message:
        "Reading the TurboMind workspace of {wildcards.run} back"
    shell:
        "python {input.script:q} --awq {input.awq:q} --workspace {input.workspace:q}"
        " --report {output.report:q} --dense {output.dense:q} > {log:q} 2>&1"
