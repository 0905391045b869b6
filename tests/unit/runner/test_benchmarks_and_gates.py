"""Benchmarks on this machine are found, or it is said what is missing; gates are read strictly."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "workflow" / "scripts" / "config"))

import benchmark_files
import gates


def entry(path, **more):
    return {"path": str(path), "mode": "generation", "shots": 0, "instruction": "", **more}


@pytest.fixture
def folder(tmp_path):
    names = (
        *("ceval/dev/law_dev.csv", "ceval/dev/art_dev.csv", "ceval/val/law_val.csv"),
        *("ceval/val/art_val.csv", "ceval/test/law_test.csv", "ceval/val/.DS_Store"),
        *("cmmlu/dev/law.csv", "cmmlu/test/law.csv", "cmmlu/test/art.csv"),
        *("lines/test/mine.jsonl", "one.jsonl", "one.txt", "twice/val/a.csv", "twice/val/a.jsonl"),
        "empty/val/readme.md",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(files):
    return {subject: path.name for subject, path in files.items()}


def test_layouts(folder):
    found = benchmark_files.files_of(entry(folder / "ceval", shots=2))
    assert names(found.questions) == {"art": "art_val.csv", "law": "law_val.csv"}
    assert names(found.examples) == {"art": "art_dev.csv", "law": "law_dev.csv"}
    found = benchmark_files.files_of(entry(folder / "ceval", split="test"))
    assert (names(found.questions), found.examples) == ({"law": "law_test.csv"}, {})
    found = benchmark_files.files_of(entry(folder / "cmmlu", subjects=["law"], shots=1))
    assert (names(found.questions), names(found.examples)) == ({"law": "law.csv"},) * 2
    assert names(benchmark_files.files_of(entry(folder / "lines")).questions) == {
        "mine": "mine.jsonl"
    }
    assert names(benchmark_files.files_of(entry(folder / "one.jsonl")).questions) == {
        "one": "one.jsonl"
    }


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("nowhere", {}, "path: .*nowhere does not exist, and nothing is downloaded. Put the bench"),
        (
            "cmmlu",
            {"split": "val"},
            "path: there is no folder .*cmmlu/val. A benchmark has the lay",
        ),
        ("cmmlu", {"shots": 1}, "subjects: 'art' is not in .*cmmlu/dev"),
        ("ceval", {"subjects": ["laws"]}, "subjects: 'laws' is not in .*val. Did you mean 'law'?"),
        ("lines", {"shots": 1}, "path: there is no folder .*lines/dev"),
        ("empty", {}, "path: .*empty/val holds no .csv or .jsonl files"),
        ("twice", {}, "path: .*a.jsonl and .*a.csv are of one subject"),
        ("one.jsonl", {"shots": 1}, "shots: .* Move it to test/NAME.jsonl"),
        ("one.jsonl", {"split": "val"}, "split: .* is a single file"),
        ("one.txt", {}, "path: .*one.txt is neither a folder nor a .jsonl file"),
    ],
)
def test_what_is_missing_is_told(folder, name, more, message):
    with pytest.raises(benchmark_files.BenchmarkMistake, match=message):
        benchmark_files.files_of(entry(folder / name, **more))


def evaluation(*asked, local=None, gates=()):
    return {"benchmarks": list(asked), "local": local or {}, "gates": list(gates)}


def test_only_what_is_asked_is_looked_for(folder):
    local = {"ceval": entry(folder / "ceval"), "cmmlu": entry(folder / "nowhere")}
    asked = evaluation("heldout", "ceval", local=local)
    assert list(benchmark_files.mistakes_of(asked)) == []
    assert list(benchmark_files.local_of(asked)) == ["ceval"]
    (mistake,) = benchmark_files.mistakes_of(evaluation("cmmlu", local=local))
    assert mistake.startswith("evaluation.local.cmmlu.path: ")


def test_names_of_benchmarks():
    (mistake,) = benchmark_files.mistakes_of(evaluation("recal"))
    assert mistake.startswith("evaluation.benchmarks.0: 'recal' is neither one of heldout, recall,")
    assert mistake.endswith("Did you mean 'recall'?")
    (mistake,) = benchmark_files.mistakes_of(evaluation("heldout", local={"recall": entry("x")}))
    assert mistake == "evaluation.local.recall: is the name of a benchmark of the workflow's own."


def test_over_http_nothing_but_generation_is_asked():
    local = {"exam": entry("x"), "cloze": {**entry("x"), "mode": "cloze"}}

    def mistakes(variants, *asked):
        asked = evaluation(*asked, local=local) | {"variants": variants}
        return list(benchmark_files.unasked_of(asked))

    everything = ("heldout", "recall", "heldout_mcq", "heldout_preference", "exam", "cloze")
    left_out = {"heldout_mcq": "options", "heldout_preference": "options", "cloze": "cloze"}
    asked = evaluation(*everything, local=local)
    assert benchmark_files.not_asked("served", asked) == left_out
    assert benchmark_files.not_asked("awq", asked) == {}
    assert mistakes(["awq", "served"], *everything) == mistakes(["served"], "recall", "exam") == []
    (mistake,) = mistakes(["awq", "served"], "heldout_mcq", "cloze")
    assert mistake.startswith("evaluation.variants: served can only be asked what is answered by")
    assert "(heldout_mcq: options, cloze: cloze)" in mistake
    (mistake,) = mistakes(["served"], "heldout", "cloze")
    assert mistake.startswith("evaluation.benchmarks: cloze (cloze) is asked of no variant: served")


def parse(text):
    return gates.parse(text, "heldout")


def test_gates_are_read():
    gate = parse(" tuned - base on general >= -3 ")
    assert (gate.variants, gate.benchmark, gate.metric) == (["tuned", "base"], "general", None)
    assert gate.text == "tuned - base on general >= -3"
    assert [gate.holds(points) for points in (0, -3, -3.0000000001, -3.01)] == [1, 1, 1, 0]
    gate = parse("awq on my.exam no_choice <= 2.5")
    assert (gate.variants, gate.benchmark, gate.metric) == (["awq"], "my.exam", "no_choice")
    assert [gate.holds(points) for points in (0, 2.5, 2.6)] == [1, 1, 0]


@pytest.mark.parametrize(
    "text",
    [
        *("", "tuned", "tuned - base", "tuned on heldout 40", "tuned on heldout > 40"),
        *("tuned on heldout == 40", "tuned on heldout >= forty", "tuned-base on heldout >= 1"),
        *("tuned - base - awq on heldout >= 1", "tuned on heldout >= 40 %", "tuned on >= 40"),
        "tuned on heldout exact match >= 40",
    ],
)
def test_other_forms_are_refused(text):
    with pytest.raises(gates.GateMistake, match="does not read VARIANT"):
        parse(text)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("awq - tuned >= -2", "awq - tuned on heldout >= -2"),
        ("heldout em >= 40", "tuned on heldout em >= 40"),
        ("my.exam <= 40.50", "tuned on my.exam <= 40.50"),
    ],
)
def test_what_a_gate_leaves_out(short, full):
    assert parse(short) == parse(full)
    assert parse(short).text == full
    assert parse("heldout em >= 40").metric == "exact_match"


@pytest.mark.parametrize(
    "text",
    ["tuned on heldout >= 140", "tuned on heldout <= -1", "tuned - base on heldout >= -101"],
)
def test_no_score_is_beyond_the_limits(text):
    with pytest.raises(gates.GateMistake, match="it is never more than 100, and never less than"):
        parse(text)


def test_shares_are_no_per_cent():
    with pytest.raises(gates.GateMistake, match=r"write 40 for 0\.4"):
        parse("tuned on heldout >= 0.4")
    assert parse("tuned - base on heldout >= 0.4").points == 0.4
    assert parse("tuned on heldout >= 0").points == 0


RUNS = {"one": ["base", "tuned", "awq"], "two": ["base", "sft", "tuned"]}


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("tunned on heldout >= 1", "'tunned' is no variant of this configuration (base, tuned, awq,"
         " sft). Did you mean 'tuned'?"),
        ("turbomind on heldout >= 1", "'turbomind' is no variant of"),
        ("tuned >= 40", "'tuned' is no benchmark of this configuration (heldout, exam)."),
        ("sft - tunned >= 1", "'tunned' is no variant of this configuration"),
        ("awq - sft on heldout >= 1", "no run has both awq and sft."),
        ("tuned on recall >= 1", "'recall' is no benchmark of this configuration (heldout, exam)."),
        ("tuned on heldout accuracy >= 1", "'accuracy' is no metric of heldout of this conf"),
        ("tuned on exam exact_match >= 1", "'exact_match' is no metric of exam"),
    ],
)  # fmt: skip
def test_gates_name_what_there_is(gate, message):
    local = {"exam": {**entry("x"), "mode": "cloze"}}
    asked = evaluation("heldout", "exam", local=local, gates=["base on exam >= 0", gate])
    (mistake,) = gates.mistakes_of(asked, RUNS)
    assert mistake.startswith(f"evaluation.gates.1: {message}")


def test_gates_on_what_a_variant_is_not_asked():
    asked = evaluation("heldout", "heldout_mcq")
    asked["gates"] = ["served - awq on heldout >= -1", "served - awq on heldout_mcq >= -1"]
    (mistake,) = gates.mistakes_of(asked, {"one": ["awq", "served"]})
    assert mistake == (
        "evaluation.gates.1: served is not asked heldout_mcq, whose mode is options."
    )


def test_good_gates_are_no_mistakes():
    local = {"exam": entry("x")}
    good = [
        "sft - base on heldout rouge_l >= 1",
        "awq on exam no_choice <= 5",
        "tuned on exam >= 0",
    ]
    asked = evaluation("heldout", "exam", local=local, gates=good)
    assert list(gates.mistakes_of(asked, RUNS)) == []
