"""The report of runs with stages, and of several runs."""

import csv
import re

import pytest
from lxml import html
from report_files import RIGHT, SIZES, Inputs, cells_of, flat, row_of

# report_files has made these importable
# isort: split
import compare_runs
import report_charts
import report_runs

STAGED = ("base", "pt", "sft", "tuned", "awq", "turbomind")


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """A run of four stages; its ledger has all counts there can be."""
    inputs = Inputs(
        tmp_path_factory.mktemp("staged"),
        variants=STAGED,
        stages=("pt", "sft", "reward", "dpo"),
    )
    ledger = inputs.ledger()
    ledger["sources"][0] |= {"rows": 550, "not_sampled": 500, "repeated": 30}
    ledger["split"]["by_kind"] = {"train": {"chat": 15, "text": 5}, "heldout": {"chat": 40}}
    ledger |= {"mcq_skipped": 0, "preference_skipped": 3}
    inputs.json("ledger.json", ledger)
    return html.fromstring(inputs.build())


def test_each_stage_is_compared_with_the_one_before_it(staged):
    row = row_of(staged, "score-table", benchmark="heldout", metric="exact_match")
    shown = {
        cell.get("data-difference"): float(flat(cell).split()[0].replace("−", "-"))
        for cell in row.xpath("./td[@data-difference]")
    }
    right = {variant: RIGHT[variant][0] for variant in STAGED}
    pairs = {"pt": "base", "sft": "pt", "tuned": "sft", "awq": "tuned", "turbomind": "tuned"}
    assert shown == {
        variant: pytest.approx(100 * (right[variant] - right[other]) / SIZES["heldout"], abs=0.051)
        for variant, other in pairs.items()
    }
    row = row_of(staged, "paired-table", benchmark="heldout", variant="tuned")
    assert cells_of(row)[1:] == ["SFT", "Tuned (DPO)", "40", "6", "0", "0.031"]


def test_verdict_says_what_each_stage_added(staged):
    assert flat(staged.xpath("//h1")[0]).startswith("The model learned; ")
    assert [flat(item) for item in staged.xpath('//div[@data-run="tiny-qlora"]//li')][:5] == [
        "All stages together raised exact match on heldout from 2.5% to 90.0% (40 questions: 35 "
        "answers became right, 0 wrong; 95% interval +70.8 to +93.9 points; p < 0.001).",
        "Pre-training made no certain difference to exact match on heldout: 2.5% before, 5.0% after"
        " (40 questions: 1 answer became right, 0 wrong; 95% interval −7.3 to +13.5 points; "
        "p = 1.000).",
        "SFT raised exact match on heldout from 5.0% to 75.0% (40 questions: 28 answers became "
        "right, 0 wrong; 95% interval +50.9 to +81.4 points; p < 0.001).",
        "DPO raised exact match on heldout from 75.0% to 90.0% (40 questions: 6 answers became "
        "right, 0 wrong; 95% interval +2.7 to +28.4 points; p = 0.031).",
        "The reward model prefers the chosen answer in 80.0% of 50 held-out pairs; guessing gives "
        "50% (p < 0.001).",
    ]


def test_a_row_for_the_training_of_each_stage(staged):
    rows = staged.xpath('//table[@id="training-table"]/tbody/tr')
    assert [row.get("data-stage") for row in rows] == ["pt", "sft", "reward", "dpo"]
    # a reward model is trained beside the model, which goes on from the stage before it
    assert [cells_of(row)[1] for row in rows] == ["tiny", "pt", "sft", "sft"]
    assert [cells_of(row)[7] for row in rows] == ["–", "–", "0.9833", "0.9833"]


def test_curves_of_every_stage(staged):
    (chart,) = staged.xpath('//section[@id="training"]//div[@class="chart"]/svg')
    texts = chart.xpath(".//text/text()")
    titles = ("Pre-training", "SFT", "DPO", "Reward model")
    assert {title: texts.count(title) for title in titles} == dict(
        zip(titles, (1, 1, 2, 2), strict=True)
    )
    assert texts.count("pairs in the right order") == 2


def test_questions_are_chosen_by_what_came_of_the_stages(staged):
    (row,) = [
        row
        for row in staged.xpath('//tbody[@id="answer-rows"]/tr[@data-benchmark="heldout"]')
        if "第20号" in flat(row)
    ]
    # wrong before fine-tuning and right in all that came of it
    assert (row.get("data-wrong").split(), row.get("data-differ")) == (["base", "pt"], "no")
    assert "heldout: 40 of 40 questions shown; 5 of all were answered wrong" in flat(
        staged.xpath('//section[@id="answers"]')[0]
    )


