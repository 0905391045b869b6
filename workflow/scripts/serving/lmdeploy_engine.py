"""Answers by LMDeploy's server, a process of its own in its own environment, on a GPU.

Prompts are sent as text, which LMDeploy 0.7.3 tokenises as they stand; before the first one is sent
it is made sure here that this text becomes the token ids of training.
"""

import json
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from generation import EngineError, Interrupted, Piece, Sampling

# Loading a model of some ten billion parameters from a slow disk takes minutes.
START_SECONDS = 1800
STOP_SECONDS = 20
LOG_TAIL = 2000


class ServerProcess:
    """A server started here: waited for, and ended with all its children."""

    def __init__(self, command: Sequence[str], url: str, environment: dict[str, str]) -> None:
        """Start it; `url` answers 200 once it is ready."""
        self.url = url
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the server)
        # a group of its own: Ctrl-C is for this program, which then ends the server in order
        self._process = subprocess.Popen(
            command,
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
            if self._process.poll() is not None:
                raise EngineError(self._complaint(f"ended with {self._process.returncode}"))
            try:
                if httpx.get(self.url, timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise EngineError(self._complaint(f"was not ready after {seconds:g} s"))

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

    def _complaint(self, what: str) -> str:
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - LOG_TAIL))
        tail = self._log.read().decode(errors="replace").strip()
        return f"`{self._command}` {what}. It said last:\n{tail}"


class LmdeployEngine:
    """A model behind LMDeploy's `/v1/completions`.

    Attributes:
        parallel: as many answers at a time as LMDeploy puts into a batch of a small GPU.
    """

    parallel = 32

    def __init__(
        self, url: str, name: str, tokenizer, stop_ids: Sequence[int], process: ServerProcess | None
    ) -> None:
        """Talk to a server that is ready.

        Args:
            url: its address, without a path.
            name: what it calls the model.
            tokenizer: the tokenizer of the model.
            stop_ids: tokens that end an answer.
            process: the server's process, which is ended with this engine.
        """
        self._name, self._tokenizer, self._process = name, tokenizer, process
        self._interrupted = threading.Event()
        self._stop = tokenizer.convert_ids_to_tokens(list(stop_ids))
        # an answer may take long to begin, when others are before it
        timeout = httpx.Timeout(10, read=600)
        self._client = httpx.Client(base_url=url, timeout=timeout, trust_env=False)

    def text_of(self, ids: Sequence[int]) -> str:
        """The text that LMDeploy's tokenizer makes these token ids of.

        Raises:
            EngineError: there is none.
        """
        text = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        # what begins every text is added once more
        for one in (text, text.removeprefix(self._tokenizer.bos_token or "")):
            if self._tokenizer.encode(one) == list(ids):
                return one
        raise EngineError("LMDeploy would read other tokens than the model was trained on")

    def request(self, ids: Sequence[int], sampling: Sampling) -> dict:
        """The body that asks LMDeploy for an answer."""
        body = {
            "model": self._name,
            "prompt": self.text_of(ids),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": sampling.max_tokens,
            "stop": self._stop,
            "spaces_between_special_tokens": False,
            # one candidate is the likeliest one; 0 means all of them
            "top_k": 0,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.temperature == 0:
            body |= {"top_k": 1, "temperature": 1.0, "top_p": 1.0}
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        return body

    def generate(
        self, ids: Sequence[int], sampling: Sampling, cancelled: threading.Event
    ) -> Iterator[Piece]:
        """See `generation.Engine`."""
        tokens, finish = 0, None
        try:
            with self._client.stream(
                "POST", "/v1/completions", json=self.request(ids, sampling)
            ) as response:
                if response.status_code != 200:
                    response.read()
                    raise EngineError(f"LMDeploy answered {response.status_code}: {response.text}")
                for line in response.iter_lines():
                    if self._interrupted.is_set():
                        raise Interrupted("the server ends")
                    if cancelled.is_set():
                        return  # LMDeploy stops where the connection ends
                    data = line.removeprefix("data: ").strip()
                    if not data or data == "[DONE]":
                        continue
                    event = json.loads(data)
                    (choice,) = event["choices"]
                    tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
                    finish = choice.get("finish_reason") or finish
                    if choice["text"]:
                        yield Piece(choice["text"], tokens)
        except httpx.TransportError as error:
            raise EngineError(f"LMDeploy's server does not answer: {error}") from None
        if finish not in ("stop", "length"):
            raise EngineError(f"LMDeploy broke the answer off ({finish})")
        yield Piece("", tokens, finish)

    def interrupt(self) -> None:
        """See `generation.Engine`."""
        self._interrupted.set()

    def close(self) -> None:
        """End the server."""
        self._client.close()
        if self._process:
            self._process.stop()


def start(command: Sequence[str], shell: Path, port: int) -> ServerProcess:
    """Start LMDeploy in its environment; `shell` is the bash that activates it."""
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    words = [str(shell), "-c", 'exec "$@"', "lmdeploy", *command]
    return ServerProcess(words, f"http://127.0.0.1:{port}/health", environment)
