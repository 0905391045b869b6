"""What benchmarks/corpus.py compares with: corpus_baselines.py NAME DUMP OUT.

Each turns the dump of recipes into conversations as somebody would do it by hand, or does only the
part of the work that nobody can do without.
"""

import hashlib
import json
import os
import sys
from pathlib import Path


def question(row: dict) -> str:
    """What the templates of `SOURCE` in corpus.py make of a recipe."""
    return f"{row['name']}怎么做？"


def answer(row: dict) -> str:
    """See `question`."""
    steps = (f"{number}. {step}" for number, step in enumerate(row["recipeInstructions"], 1))
    return "用料：\n" + "\n".join(row["recipeIngredient"]) + "\n做法：\n" + "\n".join(steps)


def conversation(row: dict) -> dict:
    """A recipe in the form that XTuner reads."""
    return {"conversation": [{"input": question(row), "output": answer(row)}]}


def tutorial(dump: str, out: str) -> None:
    """Everything into a list, that into another one, and one json.dump."""
    rows = []
    with open(dump, encoding="utf-8") as file:
        for line in file:
            rows.append(json.loads(line))
    conversations = [conversation(row) for row in rows]
    with open(out, "w", encoding="utf-8") as file:
        json.dump(conversations, file, ensure_ascii=False)


def datasets(dump: str, out: str) -> None:
    """Hugging Face datasets with two processes."""
    from datasets import load_dataset

    rows = load_dataset("json", data_files=dump, split="train")
    rows = rows.map(conversation, remove_columns=rows.column_names, num_proc=2)
    rows.to_json(out, force_ascii=False, num_proc=2)


def read(dump: str, out: str) -> None:
    """The bytes of the file."""
    with open(dump, "rb", buffering=0) as file:
        while file.read(2**20):
            pass


def orjson_parse(dump: str, out: str) -> None:
    """Every line parsed and forgotten, in one process."""
    import orjson

    with open(dump, "rb") as file:
        for line in file:
            orjson.loads(line)


def orjson_parse_2(dump: str, out: str) -> None:
    """The same in two processes, half of the file each."""
    import orjson

    half = os.path.getsize(dump) // 2
    child = os.fork()
    with open(dump, "rb") as file:
        if not child:
            file.seek(half)
            file.readline()
        while (child == 0 or file.tell() <= half) and (line := file.readline()):
            orjson.loads(line)
    if not child:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def pyarrow_parse(dump: str, out: str) -> None:
    """A table in memory, by all cores."""
    from pyarrow import json as arrow_json

    arrow_json.read_json(dump)


def check(dump: str, folder: str) -> None:
    """Say whether all results hold the same conversations; the tutorial's is the yardstick.

    Ours has a side of each row and leaves rows out, each with a reason: every row has to be in one
    place, every record has to be the conversation of its line, and train.jsonl has to be those
    records that are meant for training, in their order.
    """
    import pyarrow.parquet as pq

    results = Path(folder)
    wanted = [_digest(pair) for pair in _pairs(results / "tutorial.json", whole=True)]
    print(f"tutorial: {len(wanted):,} conversations")
    if (results / "datasets.json").exists():
        assert [_digest(pair) for pair in _pairs(results / "datasets.json")] == wanted, "datasets"
        print("datasets: the same ones")

    left = set(range(len(wanted)))
    train = []
    with pq.ParquetFile(results / "records.parquet") as file:
        columns = ["locator", "split", "messages"]
        for batch in file.iter_batches(batch_size=10_000, columns=columns):
            for record in batch.to_pylist():
                number = int(record["locator"].removeprefix("line ")) - 1
                user, assistant = (message["content"] for message in record["messages"])
                assert _digest((user, assistant)) == wanted[number], record["locator"]
                left.remove(number)
                if record["split"] == "train":
                    train.append(wanted[number])
    reasons: dict[str, int] = {}
    with (results / "rejected.jsonl").open("rb") as file:
        for line in file:
            row = json.loads(line)
            left.remove(int(row["locator"].removeprefix("line ")) - 1)
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    assert not left, f"lost: {sorted(left)[:10]}"
    assert [_digest(pair) for pair in _pairs(results / "train.jsonl")] == train, "train.jsonl"
    kept = len(wanted) - sum(reasons.values())
    print(f"ours: {kept:,} kept, of which {len(train):,} to train on, all equal; {reasons}")


def _pairs(path: Path, whole: bool = False):
    with path.open(encoding="utf-8") as file:
        values = json.load(file) if whole else map(json.loads, file)
        for value in values:
            (turn,) = value["conversation"]
            yield turn["input"], turn["output"]


def _digest(pair: tuple[str, str]) -> bytes:
    return hashlib.blake2b("\0".join(pair).encode(), digest_size=12).digest()


WAYS = [tutorial, datasets, read, orjson_parse, orjson_parse_2, pyarrow_parse, check]

if __name__ == "__main__":
    name, dump, out = sys.argv[1:]
    next(way for way in WAYS if way.__name__ == name)(dump, out)
