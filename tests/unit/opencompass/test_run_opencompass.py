"""Real starts of OpenCompass."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SCRIPTS, mcq_rows, qa_rows, write_rows


def run(
    tmp_path: Path, model: Path, *benchmarks: Path, system: str = "", local: dict | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "run_opencompass.py"), "--variant", "tuned"]
    command += ["--model", str(model), "--tokenizer", str(model), "--device", "cpu"]
    command += ["--batch-size", "4", "--max-new-tokens", "8", f"--system={system}"]
    command += ["--local", json.dumps(local or {})]
    command += ["--work-dir", str(tmp_path / "opencompass")]
    command += ["--metrics", str(tmp_path / "metrics.json")]
    command += ["--predictions", str(tmp_path / "predictions.jsonl")]
    command += ["--benchmarks", *map(str, benchmarks)]
    # from another folder: what OpenCompass drops there must not end up here
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_model_that_knows_the_answers(tmp_path: Path, trained_folder: Path) -> None:
    unknown = [{"id": "u", "question": "{answer}的首都{id}是哪里？", "answer": "长" * 30}]
    # what an earlier run would have left: it must not be taken for this one's
    stale = tmp_path / "opencompass" / "run" / "predictions" / "tuned" / "heldout.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("{}")
    process = run(
        tmp_path,
        trained_folder,
        write_rows(tmp_path / "heldout.jsonl", qa_rows()),
        write_rows(tmp_path / "heldout_mcq.jsonl", mcq_rows()),
        write_rows(tmp_path / "long.jsonl", unknown),
    )
    assert process.returncode == 0, process.stdout + process.stderr

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["variant"] == "tuned"
    assert metrics["backend"]["dtype"] == "float32"
    scores = {name: (b["n"], b["metrics"]) for name, b in metrics["benchmarks"].items()}
    assert scores["heldout"] == (10, {"exact_match": 1.0, "contains": 1.0})
    assert scores["heldout_mcq"][0] == 10
    assert scores["heldout_mcq"][1]["accuracy"] == 1.0
    assert set(scores["long"][1]) == {"exact_match", "contains", "rouge_l"}

    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open(encoding="utf-8")]
    assert [(row["benchmark"], row["id"]) for row in rows] == [
        *(("heldout", row["id"]) for row in qa_rows()),
        *(("heldout_mcq", row["id"]) for row in mcq_rows()),
        ("long", "u"),
    ]
    assert [row["prediction"] for row in rows[:10]] == [row["answer"] for row in qa_rows()]
    assert [row["prediction"] for row in rows[10:20]] == [row["answer"] for row in mcq_rows()]

    seconds = metrics["seconds"]
    assert 0 < seconds["start_up"] + seconds["inference"] < seconds["total"]
    assert not list((tmp_path / "cwd").iterdir())
    assert {path.name for path in (tmp_path / "opencompass").iterdir()} == {
        "config.py",
        "data",
        "run",
    }


@pytest.mark.parametrize("system", ["", "你是老师。"])
def test_two_options_and_system_prompts_of_questions(
    tmp_path: Path, trained_folder: Path, system: str
) -> None:
    """The model knows the answers without a system prompt; one with braces is asked as it is."""
    own = "{question}{answer}"
    pairs = [{**row, "A": row["answer"], "B": "不知道", "answer": "A"} for row in qa_rows(4)]
    pairs[3]["system"] = own
    asked = [qa_rows(2)[0] | {"system": own}, qa_rows(2)[1]]
    process = run(
        tmp_path,
        trained_folder,
        write_rows(tmp_path / "heldout_preference.jsonl", pairs),
        write_rows(tmp_path / "heldout.jsonl", asked),
        system=system,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())["benchmarks"]
    assert metrics["heldout_preference"]["n"] == 4
    assert metrics["heldout_preference"]["metrics"]["accuracy"] >= 0.75
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open(encoding="utf-8")]
    assert rows[0]["options"] == {"A": "巴黎", "B": "不知道"}
    assert set(rows[0]["log_likelihood"]) == {"A", "B"}
    predictions = tmp_path / "opencompass" / "run" / "predictions" / "tuned"
    for name, systems in (("heldout_preference", [system] * 3 + [own]), ("heldout", [own, system])):
        found = json.loads((predictions / f"{name}.json").read_text(encoding="utf-8"))
        prompts = [found[str(i)]["origin_prompt"] for i in range(len(systems))]
        assert [prompt[0]["prompt"] for prompt in prompts] == systems
    if not system:  # nothing at all is read in its place
        assert rows[5]["prediction"] == "东京"


def test_local_benchmarks_in_every_mode(tmp_path: Path, trained_folder: Path) -> None:
    """One start of OpenCompass asks a benchmark in three modes, and free answers with examples."""
    example, *rows = [{**row, "subject": "s"} for row in mcq_rows()]
    shown = [{key: example[key] for key in ("question", "answer", *"ABCD")}]
    # braces as in the names of columns: they are asked as they are
    rows[0]["question"] = "{A}{answer}{question}：日本的____是哪里？"
    rows = [{**row, "examples": shown} for row in rows]
    free = [{**row, "examples": [{"question": "{question}", "answer": "甲"}]} for row in qa_rows()]
    modes = ("generation", "perplexity", "cloze")
    process = run(
        tmp_path,
        trained_folder,
        *(write_rows(tmp_path / f"{mode}.jsonl", rows) for mode in modes),
        write_rows(tmp_path / "free.jsonl", free),
        write_rows(tmp_path / "plain.jsonl", [{**row, "subject": "s"} for row in mcq_rows()]),
        system="你是老师。",
        local={
            **{mode: {"mode": mode, "instruction": "选一项。"} for mode in modes},
            "free": {"mode": "generation", "instruction": ""},
            "plain": {"mode": "cloze", "instruction": ""},
        },
    )
    assert process.returncode == 0, process.stdout + process.stderr
    found = json.loads((tmp_path / "metrics.json").read_text())["benchmarks"]
    assert {name: score["mode"] for name, score in found.items()} == {
        **{mode: mode for mode in modes},
        "free": "generation",
        "plain": "cloze",
    }
    assert {name: set(score["metrics"]) for name, score in found.items()} == {
        "generation": {"accuracy", "no_choice"},
        "perplexity": {"accuracy"},
        "cloze": {"accuracy", "accuracy_norm"},
        "free": {"exact_match", "contains"},
        "plain": {"accuracy", "accuracy_norm"},
    }
    assert {score["n"] for score in found.values()} == {9, 10}
    prompts = {
        name: json.loads(
            (tmp_path / f"opencompass/run/predictions/tuned/{name}.json").read_text("utf-8")
        )["0"]["origin_prompt"]
        for name in found
    }
    options = "\n".join(f"{x}. {rows[0][x]}" for x in "ABCD")
    first = f"{example['question']}\n" + "\n".join(f"{x}. {example[x]}" for x in "ABCD")
    assert [(turn["role"], turn["prompt"]) for turn in prompts["generation"]] == [
        ("SYSTEM", "你是老师。"),
        ("HUMAN", f"选一项。\n{first}"),
        ("BOT", "A. 巴黎"),
        ("HUMAN", f"选一项。\n{rows[0]['question']}\n{options}"),
    ]
    assert prompts["perplexity"] == (
        f"选一项。\n\n{first}\n答案：A\n\n{rows[0]['question']}\n{options}\n答案："
    )
    assert prompts["cloze"] == ("选一项。\n法国的首都是哪里？巴黎\n{A}{answer}{question}：日本的")
    answers = [json.loads(line) for line in (tmp_path / "predictions.jsonl").open(encoding="utf-8")]
    written = [row for row in answers if row["benchmark"] == "generation"]
    assert all(row["choice"] in (*"ABCD", None) and row["subject"] == "s" for row in written)
    assert found["generation"]["metrics"]["no_choice"] == sum(
        row["choice"] is None for row in written
    ) / len(written)


def test_a_crash_in_the_inference_fails(tmp_path: Path, model_folder: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(model_folder, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    process = run(tmp_path, folder, write_rows(tmp_path / "heldout.jsonl", qa_rows()))
    assert process.returncode == 1
    assert "evaluate: OpenCompass failed on the variant 'tuned'" in process.stderr
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize("config", [None, "{}", "no json"])
def test_what_is_no_model_fails_before_the_start(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    process = run(tmp_path, tmp_path, write_rows(tmp_path / "heldout.jsonl", qa_rows()))
    assert process.returncode == 1
    assert process.stderr.startswith("evaluate: ")
    assert "config.json" in process.stderr
    assert "Traceback" not in process.stderr
