"""A score that does not keep to a gate stops the run with a sentence."""

import json

import pytest
from report_files import Inputs

# report_files has made this importable
# isort: split
import check_gates


def check(inputs: Inputs, *gates: str) -> list[dict]:
    out = inputs.folder / "gates.json"
    options = {
        "inventory": inputs.json("inventory.json", inputs.inventory),
        "gates": json.dumps(gates),
        "first": "heldout",
        "report": "results/x/report.html",
        "out": str(out),
    }
    check_gates.main([part for name, value in options.items() for part in (f"--{name}", value)])
    return json.loads(out.read_text(encoding="utf-8"))


def test_what_holds_is_written(tmp_path):
    inputs = Inputs(tmp_path, runs=("one", "two"), shift={"two": -1})
    gates = ["tuned on heldout >= 87.5", "turbomind - tuned on heldout >= -2.5"]
    assert check(inputs, *gates) == [
        {"gate": gates[0], "run": "one", "points": 90.0},
        {"gate": gates[0], "run": "two", "points": 87.5},
        {"gate": gates[1], "run": "one", "points": -2.5},
        {"gate": gates[1], "run": "two", "points": -2.5},
    ]


def test_what_does_not_hold_fails_and_says_why(tmp_path):
    inputs = Inputs(tmp_path, runs=("one", "two"), shift={"two": -1})
    with pytest.raises(SystemExit) as stopped:
        check(inputs, "tuned on heldout >= 88", "awq - tuned on heldout contains >= 0")
    assert str(stopped.value).splitlines() == [
        "gates: 'tuned on heldout >= 88' does not hold in two: tuned has 87.5% (exact match, 40 "
        "questions).",
        "gates: 'awq - tuned on heldout contains >= 0' does not hold in one: awq has 87.5% and "
        "tuned 90.0%: −2.5 points (contains, 40 questions).",
        "gates: 'awq - tuned on heldout contains >= 0' does not hold in two: awq has 85.0% and "
        "tuned 87.5%: −2.5 points (contains, 40 questions).",
        "See results/x/report.html.",
    ]
    assert not (tmp_path / "gates.json").exists()


def test_what_a_gate_leaves_out_is_told(tmp_path):
    with pytest.raises(
        SystemExit, match="'awq - tuned on heldout >= 0' does not hold in a-run: awq"
    ):
        check(Inputs(tmp_path, runs=("a-run",)), "awq - tuned >= 0", "heldout em >= 80")


def test_runs_without_the_variant_are_left_out(tmp_path):
    inputs = Inputs(tmp_path, runs=("one",), variants=("base", "tuned"))
    inputs.inventory["runs"] += Inputs(tmp_path, runs=("two",)).inventory["runs"]
    assert [row["run"] for row in check(inputs, "awq on heldout >= 1")] == ["two"]


def test_a_metric_that_was_not_measured(tmp_path):
    with pytest.raises(SystemExit, match=r"no rouge_l of tuned on heldout; it has contains, exact"):
        check(Inputs(tmp_path), "tuned on heldout rouge_l >= 1")
