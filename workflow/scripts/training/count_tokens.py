"""Count the tokens of every training conversation, before a long training cuts or wastes some.

XTuner cuts a conversation at max_length without a word. Here each one is encoded as XTuner will
encode it; train.py stops if too many would be cut, or if one would lose its whole answer.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import launch_xtuner

# Lines that a process takes at once.
CHUNK = 2_000
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)


class Encoder:
    """Encodes lines of train.jsonl as XTuner does; one per process."""

    current: "Encoder"

    def __init__(self, config_path: Path):
        launch_xtuner.prepare()  # in a process of the pool, nobody else does
        from mmengine.config import Config
        from xtuner.registry import BUILDER

        self.config = Config.fromfile(config_path)
        self.tokenizer = BUILDER.build(self.config.tokenizer)

    def lengths(self, line: str) -> tuple[int, int]:
        """Tokens of a conversation, and how many of its answers' tokens max_length leaves."""
        from xtuner.dataset.map_fns import template_map_fn
        from xtuner.dataset.utils import encode_fn

        example = template_map_fn(json.loads(line), self.config.prompt_template)
        row = encode_fn(example, self.tokenizer, max_length=sys.maxsize)
        answer = sum(label >= 0 for label in row["labels"][: self.config.max_length])
        return len(row["input_ids"]), answer


def _start(config_path: Path) -> None:
    Encoder.current = Encoder(config_path)


def _lengths_of(lines: list[str]) -> list[tuple[int, int]]:
    return [Encoder.current.lengths(line) for line in lines]


def all_lengths(config: Path, train: Path, processes: int) -> Iterator[tuple[int, int]]:
    """Tokens, and answers' tokens left, of each line of train.jsonl in its order.

    Args:
        config: the rendered configuration of XTuner.
        train: conversations, one per line.
        processes: how many encode side by side.
    """
    with train.open(encoding="utf-8") as file:
        chunks = iter(lambda: list(itertools.islice(file, CHUNK)), [])
        first = next(chunks, [])
        if len(first) < CHUNK or processes == 1:
            # starting a process takes as long as encoding some thousand short conversations
            _start(config)
            for lines in itertools.chain([first], chunks):
                yield from _lengths_of(lines)
            return
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes, _start, (config,)) as pool:
            for counted in pool.imap(_lengths_of, itertools.chain([first], chunks)):
                yield from counted


def summary(lengths: Iterable[tuple[int, int]], max_length: int) -> dict:
    """What max_length does to conversations.

    Args:
        lengths: tokens, and answers' tokens left, of each conversation.
        max_length: tokens that XTuner keeps.

    Returns:
        Counts of `rows`, `tokens`, `answer_tokens`, `rows_cut`, `tokens_cut` and
        `rows_without_answer`; `quantiles`, the length in tokens by share of the rows.
    """
    sizes, answers, without = [], 0, 0
    for size, answer in lengths:
        sizes.append(size)
        answers += answer
        without += answer == 0
    sizes.sort()
    cut = [size for size in sizes if size > max_length]
    return {
        "rows": len(sizes),
        "tokens": sum(sizes),
        "answer_tokens": answers,
        "rows_cut": len(cut),
        "tokens_cut": sum(cut) - max_length * len(cut),
        "rows_without_answer": without,
        "max_length": max_length,
        "quantiles": {
            str(share): sizes[min(int(share * len(sizes)), len(sizes) - 1)] for share in QUANTILES
        }
        if sizes
        else {},
    }


def problem(counted: dict, max_truncated: float) -> str | None:
    """Why the conversations must not be trained on as they are, None if they may.

    Args:
        counted: result of `summary`.
        max_truncated: share of the conversations that may be cut, in [0, 1].
    """
    rows, limit = counted["rows"], counted["max_length"]
    if not rows:
        return (
            "train.jsonl holds no conversation. corpus.sources must give at least one question "
            "with an answer, or a chat, that is not held out."
        )
    if counted["rows_without_answer"]:
        return (
            f"{counted['rows_without_answer']} of {rows} conversations have no answer left within "
            f"max_length {limit}, so there is nothing to learn from them. Raise "
            "runs.RUN.training.max_length, or lower corpus.clean.max_question_chars."
        )
    if counted["rows_cut"] > max_truncated * rows:
        longest = ", ".join(
            f"{float(share):.1%} have at most {size}"
            for share, size in counted["quantiles"].items()
        )
        return (
            f"{counted['rows_cut']} of {rows} conversations ({counted['rows_cut'] / rows:.1%}) are "
            f"longer than max_length {limit} and would lose {counted['tokens_cut']} tokens; "
            f"{max_truncated:.1%} may be (runs.RUN.training.max_truncated). Of all, {longest} "
            "tokens. Raise runs.RUN.training.max_length, or lower corpus.clean.max_answer_chars, "
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

    lengths = all_lengths(arguments.config, arguments.train, arguments.threads)
    counted = summary(lengths, Config.fromfile(arguments.config).max_length)
    print(f"count_tokens: {counted}", flush=True)
    arguments.lengths.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
