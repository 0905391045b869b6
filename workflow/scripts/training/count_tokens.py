"""Count the tokens of every training row, before a long training cuts or wastes some.

XTuner cuts a conversation, a text or an answer at max_length without a word. Here each one is
encoded as XTuner will encode it; train.py stops if too many would be cut, or if one would teach
nothing.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import launch_xtuner

# Lines that a process takes at once.
CHUNK = 2_000
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
# What the rows of a method are, and the key of the corpus that makes them shorter.
ROWS = {
    "pt": ("texts", "corpus.sources"),
    "sft": ("conversations", "corpus.clean.max_answer_chars"),
    "dpo": ("pairs", "corpus.clean.max_answer_chars"),
    "orpo": ("pairs", "corpus.clean.max_answer_chars"),
    "reward": ("pairs", "corpus.clean.max_answer_chars"),
}


class RowError(Exception):
    """A row that cannot be encoded; the text says why."""


@dataclass(frozen=True)
class Length:
    """What encoding makes of a row.

    Attributes:
        tokens: number of tokens; of a pair that of its longer side.
        learned: tokens within max_length that are trained on; of a pair those of the side that has
            fewer. 0 if the row teaches nothing.
        same: a pair whose two sides are the same within max_length.
    """

    tokens: int
    learned: int
    same: bool = False


class Encoder:
    """Encodes lines of the training file as XTuner does; one per process."""

    current: "Encoder"

    def __init__(self, config_path: Path):
        launch_xtuner.prepare()  # in a process of the pool, nobody else does
        from mmengine.config import Config
        from xtuner.dataset.utils import get_bos_eos_token_ids
        from xtuner.registry import BUILDER

        self.config = Config.fromfile(config_path)
        self.tokenizer = BUILDER.build(self.config.tokenizer)
        # a packed text that is too long goes on in the next pack
        packed_text = self.config.method == "pt" and self.config.pack_to_max_length
        self._limit = sys.maxsize if packed_text else self.config.max_length
        bos, eos = get_bos_eos_token_ids(self.tokenizer)
        if bos is None or eos is None:
            raise RowError(
                f"the tokenizer of {self.config.pretrained_model_name_or_path} names no begin or "
                "no end of sequence, and XTuner writes both."
            )

    def length(self, line: str) -> Length:
        """Encode a line of the training file.

        Raises:
            RowError: the prompt template has no place for a part of the row.
        """
        row = json.loads(line)
        return self._pair(row) if "chosen" in row else self._conversation(row)

    def _conversation(self, row: dict) -> Length:
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn

        if self.config.method == "sft":
            self._check_system(any(turn.get("system") for turn in row["conversation"]))
            row = template_map_fn(row, self.config.prompt_template)
        encoded = encode_fn(row, self.tokenizer, max_length=sys.maxsize)
        learned = sum(label >= 0 for label in encoded["labels"][: self._limit])
        return Length(len(encoded["input_ids"]), learned)

    def _pair(self, row: dict) -> Length:
        from xtuner.dataset.preference_dataset import tokenize

        self._check_system(any(message["role"] == "system" for message in row["prompt"]))
        roles = {message["role"] for message in row["prompt"]} - {"system", "user", "assistant"}
        if roles:
            raise RowError(
                f"the prompt has a message of {', '.join(sorted(roles))}; XTuner's prompt "
                "templates know system, user and assistant."
            )
        if any(len(row[side]) != 1 for side in ("chosen", "rejected")):
            raise RowError(
                "an answer of the pair is a conversation of its own, whose questions would be "
                "trained on too; give the two answers to the first question that they differ in."
            )
        encoded = tokenize(row, self.tokenizer, max_length=sys.maxsize)
        chosen, rejected = encoded["chosen_ids"], encoded["rejected_ids"]
        learned = min(
            sum(label >= 0 for label in encoded[f"{side}_labels"][: self._limit])
            for side in ("chosen", "rejected")
        )
        same = chosen[: self._limit] == rejected[: self._limit]
        return Length(max(len(chosen), len(rejected)), learned, same)

    def _check_system(self, has_system: bool) -> None:
        if has_system and not self.config.prompt_template.get("SYSTEM"):
            raise RowError(
                "XTuner's prompt template of this base model has no place for a system prompt; "
                "leave corpus.system empty, or take another prompt_template."
            )


def _start(config_path: Path) -> None:
    Encoder.current = Encoder(config_path)


def _lengths_of(chunk: list[tuple[int, str]]) -> list[Length]:
    lengths = []
    for number, line in chunk:
        try:
            lengths.append(Encoder.current.length(line))
        except RowError as error:
            raise RowError(f"line {number}: {error}") from None
    return lengths


def all_lengths(config: Path, train: Path, processes: int) -> Iterator[Length]:
    """The length of each line of the training file in its order.

    Args:
        config: the rendered configuration of XTuner.
        train: conversations, texts or pairs, one per line.
        processes: how many encode side by side.

    Raises:
        RowError: see `Encoder`.
    """
    with train.open(encoding="utf-8") as file:
        numbered = enumerate(file, start=1)
        chunks = iter(lambda: list(itertools.islice(numbered, CHUNK)), [])
        first = next(chunks, [])
        if len(first) < CHUNK or processes == 1:
            # starting a process takes as long as encoding some thousand short conversations
            _start(config)
            for chunk in itertools.chain([first], chunks):
                yield from _lengths_of(chunk)
            return
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes, _start, (config,)) as pool:
            for counted in pool.imap(_lengths_of, itertools.chain([first], chunks)):
                yield from counted


def summary(lengths: Iterable[Length], method: str, max_length: int, packed: bool) -> dict:
    """What max_length does to the rows.

    Args:
        lengths: of each row.
        method: of the stage.
        max_length: tokens that XTuner keeps of a row.
        packed: whether rows are put into packs of max_length; texts are not cut then.

    Returns:
        `method` and counts: `rows`, `tokens`, `answer_tokens` (trained on), `rows_cut`,
        `tokens_cut`, `rows_without_answer`, `pairs_alike`; `quantiles`, the length in tokens by
        share of the rows.
    """
    sizes, answers, without, alike = [], 0, 0, 0
    for length in lengths:
        sizes.append(length.tokens)
        answers += length.learned
        without += length.learned == 0
        alike += length.same
    sizes.sort()
    whole = method == "pt" and packed
    cut = [] if whole else [size for size in sizes if size > max_length]
    return {
        "method": method,
        "rows": len(sizes),
        "tokens": sum(sizes),
        "answer_tokens": answers,
        "rows_cut": len(cut),
        "tokens_cut": sum(cut) - max_length * len(cut),
        "rows_without_answer": without,
        "pairs_alike": alike,
        "max_length": max_length,
        "quantiles": {
            str(share): sizes[min(int(share * len(sizes)), len(sizes) - 1)] for share in QUANTILES
        }
        if sizes
        else {},
    }


def problem(counted: dict, max_truncated: float) -> str | None:
    """Why the rows must not be trained on as they are, None if they may.

    Args:
        counted: result of `summary`.
        max_truncated: share of the rows that may be cut, in [0, 1].
    """
    rows, limit = counted["rows"], counted["max_length"]
    name, shorter = ROWS[counted["method"]]
    if not rows:
        needed = {
            "texts": "a text",
            "conversations": "a question with an answer, or a chat,",
            "pairs": "a prompt with a better and a worse answer",
        }
        return (
            f"there are no {name} to train on. corpus.sources must give at least {needed[name]} "
            "that is not held out."
        )
    if counted["rows_without_answer"]:
        return (
            f"{counted['rows_without_answer']} of {rows} {name} have no answer left within "
            f"max_length {limit}, so there is nothing to learn from them. Raise "
            "runs.RUN.training.max_length, or lower corpus.clean.max_question_chars."
        )
    if counted["pairs_alike"]:
        return (
            f"the two answers of {counted['pairs_alike']} of {rows} pairs are the same within "
            f"max_length {limit}, so there is nothing to learn from them. Raise "
            "runs.RUN.training.max_length, or lower corpus.clean.max_answer_chars."
        )
    if counted["rows_cut"] > max_truncated * rows:
        longest = ", ".join(
            f"{float(share):.1%} have at most {size}"
            for share, size in counted["quantiles"].items()
        )
        return (
            f"{counted['rows_cut']} of {rows} {name} ({counted['rows_cut'] / rows:.1%}) are "
            f"longer than max_length {limit} and would lose {counted['tokens_cut']} tokens; "
            f"{max_truncated:.1%} may be (runs.RUN.training.max_truncated). Of all, {longest} "
            f"tokens. Raise runs.RUN.training.max_length, or shorten them ({shorter}), "
            "or allow a larger share to be cut."
        )
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="rendered for XTuner")
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lengths", type=Path, required=True, help="json file to write")
    arguments = parser.parse_args()

    launch_xtuner.prepare()
    from mmengine.config import Config

    config = Config.fromfile(arguments.config)
    try:
        counted = summary(
            all_lengths(arguments.config, arguments.train, arguments.threads),
            config.method,
            config.max_length,
            config.pack_to_max_length,
        )
    except RowError as error:
        sys.exit(f"count_tokens: {arguments.train}: {error}")
    print(f"count_tokens: {counted}", flush=True)
    arguments.lengths.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
