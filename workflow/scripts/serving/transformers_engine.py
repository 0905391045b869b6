"""Answers by transformers' generate(), one at a time, on a machine without a GPU.

Why not `transformers serve` of the same version (4.57.6): it streams even where a client asks for
one answer as a whole, ignores the temperature of a model whose defaults are greedy, loads any
folder that a client names, asks the hub for the list of models, calls a cut answer finished, keeps
one cache for all clients, cannot be stopped in mid-answer, and waits for ever after an error in the
model. That of transformers 5 mends most of it, but cannot run all models that 4.57.6 has trained.
"""

import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from generation import EngineError, Interrupted, Piece, Sampling
from text_pieces import Detokenizer
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer


class _Cancelled(StoppingCriteria):
    def __init__(self, *events: threading.Event) -> None:
        self.events = events

    def __call__(self, input_ids, scores, **kwargs) -> torch.Tensor:
        return torch.full((len(input_ids),), any(event.is_set() for event in self.events))


class _Tokens(BaseStreamer):
    """Puts each new token into a queue."""

    def __init__(self, pieces: queue.SimpleQueue) -> None:
        self.pieces, self.prompt = pieces, True

    def put(self, value: torch.Tensor) -> None:
        if self.prompt:  # comes first, as a whole
            self.prompt = False
        else:
            self.pieces.put(value.item())

    def end(self) -> None:
        """What generate() calls at its end; whoever started it says so himself."""


class TransformersEngine:
    """A model in this process.

    Attributes:
        parallel: 1; two answers at a time would share the same cores.
    """

    parallel = 1

    def __init__(
        self, folder: Path, tokenizer, stop_ids: Sequence[int], dtype: str, trusted: bool
    ) -> None:
        """Load a model.

        Args:
            folder: model folder.
            tokenizer: the tokenizer that reads answers.
            stop_ids: tokens that end an answer.
            dtype: "float32" or "bfloat16".
            trusted: whether code in the folder may be run.

        Raises:
            EngineError: weights are missing.
        """
        self.tokenizer, self.stop_ids = tokenizer, list(stop_ids)
        self._interrupted = threading.Event()
        self.model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            trust_remote_code=trusted,
            output_loading_info=True,
        )
        if info["missing_keys"]:
            # transformers would go on with random numbers in their place
            raise EngineError(f"{folder}: weights are missing: {', '.join(info['missing_keys'])}")
        if not hasattr(DynamicCache, "get_max_length"):
            # InternLM2's own code asks how long the cache may grow; transformers dropped the method
            DynamicCache.get_max_length = lambda cache: None
        self.model.eval()
        # Nothing of what the folder's generation_config.json says: the same for every variant.
        self.model.generation_config = GenerationConfig()

    def _config(self, sampling: Sampling) -> GenerationConfig:
        drawing = {"do_sample": False}
        if sampling.temperature > 0:
            drawing = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        return GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            eos_token_id=self.stop_ids,
            pad_token_id=self.stop_ids[0],  # a batch of one is never padded
            **drawing,
        )

    def generate(
        self, ids: Sequence[int], sampling: Sampling, cancelled: threading.Event
    ) -> Iterator[Piece]:
        """See `generation.Engine`; one call at a time."""
        pieces: queue.SimpleQueue = queue.SimpleQueue()
        closed = threading.Event()  # the event of the caller is not set here: others may look at it
        stop = _Cancelled(cancelled, closed, self._interrupted)

        def run() -> None:
            try:
                if sampling.temperature > 0:
                    torch.seed() if sampling.seed is None else torch.manual_seed(sampling.seed)
                prompt = torch.tensor([ids])
                self.model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    generation_config=self._config(sampling),
                    streamer=_Tokens(pieces),
                    stopping_criteria=StoppingCriteriaList([stop]),
                )
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        thread = threading.Thread(target=run, name="generate", daemon=True)
        thread.start()
        text, count, finish = Detokenizer(self.tokenizer), 0, "length"
        try:
            while (item := pieces.get()) is not None:
                if isinstance(item, BaseException):
                    raise EngineError(f"the model failed: {item}") from item
                count += 1
                if item in self.stop_ids:
                    finish = "stop"
                elif new := text.add(item):
                    yield Piece(new, count)
            if self._interrupted.is_set():
                raise Interrupted("the server ends")
            if not cancelled.is_set() or finish == "stop":
                yield Piece(text.rest(), count, finish)
        finally:
            closed.set()
            thread.join()

    def interrupt(self) -> None:
        """See `generation.Engine`."""
        self._interrupted.set()

    def close(self) -> None:
        """See `generation.Engine`."""
        self.model = None
