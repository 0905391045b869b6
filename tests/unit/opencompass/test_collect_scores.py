"""One table of all variants, if they can be compared."""

import json
from pathlib import Path

import collect_scores
import pytest


def _metrics(variant: str, **backend: object) -> dict:
    return {
        "variant": variant,
        "backend": {"device": "cpu", "dtype": "float32", **backend},
        "benchmarks": {
            "heldout": {"n": 3, "metrics": {"exact_match": 2 / 3, "contains": 1.0}, "seconds": 1},
            "heldout_mcq": {"n": 2, "metrics": {"accuracy": 0.5}, "seconds": 1},
        },
    }


def _collect(tmp_path: Path, *variants: dict) -> str:
    paths = []
    for variant in variants:
        paths.append(tmp_path / f"{variant['variant']}.json")
        paths[-1].write_text(json.dumps(variant))
    scores = tmp_path / "scores.csv"
    arguments = ["--domain", "d", "--run", "r", "--scores", str(scores), "--metrics"]
    collect_scores.main([*arguments, *map(str, paths)])
    return scores.read_text()


def test_one_row_per_variant_benchmark_and_metric(tmp_path: Path) -> None:
    assert _collect(tmp_path, _metrics("base"), _metrics("tuned")).splitlines() == [
        "domain,run,variant,benchmark,metric,score,n",
        "d,r,base,heldout,exact_match,0.666667,3",
        "d,r,base,heldout,contains,1.000000,3",
        "d,r,base,heldout_mcq,accuracy,0.500000,2",
        "d,r,tuned,heldout,exact_match,0.666667,3",
        "d,r,tuned,heldout,contains,1.000000,3",
        "d,r,tuned,heldout_mcq,accuracy,0.500000,2",
    ]


def test_every_stage_is_a_variant(tmp_path: Path) -> None:
    stages = ("base", "pt", "sft", "tuned")
    rows = _collect(tmp_path, *map(_metrics, stages)).splitlines()[1:]
    assert list(dict.fromkeys(row.split(",")[2] for row in rows)) == list(stages)
    assert len(rows) == 3 * len(stages)


REWARD = {
    "variant": "reward",
    "benchmarks": {"heldout_preference": {"n": 40, "metrics": {"accuracy": 0.825}}},
}


def test_the_reward_model_has_no_backend_to_compare(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(_metrics("base")))
    (tmp_path / "accuracy.json").write_text(json.dumps(REWARD))
    options = {
        "domain": "d",
        "run": "r",
        "metrics": tmp_path / "base.json",
        "reward-accuracy": tmp_path / "accuracy.json",
        "scores": tmp_path / "scores.csv",
    }
    collect_scores.main(
        [part for key, value in options.items() for part in (f"--{key}", str(value))]
    )
    rows = (tmp_path / "scores.csv").read_text().splitlines()
    assert rows[-1] == "d,r,reward,heldout_preference,accuracy,0.825000,40"
    assert len(rows) == 5


def test_another_setting_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="'base' and 'awq' were evaluated differently: dtype"):
        _collect(tmp_path, _metrics("base"), _metrics("awq", dtype="float16"))


def test_other_questions_are_not_compared(tmp_path: Path) -> None:
    other = _metrics("awq")
    other["benchmarks"]["heldout"]["n"] = 4
    with pytest.raises(SystemExit, match="'base' and 'awq' were asked different questions"):
        _collect(tmp_path, _metrics("base"), other)
