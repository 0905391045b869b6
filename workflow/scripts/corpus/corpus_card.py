"""Write the corpus as a Hugging Face dataset card, and a chart of the lengths of its texts.

The card shows no held-out question: its samples are drawn from the training side, and of rejected
rows only the place is named.
"""

import argparse
import json
import math
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import py3langid
import pyarrow as pa
import pyarrow.compute as pc
from chat_forms import CHAT_KINDS, messages_of
from conversations import draw, rows_at
from exports import with_system
from files import flat_messages, read_batches, read_jsonl, unpack_messages
from matplotlib.ticker import PercentFormatter

KINDS = ("chat", "choice", "text", "preference")
SIDES = ("train", "heldout")
SAMPLES = 5
# Languages are told from so many records at most, and listed from this share on.
LANGUAGE_SAMPLE = 1_000
LANGUAGE_SHARE = 0.05
# Of one text, so many characters are shown, and looked at for its language; and of a conversation
# so many messages.
SHOWN = 600
SHOWN_MESSAGES = 6
TASKS = {
    "chat": ["question-answering", "text-generation"],
    "choice": ["multiple-choice"],
    "text": ["text-generation"],
    "preference": ["reinforcement-learning"],
}
SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
REASONS = {
    "malformed_row": "cannot be parsed, or a field is not what it has to be",
    "no_delimiter": "a paragraph that is not a question and an answer",
    "undecodable": "characters are lost for good: nothing was guessed",
    "unknown_shape": "fields that match no known form and no mapping",
    "empty_question": "no question",
    "empty_answer": "no answer",
    "empty_text": "no text",
    "advert": "matches a pattern of adverts and watermarks",
    "too_short_question": "question shorter than allowed",
    "too_short_answer": "answer shorter than allowed",
    "too_short_text": "document shorter than allowed",
    "too_long_question": "question longer than allowed",
    "too_long_answer": "answer longer than allowed",
    "too_long_text": "document longer than allowed",
    "language": "in none of the languages asked for",
    "duplicate": "the same as an earlier row",
    "near_duplicate": "nearly the same as an earlier row",
    "conflicting_answers": "one question with different answers",
    "contaminated": "gives away a held-out or benchmark question",
    "deleted_in_review": "deleted by a person",
}
# The licences that the Hub knows are written like this; of any other text it shows the name.
LICENSE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
OTHER_CJK = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")  # kana and hangul
# Not to be seen in a text editor, or reversing the direction of what follows.
INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
TEMPLATE = Path(__file__).with_name("corpus_card.md.j2")
COLOURS = {"train": "#2a6fc9", "heldout": "#b8741a"}
NAMES = {"train": "trained on", "heldout": "held out"}


@dataclass
class Lengths:
    """How long the texts of one sort are, in characters, by side of the split."""

    title: str
    counts: dict[str, Counter[int]] = field(default_factory=lambda: {s: Counter() for s in SIDES})

    def add(self, side: str, texts: pa.StringArray) -> None:
        """Count some texts."""
        for count in pc.value_counts(pc.utf8_length(texts)).to_pylist():
            self.counts[side][count["values"]] += count["counts"]

    def histogram(self, side: str) -> tuple[np.ndarray, np.ndarray]:
        """The lengths that occur, ascending, and how often each does."""
        lengths = sorted(self.counts[side].items())
        return np.array([n for n, _ in lengths], int), np.array([n for _, n in lengths], int)

    def summary(self) -> list[dict]:
        """Number, median, 95th and 99th percentile and maximum, for each side that has texts."""
        rows = []
        for side in SIDES:
            lengths, counts = self.histogram(side)
            if len(lengths):
                total = counts.cumsum()
                median, p95, p99 = (
                    int(lengths[np.searchsorted(total, share * total[-1])])
                    for share in (0.5, 0.95, 0.99)
                )
                rows.append(
                    {
                        "texts": f"{self.title}, {NAMES[side]}",
                        "number": int(total[-1]),
                        "median": median,
                        "p95": p95,
                        "p99": p99,
                        "longest": int(lengths[-1]),
                    }
                )
        return rows


def count_records(records: Path) -> tuple[dict[str, Counter[str]], list[Lengths]]:
    """Number of records by kind and side, and the lengths of their texts.

    Returns:
        For each kind the number of records by side; and the lengths of the questions (all messages
        of a user), of the answers (all of the assistant; of a preference both) and of documents.
    """
    kinds: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    questions, answers, documents = map(Lengths, ("Questions", "Answers", "Documents"))
    for batch in read_batches(records, ["kind", "split", "messages", "chosen", "rejected", "text"]):
        for side in SIDES:
            part = batch.filter(pc.equal(batch.column("split").cast(pa.string()), side))
            for count in pc.value_counts(part.column("kind").cast(pa.string())).to_pylist():
                kinds[count["values"]][side] += count["counts"]
            for name in ("messages", "chosen", "rejected"):
                _, roles, contents = flat_messages(part.column(name))
                questions.add(side, contents.filter(pc.equal(roles, "user")))
                answers.add(side, contents.filter(pc.equal(roles, "assistant")))
            documents.add(side, part.column("text").drop_null())
    return kinds, [each for each in (questions, answers, documents) if any(each.counts.values())]


