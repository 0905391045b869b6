"""Damages files of every format at random and reads them.

test_corpus_fuzz.py runs some hundred cases. Many more by hand, in the environment `data`:

    python tests/unit/data/corpus_fuzz.py --cases 20000 --seed 7

A case that ends in anything but rows, reasons or a message of one line is printed with its number;
`--only NUMBER` runs it again and leaves its file in the folder.
"""

import argparse
import collections
import faulthandler
import json
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from io import BytesIO
from pathlib import Path

import corpus_writers as make

SECONDS = 20
MEMORY = 2**30
TEXTS = [".csv", ".tsv", ".json", ".jsonl", ".txt", ".md"]
# What means something to one of the parsers.
TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\0", b"\xff", b"\xfe", b"\r", b"\n"),
    *(b"<", b"&", b"&#0;", b"&#xD800;", b"<!--", b"]]>", b"</", b"<?", b"PK\3\4", b"\xef\xbb\xbf"),
    *(b"\\ud800", b"1e999", b"-", b"NaN", b"null", b"\x1b", b"\xe4\xb8", b"\xed\xa0\x80", b'""'),
    *("锟斤拷".encode(), "\ufffd".encode(), "Ã©".encode(), b"=1+1", b"->", b"\t", b"|", b";"),
    *(b"9" * 400, b"[" * 3000, b'{"a":' * 3000, b"(" * 300, b" " * 1000, b"\n" * 300),
]


class Hang(BaseException):
    """A case took too long; no handler of damage may take it for one."""


def seeds(folder: Path) -> dict[str, list[bytes]]:
    """Bytes of sound files by suffix."""
    path = folder / "seed"

    def made(write, *arguments) -> bytes:
        return write(path, *arguments).read_bytes()

    sayings = ["天安门在哪里", "安徽的省会", "1 + 1 = ?", 'What is "it"', "第一行\n第二行", "=2+3"]
    chats = [
        make.Record("chat", (("user", f"{text}？{n}"), ("assistant", f"答{n}")))
        for n, text in enumerate(sayings * 2)
    ]
    long = make.Record("chat", (("system", "助手"), *chats[0].messages, *chats[1].messages))
    choices = [
        make.Record(
            "choice",
            (("user", f"哪一个是第{n}个？"), ("assistant", f"北京{n}")),
            options=(f"上海{n}", f"北京{n}", f"广州{n}"),
        )
        for n in range(6)
    ]
    one, other = (
        make.Record(
            "preference", (("user", f"问{n}"),), (("assistant", "好"),), (("assistant", "坏"),)
        )
        for n in range(2)
    )
    pairs = [make.question_answer(record) for record in chats]
    letters = [make.choice_columns(record) for record in choices]
    mixed = [
        *(make.xtuner(long), make.openai(long), make.sharegpt(long), make.alpaca(long)),
        *(make.moss(long), *pairs[:3], *(make.choice_list(record) for record in choices[:2])),
        *(make.preference_texts(one), make.preference_lists(other), {"text": "一段文字"}),
        {"name": "x", "note": [1, {"a": None}]},
    ]
    numbered = "".join(
        make.paragraph(line)
        for line in ("1. 安徽的省会是（ ）", "A. 合肥  B. 芜湖", "C. 安庆", "答案：A", "解析：略")
    )
    arrows = [(pair["question"].replace("\n", " "), pair["answer"]) for pair in pairs]
    cells = [list(pairs[0]), *(list(pair.values()) for pair in pairs), ["数", 1.5]]
    paragraphs = "\n\n".join(
        f"# 第{n}章\n\n{pair['question']} 一段文字" for n, pair in enumerate(pairs)
    )
    files = {
        ".docx": [
            made(make.write_docx_pairs, arrows),
            made(make.write_docx_table, pairs),
            made(make.write_docx_xml, numbered * 3 + make.paragraph("无关的一行")),
        ],
        ".xlsx": [made(make.write_xlsx, pairs), made(make.write_xlsx, letters)],
        ".xls": [made(make.write_xls, cells)],
        ".csv": [
            made(make.write_csv, pairs),
            made(make.write_csv, letters, ";", "gb18030"),
            made(make.write_csv, pairs, "\t", "utf-16"),
            made(make.write_csv, [make.openai(long)] * 2),
        ],
        ".tsv": [made(make.write_csv, pairs, "\t")],
        ".json": [
            made(make.write_json, pairs, 2),
            made(make.write_json, {"version": 1, "data": mixed}),
            made(make.write_json, mixed, None, False),
        ],
        ".jsonl": [made(make.write_jsonl, mixed), made(make.write_jsonl, pairs, False, "\r\n")],
        ".parquet": [
            made(make.write_parquet, pairs),
            made(make.write_parquet, [make.openai(long), make.openai(chats[0])]),
            made(make.write_parquet, [make.choice_list(record) for record in choices]),
        ],
        ".txt": [paragraphs.encode(), paragraphs.encode("utf-16")],
        ".md": [paragraphs.encode()],
    }
    for suffix in (".csv", ".jsonl", ".txt"):
        for packing in (".gz", ".zst"):
            path.write_bytes(files[suffix][0])
            files[suffix + packing] = [make.packed(path, packing).read_bytes()]
    return files


