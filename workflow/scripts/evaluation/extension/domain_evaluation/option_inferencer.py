"""Multiple choice by likelihood: which option would the model rather give as its answer?

Of a chat, what is scored is the text of an option as the answer (as `acc` of HellaSwag or ARC in
lm-evaluation-harness); of plain text, how it goes on with each option: by its letter, as C-Eval and
MMLU are asked, or by a sentence with the option in its blank. The letter form needs a model that
knows what "B" stands for; a small model that has never seen a question with letters would score at
chance there whatever it knows.
"""

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from opencompass.openicl.icl_inferencer.icl_base_inferencer import (
    BaseInferencer,
    dump_results_dict,
)
from tqdm import tqdm


class OptionPPLInferencer(BaseInferencer):
    """Score a text for each option, behind the question.

    OpenCompass' own PPLInferencer averages over the whole sequence, question included, which
    favours long options, and cannot take chat prompts. ("PPLInferencer" in the name makes its
    tables say "ppl", its word for likelihood.)

    Args:
        columns: by option, the column of the dataset that holds the text to score.
        plain: the prompts are plain text, which goes on without a break, and no chats.
        dump_timer: append the seconds to timer/time.jsonl, as GenInferencer does.
    """

    def __init__(
        self, columns: dict[str, str], plain: bool, dump_timer: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.columns, self.plain = columns, plain
        self.dump_timer = dump_timer

    def inference(
        self,
        retriever: Any,
        ice_template: Any = None,
        prompt_template: Any = None,
        output_json_filepath: str | None = None,
        output_json_filename: str | None = None,
    ) -> list[str]:
        folder = Path(output_json_filepath or self.output_json_filepath)
        name = output_json_filename or self.output_json_filename
        templates = [
            retriever.generate_prompt_for_generate_task(
                i,
                retriever.generate_ice(examples, ice_template=ice_template),
                ice_template=ice_template,
                prompt_template=prompt_template,
            )
            for i, examples in enumerate(retriever.retrieve())
        ]
        prompts = self.model.parse_template(templates, mode="gen")
        questions = list(retriever.test_ds)
        texts = [[question[column] for column in self.columns.values()] for question in questions]

        started = time.time()
        scores = list(self._plain(prompts, texts) if self.plain else self._chats(prompts, texts))
        seconds = time.time() - started

        output = retriever.dataset_reader.output_column
        results = {}
        for i, question in enumerate(questions):
            option_scores = {
                label: score._asdict() for label, score in zip(self.columns, scores[i], strict=True)
            }
            totals = {label: sum(score.values()) for label, score in option_scores.items()}
            results[str(i)] = {
                "origin_prompt": prompts[i],
                "prediction": max(totals, key=totals.__getitem__),
                "gold": question[output],
                "option_scores": option_scores,
            }
        if self.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            dump_results_dict(results, folder / name)
            if self.dump_timer:
                self._dump_timer(folder, Path(name).stem, seconds, len(questions))
        return [result["prediction"] for result in results.values()]

    def _chats(self, prompts: list[Any], texts: list[list[str]]) -> Iterator[tuple[Any, ...]]:
        """The scores of all options of each question, a batch of options at a time."""
        tasks = [
            (prompt, text) for prompt, each in zip(prompts, texts, strict=True) for text in each
        ]
        found: list[Any] = []
        for first in self._steps(len(tasks), self.batch_size):
            batch = tasks[first : first + self.batch_size]
            found += self.model.score_options(*map(list, zip(*batch, strict=True)))
        number = len(self.columns)
        return zip(*(found[place::number] for place in range(number)), strict=True)

    def _plain(self, prompts: list[str], texts: list[list[str]]) -> Iterator[Any]:
        """The same of plain texts, whose options are scored together."""
        size = max(1, self.batch_size // len(self.columns))
        for first in self._steps(len(prompts), size):
            batch = slice(first, first + size)
            yield from self.model.score_ways(prompts[batch], texts[batch])

    def _steps(self, number: int, size: int) -> Iterable[int]:
        return tqdm(range(0, number, size), disable=not self.is_main_process)

    @staticmethod
    def _dump_timer(folder: Path, dataset: str, seconds: float, questions: int) -> None:
        record = {"dataset_name": dataset, "time": seconds, "num_sample": questions}
        (folder / "timer").mkdir(exist_ok=True)
        with open(folder / "timer" / "time.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