def write_chart(lengths: list[Lengths], path: Path) -> None:
    """Histograms of each sort of texts, on a logarithmic axis where a few are far longer."""
    style = {
        "font.size": 9,
        "svg.hashsalt": "corpus card",  # the same chart gives the same bytes
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9aa1a9",
        "xtick.color": "#5b636d",
        "ytick.color": "#5b636d",
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e7ea",
    }
    with plt.rc_context(style):
        figure, panels = plt.subplots(
            1, len(lengths), figsize=(4.2 * len(lengths), 2.9), squeeze=False, layout="constrained"
        )
        for panel, each in zip(panels[0], lengths, strict=True):
            _draw_panel(panel, each)
        panels[0][0].set_ylabel("share of the texts")
        figure.savefig(path, metadata={"Date": None})


def _draw_panel(panel: plt.Axes, each: Lengths) -> None:
    sides = {side: each.histogram(side) for side in SIDES if each.counts[side]}
    longest = max(int(lengths[-1]) for lengths, _ in sides.values())
    median = max(row["median"] for row in each.summary())
    long_tail = longest > 12 * max(median, 1)
    if long_tail:
        # whole numbers, so that no bin between two short lengths is empty for want of a length
        bins = np.unique(np.geomspace(1, longest + 1, 24).round())
        panel.set_xscale("log")
    else:
        bins = np.arange(0, longest + 2, max(1, math.ceil(longest / 40)))
        bins = np.append(bins, bins[-1] + bins[-1] - bins[-2])
    for side, (lengths, counts) in sides.items():
        look = {"alpha": 0.75} if side == "train" else {"fill": False, "linewidth": 1.4}
        panel.hist(
            np.maximum(lengths, bins[0]),
            bins,
            weights=counts / counts.sum(),
            histtype="stepfilled" if side == "train" else "step",
            color=COLOURS[side],
            label=f"{NAMES[side]} ({counts.sum():,})",
            **look,
        )
    panel.set_title(each.title, loc="left", fontweight="bold")
    panel.set_xlabel("characters" + (" (logarithmic)" if long_tail else ""))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    panel.legend(frameon=False, fontsize=8)


def drawn_records(records: Path, size: int) -> list[tuple[str, list[tuple[str, str]]]]:
    """Up to `size` records to train on, drawn by a hash: the kind, and texts by what they are."""
    numbers = draw(records, "train", size, "card", kinds=KINDS)
    found = []
    for batch in rows_at(records, numbers, "chosen", "rejected", "text"):
        kinds = batch.column("kind").to_pylist()
        is_chat = pa.array([kind in CHAT_KINDS for kind in kinds], pa.bool_())
        chats = iter(messages_of(batch.filter(is_chat)))
        columns = (unpack_messages(batch.column(n)) for n in ("messages", "chosen", "rejected"))
        for kind, prompt, better, worse, text in zip(
            kinds, *columns, batch.column("text").to_pylist(), strict=True
        ):
            if kind == "text":
                said = [("document", text)]
            elif kind == "preference":
                said = [*prompt, *_named("chosen", better), *_named("rejected", worse)]
            else:
                said = next(chats)
            found.append((kind, said))
    return [found[place] for place in np.argsort(np.argsort(numbers))]


def _named(name: str, messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"{name}, {role}", content) for role, content in messages]


def languages_of(texts: list[str]) -> list[tuple[str, float]]:
    """ISO 639-1 codes of the languages of some texts, with their shares, the most frequent first.

    Chinese is told by its characters: short questions are too little for statistics.
    """
    found = Counter(_language(text) for text in texts)
    return [
        (code, number / len(texts))
        for code, number in found.most_common()
        if number >= LANGUAGE_SHARE * len(texts)
    ]


def _language(text: str) -> str:
    letters = sum(map(str.isalpha, text))
    if len(CHINESE.findall(text)) > 0.3 * letters and not OTHER_CJK.search(text):
        return "zh"
    return py3langid.classify(text)[0]


