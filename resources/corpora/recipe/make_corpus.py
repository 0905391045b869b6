"""Write the embedded corpus of recipes from the table kept beside this script.

    python make_corpus.py            write the corpus files into this folder
    python make_corpus.py --check    fail when the committed files differ from the table

`tables/dishes.tsv` holds the dishes and `wording.toml` their titles and sentences. Every dish is
posted under several titles, as in a dump of a recipe site, and stated by every declarative sentence
in facts.txt. README.md describes each file.
"""

from __future__ import annotations

import random
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from generated import Row, bad_rows_table, json_line, read_table, run, scatter, text_bytes

HERE = Path(__file__).resolve().parent
SEED = 20253
COLUMNS = ("dish", "kind", "ingredients", "step1", "step2", "step3")
TITLES = 3  # of each dish
# In public dumps the field `dish` is often not filled in: hence the title is asked for.
UNKNOWN_SHARE = 0.3
PASTED_PAGE = "".join(f"（{n}）此处误贴了网页的版权说明，与做法无关。" for n in range(1, 120))


def filled(template: str, dish: dict[str, str]) -> str:
    """A template with the texts of a dish."""
    return template.format(
        E=dish["dish"],
        K=dish["kind"],
        I=dish["ingredients"],
        S1=dish["step1"],
        S2=dish["step2"],
        S3=dish["step3"],
    )


def recipe(dish: dict[str, str], title: str, wording: dict, rng: random.Random) -> dict:
    """A recipe in the form of a public dump. All titles of a dish have one way to make it."""
    ingredients = dish["ingredients"].split("、")
    return {
        "name": filled(title, dish),
        "dish": "Unknown" if rng.random() < UNKNOWN_SHARE else dish["dish"],
        "description": filled(rng.choice(wording["descriptions"]), dish),
        "recipeIngredient": ingredients,
        "recipeInstructions": [dish["step1"], dish["step2"], dish["step3"]],
        "author": rng.choice(wording["authors"]),
        "keywords": [dish["dish"], dish["kind"], ingredients[0]],
    }


def bad_rows(good: list[dict]) -> list[Row]:
    """The deliberately bad lines; `good` are the others."""

    def changed(number: int, **fields: object) -> dict:
        return good[number] | {"author": "阿梅"} | fields

    def without(number: int, name: str) -> dict:
        return {key: value for key, value in good[number].items() if key != name}

    def rice(step: str) -> str:
        return json_line(changed(8, name="神秘拌饭", dish="Unknown", recipeInstructions=[step]))

    again = changed(2, description="转载", keywords=[])
    advert = changed(5, name="神秘饮料", recipeInstructions=["做法请关注公众号：每日菜谱"])
    page = changed(6, name="神秘火锅", recipeInstructions=[PASTED_PAGE])
    return [
        Row(json_line(without(0, "recipeInstructions")), "malformed_row", "no instructions"),
        Row(json_line(good[1])[:-1], "malformed_row", "the closing brace is missing"),
        Row(json_line(again), "duplicate", "another row under the same title"),
        Row(json_line(changed(3, name="")), "empty_question", "no title"),
        Row(
            json_line(changed(4, name="神秘点心", recipeIngredient=[], recipeInstructions=[])),
            "empty_answer",
            "neither ingredients nor instructions",
        ),
        Row(json_line(advert), "advert", "an advert in place of the instructions"),
        Row(
            json_line(page), "too_long_answer", f"a pasted page of {len(PASTED_PAGE):,} characters"
        ),
        Row(rice("把饭拌匀"), "conflicting_answers", "another row makes it differently"),
        Row(rice("先煮饭"), "conflicting_answers", "another row makes it differently"),
    ]


def build(folder: Path = HERE) -> dict[str, bytes]:
    """Content of every generated file by name, from the table in `folder`."""
    dishes = read_table(folder / "tables" / "dishes.tsv", COLUMNS)
    wording = tomllib.loads((folder / "wording.toml").read_text(encoding="utf-8"))
    rng = random.Random(SEED)
    plain, *others = wording["names"]
    good = [
        recipe(dish, title, wording, rng)
        for dish in dishes
        for title in (plain, *rng.sample(others, TITLES - 1))
    ]
    rng.shuffle(good)
    rows = scatter([Row(json_line(row)) for row in good], bad_rows(good), rng)
    return {
        "recipes.jsonl": text_bytes([row.content for row in rows]),
        "facts.txt": text_bytes(
            [filled(text, dish) for dish in dishes for text in wording["sentences"]]
        ),
        "bad_rows.tsv": bad_rows_table({"recipes.jsonl": ("line ", 1, rows)}),
    }


def main(argv: list[str] | None = None) -> int:
    """Write the corpus, or with --check compare it; returns the exit status."""
    return run(build, HERE, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    sys.exit(main())
