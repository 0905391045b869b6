"""What max_length would cut is known, and may stop the run, before the training."""

import json

import count_tokens
import pytest
import render_config
from test_training import BASE, SCRIPTS, TRAINING


@pytest.fixture
def project(tmp_path, tokenizer):
    """XTuner's configuration of 10 conversations; the answer of number N has N * 8 words."""
    tokenizer.save_pretrained(tmp_path / "base")
    with (tmp_path / "train.jsonl").open("w", encoding="utf-8") as file:
        for number in range(1, 11):
            turn = {"input": "中国？", "output": "sky " * 8 * number}
            file.write(json.dumps({"conversation": [turn]}, ensure_ascii=False) + "\n")
    paths = {"base_model": str(tmp_path / "base"), "train": str(tmp_path / "train.jsonl")}
    template = SCRIPTS / "training" / "config.py.jinja"
    (tmp_path / "config.py").write_text(
        render_config.render(template, TRAINING, BASE, paths, "cpu"), "utf-8"
    )
    return tmp_path


def lengths(project, processes=1):
    return list(count_tokens.all_lengths(project / "config.py", project / "train.jsonl", processes))


def test_lengths_do_not_depend_on_the_processes(project, monkeypatch):
    alone = lengths(project)
    assert [size for size, _ in alone] == sorted({size for size, _ in alone}), "longer and longer"
    monkeypatch.setattr(count_tokens, "CHUNK", 3)
    assert lengths(project, processes=2) == alone


def test_counts_what_max_length_cuts(project):
    found = lengths(project)
    counted = count_tokens.summary(found, TRAINING["max_length"])
    longer = [size for size, _ in found if size > TRAINING["max_length"]]
    assert 0 < len(longer) < 10
    assert counted["rows_cut"] == len(longer)
    assert counted["tokens_cut"] == sum(size - TRAINING["max_length"] for size in longer)
    assert counted["quantiles"]["1.0"] == max(size for size, _ in found)
    assert counted["rows_without_answer"] == 0

    share = len(longer) / 10
    assert count_tokens.problem(counted, share) is None
    message = count_tokens.problem(counted, share - 0.05)
    assert f"{len(longer)} of 10 conversations ({share:.1%}) are longer than max_length" in message
    assert "max_truncated" in message


def test_conversations_without_anything_to_learn_stop_the_run():
    nothing_left = count_tokens.summary([(80, 0), (20, 5)], 64)
    assert "1 of 2 conversations have no answer left" in count_tokens.problem(nothing_left, 1.0)
    assert "holds no conversation" in count_tokens.problem(count_tokens.summary([], 64), 1.0)