def first_places(rejected: Path, reasons: list[str]) -> dict[str, str]:
    """Where the first row is that was rejected for each reason."""
    places: dict[str, str] = {}
    for row in read_jsonl(rejected):
        places.setdefault(row["reason"], f"{row['source']}, {row['locator']}")
        if len(places) == len(reasons):
            break
    return places


def visible(text: str) -> str:
    """A text without characters that hide or rearrange others: these are written as their codes."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return INVISIBLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def inline(text: object) -> str:
    """A text in a line or a cell of a table, where nothing in it is markup."""
    line = " ".join(visible(str(text)).split())
    return re.sub(r"[\\`*~\[\]<>|&#!$@{}]|\b_|_\b", lambda found: f"&#{ord(found.group())};", line)


def fenced(text: str) -> str:
    """A text as a block that nothing in it can end; a long one is cut, which is said."""
    shown = visible(text[:SHOWN])
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    rest = f"\n\n({len(text) - SHOWN:,} more characters)" if len(text) > SHOWN else ""
    return f"{fence}text\n{shown}\n{fence}{rest}"


def size_category(number: int) -> str:
    """The Hub's name for a number of records."""
    return SIZES[min(max(len(str(number)) - 3, 0), len(SIZES) - 1)]


def front_matter(
    domain: str, license_name: str, languages: list[str], kinds: dict, files: dict[str, int]
) -> dict:
    """What the Hub reads: the YAML at the beginning of the card, as a mapping."""
    known = LICENSE_ID.fullmatch(license_name)
    tasks = [task for kind, tasks in TASKS.items() if kinds[kind] for task in tasks]
    splits = {"train": "train", "recall": "validation"}
    tests = ("heldout", "heldout_mcq", "heldout_preference", "heldout_pairs")
    splits |= dict.fromkeys(tests, "test")
    names = {"train": "conversations", "recall": "recall", "heldout": "heldout"}
    head: dict = {"pretty_name": domain}
    if license_name:
        head["license"] = license_name if known else "other"
        if not known:
            head["license_name"] = license_name
    return head | {
        "language": languages,
        "size_categories": [size_category(sum(sum(sides.values()) for sides in kinds.values()))],
        "task_categories": list(dict.fromkeys(tasks)),
        "configs": [
            {
                "config_name": names.get(name, name),
                "data_files": [{"split": split, "path": f"{name}.jsonl"}],
            }
            for name, split in splits.items()
            if files[f"{name}.jsonl"]
        ],
    }


def render(values: dict) -> str:
    """The text of the card."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown: `inline` and `fenced` do what is needed
    )
    environment.filters |= {
        "inline": inline,
        "fenced": fenced,
        "n": "{:,}".format,
        # JSON is YAML, whatever a text holds
        "yaml": lambda value: json.dumps(value, ensure_ascii=False),
    }
    return environment.get_template(TEMPLATE.name).render(values)


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ledger", type=Path, required=True, help="json file from ledger.py")
    parser.add_argument("--records", type=Path, required=True, help="parquet file from clean.py")
    parser.add_argument("--rejected", type=Path, required=True, help="JSON lines from clean.py")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--license", required=True, help="may be empty")
    parser.add_argument("--system", required=True, help="system prompt, may be empty")
    parser.add_argument("--card", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--chart", type=Path, required=True, help="SVG file to write")
    args = parser.parse_args(argv)
    ledger = json.loads(args.ledger.read_text(encoding="utf-8"))
    kinds, lengths = count_records(args.records)
    drawn = drawn_records(args.records, LANGUAGE_SAMPLE)
    texts = ["\n".join(text[:SHOWN] for _, text in said) for _, said in drawn]
    languages = languages_of(texts)
    head = front_matter(
        args.domain, args.license, [code for code, _ in languages], kinds, ledger["files"]
    )
    write_chart(lengths, args.chart)
    card = render(
        {
            "head": head,
            "domain": args.domain,
            "license": args.license,
            "system": args.system,
            "ledger": ledger,
            "sampled": ledger["total"]["not_sampled"],
            "repeated": ledger["total"]["repeated"],
            "kinds": {kind: sides for kind, sides in kinds.items() if sides},
            "sides": SIDES,
            "languages": languages,
            "language_sample": len(drawn),
            "lengths": [row for each in lengths for row in each.summary()],
            "chart": os.path.relpath(args.chart, args.card.parent),
            "reasons": REASONS,
            "places": first_places(args.rejected, list(ledger["total"]["rejected"])),
            "shown_messages": SHOWN_MESSAGES,
            "samples": [
                (kind, said if kind == "text" else with_system(said, args.system))
                for kind, said in drawn[:SAMPLES]
            ],
        }
    )
    args.card.write_text(card, encoding="utf-8")
    print(f"{args.card}: {sum(map(Counter.total, kinds.values())):,} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
