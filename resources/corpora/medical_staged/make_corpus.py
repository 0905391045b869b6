"""Write the corpus from facts.toml and careful.toml: texts, questions and preference pairs.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the tables

A fact is on one side in questions and preference pairs alike: what the test asks is stated in the
texts, and nowhere else. README.md describes each file.
"""

from __future__ import annotations

import random
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Row, TableError, bad_rows_table, json_line, run, scatter, text_bytes

HERE = Path(__file__).resolve().parent
SEED = 20254
HELDOUT = 0.3
# The worse answer that is right, but sure of itself and far too long.
PADDED = (
    "这个问题问得太好了！很多人都想知道答案，让我慢慢说来：答案就是{A}，我百分之百确定。",
    "说来话长。古往今来，无数医生研究过这个问题，今天我可以负责地告诉你，是{A}，绝对没有错。",
    "{A}。除了这个，我还可以给你讲很多别的知识，你想听多久我就讲多久，保证你越听越高兴。",
    "首先感谢你的提问，其次祝你身体健康，最后回答你的问题：毫无疑问，{A}，信我就对了。",
)


@dataclass(frozen=True)
class Fact:
    """One fact with its wording; `relation` is a table of facts.toml."""

    relation: str
    entity: str
    answer: str
    sentences: tuple[str, ...]
    questions: tuple[str, ...]
    prompts: tuple[str, ...]


def read_facts(folder: Path) -> tuple[list[Fact], list[str]]:
    """All facts in the order of facts.toml, and the words for words.txt.

    Raises:
        TableError: facts.toml is no TOML, names an entity twice, or lacks a key.
    """
    try:
        relations = tomllib.loads((folder / "facts.toml").read_text(encoding="utf-8"))
        facts = [
            Fact(
                name,
                entity,
                answer,
                *(
                    tuple(text.format(E=entity, A=answer) for text in relation[key])
                    for key in ("sentences", "questions", "prompts")
                ),
            )
            for name, relation in relations.items()
            for entity, answer in relation["facts"].items()
        ]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise TableError(f"facts.toml: {error}") from error
    words = [
        word
        for fact in facts
        for word in (fact.entity, fact.answer)
        if word == fact.answer or not relations[fact.relation].get("phrases")
    ]
    return facts, list(dict.fromkeys(words))


def draw_heldout(facts: Sequence[Fact], rng: random.Random) -> set[str]:
    """Answers that are held out: a share of those of each relation.

    An answer is one unit, also where several relations have it.
    """
    answers: dict[str, list[str]] = {}
    seen: set[str] = set()
    for fact in facts:
        if fact.answer not in seen:
            answers.setdefault(fact.relation, []).append(fact.answer)
        seen.add(fact.answer)
    return {
        answer for own in answers.values() for answer in rng.sample(own, round(HELDOUT * len(own)))
    }


def knowledge_pairs(facts: Sequence[Fact], side: set[str], rng: random.Random) -> list[dict]:
    """Pairs about the facts whose answers are in `side`: right or wrong, short or padded."""
    pairs = []
    for fact in facts:
        if fact.answer not in side:
            continue
        right = {other.answer for other in facts if other.entity == fact.entity}
        wrong = sorted(
            {other.answer for other in facts if other.relation == fact.relation} & side - right
        )
        if not wrong:
            wrong = sorted(
                {other.answer for other in facts if other.relation == fact.relation} - right
            )
        first, second = rng.sample(fact.prompts, 2)
        padded = rng.choice(PADDED).format(A=fact.answer)
        pairs.append(pair(first, fact.answer, rng.choice(wrong), "right"))
        pairs.append(pair(second, fact.answer, padded, "short"))
    return pairs


def careful_pairs(folder: Path, rng: random.Random) -> tuple[list[dict], list[dict]]:
    """Pairs about complaints, to train on and held out; a complaint is on one side."""
    careful = tomllib.loads((folder / "careful.toml").read_text(encoding="utf-8"))
    complaints = careful["complaints"]
    heldout = set(rng.sample(complaints, round(HELDOUT * len(complaints))))
    sides: dict[bool, list[dict]] = {False: [], True: []}
    for complaint in complaints:
        for form in careful["forms"]:
            prompt = form["prompt"].format(S=complaint)
            better, worse = rng.choice(form["chosen"]), rng.choice(form["rejected"])
            sides[complaint in heldout].append(pair(prompt, better, worse, "careful"))
    return sides[False], sides[True]


def pair(prompt: str, chosen: str, rejected: str, about: str) -> dict:
    """A row of the preference files."""
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "about": about}


def qa(question: str, answer: str) -> str:
    """A line of the question files."""
    return json_line({"question": question, "answer": answer})


