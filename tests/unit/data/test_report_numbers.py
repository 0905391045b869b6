"""The arithmetic of the report, against published and recomputed values."""

import random
import statistics

import pytest
import report_files  # noqa: F401

# report_files has made these importable
# isort: split
import report_comparison
import report_numbers
import report_verdict

# and this
# isort: split
import independence
from report_inputs import InputError, Score


def test_wilson_interval():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 15 of 148 and 0 of 20
    assert report_numbers.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert report_numbers.wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert report_numbers.wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [(0, 0, 1.0), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64), (3, 3, 1.0), (8, 2, 2 * 56 / 1024)],
)
def test_sign_test(gained, lost, p):
    assert report_numbers.sign_test(gained, lost) == pytest.approx(p)


def test_sign_test_of_many_questions():
    # normal approximation with continuity correction: z = (|6000 - 5700| - 1) / sqrt(11700)
    assert report_numbers.sign_test(6000, 5700) == pytest.approx(0.00571, rel=0.01)
    assert report_numbers.sign_test(12000, 0) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.05, "+5.0"), (-0.0071, "−0.7"), (-0.0004, "0.0"), (0.0, "0.0"), (1.0, "+100.0")],
)
def test_points(value, text):
    assert report_numbers.points(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (83, "1 min 23 s"),
        (3700, "1 h 01 min"),
    ],
)
def test_duration(seconds, text):
    assert report_numbers.duration(seconds) == text


def test_running_mean_is_centred():
    line = [float(value) for value in range(100)]
    assert report_numbers.smoothed(line) == pytest.approx(line)
    assert report_numbers.smoothed([2.0]) == [2.0]


NAMES = {"tuned": "Tuned", "awq": "AWQ"}


def verdict_of(scores: dict[str, float], tests: dict, methods=("sft",), overall=None, reward=None):
    rows = [
        Score("r", name, "heldout", "exact_match", value, 100) for name, value in scores.items()
    ]
    evidence = report_verdict.Evidence(
        run="r",
        rows=report_numbers.score_table(rows),
        tests={"heldout": tests},
        overall={"heldout": overall},
        reward=reward,
        methods=list(methods),
        kept=[],
    )
    subjects = {"pt": "PT", "sft": "SFT", "tuned": "Tuning"}
    return report_verdict.verdict(evidence, "heldout", NAMES, subjects, tolerance=0.03)


def test_tuning_without_effect_is_not_praised():
    before = [{"benchmark": "x", "id": number, "correct": number < 50} for number in range(100)]
    after = [{"benchmark": "x", "id": number, "correct": 4 <= number < 56} for number in range(100)]
    test = report_numbers.paired(before, after)
    assert (test.questions, test.gained, test.lost) == (100, 6, 4)
    found = verdict_of({"base": 0.5, "tuned": 0.52}, {"tuned": test})
    assert (found.mood, found.headline) == ("bad", "Tuning taught the model nothing that shows")


def test_worse_after_tuning():
    found = verdict_of({"base": 0.5, "tuned": 0.2}, {})
    assert (found.mood, found.headline) == ("bad", "Tuning made the model worse")


def test_4bit_that_loses_exactly_the_tolerance_keeps_its_score():
    found = verdict_of({"tuned": 0.93, "awq": 0.90}, {})
    assert (found.mood, found.headline) == ("mixed", "4-bit keeps the tuned score")
    found = verdict_of({"tuned": 0.93, "awq": 0.89}, {})
    assert found.headline == "The scores are in, but AWQ lost more than 3 points"


def paired(gained: int, lost: int, both: int = 0) -> report_numbers.Paired:
    """Of 100 questions, `both` of them right before and after."""
    interval = report_numbers.newcombe(both, gained, lost, 100 - gained - lost - both)
    p = report_numbers.sign_test(gained, lost)
    return report_numbers.Paired(100, gained, lost, p, interval)


