"""Calibration windows come from the given text only and are the same each time."""

import json

import pytest
from calibration import calibration_windows, cut_windows, encode_conversation
from conftest import TEMPLATE, make_tokenizer


def write(path, *conversations):
    lines = [json.dumps({"messages": c}, ensure_ascii=False) for c in conversations]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def turn(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.fixture
def text(tmp_path):
    return write(tmp_path / "c.jsonl", *(turn(f"{n} 的首都？", f"北京{n}") for n in range(20)))


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_windows_are_pieces_of_the_text():
    ids = list(range(1000, 1100))
    windows = cut_windows(ids, samples=50, length=10, seed=1)
    assert len(windows) == 50
    assert all(window == ids[window[0] - 1000 :][:10] for window in windows)
    assert {w[0] for w in cut_windows(ids, 2000, 10, 1)} == set(range(1000, 1091))  # both ends


def test_windows_depend_on_the_seed_only():
    ids = list(range(500))
    assert cut_windows(ids, 5, 10, seed=1) == cut_windows(ids, 5, 10, seed=1)
    assert cut_windows(ids, 5, 10, seed=1) != cut_windows(ids, 5, 10, seed=2)


def test_windows_hold_the_rendered_conversations(text, tokenizer):
    windows = calibration_windows(text, tokenizer, samples=30, length=40, seed=0)
    assert windows == calibration_windows(text, tokenizer, samples=30, length=40, seed=0)
    whole = [
        i
        for n in range(20)
        for i in encode_conversation(turn(f"{n} 的首都？", f"北京{n}"), tokenizer)
    ]
    joined = ",".join(map(str, whole))
    assert all(",".join(map(str, window)) in joined for window in windows)


def test_one_bos_whoever_writes_it(tokenizer):
    messages = turn("法国？", "巴黎")
    ids = encode_conversation(messages, tokenizer)
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    other = make_tokenizer()
    other.chat_template = "{{ bos_token }}" + TEMPLATE
    assert encode_conversation(messages, other) == ids


def test_short_text_gives_one_window_and_says_so(text, tokenizer, capsys):
    windows = calibration_windows(text, tokenizer, samples=8, length=10**6, seed=0)
    assert len(windows) == 1
    message = capsys.readouterr().out
    assert f"only {len(windows[0])} tokens" in message and "corpus.split.calibration" in message


@pytest.mark.parametrize("line", ["no json", '{"text": "x"}', '{"messages": [{"role": "user"}]}'])
def test_malformed_line_is_named(tmp_path, tokenizer, line):
    path = write(tmp_path / "c.jsonl", turn("a", "b"))
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="line 2: not a conversation"):
        calibration_windows(path, tokenizer, samples=1, length=8, seed=0)


def test_empty_file(tmp_path, tokenizer):
    (tmp_path / "c.jsonl").write_text("")
    with pytest.raises(SystemExit, match="no conversation"):
        calibration_windows(tmp_path / "c.jsonl", tokenizer, samples=1, length=8, seed=0)


def test_no_chat_template(text):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(SystemExit, match="chat template"):
        calibration_windows(text, tokenizer, samples=1, length=8, seed=0)
