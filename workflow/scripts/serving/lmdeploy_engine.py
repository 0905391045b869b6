"""Answers by LMDeploy's server, a process of its own in its own environment, on a GPU.

Prompts are sent as text, which LMDeploy 0.7.3 tokenises as they stand; before the first one is sent
it is made sure here that this text becomes the token ids of training.
"""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from generation import EngineError, Interrupted, Piece, Sampling
from server_process import ServerProcess


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
