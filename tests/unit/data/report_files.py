"""Made-up results of a domain, in the forms that the other stages publish, to report on."""

import csv
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "report"))

import build_report
import report_inputs
import report_performance

ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>'
# variant -> right answers among the questions of heldout and of recall
RIGHT = {
    "base": (1, 0),
    "pt": (2, 1),
    "sft": (30, 19),
    "tuned": (36, 20),
    "awq": (35, 20),
    "int4": (34, 20),
    "turbomind": (35, 19),
    "served": (35, 19),
}
SPEEDS = {
    "prompt_tokens": 512,
    **{"prefill_tokens_per_s": 5000.5, "prefill_slowest": 4000, "prefill_fastest": 6000},
    **{"decode_tokens_per_s": 800.25, "decode_slowest": 700, "decode_fastest": 900},
    "repetitions": 5,
}
SIZES = {"heldout": 40, "recall": 20}
REJECTED = [
    ("a.docx", "paragraph 7", "duplicate", "same as paragraph 3", "法国的首都？->巴黎"),
    ("a.docx", "paragraph 9", "duplicate", "same as paragraph 4", "德国的首都？->柏林"),
    ("a.docx", "paragraph 12", "advert", "公众号", ATTACK),
    ("题库.xlsx", "题库!A5", "empty_answer", "", "明朝的开国皇帝是谁？"),
]
COST_COLUMNS = "s h:m:s max_rss max_vms max_uss max_pss io_in io_out mean_load cpu_time"


VARIANTS = ("base", "tuned", "awq", "turbomind")


