# Every variant of a run is asked the same questions in the same way, by OpenCompass.
LOCAL = benchmark_files.local_of(config["evaluation"])
LOCAL_FILES = {name: benchmark_files.files_of(entry) for name, entry in LOCAL.items()}
# loaded by name
EXTENSION = [
    os.path.relpath(path) for path in sorted((SCRIPTS / "evaluation/extension").rglob("*.py"))
]
# variants side by side use the cores better than one variant with many threads
VARIANT_THREADS = max(
    1, (workflow.resource_settings.cores or 1) // len(config["evaluation"]["variants"])
)


rule local_benchmark:
    input:
        script=script("evaluation/local_benchmark.py"),
        modules=modules_of("evaluation/local_benchmark.py"),
        questions=lambda wildcards: LOCAL_FILES[wildcards.benchmark].questions.values(),
        examples=lambda wildcards: LOCAL_FILES[wildcards.benchmark].examples.values(),
        train="results/{domain}/corpus/train.jsonl",
        records="results/{domain}/corpus/records.parquet",
    output:
        questions="results/{domain}/questions/{benchmark}.jsonl",
        summary="results/{domain}/questions/{benchmark}.json",
    log:
        "logs/{domain}/local_benchmark_{benchmark}.log",
    benchmark:
        "results/{domain}/benchmarks/local_benchmark_{benchmark}.tsv"
    wildcard_constraints:
        benchmark=any_of(LOCAL) or "(?!)",
    # a broken file is told of before hours of training
    priority: 50
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        questions=lambda wildcards: json_param(
            {k: str(v) for k, v in LOCAL_FILES[wildcards.benchmark].questions.items()}
        ),
        examples=lambda wildcards: json_param(
            {k: str(v) for k, v in LOCAL_FILES[wildcards.benchmark].examples.items()}
        ),
        shots=lambda wildcards: LOCAL[wildcards.benchmark]["shots"],
        mode=lambda wildcards: LOCAL[wildcards.benchmark]["mode"],
    message:
        "Reading the questions of {wildcards.benchmark}"
    shell:
        "python {input.script:q} --name {wildcards.benchmark:q} --questions {params.questions:q}"
        " --examples {params.examples:q} --shots {params.shots} --mode {params.mode}"
        " --train {input.train:q} --records {input.records:q} --out {output.questions:q}"
        " --summary {output.summary:q} > {log:q} 2>&1"


