"""The rendered config is what OpenCompass needs on either device."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import mcq_rows, qa_rows
from opencompass_config import (
    SYSTEM_COLUMN,
    Setting,
    dataset_config,
    dataset_rows,
    model_config,
    render,
)
from question_files import Benchmark

QA = Benchmark("heldout", "qa", qa_rows(), "generation")
MCQ = Benchmark("heldout_mcq", "mcq", mcq_rows(), "options")


def _rendered(tmp_path: Path, setting: Setting) -> dict[str, Any]:
    model = model_config("tuned", tmp_path / "model", tmp_path / "tokenizer", 128, setting)
    datasets = [
        dataset_config(QA, tmp_path / "q", setting.system),
        dataset_config(MCQ, tmp_path / "m", setting.system),
    ]
    config: dict[str, Any] = {}
    # no builtins: the text must be made of literals only
    exec(render(model, datasets), {"__builtins__": {}}, config)
    return config


@pytest.mark.parametrize(
    ("device", "dtype", "gpus"), [("cpu", "torch.float", 0), ("cuda", "torch.float16", 1)]
)
def test_device_decides_dtype_and_gpus(tmp_path: Path, device: str, dtype: str, gpus: int) -> None:
    config = _rendered(tmp_path, Setting(device, batch_size=4, max_new_tokens=8))
    [model] = config["models"]
    assert model["model_kwargs"]["torch_dtype"] == dtype
    assert model["model_kwargs"]["device_map"] == device
    assert model["run_cfg"] == {"num_gpus": gpus}
    assert (model["batch_size"], model["max_out_len"], model["max_seq_len"]) == (4, 8, 128)


def test_foreign_code_runs_only_if_trusted(tmp_path: Path) -> None:
    for trust in (False, True):
        [model] = _rendered(tmp_path, Setting("cpu", 4, 8, trust_remote_code=trust))["models"]
        assert model["model_kwargs"]["trust_remote_code"] is trust
        assert model["tokenizer_kwargs"]["trust_remote_code"] is trust


def test_all_benchmarks_in_one_task(tmp_path: Path) -> None:
    config = _rendered(tmp_path, Setting("cpu", 4, 8))
    for stage in ("infer", "eval"):
        assert config[stage]["partitioner"]["n"] >= len(config["datasets"]) == 2


def test_questions_with_their_own_system_prompts() -> None:
    rows = qa_rows(3)
    assert dataset_rows(replace(QA, questions=rows), "S") == rows
    rows[1]["system"] = "{question} {id}"
    own = replace(QA, questions=rows)
    for system in ("", "S"):
        written = dataset_rows(own, system)
        assert [list(row)[-1] for row in written] == [SYSTEM_COLUMN] * 3
        assert [row[SYSTEM_COLUMN] for row in written] == [system, "{question} {id}", system]
        assert not any("system" in row for row in written)
        [template] = [dataset_config(own, Path("q"), system)["infer_cfg"]["prompt_template"]]
        assert template["template"]["begin"][0]["prompt"] == f"{{{SYSTEM_COLUMN}}}"


def test_as_many_options_as_the_questions_have(tmp_path: Path) -> None:
    pair = {"id": "a", "question": "q", "A": "x", "B": "y", "answer": "B"}
    for row, letters in ((pair, ["A", "B"]), (mcq_rows(1)[0], ["A", "B", "C", "D"])):
        config = dataset_config(replace(MCQ, questions=[row]), tmp_path / "q", "")
        assert config["infer_cfg"]["inferencer"]["columns"] == {x: x for x in letters}


def test_system_prompt_only_where_there_is_one(tmp_path: Path) -> None:
    for system, expected in (("", False), ("你是老师。", True)):
        for dataset in _rendered(tmp_path, Setting("cpu", 4, 8, system))["datasets"]:
            assert ("begin" in dataset["infer_cfg"]["prompt_template"]["template"]) is expected
