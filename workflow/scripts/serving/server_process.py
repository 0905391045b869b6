"""A server as a process of its own: waited for, and ended with all that it has started."""

import functools
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence

import httpx
from generation import EngineError

# Loading a model of some ten billion parameters from a slow disk takes minutes.
START_SECONDS = 1800
STOP_SECONDS = 20
LOG_TAIL = 2000


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def ended_with_parent() -> tuple[str, ...]:
    """What a command begins with that is to get SIGTERM if the process that starts it is killed.

    Nothing where util-linux cannot see to that.
    """
    program = shutil.which("setpriv")
    if program is None:
        return ()
    words = (program, "--pdeathsig", "TERM")
    tried = subprocess.run([*words, "true"], stderr=subprocess.DEVNULL, check=False)
    return words if tried.returncode == 0 else ()


class ServerProcess:
    """A server started here."""

    def __init__(self, command: Sequence[str], url: str, environment: dict[str, str]) -> None:
        """Start it; `url` answers 200 once it is ready."""
        self.url = url
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the server)
        # a group of its own: Ctrl-C is for this program, which then ends the server in order
        self._process = subprocess.Popen(
            [*ended_with_parent(), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self._command = shlex.join(command)

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait for its first sign of life.

        Raises:
            EngineError: it ended, or did not come up in time; with the end of what it said.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            try:
                if httpx.get(self.url, timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise EngineError(self._complaint(f"was not ready after {seconds:g} s"))

    def check(self) -> None:
        """Raise EngineError, with the end of what it said, if it has ended by itself."""
        if self._process.poll() is not None:
            raise EngineError(self._complaint(f"ended with {self._process.returncode}"))

    def stop(self) -> None:
        """End it, and whatever it has started."""
        for sign, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5)):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(seconds)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._log.close()

    def said_last(self) -> str:
        """The end of what it has said."""
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_TAIL))
        return self._log.read().decode(errors="replace").strip()

    def _complaint(self, what: str) -> str:
        return f"`{self._command}` {what}. It said last:\n{self.said_last()}"
