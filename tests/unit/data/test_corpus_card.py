"""The dataset card: what it says, that no text of the corpus becomes markup, and the chart."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from lxml import etree
from record_files import chat, choice, preference, said, text, write_records

# isort: split
import corpus_card

EMPTY = ("heldout_mcq", "heldout_preference", "heldout_pairs")
EVIL = "a|b `c` ```\n````\n<script>x</script> [d](e) **f** ![g](h) # i\n---\n| j |"


def ledger_of(records, rejected=(), name="资料.jsonl", review=None, not_sampled=0, repeated=0):
    """What ledger.py says of some records and (reason, locator) of rejected rows."""
    sides = Counter(record["split"] for record in records)
    reasons = dict(Counter(reason for reason, _ in rejected))
    rows = {"rows": len(records) + len(rejected), "blank": 2, "kept": len(records)}
    rows |= {"not_sampled": not_sampled, "repeated": repeated}
    source = {
        **{"source": name, "sha256": "0123456789abcdef" * 4, **rows, "repaired": 3},
        "facts": {"encoding": "gb18030"},
        "rejected": reasons,
    }
    groups = {"groups_train": sides["train"], "groups_heldout": sides["heldout"]}
    files = ("train", "heldout", "recall", "calibration", *EMPTY)
    return {
        "sources": [source],
        "total": {**rows, "rejected": reasons},
        "split": {"train": sides["train"], "heldout": sides["heldout"], **groups, "leaked": 0},
        "review": review,
        "files": {f"{file}.jsonl": 0 if file in EMPTY else 9 for file in files},
    }


@pytest.fixture
def write(tmp_path):
    """Runs the script; returns the card and the chart as texts."""

    def run(records, rejected=(), domain="d", license_name="mit", system="", **options):
        path = write_records(tmp_path / "records.parquet", *records)
        name = options.get("name", "资料.jsonl")
        rows = [{"source": name, "locator": place, "reason": reason} for reason, place in rejected]
        (tmp_path / "rejected.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        ledger = ledger_of(records, rejected, **options)
        (tmp_path / "ledger.json").write_text(json.dumps(ledger))
        card, chart = tmp_path / "corpus_card.md", tmp_path / "lengths.svg"
        command = [*("--ledger", str(tmp_path / "ledger.json")), "--records", str(path)]
        command += ["--rejected", str(tmp_path / "rejected.jsonl"), "--domain", domain]
        command += [f"--license={license_name}", f"--system={system}"]
        assert corpus_card.main([*command, "--card", str(card), "--chart", str(chart)]) == 0
        return card.read_text(encoding="utf-8"), chart.read_text(encoding="utf-8")

    return run


def front(card: str) -> dict:
    """The YAML at the beginning of a card; its values are JSON, which is what makes them safe."""
    _, head, _ = card.split("---\n", 2)
    pairs = (line.split(": ", 1) for line in head.splitlines())
    return {key: json.loads(value) for key, value in pairs}


def outside_fences(card: str) -> str:
    """What a reader of Markdown takes for markup: all that is not in a fenced block."""
    kept, fence = [], None
    for line in card.splitlines():
        if fence:
            # as Markdown does: a longer run of backticks closes the block as well
            if set(line.strip()) == {"`"} and len(line.strip()) >= len(fence):
                fence = None
        elif opening := re.fullmatch(r"(`{3,})text", line):
            fence = opening[1]
        else:
            kept.append(line)
    assert fence is None
    return "\n".join(kept)


RECORDS = [
    *(chat(f"第{n}个问题是什么？", f"答案{n}") for n in range(30)),
    *(chat(f"藏起的第{n}个问题？", f"藏起的答案{n}", split="heldout") for n in range(9)),
]


def test_counts_and_front_matter(write):
    rejected = [("duplicate", "line 4"), ("advert", "line 7"), ("duplicate", "line 9")]
    card, _ = write(RECORDS, rejected, review={"unchanged": 5, "not_reviewed": 1200})
    head = front(card)
    assert (head["pretty_name"], head["license"], head["language"]) == ("d", "mit", ["zh"])
    assert head["size_categories"] == ["n<1K"]
    assert head["task_categories"] == ["question-answering", "text-generation"]
    # files without lines are no configuration: the Hub's viewer fails on them
    assert [each["config_name"] for each in head["configs"]] == [
        "conversations",
        "recall",
        "heldout",
    ]
    assert "| chat | 30 | 9 |" in card
    assert "| `duplicate` | 2 | the same as an earlier row | 资料.jsonl, line 4 |" in card
    assert "encoding: gb18030" in card and "0123456789abcdef" * 4 in card
    assert "5 unchanged, 1,200 not reviewed" in card
    assert "occur in the training text: **0**" in card
    assert "](lengths.svg)" in card


def test_samples_and_repeats_are_told_where_there_are_any(write):
    for amounts, head, cells in (
        ({}, "rows | blank | kept | rejected | repaired | what", "39 | 2 | 39 | 0 | 3 | enc"),
        (
            {"not_sampled": 5_000, "repeated": 7_000},
            "rows | blank | not sampled | kept | rejected | repaired | repeated | what",
            "39 | 2 | 5,000 | 39 | 0 | 3 | 7,000 | enc",
        ),
    ):
        card, _ = write(RECORDS, **amounts)
        table = [line for line in card.splitlines() if head in line or "资料" in line]
        assert len(table) == 2 and cells in table[1]
        ruler = card.splitlines()[card.splitlines().index(table[0]) + 1]
        assert ruler.count("|") == table[0].count("|") == table[1].count("|")
        assert ("not drawn" in card) == ("drawn at random" in card) == bool(amounts)
        assert ("stands several times in `train.jsonl`" in card) == bool(amounts)


def test_every_reason_has_a_meaning():
    # the codes that the stage documents, and no others
    documented = {
        *("malformed_row", "no_delimiter", "undecodable", "unknown_shape", "advert", "language"),
        *("empty_question", "empty_answer", "empty_text", "duplicate", "near_duplicate"),
        *("too_short_question", "too_short_answer", "too_short_text", "conflicting_answers"),
        *("too_long_question", "too_long_answer", "too_long_text"),
        *("contaminated", "deleted_in_review"),
    }
    assert set(corpus_card.REASONS) == documented


@pytest.mark.parametrize(
    "license_name, expected",
    [
        ("apache-2.0", {"license": "apache-2.0"}),
        ("cc-by-nc-sa-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ('Nur "intern": #1', {"license": "other", "license_name": 'Nur "intern": #1'}),
        ("", {}),
    ],
)
def test_licence(write, license_name, expected):
    card, _ = write(RECORDS, license_name=license_name)
    head = front(card)
    assert {key: head[key] for key in head if key.startswith("license")} == expected
    assert ("No licence is stated" in card) == (license_name == "")


def test_no_held_out_text_is_shown(write):
    card, _ = write(RECORDS, [("contaminated", "line 3")])
    assert "藏起" not in card and card.count("第") == corpus_card.SAMPLES


def test_texts_of_the_corpus_are_no_markup(write):
    records = [
        chat(EVIL, EVIL, system=EVIL),
        choice(EVIL, [EVIL, "x"], EVIL),
        text(EVIL),
        preference(said(EVIL), EVIL, "y" + EVIL),
    ]
    card, _ = write(records, [("advert", EVIL)], domain=EVIL, license_name=EVIL, name=EVIL)
    head = front(card)
    assert (head["pretty_name"], head["license_name"]) == (EVIL, EVIL)
    assert card.count("<script>x</script>") >= 7  # inside fences (and, as JSON, at the beginning)
    body = outside_fences(card.split("---\n", 2)[2])
    for markup in ("<script", "[d](e)", "**f**", "![g]", "`c`", "| j |"):
        assert markup not in body, markup
    tables = [line for line in body.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    widths = {line.count("|") for line in tables if "SHA" in line or "0123456789" in line}
    assert widths == {9}  # eight columns


def test_characters_that_deceive_are_shown_as_codes(write):
    card, _ = write([chat("abc\u202edef\x07\x1b[31m\u200b", "好")])
    assert "abc\\u202edef\\u0007\\u001b[31m\\u200b" in card
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u200b-\u200f\u202a-\u202e]", card)


def test_long_texts_are_cut_and_said_to_be(write):
    card, _ = write([chat("问", "长" * 2500)])
    assert "长" * 600 + "\n" in card and "长" * 601 not in card
    assert "(1,900 more characters)" in card


def test_long_conversations_are_cut_and_said_to_be(write):
    card, _ = write([chat(*(f"第{n}句" for n in range(10)))])
    assert "第5句" in card and "第6句" not in card and "(4 more messages)" in card


def test_kinds_and_their_samples(write):
    records = [
        choice("首都？", ["上海", "北京"], "北京"),
        text("一篇文章"),
        preference(said("问"), "好的", "坏的"),
    ]
    card, chart = write(records, system="你是助手")
    assert front(card)["task_categories"] == [
        *("multiple-choice", "text-generation", "reinforcement-learning"),
    ]
    for shown in ("A. 上海\nB. 北京", "一篇文章", "chosen, assistant:", "rejected, assistant:"):
        assert shown in card
    assert card.count("system:\n") == 2  # of all but the document
    assert chart.count("characters") >= 3


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["天空为什么是蓝色的", "HP打印机怎么用？"], ["zh"]),
        (["What is the capital of France?"], ["en"]),
        (["これは日本語の文章です。"], ["ja"]),
        (["天空为什么是蓝色的"] * 3 + ["What is the capital of France?"], ["zh", "en"]),
        (["天空为什么是蓝色的"] * 30 + ["What is the capital of France?"], ["zh"]),
        ([], []),
    ],
)
def test_languages(texts, expected):
    assert [code for code, _ in corpus_card.languages_of(texts)] == expected


@pytest.mark.parametrize(
    "number, expected",
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (1_500_000, "1M<n<10M"),
    ],
)
def test_size_category(number, expected):
    assert corpus_card.size_category(number) == expected


def test_lengths_agree_with_numpy(tmp_path):
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 400, 500)
    records = [chat(f"问{n}", "字" * size) for n, size in enumerate(sizes.tolist())]
    path = write_records(tmp_path / "r.parquet", *records, text("文章"))
    kinds, (questions, answers, documents) = corpus_card.count_records(path)
    assert kinds["chat"] == {"train": 500} and kinds["text"] == {"train": 1}
    (row,) = answers.summary()
    expected = np.quantile(sizes, [0.5, 0.95, 0.99], method="inverted_cdf").tolist()
    assert [row["median"], row["p95"], row["p99"]] == expected
    assert (row["number"], row["longest"]) == (500, sizes.max())
    assert questions.summary()[0]["longest"] == 4 and documents.summary()[0]["median"] == 2


@pytest.mark.parametrize("longest", [12, 90_000])
def test_chart_is_an_svg_of_the_same_bytes_each_time(write, longest):
    records = [*RECORDS, chat("长", "长" * longest)]
    _, first = write(records)
    _, second = write(records)
    assert first == second
    assert etree.fromstring(first.encode()).tag == "{http://www.w3.org/2000/svg}svg"
    assert ("logarithmic" in first) == (longest > 1000)


def test_a_single_record_of_one_character(write):
    card, _ = write([chat("问", "答")])
    assert "| Questions, trained on | 1 | 1 | 1 | 1 | 1 |" in card