@pytest.mark.parametrize(
    ("answers", "headline"),
    [
        # of 2,000 questions: half a point less, certainly no more than 3
        ((1780, 5, 15, 200), "The model learned, and 4-bit keeps it"),
        # of 50: the same share, and nobody knows
        ((44, 0, 1, 5), "The model learned; whether 4-bit keeps it takes more questions to tell"),
        # 4 points less, and it may be none: of 50 questions again
        ((42, 1, 3, 4), "The model learned; whether 4-bit keeps it takes more questions to tell"),
        ((1600, 5, 195, 200), "The model learned, but AWQ lost more than 3 points"),
        # 4 points less, certainly some, and perhaps no more than 2
        (
            (870, 10, 50, 70),
            "The model learned; whether 4-bit keeps it takes more questions to tell",
        ),
        # of 20: the interval leaves out 0, and yet the sign test gives p = 0.125
        ((8, 0, 4, 8), "The model learned; whether 4-bit keeps it takes more questions to tell"),
    ],
)
def test_4bit_is_kept_or_lost_only_where_the_interval_says_so(answers, headline):
    both, gained, lost, _ = answers
    n = sum(answers)
    before = [{"benchmark": "x", "id": i, "correct": i < both + lost} for i in range(n)]
    after = [{"benchmark": "x", "id": i, "correct": i < both or n - gained <= i} for i in range(n)]
    test = report_numbers.paired(before, after)
    assert (test.questions, test.gained, test.lost) == (n, gained, lost)
    scores = {"base": 0.0, "tuned": (both + lost) / n, "awq": (both + gained) / n}
    found = verdict_of(scores, {"tuned": paired(90, 0), "awq": test})
    assert found.headline == headline
    low, high = (report_numbers.points(bound) for bound in report_numbers.newcombe(*answers))
    assert f"95% interval {low} to {high} points" in found.sentences[-1]


def test_a_stage_that_takes_back_what_another_taught():
    found = verdict_of(
        {"base": 0.1, "sft": 0.8, "tuned": 0.6},
        {"sft": paired(70, 0), "tuned": paired(0, 20)},
        methods=("sft", "dpo"),
        overall=paired(50, 0),
    )
    assert found.mood == "mixed"
    assert found.headline == "The model learned, but Tuning took some of it back"
    assert [sentence.split(" exact")[0] for sentence in found.sentences] == [
        "All stages together raised",
        "SFT raised",
        "Tuning lowered",
    ]


def test_stages_that_only_together_make_a_difference():
    found = verdict_of(
        {"base": 0.50, "sft": 0.53, "tuned": 0.56},
        {"sft": paired(4, 1), "tuned": paired(4, 1)},
        methods=("sft", "dpo"),
        overall=paired(7, 1),  # p = 0.07
    )
    assert found.headline == "Tuning taught the model nothing that shows"
    assert all("made no certain difference" in sentence for sentence in found.sentences)


def test_a_reward_model_that_guesses():
    reward = Score("r", "reward", "heldout_preference", "accuracy", 0.55, 40)
    found = verdict_of({"base": 0.5, "tuned": 0.9}, {"tuned": paired(40, 0)}, reward=reward)
    # 22 of 40: the exact two-sided test gives 0.636
    assert (
        "55.0% of 40 held-out pairs: no certain difference from guessing (p\xa0=\xa00.636)."
        in (found.sentences[-1])
    )


def test_preferences_are_told_of_the_stages_that_learn_them():
    scores = [("base", 0.5), ("sft", 0.52), ("tuned", 0.8)]
    rows = report_numbers.score_table(
        [Score("r", v, "heldout", "exact_match", s, 100) for v, s in scores]
        + [Score("r", v, "heldout_preference", "accuracy", s, 100) for v, s in scores]
    )
    tests = {"sft": paired(4, 2), "tuned": paired(30, 2)}
    both = {"heldout": tests, "heldout_preference": tests}
    evidence = report_verdict.Evidence("r", rows, both, {}, None, ["sft", "dpo"], [])
    subjects = {"sft": "SFT", "tuned": "DPO"}
    found = report_verdict.verdict(evidence, "heldout", subjects, subjects, 0.03)
    assert found.headline == "The model learned"
    about = [sentence for sentence in found.sentences if "heldout_preference" in sentence]
    assert [sentence[:20] for sentence in about] == ["DPO raised accuracy "]


def test_preferences_alone_are_something_learned():
    # a run that starts where another has learned the answers
    rows = report_numbers.score_table(
        [Score("r", v, "heldout", "exact_match", 0.9, 100) for v in ("base", "tuned")]
        + [
            Score("r", v, "heldout_preference", "accuracy", s, 100)
            for v, s in (("base", 0.5), ("tuned", 0.8))
        ]
    )
    for test, mood, headline in (
        (paired(32, 2), "good", "The model learned the preferences"),
        (paired(32, 28), "bad", "Tuning taught the model nothing that shows"),
    ):
        both = {"heldout": {"tuned": paired(1, 1)}, "heldout_preference": {"tuned": test}}
        evidence = report_verdict.Evidence("r", rows, both, {}, None, ["dpo"], [])
        found = report_verdict.verdict(evidence, "heldout", {}, {"tuned": "DPO"}, 0.03)
        assert (found.mood, found.headline) == (mood, headline)