# --------------------------------------------------------------------------------------- damage


def truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwrite(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    new = rng.randbytes(rng.choice([1, 2, 4, 8, 50]))
    return data[:start] + new + data[start + len(new) :]


def insert(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice([1, 1, 3])):
        start = rng.randrange(len(data) + 1)
        new = rng.choice(TOKENS) if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 30))
        data = data[:start] + new + data[start:]
    return data


def repeat(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start:end] * rng.choice([1, 1, 2, 10]) + data[end:]


def delete(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice([1, 1, 2, 10, 100]) :]


def largest_numbers(rng: random.Random, data: bytes) -> bytes:
    """Sizes and positions that a binary format states, blown up."""
    start = rng.randrange(max(1, len(data) - 8))
    new = rng.choice([b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"\xff" * 8])
    return data[:start] + new + data[start + len(new) :]


DAMAGE = (truncate, flip_bits, overwrite, insert, insert, repeat, delete, largest_numbers)


def within_archive(rng: random.Random, data: bytes, change) -> bytes:
    """The archive with one of its parts changed, so that its check sums are right."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(parts))
    parts[name] = change(rng, parts[name]) if parts[name] else b"x"
    if rng.random() < 0.05:
        del parts[name]
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return target.getvalue()


def case(
    files: dict[str, list[bytes]], seed: int, number: int, only: str
) -> tuple[str, str, bytes]:
    """Suffix, what was done and bytes of a case; the same ones for the same numbers."""
    rng = random.Random(f"{seed}-{number}")
    suffix = only or rng.choice(list(files))
    data = rng.choice(files[suffix])
    done = []
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        change = rng.choice(DAMAGE)
        if suffix in (".docx", ".xlsx") and rng.random() < 0.7 and not done:
            data = within_archive(rng, data, change)
            done.append(f"{change.__name__} within")
        elif data:
            data = change(rng, data)
            done.append(change.__name__)
    if not only and rng.random() < 0.1:
        suffix = rng.choice(list(files))
        done.append("other suffix")
    return suffix, ", ".join(done), data


# -------------------------------------------------------------------------------------- running


def expired(number: int, frame: object) -> None:
    raise Hang(f"took longer than {SECONDS} s")


def run_case(path: Path, whole_stage: bool) -> str:
    """How a case ended: "refused", "rejected" (all its rows) or "rows".

    Raises:
        BaseException: as it should not have ended.
    """
    options = {"path": str(path)}
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True)  # code in C sees no signal
    try:
        if whole_stage:
            make.run_stage(path.parent / "out", options)
            return "whole stage"
        rows = make.read_source(path.parent / "out", options)
        return "rows" if any(row["reason"] is None for row in rows) else "rejected"
    except make.Refused:
        return "refused"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def main() -> int:
    """Command line; returns 1 where a case has ended as it should not have."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", default="", help="suffix (default: all formats)")
    parser.add_argument("--stage", type=float, default=0.1, help="share that runs the whole stage")
    parser.add_argument("--only", type=int, help="run this case")
    parser.add_argument("--folder", type=Path, help="where the file of the case stays")
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, expired)
    ends: collections.Counter = collections.Counter()
    failures = []
    started, slowest = time.perf_counter(), (0.0, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        folder.mkdir(exist_ok=True)
        files = seeds(folder)
        for number in range(args.cases) if args.only is None else [args.only]:
            suffix, done, data = case(files, args.seed, number, args.format)
            path = folder / f"case{suffix}"
            path.write_bytes(data)
            begun = time.perf_counter()
            try:
                ends[run_case(path, random.Random(number).random() < args.stage)] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                text = "".join(traceback.format_exception(error)[-3:])
                failures.append({"case": number, "suffix": suffix, "done": done, "error": text})
                print(f"case {number} ({suffix}: {done}): {text}", file=sys.stderr, flush=True)
            slowest = max(slowest, (time.perf_counter() - begun, number))
            if args.folder is None:
                path.unlink()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {
        "ends": ends,
        "failures": failures,
        "slowest": slowest,
        "memory": memory,
        "seconds": time.perf_counter() - started,
    }
    print(json.dumps(result))
    return 1 if failures or memory > MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
