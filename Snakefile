# One domain, from a raw corpus to an evaluated 4-bit chat model.
# Read config/config.yaml first; each stage below is one file in workflow/rules/.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/base_models.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/quantization.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/publishing.smk"
include: "workflow/rules/faults.smk"


rule all:
    default_target: True
    input:
        report=f"results/{DOMAIN}/report.html",
        comparison=f"results/{DOMAIN}/comparison.csv",
        gates=[f"results/{DOMAIN}/gates.json"] if config["evaluation"]["gates"] else [],
        cards=of_runs("results/{domain}/{run}/model_card.md"),
        corpus=rules.corpus.input,
    message:
        "Report of {config[domain]}: open {input.report}"
