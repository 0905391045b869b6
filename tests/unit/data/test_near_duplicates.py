"""Long texts that are nearly the same: all are found, and nothing else."""

import random

import corpus_files as make  # noqa: F401 - makes the scripts importable
import numpy as np
import pyarrow as pa
import pytest
from cleaning.cleaner import near_duplicates
from cleaning.contents import Texts
from cleaning.shingles import words_of_rows
from row_files import Cleaned, capitals, chat, chats

CHARACTERS = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳云腾致雨露结为霜"
WORDS = [f"{a}{b}" for a in ("wa", "ke", "ri", "to", "mu") for b in ("lan", "des", "pir", "gos")]


def chinese(chance: random.Random, length: int) -> str:
    return "".join(chance.choices(CHARACTERS, k=length))


def english(chance: random.Random, length: int) -> str:
    return " ".join(chance.choices(WORDS, k=length))


def edited(text: str, chance: random.Random, edits: int) -> str:
    letters = list(text)
    for place in chance.sample(range(len(letters)), edits):
        letters[place] = "变"
    return "".join(letters)


def set_of(text: str, size: int) -> set[str]:
    return {text[n : n + size] for n in range(len(text) - size + 1)}


def test_the_first_one_stays_and_is_named(tmp_path):
    chance = random.Random(1)
    one, other = chinese(chance, 400), english(chance, 80)
    rows = [
        chat(1, "甲是什么", one),
        chat(2, "乙是什么", other),
        chat(3, "甲呢", edited(one, chance, 3)),
        chat(4, "乙呢", other + " and so on"),
        chat(5, "丙", chinese(chance, 400)),
        chat(6, "甲是什么", edited(one, chance, 2)),  # no contradiction
        chat(7, "甲是什么", edited(one, chance, 2) + "。"),
        *chats(capitals(20), 100),
    ]
    stage = Cleaned(tmp_path, rows, near_duplicates=0.8, heldout=0)
    assert stage.reasons == dict.fromkeys(
        ("line 3", "line 4", "line 6", "line 7"), "near_duplicate"
    )
    assert stage.details["line 3"] == "nearly the same as a, line 1"
    assert stage.details["line 4"] == "nearly the same as a, line 2"
    off = Cleaned(tmp_path / "off", rows, heldout=0)
    assert set(off.reasons.values()) == {"conflicting_answers"}


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_all_are_found_and_nothing_else(tmp_path, threshold):
    """Compared with the exact share of common shingles of all pairs."""
    chance = random.Random(2)
    originals = [chinese(chance, 300) for _ in range(60)]
    texts = originals + [edited(text, chance, n % 30) for n, text in enumerate(originals * 3)]
    chance.shuffle(texts)
    rows = [chat(n, f"问{n}", text) for n, text in enumerate(texts)]
    stage = Cleaned(tmp_path, rows, near_duplicates=threshold, heldout=0)
    sets = [set_of(f"问{n}"[:1] + text, 5) for n, text in enumerate(texts)]

    def share(a: int, b: int) -> float:
        return len(sets[a] & sets[b]) / len(sets[a] | sets[b])

    kept = [int(place.removeprefix("line ")) for place in stage.sides]
    # the number in the question is a part of the text, too: a little tolerance
    close = [(a, b) for a in kept for b in kept if a < b and share(a, b) >= threshold + 0.02]
    assert len(close) <= 0.02 * len(texts)
    for place in stage.reasons:
        if stage.reasons[place] == "near_duplicate":
            number = int(place.removeprefix("line "))
            assert (
                max(share(number, n) for n in range(len(texts)) if n != number) > threshold - 0.02
            )
    assert 0 < len(stage.rejected) < len(texts)


def test_never_on_both_sides(tmp_path):
    chance = random.Random(3)
    originals = [chinese(chance, 250) for _ in range(150)]
    rows = chats([(f"问{n}", edited(text, chance, 2)) for n, text in enumerate(originals * 2)])
    stage = Cleaned(tmp_path, rows, near_duplicates=0.8, heldout=0.5)
    assert set(stage.sides.values()) == {"train", "heldout"}
    assert len(stage.records) == 150
    assert set(stage.reasons.values()) == {"near_duplicate"}


def test_many_copies_are_not_compared_with_each_other(tmp_path, monkeypatch):
    chance = random.Random(4)
    text = chinese(chance, 300)
    rows = chats([(f"问{n}", edited(text, chance, 1)) for n in range(400)])
    compared = []
    jaccard = near_duplicates.jaccard
    monkeypatch.setattr(
        near_duplicates, "jaccard", lambda *sets: compared.append(1) or jaccard(*sets)
    )
    stage = Cleaned(tmp_path, rows, near_duplicates=0.8, heldout=0)
    assert len(stage.records) == 1
    assert len(compared) < 400 * 2 * 21 < 400 * 399 / 2


def test_short_texts_and_signs_are_left_alone(tmp_path):
    rows = chats([("甲" * 10, "答" * 150), ("甲" * 10 + "乙", "答" * 150 + "好")])
    rows += chats([("一", "♪—" * 150 + "，"), ("二", "。！" * 150)], 10)
    assert Cleaned(tmp_path, rows, near_duplicates=0.8, heldout=0).reasons == {}


def test_bands_miss_few_at_the_threshold():
    for threshold in (0.5, 0.7, 0.8, 0.9, 0.95):
        number, width = near_duplicates.bands_for(threshold)
        assert number * width <= near_duplicates.PERMUTATIONS
        assert (1 - threshold**width) ** number <= near_duplicates.MISSED
        assert (1 - (threshold - 0.4) ** width) ** number > 0.5 or threshold < 0.7
    assert near_duplicates.bands_for(1.0)[0] == 1


def test_words_do_not_run_across_texts_and_ignore_writing():
    texts = pa.array(["Hello, World! 中国", "hello world 中 国", "Paris", "France", "ParisFrance"])
    (found,) = words_of_rows(Texts(texts, np.array([0, 1, 2, 4, 5])))
    _, _, words, _ = found
    assert words.starts.tolist() == [0, 4, 8, 10, 11]
    assert words.hashes[:4].tolist() == words.hashes[4:8].tolist()
    shingles, starts = words.shingles(3)
    assert starts.tolist() == [0, 2, 4, 4, 4] and shingles[:2].tolist() == shingles[2:].tolist()
