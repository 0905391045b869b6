"""What max_length would cut is known, and may stop the run, before the training."""

import json

import count_tokens
import pytest
import stages
from count_tokens import Length

LIMIT = stages.TRAINING["max_length"]


def write(folder, project, method, rows, **training):
    """Configuration and data of a stage; the configuration's path, and the data's."""
    config = stages.render(project, folder / "config.py", method, **training)
    train = folder / "train.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    train.write_text("".join(lines), "utf-8")
    return config, train


def conversation(answer):
    return {"conversation": [{"input": "中国？", "output": answer}]}


def counted(lengths, method="sft", limit=64, packed=False):
    return count_tokens.summary(lengths, method, limit, packed)


@pytest.fixture
def growing(tmp_path, project):
    """10 conversations; the answer of number N has N * 8 words."""
    rows = [conversation("sky " * 8 * number) for number in range(1, 11)]
    return write(tmp_path, project, "sft", rows)


def test_lengths_do_not_depend_on_the_processes(growing, monkeypatch):
    alone = list(count_tokens.all_lengths(*growing, 1))
    sizes = [length.tokens for length in alone]
    assert sizes == sorted(set(sizes)), "longer and longer"
    monkeypatch.setattr(count_tokens, "CHUNK", 3)
    assert list(count_tokens.all_lengths(*growing, 2)) == alone


def test_counts_what_max_length_cuts(growing):
    found = list(count_tokens.all_lengths(*growing, 1))
    result = counted(found, limit=LIMIT)
    longer = [length.tokens for length in found if length.tokens > LIMIT]
    assert 0 < len(longer) < 10
    assert result["rows_cut"] == len(longer)
    assert result["tokens_cut"] == sum(size - LIMIT for size in longer)
    assert result["quantiles"]["1.0"] == max(length.tokens for length in found)
    assert result["rows_without_answer"] == 0

    share = len(longer) / 10
    assert count_tokens.problem(result, share) is None
    message = count_tokens.problem(result, share - 0.05)
    assert f"{len(longer)} of 10 conversations ({share:.1%}) are longer than max_length" in message
    assert "runs.RUN.training.max_truncated" in message


def test_texts_are_cut_unless_they_are_packed(tmp_path, project):
    rows = [{"conversation": [{"input": "", "output": "sky " * 100}]}]
    for pack in (False, True):
        found = list(count_tokens.all_lengths(*write(tmp_path, project, "pt", rows, pack=pack), 1))
        result = counted(found, "pt", LIMIT, pack)
        assert result["rows_cut"] == (0 if pack else 1)
        # all but the begin of sequence
        assert result["answer_tokens"] == (result["tokens"] if pack else LIMIT) - 1
    message = count_tokens.problem(counted([Length(100, 63)], "pt"), 0.0)
    assert "1 of 1 texts (100.0%) are longer than max_length 64" in message


@pytest.mark.parametrize("method", ["dpo", "orpo", "reward"])
def test_pairs_by_their_longer_side(method, tmp_path, project):
    def of(question, chosen, rejected):
        rows = [stages.pair(question, chosen, rejected)]
        (length,) = count_tokens.all_lengths(*write(tmp_path, project, method, rows), 1)
        return length

    short = of("中国？", "城1", "城22")
    assert 0 < short.learned < short.tokens < LIMIT
    assert not short.same
    one_long = of("中国？", "城1", "长" * 100)
    assert one_long.tokens > LIMIT
    assert 0 < one_long.learned == short.learned
    assert of("长" * 100, "城1", "城22").learned == 0, "the prompt fills max_length"
    alike = of("中国？", "长" * 100 + "1", "长" * 100 + "2")
    assert alike.same, "they differ where they are cut"


def test_rows_that_teach_nothing_stop_the_run():
    nothing_left = counted([Length(80, 0), Length(20, 5)])
    assert "1 of 2 conversations have no answer left" in count_tokens.problem(nothing_left, 1.0)
    alike = counted([Length(80, 9, True), Length(20, 5)], "dpo")
    message = count_tokens.problem(alike, 1.0)
    assert message.startswith("the two answers of 1 of 2 pairs are the same within max_length 64")
    assert "no conversations to train on" in count_tokens.problem(counted([]), 1.0)
    assert "a prompt with a better and a worse answer" in count_tokens.problem(
        counted([], "reward"), 1.0
    )
    assert "at least a text that" in count_tokens.problem(counted([], "pt"), 1.0)


def broken(**changes):
    return stages.pair("中国？", "城1", "城2") | changes


@pytest.mark.parametrize(
    ("row", "template", "message"),
    [
        (
            broken(prompt=[{"role": "tool", "content": "42"}]),
            "qwen_chat",
            "the prompt has a message of tool",
        ),
        (
            broken(chosen=broken()["prompt"] * 2 + broken()["chosen"]),
            "qwen_chat",
            "an answer of the pair is a conversation of its own",
        ),
        (
            broken(prompt=[{"role": "system", "content": "S"}, *broken()["prompt"]]),
            "minicpm",
            "has no place for a system prompt",
        ),
    ],
)
def test_pairs_that_no_template_holds_are_refused(row, template, message, tmp_path, project):
    rows = [broken(), row]
    base = stages.BASE | {"prompt_template": template}
    config, train = write(tmp_path, project, "dpo", rows, base=base)
    with pytest.raises(SystemExit) as error:
        stages.run_script(
            count_tokens, config=config, train=train, lengths=tmp_path / "lengths.json"
        )
    assert f"{train}: line 2: " in str(error.value)
    assert message in str(error.value)


def test_a_system_prompt_without_a_place_in_sft(tmp_path, project):
    rows = [{"conversation": [{"system": "S", "input": "1", "output": "2"}]}]
    base = stages.BASE | {"prompt_template": "minicpm"}
    config, train = write(tmp_path, project, "sft", rows, base=base)
    with pytest.raises(count_tokens.RowError, match=r"line 1: .* no place for a system prompt"):
        list(count_tokens.all_lengths(config, train, 1))
