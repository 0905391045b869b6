"""Write the questions of the evaluation: held-out, recalled, with four options, and preferences.

A question is the first one of a conversation, which needs no other to be understood, and its answer
the one it got; a multiple-choice question shows its options, as in training. A row whose record has
a system message of its own has it as "system"; the others are asked with the configured one.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from chat_forms import Messages, choice_texts, conversations, messages_of, of_kind, turns
from choices import LETTERS, POOL_KEY, multiple_choice
from conversations import draw, rows_at, sample
from files import unpack_messages, write_jsonl
from normalise import digest, normalise

PAIR = ("messages", "chosen", "rejected")
# With options, no more questions than these are asked, so that finding wrong ones takes a minute at
# most; more data displaces only what it has to. Without options all are.
MCQ_LIMIT = 20_000


def questions_of(batch: pa.RecordBatch) -> Iterator[dict]:
    """{"id", "question", "answer", "system"?} of each conversation in a batch with ids."""
    for record_id, messages in zip(batch.column("id").to_pylist(), messages_of(batch), strict=True):
        question, answer = turns(messages)[0]
        yield {"id": record_id, "question": question, "answer": answer, **own_system(messages)}


def own_system(messages: Messages) -> dict[str, str]:
    """{"system": ...} of a conversation or prompt that brings its own system message, else {}."""
    role, content = messages[0]
    return {"system": content} if role == "system" else {}


def heldout_questions(records: Path) -> Iterator[dict]:
    """The questions that are not trained on, in the order of the records."""
    for batch in conversations(records, "heldout", "id"):
        yield from questions_of(batch)


def option_questions(records: Path, seed: int) -> list[dict]:
    """Held-out questions with four options, in the order of the records.

    A multiple-choice question has its own options. It shows them as in training, and what is chosen
    from is what training teaches to answer: "B. ...". The other questions show none; their wrong
    options are answers to similar questions.

    Returns:
        {"id", "question", "A", "B", "C", "D", "answer", "system"?} each, where answer is the
        letter.
    """
    numbers = draw(records, "heldout", MCQ_LIMIT, POOL_KEY)
    rows: dict[str, dict | None] = {}
    systems: dict[str, dict[str, str]] = {}
    others = []
    for batch in rows_at(records, numbers, "id"):
        kinds, options = (batch.column(name).to_pylist() for name in ("kind", "options"))
        said = unpack_messages(batch.column("messages"))
        for item, kind, messages, offered in zip(
            questions_of(batch), kinds, said, options, strict=True
        ):
            if kind == "choice":
                (_, question), (_, answer) = messages[-2:]
                rows[item["id"]] = own_options(item["id"], question, offered, answer)
            else:
                rows[item["id"]] = None
                others.append(item)
            systems[item["id"]] = own_system(messages)
    rows |= {row["id"]: row for row in multiple_choice(others, seed)}
    return [row | systems[row["id"]] for row in rows.values() if row]


def own_options(record_id: str, question: str, options: list[str], answer: str) -> dict | None:
    """A multiple-choice question as one of the evaluation; None without four different options."""
    if len(options) != len(LETTERS) or len(set(map(normalise, options))) < len(LETTERS):
        return None
    put, lines, right = choice_texts(question, options, answer)
    return {
        "id": record_id,
        "question": put,
        **dict(zip(LETTERS, lines, strict=True)),
        "answer": LETTERS[lines.index(right)],
    }


def preference_questions(records: Path, seed: int) -> tuple[list[dict], int]:
    """Held-out preference pairs as questions with two options, in the order of the records.

    Returns:
        {"id", "question", "A", "B", "answer", "system"?} each, where answer is the letter of the
        better one; and how many pairs are left out, because their prompt or an answer is more than
        one message, or both answers have become the same.
    """
    rows, left_out = [], 0
    for batch in of_kind(records, "heldout", "preference", "id", *PAIR):
        columns = (unpack_messages(batch.column(name)) for name in PAIR)
        for record_id, prompt, better, worse in zip(
            batch.column("id").to_pylist(), *columns, strict=True
        ):
            asked = [content for role, content in prompt if role != "system"]
            texts = [better[0][1], worse[0][1]]
            if len(asked) + len(better) + len(worse) > 3 or len(set(texts)) < 2:
                left_out += 1
                continue
            order = sorted((0, 1), key=lambda n: digest("preference", seed, record_id, n))
            rows.append(
                {
                    "id": record_id,
                    "question": asked[0],
                    **{letter: texts[n] for letter, n in zip("AB", order, strict=True)},
                    "answer": "AB"[order.index(0)],
                    **own_system(prompt),
                }
            )
    return rows, left_out


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--recall-size", type=int, required=True, help="number of recalled ones")
    parser.add_argument("--heldout", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--recall", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--heldout-mcq", type=Path, required=True, help="JSON lines to write")
    parser.add_argument(
        "--heldout-preference", type=Path, required=True, help="JSON lines to write"
    )
    parser.add_argument("--required", nargs="*", default=[], help="files that must not be empty")
    args = parser.parse_args(argv)
    recalled = sample(args.records, args.recall_size, "recall", args.seed)
    pairs, left_out = preference_questions(args.records, args.seed)
    questions = {
        args.heldout: heldout_questions(args.records),
        args.recall: questions_of(recalled),
        args.heldout_mcq: option_questions(args.records, args.seed),
        args.heldout_preference: pairs,
    }
    written = {path: write_jsonl(path, rows) for path, rows in questions.items()}
    for path, number in written.items():
        print(f"{path}: {number:,} questions")
        if not number and path.stem in args.required:
            sys.exit(
                f"questions: the benchmark {path.stem} would have no questions. Add rows to "
                "corpus.sources (four options need four different held-out answers, preferences "
                "need pairs of a chosen and a rejected answer to one question), raise "
                f"corpus.split.heldout, or take {path.stem} out of evaluation.benchmarks."
            )
    skipped = written[args.heldout] - written[args.heldout_mcq]
    if skipped:
        print(
            f"{skipped:,} held-out questions have no form with four options: their own are not "
            f"four different ones, no three wrong ones can be found, or they are not among the "
            f"{MCQ_LIMIT:,} that get options"
        )
    if left_out:
        print(
            f"{left_out:,} held-out preference pairs have no form with two options: their prompt "
            "or an answer is more than one message, or both answers are the same"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
