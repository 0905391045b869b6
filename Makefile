# Each target first makes .venv, which holds Snakemake (a few seconds, once). The tools'
# environments follow on demand. Further options for Snakemake: make run ARGS="--config domain=x".

export PATH := $(CURDIR)/.venv/bin:$(PATH)
CORES ?= all
ARGS ?=
CONTROL := results/civil_service/control/scores.csv

.DEFAULT_GOAL := help
.PHONY: help runner run slurm dry-run corpus review report tensorboard chat api web publish domains control bench bench-corpus bench-kill bench-dag bench-chaos bench-evaluation bench-kernel test test-conda test-slurm lint format environments lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

runner:
	@PYTHON="$(PYTHON)" sh workflow/scripts/environments/bootstrap.sh

run: runner ## the whole chain, from the corpus to results/DOMAIN/report.html
	snakemake --cores $(CORES) $(ARGS)

slurm: runner ## the whole chain as jobs of a Slurm cluster; see profiles/slurm
	@python workflow/scripts/environments/slurm_plugin.py
	snakemake --workflow-profile profiles/slurm $(ARGS)

dry-run: runner ## what `make run` would do, and why
	snakemake --dry-run $(ARGS)

corpus: runner ## the corpus alone: what is read, kept and rejected, in corpus_card.md
	snakemake --cores $(CORES) $(ARGS) -- corpus

review: runner ## a workbook in which a person corrects the rows before anything is trained
	snakemake --cores $(CORES) $(ARGS) -- review

report: runner ## Snakemake's own report of the last run: results/snakemake-report.html
	snakemake --report results/snakemake-report.html $(ARGS)

tensorboard: runner ## curves of all trainings, the running ones too, at http://localhost:6006
	workflow/envshell/xtuner/bash -c 'tensorboard --logdir results $(ARGS)'

chat: runner ## talk to the tuned model in the terminal
	@python workflow/scripts/serving/launch.py chat $(ARGS)

api: runner ## serve the tuned model by the API that OpenAI's clients speak
	@python workflow/scripts/serving/launch.py api $(ARGS)

web: runner ## a chat page in the browser: the base model and the tuned one beside each other
	@python workflow/scripts/serving/launch.py web $(ARGS)

publish: runner ## send a model with its card to Hugging Face or ModelScope; without --upload only look
	@python workflow/scripts/publishing/launch_publish.py $(ARGS)

domains: runner ## all overlays of config/domains, one after the other, with a table of scores
	python benchmarks/domains.py --cores $(CORES) $(ARGS)

control: runner ## the same without the held-out facts in pre-training: the score falls to 0
	snakemake --cores $(CORES) --configfile config/scenarios/control.yaml $(ARGS) -- $(CONTROL)
	@cat $(CONTROL)

bench: runner ## our training step against plain transformers, packed against unpacked
	workflow/envshell/xtuner/bash -c 'python benchmarks/training_step.py $(ARGS)'

bench-corpus: runner ## reading and cleaning a large dump against other ways, speed and memory
	python benchmarks/corpus.py $(ARGS)

bench-kill: runner ## every stage killed in mid-training, three times, beside a run left alone
	python benchmarks/kill_and_resume.py $(ARGS)

bench-chaos: runner ## Snakemake, its jobs, or both killed 20 times on the way to the report
	python benchmarks/chaos.py $(ARGS)

bench-dag: runner ## how long planning many runs takes, beside rules that do nothing
	python benchmarks/dag.py $(ARGS)

bench-evaluation: runner ## our evaluation beside lm-evaluation-harness, on the same questions
	python benchmarks/evaluation.py $(ARGS)

bench-kernel: runner ## a matrix of a 7B model in 4 bits on the CPU, beside the same one dense
	workflow/envshell/opencompass/bash -c 'python benchmarks/int4_linear.py $(ARGS)'

test: lint ## lint, unit tests in each environment, one run of the whole chain
	python tests/in_env.py runner $(ARGS)
	python tests/in_env.py data $(ARGS)
	python tests/in_env.py xtuner $(ARGS)
	python tests/in_env.py trl $(ARGS)
	python tests/in_env.py lmdeploy $(ARGS)
	python tests/in_env.py opencompass $(ARGS)
	python tests/in_env.py serving $(ARGS)
	pytest tests/workflow -m "not by_hand" -n 2 $(ARGS)

test-conda: runner ## every environment and a short chain by a real conda: minutes, and 6 GB
	pytest tests/workflow/test_conda.py $(ARGS)

test-slurm: runner ## the chain through a real Slurm on this machine, disturbed in several ways; as root
	pytest tests/slurm $(ARGS)

lint: runner ## check the style and Snakemake's advice
	ruff check
	ruff format --check
	snakefmt --check Snakefile workflow
	snakemake --lint

format: runner ## bring the style in order
	ruff check --fix
	ruff format
	snakefmt Snakefile workflow

environments: runner ## make all environments now, such as before going offline
	python workflow/scripts/environments/environments.py ensure

lock: runner ## resolve all pins anew, after an edit of envs/*.yaml or pyproject.toml
	python workflow/scripts/environments/lock.py

clean: ## remove .venv and .envs, which come back by themselves; results stay
	rm -rf .venv .envs .pytest_cache .ruff_cache
