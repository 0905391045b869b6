"""Write the records in a form that other trainers and libraries read.

Every format but parquet holds one side only: what is trained on, or of preference pairs what is
held out, to score a reward model. A format that has no form for a kind of
records, such as OpenAI's for documents, leaves these out and says how many.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from chat_forms import (
    CHAT_KINDS,
    Form,
    Messages,
    conversations,
    messages_of,
    of_kind,
    openai,
    sharegpt,
    turns,
)
from conversations import write_conversations
from files import NAME, RECORDS, pack_messages, read_batches, unpack_messages, write_jsonl


def with_system(messages: Messages, system: str) -> Messages:
    """The messages, the system prompt before them where they have no system message."""
    if system and messages[0][0] != "system":
        return [("system", system), *messages]
    return messages


def alpaca(records: Path, system: str) -> Iterator[dict]:
    """{"instruction", "input", "output", "history"?, "system"?} of each conversation.

    The last turn is instruction and output, those before it are the history; the turns are those
    of XTuner's form (chat_forms.xtuner).
    """
    for batch in conversations(records, "train"):
        for messages in messages_of(batch):
            *history, (question, answer) = turns(messages)
            row: dict = {"instruction": question, "input": "", "output": answer}
            if history:
                row["history"] = history
            role, content = with_system(messages, system)[0]
            if role == "system":
                row["system"] = content
            yield row


def xtuner_pretrain(records: Path, system: str) -> Iterator[dict]:
    """Documents as XTuner's pre-training reads them; a system prompt has no place in them."""
    del system
    for batch in of_kind(records, "train", "text", "text"):
        for text in batch.column("text").to_pylist():
            yield {"conversation": [{"input": "", "output": text}]}


def xtuner_preference(records: Path, system: str, side: str = "train") -> Iterator[dict]:
    """{"prompt", "chosen", "rejected"}, lists of messages, as XTuner's DPO, ORPO and RM want."""
    names = ("messages", "chosen", "rejected")
    for batch in of_kind(records, side, "preference", *names):
        columns = (unpack_messages(batch.column(name)) for name in names)
        for prompt, better, worse in zip(*columns, strict=True):
            yield {
                "prompt": _as_mappings(with_system(prompt, system)),
                "chosen": _as_mappings(better),
                "rejected": _as_mappings(worse),
            }


def _as_mappings(messages: Messages) -> list[dict]:
    return [{"role": role, "content": content} for role, content in messages]


def write_parquet(records: Path, out: Path, system: str) -> int:
    """Write all records of both sides; returns how many there are.

    The messages are those that are trained on, system prompt and options included; the column
    `split` tells the side.
    """
    # plain texts: of Arrow's dictionaries pandas makes categories
    names = [field.name for field in RECORDS if field.type == NAME]
    schema = pa.schema(
        [field.with_type(pa.string()) if field.name in names else field for field in RECORDS]
    )
    number = 0
    with pq.ParquetWriter(out, schema, compression="zstd", write_statistics=False) as writer:
        for batch in read_batches(records):
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            if system or pc.any(pc.equal(_texts(batch, "kind"), "choice")).as_py():
                columns["messages"] = _trained_messages(batch, system)
            columns |= {
                field.name: _texts(batch, field.name) for field in RECORDS if field.type == NAME
            }
            arrays = [columns[name] for name in schema.names]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            number += batch.num_rows
    return number


def _trained_messages(batch: pa.RecordBatch, system: str) -> pa.ListArray:
    """The column of messages as the conversations and prompts of training have it."""
    trained = iter(messages_of(batch.filter(_is_chat(batch))))
    return pack_messages(
        [
            messages and with_system(next(trained) if chat else messages, system)
            for messages, chat in zip(
                unpack_messages(batch.column("messages")), _is_chat(batch).to_pylist(), strict=True
            )
        ]
    )


def _is_chat(batch: pa.RecordBatch) -> pa.BooleanArray:
    return pc.is_in(_texts(batch, "kind"), value_set=pa.array(CHAT_KINDS))


def _texts(batch: pa.RecordBatch, name: str) -> pa.StringArray:
    return batch.column(name).cast(pa.string())


FORMS: dict[str, Form] = {"openai": openai, "sharegpt": sharegpt}
ROWS: dict[str, Callable[[Path, str], Iterator[dict]]] = {
    "alpaca": alpaca,
    "xtuner_pretrain": xtuner_pretrain,
    "xtuner_preference": xtuner_preference,
}
KINDS = {"xtuner_pretrain": ("text",), "xtuner_preference": ("preference",)}  # else CHAT_KINDS
FORMATS = (*FORMS, *ROWS, "parquet")


def left_out(records: Path, name: str) -> Counter[str]:
    """Number of records to train on that a format has no form for, by kind."""
    counts: Counter[str] = Counter()
    for batch in read_batches(records, ["kind", "split"]):
        trained = batch.filter(pc.equal(_texts(batch, "split"), "train"))
        for count in pc.value_counts(_texts(trained, "kind")).to_pylist():
            counts[count["values"]] += count["counts"]
    for kind in KINDS.get(name, CHAT_KINDS):
        counts.pop(kind, None)
    return counts


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--system", required=True, help="system prompt, may be empty")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument(
        "--side", choices=("train", "heldout"), default="train", help="heldout: preference pairs"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--threads", type=int, default=1, help="do not change the result")
    args = parser.parse_args(argv)
    if args.side == "heldout":
        if args.format != "xtuner_preference":
            parser.error("--side heldout is for xtuner_preference")
        number = write_jsonl(args.out, xtuner_preference(args.records, args.system, args.side))
        print(f"{args.out}: {number:,} held-out pairs")
        return 0
    if args.format == "parquet":
        number = write_parquet(args.records, args.out, args.system)
    elif args.format in FORMS:
        number = write_conversations(
            args.records, args.out, FORMS[args.format], args.system, args.threads
        )
    else:
        number = write_jsonl(args.out, ROWS[args.format](args.records, args.system))
    print(f"{args.out}: {number:,} records as {args.format}")
    if args.format != "parquet":
        for kind, count in sorted(left_out(args.records, args.format).items()):
            print(f"{count:,} records of the kind {kind} have no form in {args.format}: left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