def bad_questions(good: Sequence[str], heldout: Fact) -> list[Row]:
    """The deliberately bad lines of questions.jsonl; `good` are the others."""
    return [
        Row('{"question": "感冒要多喝什么？", "answer": "水"', "malformed_row", "no closing brace"),
        Row('{"question": "人为什么要睡觉？"}', "empty_answer", "no answer"),
        Row(qa("？？", "脑"), "empty_question", "nothing but punctuation"),
        Row(good[0], "duplicate", "the same line twice"),
        Row(qa("胎儿有几根脐带？", "一根"), "conflicting_answers", "answered in two ways"),
        Row(qa("胎儿有几根脐带？", "两根"), "conflicting_answers", "answered in two ways"),
        Row(
            qa(heldout.questions[0], f"是{heldout.answer}"),
            "contaminated",
            "asks what questions_heldout.jsonl asks, and answers in other words",
        ),
    ]


def bad_pairs(good: Sequence[str]) -> list[Row]:
    """The deliberately bad lines of preferences.jsonl; `good` are the others."""
    same = pair("感冒能不能传给别人？", "能", "能", "right")
    half = {"prompt": "近视能不能治好？", "chosen": "请问眼科医生。"}
    return [
        Row(json_line(same), "malformed_row", "both answers are the same"),
        Row(json_line(half), "unknown_shape", "no worse answer"),
        Row(good[0], "duplicate", "the same line twice"),
    ]


def bad_texts(good: Sequence[str], heldout: Fact) -> list[Row]:
    """The deliberately bad lines of texts/other.txt; `good` are the others."""
    return [
        Row("更多医学资料请关注公众号：每日医学", "advert", "an advert"),
        Row(good[0], "duplicate", "the same line twice"),
        Row(
            f"考题：{heldout.questions[1]}答案：{heldout.answer}。",
            "contaminated",
            "an exam question in the text, word for word as the test asks it",
        ),
    ]


def words_text(words: Sequence[str], texts: str) -> list[str]:
    """Sentences that hold the words, and the other characters of the corpus, and state nothing."""
    single = sorted({c for c in texts if c.isalpha() and not c.isascii()} - set("".join(words)))
    return [f"“{word}”是一个词。" for word in words] + [f"“{c}”是一个字。" for c in single]


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name."""
    facts, words = read_facts(folder)
    rng = random.Random(SEED)
    heldout = draw_heldout(facts, rng)
    trained = {fact.answer for fact in facts} - heldout
    questions, tested = (
        [(q, fact.answer) for fact in facts if fact.answer in side for q in fact.questions]
        for side in (trained, heldout)
    )
    pairs, tested_pairs = (knowledge_pairs(facts, side, rng) for side in (trained, heldout))
    careful, tested_careful = careful_pairs(folder, rng)
    pairs += careful
    tested_pairs += tested_careful
    for rows in (questions, tested, pairs, tested_pairs):
        rng.shuffle(rows)
    # one whose questions are long enough to be recognised in a text
    long = next(f for f in facts if f.answer in heldout and min(map(len, f.questions)) > 13)

    lines = [qa(*row) for row in questions]
    question_rows = scatter([Row(line) for line in lines], bad_questions(lines, long), rng)
    pair_lines = [json_line(row) for row in pairs]
    pair_rows = scatter([Row(line) for line in pair_lines], bad_pairs(pair_lines), rng)
    sentences: dict[str, list[str]] = {}
    for fact in facts:
        sentences.setdefault(fact.relation, []).extend(fact.sentences)
    last = list(sentences)[-1]
    texts = {name: [Row(text) for text in own] for name, own in sentences.items()}
    texts[last] = scatter(texts[last], bad_texts(sentences[last], long), rng)
    said = "".join(
        [*(t for own in sentences.values() for t in own), *lines, *pair_lines]
        + [qa(*row) for row in tested]
        + [json_line(row) for row in tested_pairs]
    )
    return {
        **{
            f"texts/{name}.txt": text_bytes([row.content for row in rows])
            for name, rows in texts.items()
        },
        "questions.jsonl": text_bytes([row.content for row in question_rows]),
        "questions_heldout.jsonl": text_bytes([qa(*row) for row in tested]),
        "preferences.jsonl": text_bytes([row.content for row in pair_rows]),
        "preferences_heldout.jsonl": text_bytes([json_line(row) for row in tested_pairs]),
        "words.txt": text_bytes(words_text(words, said)),
        "bad_rows.tsv": bad_rows_table(
            {
                "questions.jsonl": ("line ", 1, question_rows),
                "preferences.jsonl": ("line ", 1, pair_rows),
                f"texts/{last}.txt": ("line ", 1, texts[last]),
            }
        ),
    }


if __name__ == "__main__":
    sys.exit(run(build, HERE, __doc__.splitlines()[0]))
