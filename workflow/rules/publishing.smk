# What others are told of a model. `make publish` sends it, with the model, to a hub.


rule model_card:
    input:
        script=script("publishing/model_card.py"),
        modules=modules_of("publishing/model_card.py"),
        template=script("publishing/model_card.md.j2"),
        inventory="results/{domain}/inventory.json",
        ledger="results/{domain}/corpus/ledger.json",
        corpus_card="results/{domain}/corpus/corpus_card.md",
        base_model=base_model_of,
        logs=lambda wildcards: [
            stage["training_log"] for stage in inventory_of(wildcards)["stages"]
        ],
        prompts=lambda wildcards: [
            path
            for stage in inventory_of(wildcards)["stages"]
            for path in stage["verification"].values()
        ],
        scores="results/{domain}/{run}/scores.csv",
        predictions=lambda wildcards: inventory_of(wildcards)["predictions"].values(),
        versions=expand("results/versions/{env}.json", env=TOOL_ENVIRONMENTS),
    output:
        card="results/{domain}/{run}/model_card.md",
        values="results/{domain}/{run}/model_card.json",
    log:
        "logs/{domain}/{run}/model_card.log",
    benchmark:
        "results/{domain}/{run}/benchmarks/model_card.tsv"
    conda:
        "../../envs/data.yaml"
    resources:
        shell_exec=env_shell("data"),
    params:
        env=env_id("data"),
        given=card_details,
    message:
        "Describing the model of {wildcards.run} in {output.card}"
    shell:
        "python {input.script:q} --inventory {input.inventory:q} --run {wildcards.run:q}"
        " --corpus-card {input.corpus_card:q} --given {params.given:q}"
        " --values {output.values:q} --card {output.card:q} > {log:q} 2>&1"