def test_what_each_variant_is_compared_with():
    compared_with = report_numbers.compared_with
    assert compared_with(["base", "pt", "tuned", "awq"]) == {
        "pt": "base",
        "tuned": "pt",
        "awq": "tuned",
    }
    assert compared_with(["base", "awq"]) == {}
    assert report_numbers.final_variant(["base", "pt", "tuned", "awq"]) == "tuned"
    assert report_numbers.final_variant(["awq", "turbomind"]) == "turbomind"


def test_p_values_of_several_tests():
    # Holm (1979): 3 x 0.01, then 2 x 0.03 and 1 x 0.04, never below the one before
    assert report_numbers.holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert report_numbers.holm([0.9, 0.8]) == [1.0, 1.0]
    assert report_numbers.holm([]) == []


def best_of(right: dict[str, int]) -> report_comparison.Best:
    """Runs that answer the first `right` of 100 questions."""
    scores = {run: Score(run, "tuned", "b", "accuracy", n / 100, 100) for run, n in right.items()}

    def paired_runs(run: str, leader: str) -> report_numbers.Paired:
        return paired(max(0, right[leader] - right[run]), max(0, right[run] - right[leader]))

    return report_comparison.best_run("b", scores, paired_runs)


def test_a_best_run_needs_proof():
    found = best_of({"a": 50, "b": 90, "c": 88})
    assert (found.run, found.peers, found.unknown) == ("b", ["c"], [])
    assert list(found.scores) == ["b", "c", "a"]


def test_among_many_runs_chance_makes_one_look_different():
    # seven answers apart: p = 0.016, enough for one other run and not for each of twenty
    assert best_of({"a": 90, "b": 83}).peers == []
    many = {"a": 90} | {f"b{number}": 83 for number in range(20)}
    assert len(best_of(many).peers) == 20


def test_answers_to_other_questions_prove_nothing():
    scores = {
        run: Score(run, "tuned", "b", "accuracy", n, 9) for run, n in (("x", 0.9), ("y", 0.1))
    }
    found = report_comparison.best_run("b", scores, lambda *_: None)
    assert (found.run, found.peers, found.unknown) == ("x", [], ["y"])


def test_what_a_setting_did():
    scores = {
        run: Score(run, "tuned", "b", "accuracy", n, 100)
        for run, n in {"a": 0.5, "b": 0.7, "c": 0.9, "d": 0.8}.items()
    }
    settings = {
        run: {"rate": rate, "seed": seed}
        for run, rate, seed in (("a", 1, 1), ("b", 1, 2), ("c", 2, 3), ("d", 2, 4))
    }
    assert report_comparison.effects(settings, scores) == [
        report_comparison.Effect("rate", 1, 2, pytest.approx(0.6), 0.5, 0.7),
        report_comparison.Effect("rate", 2, 2, pytest.approx(0.85), 0.8, 0.9),
    ], "each seed is that of one run: there is nothing to sum up"


def test_settings_that_differ():
    def run(name: str, *stages: dict, **more) -> dict:
        return {"name": name, "base_model": "tiny", "start_from": None, "stages": stages} | more

    sft = {"method": "sft", "training": {"steps": 5, "lora": {"r": 8}}}
    slow = {"method": "sft", "training": {"steps": 5, "lora": {"r": 64}}}
    dpo = {"method": "dpo", "training": {"beta": 0.1}}
    assert report_comparison.differing([run("a", sft), run("b", slow, dpo)]) == {
        "a": {"stages": "sft", "sft.lora.r": 8},
        "b": {"stages": "sft + dpo", "sft.lora.r": 64},
    }
    assert report_comparison.differing([run("a", sft)]) == {"a": {}}


def test_benchmark_without_scores():
    rows = report_numbers.score_table([Score("r", "base", "recall", "exact_match", 0.5, 10)])
    evidence = report_verdict.Evidence("r", rows, {}, {}, None, ["sft"], [])
    with pytest.raises(InputError, match="run r has no scores of the benchmark heldout"):
        report_verdict.verdict(evidence, "heldout", {}, {}, 0.03)


