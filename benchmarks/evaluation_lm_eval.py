"""Ask a model questions by lm-evaluation-harness; started by evaluation.py, in lm_eval.yaml.

The answers are compared by the workflow's own rule, so that what may differ is how they are asked.
"""

import argparse
import json
import sys
from pathlib import Path

import lm_eval
from lm_eval.models.huggingface import HFLM
from transformers import GenerationConfig

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "evaluation" / "extension"))

from domain_evaluation.answers import exact_match

MEAN = {"aggregation": "mean", "higher_is_better": True}


def end_of_turn(tokenizer) -> str:
    """The token that ends an answer in the chat template, as text."""
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "ANSWER"}]
    tail = tokenizer.apply_chat_template(turns, tokenize=False).rpartition("ANSWER")[2]
    return tokenizer.tokenize(tail)[0]


def tasks_of(questions: dict[str, str], stops: list[str], end: str, most_tokens: int) -> list[dict]:
    """Tasks of lm-evaluation-harness: free answers, and four options.

    Args:
        questions: name -> question file.
        stops: texts of the tokens that end a free answer.
        end: of the chat template, behind each option.
        most_tokens: of a free answer.
    """
    tasks = []
    for name, path in questions.items():
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": path}},
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "target_delimiter": "",
        }
        if name == "heldout":
            task |= {
                "output_type": "generate_until",
                "doc_to_target": "{{answer}}",
                "generation_kwargs": {
                    "until": stops,
                    "max_gen_toks": most_tokens,
                    "do_sample": False,
                },
                "process_results": lambda question, found: {
                    "exact_match": exact_match(found[0], question["answer"]),
                    "same_text": found[0] == question["answer"],
                },
                "metric_list": [MEAN | {"metric": name} for name in ("exact_match", "same_text")],
            }
        else:
            # with its end, as the workflow scores it: the harness itself would score a beginning
            task |= {
                "output_type": "multiple_choice",
                "doc_to_choice": lambda question: [question[x] + end for x in "ABCD"],
                "doc_to_target": lambda question: "ABCD".index(question["answer"]),
                "metric_list": [MEAN | {"metric": "acc"}],
            }
        tasks.append(task)
    return tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--questions", type=json.loads, required=True, help="JSON: {name: path}")
    parser.add_argument("--setting", type=json.loads, required=True, help="backend of metrics.json")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    setting = options.setting
    model = HFLM(
        options.model,
        tokenizer=options.tokenizer,
        dtype=setting["dtype"],
        device=setting["device"],
        batch_size=setting["batch_size"],
        trust_remote_code=setting["trust_remote_code"],
    )
    # a list in every model that the export wrote
    stops = GenerationConfig.from_pretrained(options.tokenizer).eos_token_id
    stops = model.tokenizer.convert_ids_to_tokens(stops)
    end = end_of_turn(model.tokenizer)
    found = lm_eval.simple_evaluate(
        model,
        tasks=tasks_of(options.questions, stops, end, setting["max_new_tokens"]),
        apply_chat_template=True,
        system_instruction=setting["system"] or None,
        bootstrap_iters=0,
    )
    answers = {}
    for name, samples in found["samples"].items():
        for sample in samples:
            metric = "exact_match" if "exact_match" in sample else "acc"
            answers[f"{name} {sample['doc']['id']}"] = {
                "correct": bool(sample[metric]),
                "said": sample["filtered_resps"],
                "same_text": bool(sample.get("same_text", False)),
            }
    options.out.write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
