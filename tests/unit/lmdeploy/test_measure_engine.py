"""LMDeploy's engine is measured with each setting of its KV cache.

The compiled engine does not run without a GPU; all of LMDeploy's Python around it does, and is the
real one. No number here was measured on a GPU.
"""

import asyncio
import contextlib
import csv
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import launch_lmdeploy
import pytest
from conftest import SCRIPTS
from lmdeploy.messages import EngineOutput, ResponseType, TurbomindEngineConfig

sys.path.insert(0, str(SCRIPTS.parent / "evaluation"))

import measure_engine
from measurements import COLUMNS, disk_bytes

WITHOUT_GPU = Path(__file__).with_name("turbomind_without_gpu.py")


@dataclass(frozen=True)
class Measured:
    """A table, what has reached the engine, and what the script has said."""

    rows: list[dict[str, str]]
    engines: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    said: list[str]


def measure(chain, output, variant, folder, **changes):
    """Run the script on a pretended GPU."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        for name, value in {"MEASURE": WITHOUT_GPU, **changes}.items():
            patch.setattr(measure_engine, name, value)
        measure_engine.main(
            [
                *("--variant", variant, "--model", str(folder), "--tokenizer", str(chain.merged)),
                *("--conversations", str(chain.calibration), "--output", str(output)),
            ]
        )
    lines = said.getvalue().splitlines()
    notes = [
        json.loads(line.removeprefix("stand-in: "))
        for line in lines
        if line.startswith("stand-in: ")
    ]
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    engines = [note for note in notes if "engine" in note]
    return Measured(rows, engines, [note for note in notes if "wish" in note], lines)


@pytest.fixture(scope="module")
def workspace(chain, tmp_path_factory):
    """A workspace, on a GPU that cannot do a cache of 4 bits."""
    output = tmp_path_factory.mktemp("engine") / "engine.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN_FAILS", "4")
        return measure(chain, output, "turbomind", chain.workspace)


def test_settings_are_lmdeploys():
    default = TurbomindEngineConfig()
    assert measure_engine.SETTINGS[0] == (default.quant_policy, default.cache_max_entry_count)
    for bits, share in measure_engine.SETTINGS:
        TurbomindEngineConfig(quant_policy=bits, cache_max_entry_count=share)
    assert {bits for bits, _ in measure_engine.SETTINGS} == {0, 8, 4}


def test_each_setting_reaches_the_engine(workspace):
    assert [(row["kv_bits"], row["kv_share"]) for row in workspace.rows] == [
        *(("16", "0.8"), ("8", "0.8"), ("4", "0.8"), ("16", "0.2"))
    ]
    engines = [note["engine"] for note in workspace.engines]
    assert [(one["quant_policy"], one["cache_max_entry_count"]) for one in engines] == [
        *measure_engine.SETTINGS
    ]
    assert all(note["workspace"] for note in workspace.engines)


def test_size_memory_and_speed(workspace, chain):
    weights = disk_bytes(chain.workspace / "triton_models" / "weights")
    measured = [row for row in workspace.rows if row["kv_bits"] != "4"]
    for row in measured:
        assert [*row] == [*COLUMNS]
        assert (row["variant"], row["format"], row["device"]) == ("turbomind", "int4", "cuda")
        assert row["machine"] == "Made-up GPU, 80 GiB"
        assert not row["note"] and not row["start_bytes"]
        assert int(row["disk_bytes"]) == disk_bytes(chain.workspace)
        # what others had taken of the GPU is not counted
        assert int(row["weight_bytes"]) == weights
        free = 9 * 10**8 - weights
        assert int(row["cache_bytes"]) == pytest.approx(free * float(row["kv_share"]) + 10**7, 1e-3)
        assert int(row["peak_bytes"]) == weights + int(row["cache_bytes"]) + 10**6
        # 50 ms until the first token, at least 10 ms for each that follows
        length = int(row["prompt_tokens"])
        assert 0.2 * length / 0.05 < float(row["prefill_tokens_per_s"]) <= length / 0.05
        assert 20 < float(row["decode_tokens_per_s"]) <= 100
        assert int(row["repetitions"]) == 5
    held = [int(row["cache_tokens"]) for row in measured]
    assert held[1:] == pytest.approx([2 * held[0], held[0] / 4], rel=1e-2)


def test_what_is_asked_of_the_engine(workspace):
    asked = workspace.asked[: len(workspace.asked) // 3]
    # each a sequence of its own, from the start, or its prompt would be in the cache already
    assert [one["session"] for one in asked] == [
        {"id": number, "step": 0, "start": True, "end": True} for number in range(1, len(asked) + 1)
    ]
    assert [one["wish"]["max_new_tokens"] for one in asked] == [2, *[1] * 5, *[33] * 5]
    for one in asked:
        assert one["streamed"] is True
        assert one["wish"]["top_k"] == 1
        assert one["wish"]["min_new_tokens"] == one["wish"]["max_new_tokens"]
        assert "stop_ids" not in one["wish"]
        # the model's context is 256
        assert one["prompt"] + one["wish"]["max_new_tokens"] < 256
    assert {one["prompt"] for one in asked[:6]} == {int(workspace.rows[0]["prompt_tokens"])}


def test_a_setting_that_the_engine_cannot_do_is_told(workspace):
    (row,) = (row for row in workspace.rows if row["kv_bits"] == "4")
    assert row["note"] == "LMDeploy's engine failed; the job's log says why"
    assert int(row["disk_bytes"]) > 0 and not row["decode_tokens_per_s"]
    (line,) = (line for line in workspace.said if line.startswith("measure_engine: "))
    assert line == (
        "measure_engine: KV cache of 4 bits, 0.8: exit code -6; its own message is above."
    )


def test_awq_folder(chain, tmp_path):
    found = measure(chain, tmp_path / "engine.csv", "awq", chain.awq, SETTINGS=((4, 0.8),))
    (row,), (engine,) = found.rows, found.engines
    assert engine["workspace"] is False
    # LMDeploy has seen by itself what it is
    assert engine["engine"]["model_format"] == "awq"
    assert (row["variant"], row["kv_bits"], row["note"]) == ("awq", "4", "")
    assert int(row["disk_bytes"]) == disk_bytes(chain.awq)
    assert float(row["decode_tokens_per_s"]) > 0


def test_an_engine_that_hangs_is_ended(chain, tmp_path):
    output = tmp_path / "engine.csv"
    changes = {"SETTINGS": ((0, 0.8),), "SECONDS": 0.1}
    found = measure(chain, output, "turbomind", chain.workspace, **changes)
    assert "failed" in found.rows[0]["note"]
    assert "measure_engine: KV cache of 16 bits, 0.8: it was ended after 0.1 s." in found.said


class Answers:
    """An instance of the engine that gives what it is told to."""

    def __init__(self, *outputs):
        self.outputs = outputs

    async def async_stream_infer(self, session_id, input_ids, gen_config, **options):
        for status, number in self.outputs:
            yield EngineOutput(status, [0] * number, number)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (((ResponseType.SUCCESS, 2), (ResponseType.FINISH, 2)), "wrote 2 of 3 tokens"),
        (((ResponseType.INTERNAL_ENGINE_ERROR, 0),), "answered INTERNAL_ENGINE_ERROR"),
    ],
)
def test_an_answer_that_is_none(outputs, message):
    launch_lmdeploy.install_cpu_stand_ins()
    import measure_turbomind

    with pytest.raises(measure_turbomind.EngineError, match=message):
        asyncio.run(measure_turbomind.moments(Answers(*outputs), 1, [5, 6], 3))


def test_tokens_that_come_together_count_once():
    launch_lmdeploy.install_cpu_stand_ins()
    import measure_turbomind

    outputs = [(ResponseType.SUCCESS, 1), (ResponseType.SUCCESS, 3), (ResponseType.FINISH, 3)]
    found = asyncio.run(measure_turbomind.moments(Answers(*outputs), 1, [5, 6], 3))
    assert [number for number, _ in found] == [1, 3]
