"""The terminal chat, through a pipe and on a terminal."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest
from conftest import SERVING, Program, plan_of
from conversation import Conversation
from generation import Sampling


@pytest.fixture(scope="module")
def plan(made):
    return plan_of(made / "qwen_chat")


def pipe(plan, text):
    """What the program says to some lines."""
    command = [sys.executable, str(SERVING / "chat.py"), json.dumps(plan)]
    encoded = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run(command, input=encoded, capture_output=True, timeout=300)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def answers(served, *questions, tokens=16, system=None):
    """What the model answers in one conversation."""
    conversation = Conversation(served, system)
    return [
        "".join(piece.text for piece in conversation.ask(one, Sampling(0.0, 1.0, tokens)))
        for one in questions
    ]


def test_lines_of_a_pipe_are_a_conversation(plan, served):
    code, said, notes = pipe(plan, "第5号城市叫什么？\r\n\n第6号呢？\n/clear\n第6号呢？\n")
    together = answers(served, "第5号城市叫什么？", "第6号呢？", system="")
    alone = answers(served, "第6号呢？", system="")
    assert together[1] != alone[0]
    assert said == "\n".join([*together, *alone]) + "\n"
    assert code == 0
    assert notes.startswith(
        "Loading mine/tuned ...\n(cut after 16 tokens; /max-tokens allows more)"
    )


def test_commands(plan, served):
    text = (
        "/max-tokens 5\n你好\n/history\n/system 你是一个助手。\n/system\n你好\n/temperature 0.7\n"
        "/temperature 5\n/top-p x\n/seed 1\n/nope\n/max-tokens\n//quit\n/quit\nnot asked\n"
    )
    code, said, notes = pipe(plan | {"temperature": 0.0}, text)
    lines = said.splitlines()
    first, second = (
        answers(served, "你好", tokens=5, system=one)[0] for one in ("", "你是一个助手。")
    )
    assert lines[:2] == [first, second]
    assert first != second
    assert code == 0
    for note in (
        f"user: 你好\nassistant: {first}\n",
        "你是一个助手。\n你是一个助手。\n",
        "temperature: 0.7\n",
        "/temperature: 5 is not at least 0 and at most 2\n",
        "/top-p: x is no number of this kind\n",
        "seed: 1\n",
        "there is no /nope\n/clear ",
        "max-tokens: 5\n",
    ):
        assert note in notes, notes
    assert "not asked" not in notes


def test_a_question_that_is_too_long_is_told_and_forgotten(plan, served):
    code, said, notes = pipe(plan, "城" * 2100 + "\n你好\n")
    assert said == answers(served, "你好", system="")[0] + "\n"
    assert "the model can read 2048" in notes
    assert code == 0


def test_bytes_that_are_no_text(plan):
    code, said, notes = pipe(plan, b"\xff\xfe?\n")
    assert code == 0
    assert said
    assert "Traceback" not in notes


def test_a_reader_that_goes_away(plan):
    command = [sys.executable, str(SERVING / "chat.py"), json.dumps(plan)]
    chat = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    chat.stdout.close()
    chat.stdin.write("你好\n你好\n".encode())
    chat.stdin.close()
    notes = chat.stderr.read().decode()
    assert chat.wait(180) == 0
    assert "Traceback" not in notes
    assert "Exception" not in notes


class Terminal:
    """A program on a terminal, as a person has it before him."""

    def __init__(self, plan):
        self.process, self.shown = None, ""
        command = [sys.executable, str(SERVING / "chat.py"), json.dumps(plan)]
        child, self._end = pty.fork()
        if child == 0:
            os.environ["TERM"] = "xterm"
            os.execv(command[0], command)
        self.child = child

    def type(self, text):
        os.write(self._end, text.encode())

    def wait_for(self, text, seconds=180):
        """Read until a text is shown."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            if select.select([self._end], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._end, 4096).decode(errors="replace")
                except OSError:  # ended
                    assert text in self.shown, self.shown
        self.shown = self.shown.partition(text)[2]

    def ended(self):
        """Wait for the end; the exit code."""
        while True:
            try:
                if not os.read(self._end, 4096):
                    break
            except OSError:
                break
        os.close(self._end)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def test_on_a_terminal(plan, served):
    answer, second = answers(served, "第5号城市叫什么？", "第6号？", system="")
    terminal = Terminal(plan | {"max_tokens": 16})
    terminal.wait_for("/help shows")
    terminal.wait_for(">")
    terminal.type("第5号城市叫什么？\r")
    terminal.wait_for(answer[:6])
    terminal.wait_for("(cut after 16 tokens")
    terminal.wait_for(">")
    # Ctrl-C at the prompt drops the line, in an answer the rest of it
    terminal.type("dropped\x03")
    terminal.wait_for(">")
    terminal.type("/max-tokens 1900\r")
    terminal.wait_for("max-tokens: 1900")
    terminal.wait_for(">")
    terminal.type("第6号？\r")
    terminal.wait_for(second[:4])
    terminal.type("\x03")
    terminal.wait_for("(stopped)")
    terminal.wait_for(">")
    terminal.type("/history\r")
    terminal.wait_for("user: 第6号？")
    assert "dropped" not in terminal.shown
    terminal.wait_for(">")
    terminal.type("\x04")
    assert terminal.ended() == 0


def test_sigterm_ends_it(plan, tmp_path):
    log = tmp_path / "chat.log"
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    try:
        chat = Program("chat", plan, log)
    finally:
        os.dup2(saved, 0)
    chat.wait_until("Loading")
    assert chat.end() == 0
    for one in (reader, writer, saved):
        os.close(one)