rule evaluate:
    input:
        script=script("evaluation/run_opencompass.py"),
        modules=modules_of("evaluation/run_opencompass.py"),
        extension=EXTENSION,
        int4=lambda wildcards: (
            modules_of("evaluation/extension/domain_evaluation/chat_model.py")
            if wildcards.variant == "int4"
            else []
        ),
        model=evaluated_model,
        # one tokenizer and one chat template for all, so that all read the same token ids
        tokenizer=final_model_of,
        benchmarks=questions_for("tuned"),
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
    threads: VARIANT_THREADS
    resources:
        shell_exec=env_shell("opencompass"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        kept=kept("opencompass"),
        env=env_id("opencompass"),
        variant=lambda wildcards: wildcards.variant,
        device=ACCELERATOR,
        batch_size=config["evaluation"]["batch_size"],
        max_new_tokens=config["evaluation"]["max_new_tokens"],
        local=local_modes,
        # A function: Snakemake would take braces in the text for wildcards. Given with "=" below,
        # because :q makes nothing at all of an empty text.
        system=lambda wildcards: config["corpus"]["system"],
        trust=trust_flag,
    message:
        "Asking the variant {wildcards.variant} of {wildcards.run} all questions"
    shell:
        "{params.kept:q}"
        " python {input.script:q} --variant {params.variant} --model {input.model:q}"
        " --tokenizer {input.tokenizer:q} --benchmarks {input.benchmarks:q}"
        " --local {params.local:q} --system={params.system:q} --device {params.device} --batch-size {params.batch_size}"
        " --max-new-tokens {params.max_new_tokens} {params.trust}"
        " --work-dir {output.opencompass:q} --metrics {output.metrics:q}"
        " --predictions {output.predictions:q} 3>&2 > {log:q} 2>&1"


# Once for all runs that start from it, and not again when they are trained again.
use rule evaluate as evaluate_base with:
    input:
        script=script("evaluation/run_opencompass.py"),
        modules=modules_of("evaluation/run_opencompass.py"),
        extension=EXTENSION,
        model="results/base_models/{base}",
        # the one that its tuned models have
        tokenizer="results/tokenizers/{base}",
        benchmarks=questions_for("base"),
    output:
        metrics="results/{domain}/evaluation/{base}/metrics.json",
        predictions="results/{domain}/evaluation/{base}/predictions.jsonl",
        opencompass=directory("results/{domain}/evaluation/{base}/opencompass"),
    log:
        "logs/{domain}/evaluate_base_{base}.log",
    benchmark:
        "results/{domain}/benchmarks/evaluate_base_{base}.tsv"
    params:
        variant="base",
    message:
        "Asking the base model {wildcards.base} all questions"


rule evaluate_served:
    input:
        script=script("evaluation/ask_served.py"),
        modules=modules_of("evaluation/ask_served.py"),
        extension=EXTENSION,
        server=[script("serving/api.py"), *modules_of("serving/api.py")],
        model=served_model_of,
        tokenizer=final_model_of,
        benchmarks=questions_for("served"),
    output:
        metrics="results/{domain}/{run}/evaluation/{variant}/metrics.json",
        predictions="results/{domain}/{run}/evaluation/{variant}/predictions.jsonl",
        opencompass=directory("results/{domain}/{run}/evaluation/{variant}/opencompass"),
    log:
        "logs/{domain}/{run}/evaluate_{variant}.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/evaluate_{variant}.tsv"
    wildcard_constraints:
        variant="served",
    conda:
        "../../envs/opencompass.yaml"
    threads: VARIANT_THREADS
    resources:
        shell_exec=env_shell("opencompass"),
        # the server beside OpenCompass
        mem_mb=lambda wildcards, input, attempt: 2 * memory_of(wildcards, input, attempt),
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("opencompass"),
        # made by uv in either mode, as for make api
        server=env_id("serving"),
        engine=env_id("lmdeploy") if ACCELERATOR == "cuda" else "",
        device=ACCELERATOR,
        batch_size=config["evaluation"]["batch_size"],
        max_new_tokens=config["evaluation"]["max_new_tokens"],
        local=local_modes,
        not_asked=lambda wildcards: json_param(
            benchmark_files.not_asked("served", config["evaluation"])
        ),
        # as in evaluate
        system=lambda wildcards: config["corpus"]["system"],
        trust=trust_flag,
    message:
        "Asking the 4-bit model of {wildcards.run} through its API"
    shell:
        "python {input.script:q} --variant {wildcards.variant} --domain {wildcards.domain:q}"
        " --run {wildcards.run:q} --model {input.model:q} --tokenizer {input.tokenizer:q}"
        " --benchmarks {input.benchmarks:q} --not-asked {params.not_asked:q}"
        " --local {params.local:q} --system={params.system:q} --device {params.device}"
        " --batch-size {params.batch_size} --max-new-tokens {params.max_new_tokens} {params.trust}"
        " --work-dir {output.opencompass:q} --metrics {output.metrics:q}"
        " --predictions {output.predictions:q} > {log:q} 2>&1"


rule measure_performance:
    input:
        script=script("evaluation/measure_performance.py"),
        modules=modules_of("evaluation/measure_performance.py"),
        # started by the script, once for each model
        measure=script("evaluation/measure_model.py"),
        measure_modules=modules_of("evaluation/measure_model.py"),
        merged=final_model_of,
        # in 4 bits transformers computes on a CPU only; on a GPU measure_engine follows
        awq=branch(ACCELERATOR == "cpu", then="results/{domain}/{run}/awq"),
        dequantized=branch(
            ACCELERATOR == "cpu" and "awq" in config["evaluation"]["variants"],
            then="results/{domain}/{run}/dequantized/awq",
        ),
        turbomind=branch(
            ACCELERATOR == "cpu" and "turbomind" in config["evaluation"]["variants"],
            then="results/{domain}/{run}/turbomind",
        ),
        # not the held-out questions: another benchmark measures nothing again
        conversations="results/{domain}/corpus/calibration.jsonl",
    output:
        performance=report(
            "results/{domain}/{run}/performance.csv",
            caption="../report/performance.rst",
            category="Performance",
            labels={"run": "{run}", "what": "size, memory and speed"},
        ),
    log:
        "logs/{domain}/{run}/measure_performance.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/measure_performance.tsv"
    conda:
        "../../envs/opencompass.yaml"
    # all of them, so that no other job of this run is measured too
    threads: workflow.resource_settings.cores or 1
    resources:
        shell_exec=env_shell("opencompass"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("opencompass"),
        device=ACCELERATOR,
        others=lambda wildcards, input: [
            f"--{name}={input[name]}"
            for name in ("awq", "dequantized", "turbomind")
            if input.get(name)
        ],
        trust=trust_flag,
    message:
        "Measuring size, memory and speed of {wildcards.run}; nothing else of this run runs meanwhile"
    shell:
        "python {input.script:q} --merged {input.merged:q} {params.others:q}"
        " {params.trust} --device {params.device}"
        " --conversations {input.conversations:q} --threads {threads}"
        " --output {output.performance:q} > {log:q} 2>&1"


# Never run by us: there was no GPU.
rule measure_engine:
    input:
        script=script("evaluation/measure_engine.py"),
        modules=modules_of("evaluation/measure_engine.py"),
        # started by the script, once for each setting of the KV cache
        measure=script("evaluation/measure_turbomind.py"),
        measure_modules=modules_of("evaluation/measure_turbomind.py"),
        four_bit=f"results/{{domain}}/{{run}}/{engine_variant()}",
        # the tokenizer
        merged=final_model_of,
        conversations="results/{domain}/corpus/calibration.jsonl",
    output:
        engine=report(
            "results/{domain}/{run}/engine.csv",
            caption="../report/engine.rst",
            category="Performance",
            labels={"run": "{run}", "what": "LMDeploy's engine and its KV cache"},
        ),
    log:
        "logs/{domain}/{run}/measure_engine.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/measure_engine.tsv"
    conda:
        "../../envs/lmdeploy.yaml"
    # as in measure_performance
    threads: workflow.resource_settings.cores or 1
    resources:
        shell_exec=env_shell("lmdeploy"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=1,
    params:
        env=env_id("lmdeploy"),
        variant=engine_variant(),
        trust=trust_flag,
    message:
        "Measuring LMDeploy's engine on {wildcards.run}; nothing else of this run runs meanwhile"
    shell:
        "python {input.script:q} --variant {params.variant} --model {input.four_bit:q}"
        " --tokenizer {input.merged:q} {params.trust} --conversations {input.conversations:q}"
        " --output {output.engine:q} > {log:q} 2>&1"


rule score_reward_model:
    input:
        script=script("evaluation/score_reward_model.py"),
        modules=modules_of("evaluation/score_reward_model.py"),
        model="results/{domain}/{run}/reward/model",
        pairs="results/{domain}/corpus/heldout_pairs.jsonl",
    output:
        accuracy="results/{domain}/{run}/reward/accuracy.json",
        predictions="results/{domain}/{run}/reward/predictions.jsonl",
    log:
        "logs/{domain}/{run}/reward/score_reward_model.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/reward/score_reward_model.tsv"
    conda:
        "../../envs/xtuner.yaml"
    threads: 2
    resources:
        shell_exec=env_shell("xtuner"),
        mem_mb=memory_of,
        runtime=runtime_of,
        gpu=int(ACCELERATOR == "cuda"),
    params:
        env=env_id("xtuner"),
        device=ACCELERATOR,
        batch_size=config["evaluation"]["batch_size"],
        max_length=lambda wildcards: runs.training_of(RUNS[wildcards.run], "reward")["max_length"],
        trust=trust_flag,
    message:
        "Asking the reward model of {wildcards.run} which answer is better"
    shell:
        "python {input.script:q} --model {input.model:q} --pairs {input.pairs:q}"
        " {params.trust} --device {params.device}"
        " --batch-size {params.batch_size} --max-length {params.max_length}"
        " --accuracy {output.accuracy:q} --predictions {output.predictions:q} > {log:q} 2>&1"


rule collect_scores:
    input:
        script=script("evaluation/collect_scores.py"),
        modules=modules_of("evaluation/collect_scores.py"),
        metrics=lambda wildcards: answers_of(wildcards.run, "metrics.json"),
        predictions=lambda wildcards: answers_of(wildcards.run, "predictions.jsonl"),
        reward=lambda wildcards: (
            [f"results/{wildcards.domain}/{wildcards.run}/reward/accuracy.json"]
            if has_reward_model(wildcards.run)
            else []
        ),
    output:
        scores="results/{domain}/{run}/scores.csv",
        questions=report(
            "results/{domain}/{run}/questions.csv",
            caption="../report/questions.rst",
            category="Answers",
            labels={"run": "{run}", "what": "all questions with all answers"},
        ),
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
        variants=lambda wildcards: variants_of(wildcards.run),
        reward=lambda wildcards, input: [f"--reward-accuracy={path}" for path in input.reward],
    message:
        "Collecting the scores of {wildcards.run}"
    shell:
        "python {input.script:q} --domain {wildcards.domain} --run {wildcards.run}"
        " --variants {params.variants:q} --metrics {input.metrics:q}"
        " --predictions {input.predictions:q} {params.reward:q}"
        " --scores {output.scores:q} --questions {output.questions:q} > {log:q} 2>&1"
