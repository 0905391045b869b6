"""Models in transformers are measured: on this CPU, and on a pretended GPU."""

import csv
import json
from types import SimpleNamespace

import measure_model
import measure_performance
import measurements
import measuring
import pytest
import torch
from conftest import qa_rows, write_rows


@pytest.fixture
def conversations(tmp_path):
    rows = [
        {
            "messages": [
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ]
        }
        for row in qa_rows()
    ]
    return write_rows(tmp_path / "calibration.jsonl", rows)


@pytest.fixture
def measure(model_folder, conversations, tmp_path):
    """Measures one model in this process; returns what the script writes."""

    def run(device):
        output = tmp_path / "measured.json"
        measure_model.main(
            [
                *("--model", str(model_folder), "--tokenizer", str(model_folder)),
                *("--format", "bfloat16", "--device", device, "--threads", "1"),
                *("--conversations", str(conversations), "--output", str(output)),
            ]
        )
        return json.loads(output.read_text("utf-8"))

    return run


def test_on_a_cpu(measure):
    found = measure("cpu")
    assert 0 < found["start_bytes"] < found["peak_bytes"]
    assert len(found["prefill"]) == len(found["decode"]) == measuring.REPETITIONS
    assert found["prompt_tokens"] <= measuring.PROMPT_TOKENS
    assert "machine" not in found


def test_on_a_gpu(measure, monkeypatch):
    calls = []
    clock = measure_model.time.perf_counter
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, place: calls.append(place) or model)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("wait"))
    monkeypatch.setattr(
        measure_model, "time", SimpleNamespace(perf_counter=lambda: calls.append("read") or clock())
    )
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 12345)
    gpu = SimpleNamespace(name="Made-up GPU", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    found = measure("cuda")
    assert (found["peak_bytes"], found["machine"]) == (12345, "Made-up GPU, 80 GiB")
    assert found["weight_bytes"] > 0 and "start_bytes" not in found
    # a GPU goes on by itself: no time is read before it is done
    assert calls == ["cuda", *["wait", "read"] * 4 * measuring.REPETITIONS]


@pytest.fixture
def table(model_folder, tmp_path, monkeypatch):
    """Writes a table without measuring; returns its rows and the commands."""
    commands = []

    def measured(command):
        commands.append([str(word) for word in command])
        return {"machine": "Made-up GPU"} if "cuda" in command else {}, ""

    monkeypatch.setattr(measure_performance, "measured", measured)

    def run(*options):
        output = tmp_path / "performance.csv"
        words = ["--merged", model_folder, "--conversations", "c", "--threads", 2]
        measure_performance.main([*map(str, words), *map(str, options), "--output", str(output)])
        with output.open(encoding="utf-8") as file:
            return list(csv.DictReader(file)), commands

    return run


def test_forms_on_a_cpu(table, model_folder):
    four_bit = [f"--{name}={model_folder}" for name in ("awq", "dequantized", "turbomind")]
    rows, commands = table("--device", "cpu", *four_bit)
    assert [*rows[0]] == [*measurements.COLUMNS]
    forms = [("tuned", name) for name in ("float32", "bfloat16", "float16")]
    forms += [("awq", "float32"), ("int4", "int4"), ("turbomind", "int4")]
    assert [(row["variant"], row["format"]) for row in rows] == forms
    assert {row["device"] for row in rows} == {"cpu"}
    assert len(commands) == 5
    assert rows[-1]["note"] == "the engine needs a GPU"


def test_forms_on_a_gpu(table):
    rows, commands = table("--device", "cuda", "--trust-remote-code")
    assert [(row["variant"], row["format"]) for row in rows] == [
        *(("tuned", "bfloat16"), ("tuned", "float16"))
    ]
    for row, command in zip(rows, commands, strict=True):
        assert (row["device"], row["machine"]) == ("cuda", "Made-up GPU")
        assert "--trust-remote-code" in command
        assert command[command.index("--device") + 1] == "cuda"


def test_what_cannot_be_measured_is_named(tmp_path, capfd):
    (tmp_path / "config.json").write_text("{}")
    options = ["--merged", tmp_path, "--device", "cpu", "--conversations", "c", "--threads", 1]
    with pytest.raises(SystemExit, match=r"measuring .* in float32 failed: exit code 1; its own"):
        measure_performance.main([*map(str, options), "--output", str(tmp_path / "p.csv")])
    assert "Error" in capfd.readouterr().err