class Inputs:
    """Files of a domain with some runs, and the command line that reports on them.

    `stages` are those of every run; `shift` run -> so many more questions are right after tuning.
    """

    def __init__(
        self,
        folder: Path,
        runs=("tiny-qlora",),
        variants=VARIANTS,
        stages=("sft",),
        shift=None,
        gates=(),
    ) -> None:
        self.folder = folder
        self.variants = list(variants)
        self.stages = stages
        self.shift = shift or {}
        self.config = {
            "domain": "civil_service",
            "accelerator": "cpu",
            "evaluation": {"benchmarks": list(SIZES), "gates": list(gates)},
        }
        fields = ("source", "locator", "reason", "detail", "original")
        rejected = [dict(zip(fields, row, strict=True)) for row in REJECTED]
        versions = {
            "data": {"lxml": "6.1.3", "Jinja2": "3.1.6"},
            "xtuner": {"torch": "2.13.0+cpu", "xtuner": "0.2.0", "jinja2": "3.1.5"},
        }
        self.inventory = {
            "domain": "civil_service",
            "ledger": self.json("ledger.json", self.ledger()),
            "rejected": self.lines("rejected.jsonl", rejected),
            "runs": [self.run(run) for run in runs],
            "costs": self.costs(),
            "local": {},
            "versions": {
                env: self.json(f"{env}.json", {"python": "3.11.7", "packages": packages})
                for env, packages in versions.items()
            },
        }
        self.context = {
            "runner": {"Snakemake": "9.27.1"},
            "commands": [{"what": "All of it", "command": "snakemake --cores all"}],
        }

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def json(self, name: str, value) -> str:
        self.path(name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        return str(self.path(name))

    def lines(self, name: str, rows) -> str:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.path(name).write_text(text, encoding="utf-8")
        return str(self.path(name))

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.path(name).read_text(encoding="utf-8")
        assert old in text
        self.path(name).write_text(text.replace(old, new), encoding="utf-8")

    def replace_benchmark(self, old: str, new: str) -> None:
        """Give a benchmark another name, in all files."""
        asked = self.config["evaluation"]["benchmarks"]
        asked[asked.index(old)] = new
        for run in self.inventory["runs"]:
            for path in map(Path, (run["scores"], *run["predictions"].values())):
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace(old, new), encoding="utf-8")

    def ledger(self):
        docx = {"duplicate": 2, "advert": 1}
        found = {"blank": 2, "repaired": 1, "facts": {"encoding": "gb18030"}}
        return {
            "sources": [
                {"source": "a.docx", "rows": 50, "kept": 47, "rejected": docx, **found},
                {"source": "题库.xlsx", "rows": 14, "kept": 13, "rejected": {"empty_answer": 1}}
                | {"blank": 0, "repaired": 0, "facts": {}},
            ],
            "review": {"edited": 3, "not_reviewed": 0},
            "total": {"rows": 64, "kept": 60, "rejected": {**docx, "empty_answer": 1}}
            | {"not_sampled": 0},
            "split": {"train": 20, "heldout": 40, "leaked": 0},
        }

    def right(self, run: str, variant: str):
        more = self.shift.get(run, 0) if variant != "base" else 0
        rights = zip(RIGHT[variant], SIZES.values(), strict=True)
        return [min(size, max(0, right + more)) for right, size in rights]

    def run(self, name: str):
        rows = []
        predictions = {}
        for variant in self.variants:
            answers = []
            rights = self.right(name, variant)
            for (benchmark, size), right in zip(SIZES.items(), rights, strict=True):
                for metric in ("contains", "exact_match"):
                    score = right / size
                    rows.append(("civil_service", name, variant, benchmark, metric, score, size))
                answers += [
                    {
                        "benchmark": benchmark,
                        "id": f"{benchmark}-{number}",
                        "question": ATTACK if number == 0 else f"第{number}号元素叫什么？",
                        "answer": f"答案{number}",
                        "prediction": f"答案{number}" if number < right else f"{variant}错",
                        "correct": number < right,
                        "exact_match": number < right,
                        "contains": number < right,
                    }
                    for number in range(size)
                ]
            predictions[variant] = self.lines(f"{name}/{variant}.jsonl", answers)
        if "reward" in self.stages:
            reward = ("reward", "heldout_preference", "accuracy", 0.8, 50)
            rows.append(("civil_service", name, *reward))
        with self.path(f"{name}/scores.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(report_inputs.SCORE_COLUMNS)
            writer.writerows(rows)
        tensors = [
            {
                "name": f"model.layers.{layer}.mlp.up_proj.weight",
                "shape": [256, 768],
                "max_error_steps": 0.5 + layer / 1000,
                "mean_error_steps": 0.25,
                "max_allowed_steps": 0.52,
            }
            for layer in range(4)
        ]
        prompt = {"conversations_compared": 7, "example": f"<s>user\n{ATTACK}"}
        template = self.json(f"{name}/chat_template.json", {"passed": True, "summary": prompt})
        quantised = {"passed": True, "tensors": tensors, "summary": {"matrices": 4}}
        return {
            "name": name,
            "base_model": "tiny",
            "start_from": None,
            "variants": self.variants,
            "manifest": self.json("manifest.json", {"source": "made here", "parameters": 4071168}),
            "scores": str(self.path(f"{name}/scores.csv")),
            "metrics": self.json(f"{name}/metrics.json", {"backend": {"batch_size": 32}}),
            "performance": [self.performance(f"{name}/performance.csv")]
            if {"awq", "turbomind"} & set(self.variants)
            else [],
            "predictions": predictions,
            "stages": [
                {
                    "method": method,
                    "training": {"steps": 30, "finetuning": "qlora", "lora": {"r": 64}},
                    "training_log": self.json(f"{name}/{method}.json", self.log(method)),
                    "verification": {"chat_template": template} if method != "reward" else {},
                }
                for method in self.stages
            ],
            "verification": {"awq": self.json(f"{name}/awq.json", quantised)}
            if "awq" in self.variants
            else {},
        }

    def performance(self, name: str) -> str:
        """What was measured on a CPU."""
        here = {"device": "cpu", "threads": 2, "machine": "Made-up processor"}
        libraries = {"start_bytes": 400000000}
        keys = ("variant", "format", "disk_bytes", "weight_bytes", "peak_bytes")
        forms = [
            ("tuned", "float32", 8388608, 16777216, 500000000),
            ("tuned", "bfloat16", 8388608, 8388608, 450000000),
            ("int4", "int4", 3145728, 4194304, 440000000),
        ]
        rows = [dict(zip(keys, form, strict=True)) | libraries | SPEEDS for form in forms]
        engine = {"variant": "turbomind", "format": "int4", "disk_bytes": 3145728}
        rows.append(engine | {"note": "the engine needs a GPU"})
        return self.measurements(name, [here | row for row in rows])

    def gpu_performance(self, name: str) -> list[str]:
        """What is measured on a GPU: in transformers, and in LMDeploy's engine."""
        here = {"device": "cuda", "machine": "Made-up GPU, 80 GiB"}
        merged = here | {"variant": "tuned", "format": "float16", "disk_bytes": 16777216}
        merged |= {"weight_bytes": 16777216, "peak_bytes": 33554432}
        engine = here | {"variant": "turbomind", "format": "int4", "disk_bytes": 4194304}
        engine |= {"kv_share": 0.8}
        held = {"weight_bytes": 4194304, "cache_bytes": 2**36, "peak_bytes": 2**36 + 2**30}
        rows = [
            engine | held | {"kv_bits": 16, "cache_tokens": 524288} | SPEEDS,
            engine | held | {"kv_bits": 8, "cache_tokens": 1048576} | SPEEDS,
            engine | {"kv_bits": 4, "note": "LMDeploy's engine failed"},
        ]
        return [
            self.measurements(f"{name}/performance.csv", [merged | SPEEDS]),
            self.measurements(f"{name}/engine.csv", rows),
        ]

    def measurements(self, name: str, rows) -> str:
        with self.path(name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, report_performance.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return str(self.path(name))

    @staticmethod
    def log(method: str):
        steps = [{"iteration": step, "loss": 3.0 / step} for step in range(1, 31)]
        if method in ("dpo", "orpo", "reward"):
            for step in steps:
                step["reward_accuracy"] = 1 - 0.5 / step["iteration"]
        if method == "grpo":
            for step in steps:
                step["reward"] = step["iteration"] / 30 - 1
        return {"steps": steps, "summary": {"seconds": 41.5, "method": method}}

    def costs(self):
        jobs = {
            "train": "61.5 0:01:01 1423.2 1 1 1 0 0 160 98.4",
            "merge_adapter": "10.5 0:00:10 2048.0 1 1 1 0 0 100 10.5",
            "collect_scores": "0.1 0:00:00 NA NA NA NA NA NA NA NA",
        }
        for rule, line in jobs.items():
            text = f"{COST_COLUMNS}\n{line}\n".replace(" ", "\t")
            self.path(f"benchmarks/{rule}.tsv").write_text(text, encoding="utf-8")
        return [
            {"path": f"{self.folder}/benchmarks/{rule}.tsv", "job": rule, "scope": "tiny-qlora"}
            for rule in (*jobs, "not_asked_for")
        ]

    def build(self, samples: int = 100, tolerance: float = 0.03) -> str:
        output = self.folder / "report.html"
        options = {
            "inventory": self.json("inventory.json", self.inventory),
            "context": json.dumps(self.context),
            "config": json.dumps(self.config),
            "samples": samples,
            "tolerance": tolerance,
            "output": output,
            "scores-chart": self.folder / "scores.svg",
            "loss-chart": self.folder / "loss.svg",
            "ledger-table": self.folder / "ledger.csv",
        }
        argv = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        assert build_report.main(argv) == 0
        return output.read_text(encoding="utf-8")


def flat(node) -> str:
    return re.sub(r"\s+", " ", node.text_content()).strip()


def cells_of(row) -> list[str]:
    return [flat(cell) for cell in row.xpath("./th|./td")]


def row_of(document, table: str, **data: str):
    conditions = "".join(f'[@data-{name}="{value}"]' for name, value in data.items())
    named = f'@id="{table}" or contains(@class, "{table}")'
    (row,) = document.xpath(f"//table[{named}]//tr{conditions}")
    return row