def test_reward_model(staged):
    (row,) = staged.xpath('//table[@id="reward-table"]/tbody/tr')
    assert cells_of(row) == ["heldout_preference", "50", "80.0%", "67.0 to 88.8%"]


def test_rows_that_were_not_drawn_and_kinds_of_records(staged):
    corpus = flat(staged.xpath('//section[@id="corpus"]')[0])
    assert "60 kept, 4 rejected, 500 not drawn by the random sample" in corpus
    assert "30 further copies" in corpus
    (table,) = staged.xpath('//table[@id="ledger-table"]')
    rows = [cells_of(row)[:6] for row in table.xpath(".//tr")]
    assert rows[0] == ["Source", "Rows", "Kept", "Rejected", "Not sampled", "Repeated"]
    assert ["a.docx", "550", "47", "3", "500", "30"] in rows
    assert re.search(r"pairs left out of heldout preference ?3", corpus)
    assert "questions left out" not in corpus
    (table,) = staged.xpath('//table[@id="kind-table"]')
    assert [cells_of(row) for row in table.xpath(".//tr")] == [
        ["Side", "chat", "text"],
        ["train", "15", "5"],
        ["heldout", "40", "0"],
    ]


def test_a_stage_that_was_not_evaluated_is_not_credited_alone():
    run = {"variants": ["base", "tuned"], "stages": [{"method": "sft"}, {"method": "dpo"}]}
    assert report_runs.subjects_of(run) == {"tuned": "SFT and DPO"}
    run["stages"] = [{"method": "sft"}, {"method": "reward"}]
    assert report_runs.subjects_of(run) == {"tuned": "Tuning"}
    assert report_runs.names_of(run)["tuned"] == "Tuned"


def test_reinforcement_is_drawn_by_its_reward():
    steps = [{"iteration": 1, "loss": 0.0, "reward": -0.5, "kl": 0.01}]
    assert report_charts.curves_of([{"steps": steps}]) == ["reward", "kl"]


# ------------------------------------------------------------------------------- several runs

SHIFT = {"r8": -20, "r16": -1, "r64": 0}


def several(folder, runs=tuple(SHIFT), **options) -> Inputs:
    inputs = Inputs(folder, runs=runs, shift=SHIFT, **options)
    for run in inputs.inventory["runs"]:
        run["stages"][0]["training"] = {"steps": 30, "lora": {"r": int(run["name"].lstrip("r"))}}
    return inputs


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return html.fromstring(several(tmp_path_factory.mktemp("runs")).build())


def test_no_winner_inside_the_noise(compared):
    assert flat(compared.xpath("//h1")[0]) == (
        "r64 scores highest on heldout: 90.0%, but 1 of 2 other runs cannot be told from it"
    )
    row = row_of(compared, "best-table", benchmark="heldout")
    # one answer of 40 apart is chance, twenty are not
    assert cells_of(row) == ["heldout", "r64", "90.0%", "r16"]


def test_runs_that_are_all_the_same_have_no_winner(tmp_path):
    page = html.fromstring(several(tmp_path, runs=("r16", "r64")).build())
    assert flat(page.xpath("//h1")[0]) == (
        "The runs cannot be told apart on heldout: the highest score is 90.0%"
    )


def test_runs_are_ranked_with_what_differs_between_them(compared):
    rows = [cells_of(row) for row in compared.xpath('//table[@id="run-table"]//tr')]
    assert rows[0][:4] == ["Run", "sft.lora.r", "heldout", "recall"]
    marks = ["highest: ", "cannot be told from the highest: "]
    cleaned = [[re.sub(f"[●○]|{'|'.join(marks)}", "", cell) for cell in row] for row in rows[1:]]
    assert [row[:3] for row in cleaned] == [
        ["r64", "64", "90.0"],
        ["r16", "16", "87.5"],
        ["r8", "8", "40.0"],
    ]


def test_many_runs_are_folded(tmp_path):
    names = [f"r{number}" for number in range(1, 8)]
    document = html.fromstring(several(tmp_path, names).build(samples=21))
    for table in ("paired-table", "score-table"):
        assert document.xpath(f'//details//table[@id="{table}" or contains(@class, "{table}")]')
    assert len(document.xpath('//header/div/details//div[contains(@class, "verdict")]')) == 7
    assert "7 runs: The model learned" in flat(
        document.xpath('//ul[contains(@class, "headlines")]')[0]
    )
    # the places of the questions are shared out among the runs
    assert len(document.xpath('//tbody[@id="answer-rows"]/tr[@data-benchmark="heldout"]')) == 21
    ids = document.xpath("//@id")
    assert len(ids) == len(set(ids))


