"""Rendering the OpenCompass config of one variant: literals only, classes by dotted names."""

import pprint
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prompts import MODES
from question_files import Benchmark

EXTENSION = "domain_evaluation"

# float16 is what LMDeploy's engine computes in, and holds AWQ's scales exactly. On a CPU, half
# precision is slow or rounds differently from machine to machine. 'torch.float' is the spelling
# that every model class of OpenCompass knows.
DTYPES = {"cpu": "float32", "cuda": "float16"}
# Where questions have system prompts of their own, the column that holds one for each question. It
# comes last, and no text has its name between braces: neither the system prompt nor the question
# is changed by what OpenCompass fills in.
SYSTEM_COLUMN = "system prompt of this question"
_OPENCOMPASS_DTYPES = {"float32": "torch.float", "float16": "torch.float16"}


@dataclass(frozen=True)
class Setting:
    """What is the same for every variant.

    Attributes:
        device: "cpu" or "cuda".
        batch_size: prompts at a time, or options at a time in a multiple-choice benchmark.
        max_new_tokens: an answer is cut after so many tokens.
        system: the system prompt of questions that have none of their own; empty: none.
        trust_remote_code: run the modelling code that lies in the model folder.
    """

    device: str
    batch_size: int
    max_new_tokens: int
    system: str = ""
    trust_remote_code: bool = False

    @property
    def dtype(self) -> str:
        return DTYPES[self.device]

    def describe(self, benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
        """The setting in words, for the report and for comparing variants."""
        modes = {benchmark.mode for benchmark in benchmarks}
        return {
            **asdict(self),
            "dtype": self.dtype,
            "prompt": "chat template of training",
            **{mode: text for mode, text in MODES.items() if mode in modes},
        }


def model_config(
    variant: str, model: Path, tokenizer: Path, context: int, setting: Setting
) -> dict[str, Any]:
    """The model's entry; `context` is the longest prompt and answer together, in tokens."""
    return {
        "type": f"{EXTENSION}.chat_model.ChatModel",
        "abbr": variant,
        "path": str(model.resolve()),
        "tokenizer_path": str(tokenizer.resolve()),
        "model_kwargs": {
            "device_map": setting.device,
            "torch_dtype": _OPENCOMPASS_DTYPES[setting.dtype],
            "trust_remote_code": setting.trust_remote_code,
        },
        "tokenizer_kwargs": {"trust_remote_code": setting.trust_remote_code},
        **_asked(context, setting),
        # 0 would hide the GPUs
        "run_cfg": {"num_gpus": 1 if setting.device == "cuda" else 0},
    }


def served_model_config(
    variant: str, name: str, url: str, context: int, setting: Setting
) -> dict[str, Any]:
    """The entry of a model behind an API, whose token is in the variable OPENAI_API_KEY.

    Args:
        variant: its name in the results.
        name: how the API calls it.
        url: of the API, "http://.../v1".
        context: the longest prompt and answer together, in tokens.
        setting: as of the other variants.
    """
    return {
        "type": f"{EXTENSION}.served_model.ServedModel",
        "abbr": variant,
        "path": name,
        "openai_api_base": url,
        # as many requests at a time as the others have prompts in a batch
        "max_workers": setting.batch_size,
        "temperature": 0.0,
        "http_client_cfg": {"trust_env": False},  # this machine, whatever proxy it has
        **_asked(context, setting),
        "run_cfg": {"num_gpus": 0},
    }


def _asked(context: int, setting: Setting) -> dict[str, Any]:
    """How every model is asked, wherever it is."""
    return {
        # OpenCompass' default turns the system prompt into a user's turn and appends a newline
        "meta_template": {
            "round": [
                {"role": "HUMAN", "api_role": "HUMAN"},
                {"role": "BOT", "api_role": "BOT", "generate": True},
            ],
            "reserved_roles": [{"role": "SYSTEM", "api_role": "SYSTEM"}],
        },
        "max_seq_len": context,
        "max_out_len": setting.max_new_tokens,
        "batch_size": setting.batch_size,
    }


def dataset_rows(benchmark: Benchmark, system: str) -> list[dict[str, str]]:
    """The rows of the JSON-lines file that OpenCompass reads of a benchmark.

    What is filled in after the question stands in columns with names that no text has between
    braces; `question` is what is asked last, or the plain text before the options part.
    """
    rows = []
    for question in benchmark.questions:
        row = {key: text for key, text in question.items() if key not in ("system", "subject")}
        if benchmark.plain:
            row["question"], ways = benchmark.plain_text(question)
            row |= {_way(letter): text for letter, text in ways.items()}
        else:
            *shown, (_, row["question"]) = benchmark.turns(question)
            row |= {_turn(number): text for number, (_, text) in enumerate(shown)}
        if benchmark.own_systems:
            # OpenCompass leaves out a turn without text
            row[SYSTEM_COLUMN] = question.get("system", system)
        rows.append(row)
    return rows


def _turn(number: int) -> str:
    """The column of a turn before the question."""
    return f"turn {number} before this question"


def _way(letter: str) -> str:
    """The column of how a plain text goes on."""
    return f"way {letter} to go on with this question"


def _template(benchmark: Benchmark, system: str) -> str | dict[str, Any]:
    """What OpenCompass fills the columns into."""
    if benchmark.plain:
        return "{question}"
    *shown, _ = benchmark.turns(benchmark.questions[0])
    template: dict[str, Any] = {
        "round": [
            *({"role": role, "prompt": f"{{{_turn(n)}}}"} for n, (role, _) in enumerate(shown)),
            {"role": "HUMAN", "prompt": "{question}"},
            {"role": "BOT", "prompt": ""},
        ]
    }
    if benchmark.own_systems:
        template["begin"] = [{"role": "SYSTEM", "prompt": f"{{{SYSTEM_COLUMN}}}"}]
    elif system:
        template["begin"] = [{"role": "SYSTEM", "prompt": system}]
    return template


def dataset_config(benchmark: Benchmark, path: Path, system: str) -> dict[str, Any]:
    """The entry of a benchmark whose `dataset_rows` lie in the JSON-lines file `path`."""
    options = list(benchmark.options)
    inferencer: dict[str, Any] = {"type": "opencompass.openicl.icl_inferencer.GenInferencer"}
    if benchmark.mode != "generation":
        inferencer = {
            "type": f"{EXTENSION}.option_inferencer.OptionPPLInferencer",
            "columns": {x: _way(x) if benchmark.plain else x for x in options},
            "plain": benchmark.plain,
        }
    if benchmark.kind == "qa":
        evaluator = {
            "type": f"{EXTENSION}.evaluators.AnswerEvaluator",
            "long_answers": benchmark.long_answers,
        }
    elif benchmark.mode == "generation":
        evaluator = {"type": f"{EXTENSION}.evaluators.LetterEvaluator", "labels": options}
    else:
        # letters are all of one length
        evaluator = {
            "type": f"{EXTENSION}.evaluators.ChoiceEvaluator",
            "normalise": benchmark.mode != "perplexity",
        }
    return {
        "abbr": benchmark.name,
        "type": "opencompass.datasets.custom.CustomDataset",
        "path": str(path.resolve()),
        "reader_cfg": {"input_columns": ["question"], "output_column": "answer"},
        "infer_cfg": {
            "prompt_template": {
                "type": "opencompass.openicl.icl_prompt_template.PromptTemplate",
                "template": _template(benchmark, system),
            },
            "retriever": {"type": "opencompass.openicl.icl_retriever.ZeroRetriever"},
            "inferencer": {**inferencer, "dump_timer": True},
        },
        "eval_cfg": {"evaluator": evaluator},
    }


def render(model: dict[str, Any], datasets: Sequence[dict[str, Any]]) -> str:
    """The text of a config file that runs all benchmarks of one model in one process."""

    def stage(task: str) -> dict[str, Any]:
        return {
            # so many benchmarks per task: the model is loaded once
            "partitioner": {
                "type": "opencompass.partitioners.NaivePartitioner",
                "n": len(datasets),
            },
            "runner": {
                "type": "opencompass.runners.LocalRunner",
                "max_num_workers": 1,
                "task": {"type": f"opencompass.tasks.{task}"},
            },
        }

    config = {
        "models": [model],
        "datasets": list(datasets),
        "infer": stage("OpenICLInferTask"),
        "eval": stage("OpenICLEvalTask"),
    }
    return "".join(
        f"{name} = {pprint.pformat(value, width=100, sort_dicts=False)}\n"
        for name, value in config.items()
    )
