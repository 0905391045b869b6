"""Progress on a terminal and in the log."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "workflow" / "scripts" / "corpus"
# what a rule's script does: import, open files, work; lines in the log come after no time at all
WORK = """
import sys
sys.path.insert(0, {corpus!r})
import progress
progress.SECONDS_BETWEEN_LINES = 0
with open({out!r}, "w") as out, progress.Progress(label="reading", {total}) as bar:
    for _ in range(4):
        out.write("kept" if not bar.update({step}) else "")
    {last}
"""


def run(tmp_path, redirect: str, total="total_bytes=4000", step="rows=10, bytes=1000", last="pass"):
    """Run the work in a shell; returns the result and what the work wrote to its own file."""
    out = tmp_path / "out.txt"
    code = WORK.format(corpus=str(CORPUS), out=str(out), total=total, step=step, last=last)
    command = f'"$0" -c "$1" {redirect}'
    result = subprocess.run(
        ["bash", "-c", command, sys.executable, code], capture_output=True, text=True, timeout=60
    )
    return result, out.read_text()


@pytest.mark.parametrize("redirect", ["3>&-", "3>&2", "3>/dev/null", "3</dev/null"])
def test_without_a_terminal_there_are_lines_and_no_bar(tmp_path, redirect):
    result, written = run(tmp_path, redirect)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert re.fullmatch(r"reading: 40 rows, [\d,]+ rows/s, [\d,.]+ MB/s, 100%, 0:00 left", lines[3])
    assert written == "kept" * 4


def test_rows_where_no_bytes_are_known(tmp_path):
    result, _ = run(tmp_path, "3>&-", total="total_rows=80", step="rows=10")
    assert re.fullmatch(
        r"reading: 40 rows, [\d,]+ rows/s, 50%, 0:0\d left", result.stdout.splitlines()[3]
    )


def test_nothing_known(tmp_path):
    result, _ = run(tmp_path, "3>&-", total="", step="rows=10")
    assert re.fullmatch(r"reading: 40 rows, [\d,]+ rows/s", result.stdout.splitlines()[3])


def in_terminal(tmp_path, columns: int, **work: str):
    """Run the work with a pseudo-terminal as descriptor 3; returns the result and what is shown."""
    shown, terminal = os.openpty()
    os.set_inheritable(terminal, True)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    out = tmp_path / "out.txt"
    total, step = work.get("total", "total_bytes=4000"), work.get("step", "rows=10, bytes=1000")
    code = WORK.format(
        corpus=str(CORPUS), out=str(out), total=total, step=step, last=work.get("last", "pass")
    )
    result = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" 3>&{terminal}', sys.executable, code],
        capture_output=True,
        text=True,
        pass_fds=[terminal],
        timeout=60,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(shown, 65536)
        except OSError:  # how Linux says that nobody has the other end open
            break
        if not part:
            break
        seen += part
    os.close(shown)
    return result, seen.decode(), out.read_text()


@pytest.mark.parametrize("columns", [100, 0])  # 0: a terminal that does not know its width
def test_a_terminal_shows_a_bar_and_the_log_has_the_lines(tmp_path, columns):
    result, seen, written = in_terminal(tmp_path, columns)
    assert (result.returncode, result.stderr) == (0, "")
    assert "reading" in seen and "4.00k" in seen and "B/s" in seen
    assert len(result.stdout.splitlines()) == 4
    assert written == "kept" * 4


def test_a_terminal_that_goes_away_does_not_stop_the_work(tmp_path):
    result, seen, written = in_terminal(
        tmp_path, 100, last="import os; os.close(3); bar._bar.mininterval = 0; bar.update(rows=1)"
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "reading" in seen
    assert len(result.stdout.splitlines()) == 5
    assert written == "kept" * 4