# ----------------------------------------------------------------------- intervals, forgetting


@pytest.mark.parametrize(
    ("counts", "expected"),
    # the examples of the paper, table II, method 10
    [((36, 12, 2, 0), (0.0569, 0.3404)), ((20, 12, 2, 16), (0.0562, 0.3292))],
)
def test_interval_of_a_difference_as_published(counts, expected):
    assert report_numbers.newcombe(*counts) == pytest.approx(expected, abs=1e-4)


def test_interval_of_a_difference_is_no_point_where_nothing_changed():
    low, high = report_numbers.newcombe(200, 0, 0, 0)
    assert (low, high) == (pytest.approx(-0.0188, abs=1e-4), pytest.approx(0.0188, abs=1e-4))
    low, high = report_numbers.newcombe(100, 0, 0, 100)
    assert -0.011 < low < 0 < high < 0.011


def test_interval_turns_round_with_the_variants():
    before, after, groups = [1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 1, 0], "aabcde"
    low, high = report_numbers.difference_interval(before, after, groups)
    turned = report_numbers.difference_interval(after, before, groups)
    assert turned == pytest.approx((-high, -low))


def test_bootstrap_of_a_mean():
    source = random.Random(0)
    values = [source.gauss(0.5, 0.1) for _ in range(400)]
    low, high = report_numbers.bootstrap(values, range(400))
    mean = sum(values) / 400
    error = statistics.stdev(values) / 20
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=error / 5)
    assert report_numbers.bootstrap(values, range(400)) == (low, high), "the same on every run"
    assert report_numbers.mean_interval(values, range(400)) == (low, high)


def test_few_values_leave_much_open():
    # Wilson's interval of one success among one
    assert report_numbers.mean_interval([1.0], [0]) == pytest.approx((0.2065, 1.0), abs=5e-5)
    low, high = report_numbers.mean_interval([0.7, 0.7], [0, 1])
    assert low < 0.3 and high > 0.9
    low, high = report_numbers.difference_interval([0.5, 0.6], [0.7, 0.8], range(2))
    assert low < -0.4 and high > 0.7


@pytest.mark.parametrize(
    ("gained", "lost", "certain"), [(0, 4, False), (0, 6, True), (7, 1, False), (9, 1, True)]
)
def test_a_difference_is_certain_by_both_measures(gained, lost, certain):
    before = [1.0] * (lost + 8) + [0.0] * (12 - lost)
    after = [0.0] * lost + [1.0] * (8 + gained) + [0.0] * (12 - lost - gained)
    low, high = report_numbers.difference_interval(before, after, range(len(before)))
    assert low > 0 or high < 0
    assert report_numbers.certainly_differ(before, after, range(20)) is certain


def test_questions_with_one_answer_are_not_independent():
    """300 facts, each asked in three ways: what the means of such samples really vary by."""
    source = random.Random(0)
    worth, means = [], []
    groups = [number // 3 for number in range(900)]
    for _ in range(300):
        values = []
        for _ in range(300):
            known = source.random() < 0.8
            values += [float(known != (source.random() < 0.1)) for _ in range(3)]
        worth.append(independence.independent(values, groups))
        means.append(statistics.fmean(values))
    mean = statistics.fmean(means)
    assert mean * (1 - mean) / statistics.variance(means) == pytest.approx(
        statistics.fmean(worth), rel=0.2
    )
    assert 300 < statistics.fmean(worth) < 600
    low, high = report_numbers.mean_interval([0.9 * value for value in values], groups)
    wide = 0.9 * 1.96 * (means[-1] * (1 - means[-1]) / worth[-1]) ** 0.5
    assert (high - low) / 2 == pytest.approx(wide, rel=0.1), "the bootstrap draws facts, too"


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        # each question of its own; all alike; nothing known of how alike; independent in a group
        ([1, 0, 0, 1], "abcd", 4),
        ([1, 1, 0, 0], "aabb", 2),
        ([1, 1, 1, 1], "aabb", 2),
        ([1, 0, 1, 0], "aabb", 4),
    ],
)
def test_how_many_are_independent(values, groups, expected):
    assert independence.independent(values, list(groups)) == pytest.approx(expected)


