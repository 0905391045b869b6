"""A dump of recipes as a website gives it out, made up, and the same every time.

No two recipes are alike unless they are meant to be: words are drawn anew for every text, the
frequent ones more often, so that near-duplicates are those that are put in.
"""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import orjson

EXACT_SHARE, NEAR_SHARE = 0.02, 0.01
WORDS = 8000
AMOUNTS = [
    "适量",
    "少许",
    "一把",
    "半勺",
    "一勺",
    "两勺",
    "三片",
    "一个",
    "两个",
    "100克",
    "250克",
    "500毫升",
]
VERBS = [
    "切成块",
    "洗净",
    "放入锅中",
    "用小火慢炖",
    "翻炒均匀",
    "加水没过",
    "腌制片刻",
    "装盘",
    "撒上",
    "焯水",
]
WAYS = [
    "清蒸",
    "红烧",
    "凉拌",
    "油焖",
    "香煎",
    "白灼",
    "干煸",
    "糖醋",
    "家常",
    "秘制",
    "蒜蓉",
    "麻辣",
]
# As many recipes are drawn at a time as can be copied by a later one.
RECENT = 1000


class _Words:
    """Draws words, the first ones much more often, as in any language."""

    def __init__(self, chance: random.Random):
        # the 3,755 most usual Chinese characters, which GB 2312 has in its rows 16 to 55
        usual = [
            bytes((row, cell)).decode("gb2312")
            for row in range(0xB0, 0xD8)
            for cell in range(0xA1, 0xFF if row < 0xD7 else 0xFA)
        ]
        self._words = [
            "".join(chance.choices(usual, k=chance.choice((1, 2, 2, 2, 3)))) for _ in range(WORDS)
        ]
        self._weights = list(itertools.accumulate(1 / (rank + 20) for rank in range(WORDS)))
        self._choices = chance.choices

    def __call__(self, number: int) -> list[str]:
        return self._choices(self._words, cum_weights=self._weights, k=number)


def _recipe(chance: random.Random, words: _Words) -> dict:
    ingredients = words(chance.randint(4, 11))
    dish = "".join(words(2))
    steps = []
    for _ in range(chance.randint(4, 8)):
        a, b, *rest = words(chance.randint(5, 14))
        verb, other = chance.choices(VERBS, k=2)
        steps.append(f"将{chance.choice(ingredients)}{verb}，{a}{b}{other}，{''.join(rest)}。")
    return {
        "name": "".join(words(2)) + chance.choice(WAYS) + dish,
        "dish": dish,
        "description": "".join(words(chance.randint(10, 50))) + "。",
        "recipeIngredient": [
            f"{name} {amount}"
            for name, amount in zip(
                ingredients, chance.choices(AMOUNTS, k=len(ingredients)), strict=True
            )
        ],
        "recipeInstructions": steps,
        "author": "author_" + str(chance.randint(1, 99999)),
        "keywords": [f"{word}的做法" for word in (dish, *words(chance.randint(4, 9)))],
    }


def _near(recipe: dict, chance: random.Random, words: _Words) -> dict:
    """The same recipe with one word of its longest step changed, half of them renamed."""
    steps = list(recipe["recipeInstructions"])
    longest = max(range(len(steps)), key=lambda index: len(steps[index]))
    place = chance.randrange(1, len(steps[longest]) - 2)
    word = words(1)[0]
    steps[longest] = steps[longest][:place] + word + steps[longest][place + len(word) :]
    name = recipe["name"] if chance.random() < 0.5 else word + recipe["name"]
    return {**recipe, "name": name, "recipeInstructions": steps}


def recipes(rows: int, seed: int = 0) -> Iterator[dict]:
    """So many recipes; a known share of them copies an earlier one, in full or nearly."""
    chance = random.Random(seed)
    words = _Words(chance)
    recent: list[dict] = []
    for number in range(rows):
        kind = chance.random()
        if kind < EXACT_SHARE + NEAR_SHARE and recent:
            recipe = chance.choice(recent)
            yield recipe if kind < EXACT_SHARE else _near(recipe, chance, words)
            continue
        recipe = _recipe(chance, words)
        if len(recent) < RECENT:
            recent.append(recipe)
        else:
            recent[number % RECENT] = recipe
        yield recipe


def write(path: Path, rows: int) -> None:
    """Write a dump as JSON lines."""
    with path.open("wb", buffering=2**20) as file:
        for recipe in recipes(rows):
            file.write(orjson.dumps(recipe, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    import sys

    write(Path(sys.argv[1]), int(sys.argv[2]))