def test_runs_of_other_stages_have_a_table_of_their_own(tmp_path):
    inputs = Inputs(tmp_path, runs=("plain",), variants=("base", "tuned"))
    more = Inputs(tmp_path, runs=("staged",), variants=STAGED, stages=("pt", "sft", "dpo"))
    inputs.inventory["runs"] += more.inventory["runs"]
    document = html.fromstring(inputs.build())
    tables = document.xpath('//table[contains(@class, "score-table")]')
    headings = [[flat(cell) for cell in table.xpath("./thead/tr/th")] for table in tables]
    assert headings[0] == ["Benchmark", "Metric", "n", "Base", "Tuned", "vs base"]
    assert "Tuned (DPO)" in headings[1]
    (table,) = document.xpath('//table[contains(@class, "answers")]')
    names = [flat(cell) for cell in table.xpath("./thead/tr/th")][4:]
    assert names == ["Base", "Pre-training", "SFT", "Tuned", "AWQ 4-bit", "TurboMind 4-bit"]


def test_a_start_from_another_run_is_shown(tmp_path):
    inputs = several(tmp_path)
    inputs.inventory["runs"][0]["start_from"] = "r64/sft"
    document = html.fromstring(inputs.build())
    row = row_of(document, "training-table", run="r8", stage="sft")
    assert cells_of(row)[2] == "r64/sft"


# --------------------------------------------------------------------------- comparison.csv


def compare(inputs: Inputs) -> list[dict[str, str]]:
    options = {
        "inventory": inputs.json("inventory.json", inputs.inventory),
        "comparison": inputs.folder / "comparison.csv",
        "chart": inputs.folder / "comparison.svg",
    }
    argv = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    assert compare_runs.main(argv) == 0
    with options["comparison"].open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_comparison_has_every_score_and_only_the_settings_that_differ(tmp_path):
    rows = compare(several(tmp_path, stages=("sft", "reward")))
    assert len(rows) == 3 * (4 * 2 * 2 + 1)
    assert list(rows[0]) == [
        *("run", "sft.lora.r", "variant", "benchmark", "metric", "score", "n"),
        *("interval_low", "interval_high", "compared_with", "difference"),
    ]
    (row,) = [
        row
        for row in rows
        if [row[key] for key in ("run", "variant", "benchmark", "metric")]
        == ["r16", "tuned", "heldout", "exact_match"]
    ]
    assert (row["sft.lora.r"], row["score"], row["n"]) == ("16", "0.875000", "40")
    assert (row["compared_with"], row["difference"]) == ("base", "0.850000")
    assert float(row["interval_low"]) < 0.875 < float(row["interval_high"])
    (row,) = [row for row in rows if row["run"] == "r8" and row["variant"] == "reward"]
    assert (row["benchmark"], row["score"], row["difference"]) == (
        "heldout_preference",
        "0.800000",
        "",
    )


def test_comparison_of_one_run(tmp_path):
    rows = compare(Inputs(tmp_path))
    assert list(rows[0])[:3] == ["run", "variant", "benchmark"]
    assert "tiny-qlora" in (tmp_path / "comparison.svg").read_text(encoding="utf-8")


def test_chart_of_many_runs_shows_the_best(tmp_path):
    names = [f"grid-of-long-names-learning_rate{number:03d}e-5" for number in range(45)]
    inputs = Inputs(tmp_path, runs=names, variants=("tuned",), shift={names[7]: 1, names[9]: -5})
    compare(inputs)
    chart = (tmp_path / "comparison.svg").read_text(encoding="utf-8")
    assert "the best 40 of 45 runs by heldout" in chart
    assert ">…learning_rate007e-5<" in chart, "what the names have in common is left out"
    assert "rate009" not in chart


def test_long_names_stay_apart_in_charts():
    names = [
        f"a-programme-rate{rate}-r{r}-seed1234567" for rate in ("1e-03", "1e-04") for r in (8, 64)
    ]
    assert report_charts._short(names) == [
        *("…rate1e-03-r8…", "…rate1e-03-r64…"),
        *("…rate1e-04-r8…", "…rate1e-04-r64…"),
    ]
    assert report_charts._short(["one-run-with-a-very-long-name-of-its-own"]) == [
        "one-run-with-a-very-long-name-of-its-own"
    ]


def test_comparison_names_the_file_that_is_missing(tmp_path):
    inputs = several(tmp_path)
    (tmp_path / "r16" / "scores.csv").unlink()
    with pytest.raises(SystemExit, match=r"compare_runs: .*r16/scores\.csv is missing"):
        compare(inputs)
    assert not (tmp_path / "comparison.csv").exists()