def test_facts_are_compared_and_not_the_ways_to_ask_for_them():
    def answered(right: range) -> list[dict]:
        return [
            {"benchmark": "heldout", "id": i, "answer": f"答案{i // 3}", "correct": i in right}
            for i in range(120)
        ]

    test = report_numbers.paired(answered(range(60)), answered(range(75)))
    assert (test.questions, test.gained, test.lost) == (120, 15, 0)
    # five facts became known
    assert test.p == report_numbers.sign_test(5, 0) == pytest.approx(2 / 32)
    assert test.interval == pytest.approx(report_numbers.newcombe(20, 5, 0, 15))


def test_what_questions_ask_for():
    row = {"benchmark": "heldout_mcq", "id": "q", "answer": "B", "options": {"A": "甲", "B": "乙"}}
    assert independence.group_of(row) == ("answer", "乙")
    assert independence.group_of(row | {"benchmark": "exam"}) == ("id", "q")


def test_differences_of_means_are_paired():
    source = random.Random(0)
    before = [source.random() for _ in range(200)]
    after = [value + 0.01 for value in before]
    low, high = report_numbers.difference_interval(before, after, range(len(before)))
    assert (low, high) == pytest.approx((0.01, 0.01)), "each question is compared with itself"


def test_several_other_abilities_are_told_in_one_sentence():
    """Six answers lost alone are p = 0.031, and one of three benchmarks loses that by chance."""
    lost = {"a": 6, "b": 30, "c": 0}
    right = {"heldout": (0, 1), **{name: (1, 1 - number / 100) for name, number in lost.items()}}
    scores = [
        Score("r", variant, name, "accuracy", score, 100)
        for name, ends in right.items()
        for variant, score in zip(("base", "tuned"), ends, strict=True)
    ]
    overall = {name: paired(0, number, both=100 - number) for name, number in lost.items()}
    overall["heldout"] = paired(100, 0)
    tests = {name: {"tuned": test} for name, test in overall.items()}
    rows = report_numbers.score_table(scores)
    evidence = report_verdict.Evidence("r", rows, tests, overall, None, ["sft"], list(lost))
    names = {"base": "Base", "tuned": "Tuned"}
    found = report_verdict.verdict(evidence, "heldout", names, {"tuned": "Tuning"}, 0.03)
    assert found.headline == "The model learned, but forgot some of b"
    assert len(found.sentences) == 2
    assert found.sentences[1].startswith(
        "What it could do besides: a shows no certain difference (Accuracy: Base 100.0%, Tuned "
        "94.0%; 100 questions; 95% interval −12.5 to −1.1 points; p\xa0=\xa00.062), b has fallen "
    )


@pytest.mark.parametrize(
    ("after", "mood", "headline", "sentence"),
    [
        (0.7, "mixed", "The model learned, but forgot some of general",
         "What it could do besides, on general, has fallen: the model has forgotten something. "
         "Accuracy: Base 100.0%, Tuned 70.0% (100 questions: 0 answers became right, 30 wrong; "
         "95% interval −39.6 to −21.1 points; p\xa0<\xa00.001)."),
        (0.97, "good", "The model learned",
         "What it could do besides, on general, shows no certain difference. "
         "Accuracy: Base 100.0%, Tuned 97.0% (100 questions: 0 answers became right, 3 wrong; "
         "95% interval −8.5 to +1.2 points; p\xa0=\xa00.250)."),
    ],
)  # fmt: skip
def test_forgetting_is_told(after, mood, headline, sentence):
    scores = [
        Score("r", v, "heldout", "exact_match", s, 100) for v, s in (("base", 0), ("tuned", 1))
    ]
    scores += [
        Score("r", v, "general", "accuracy", s, 100) for v, s in (("base", 1), ("tuned", after))
    ]
    lost = round(100 * (1 - after))
    overall = {
        "heldout": paired(100, 0),
        "general": paired(0, lost, both=100 - lost),
    }
    tests = {name: {"tuned": test} for name, test in overall.items()}
    rows = report_numbers.score_table(scores)
    evidence = report_verdict.Evidence("r", rows, tests, overall, None, ["sft"], ["general"])
    names = {"base": "Base", "tuned": "Tuned"}
    found = report_verdict.verdict(evidence, "heldout", names, {"tuned": "Tuning"}, 0.03)
    assert (found.mood, found.headline) == (mood, headline)
    assert found.sentences[-1] == sentence
