"""The routes that OpenAI's clients ask: /v1/chat/completions and /v1/models."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import anyio
from chat_request import ChatRequest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from generation import EngineError, Interrupted, Piece, Sampling
from guards import BearerToken, BodyLimit, Crowd
from models import Served
from prompts import PromptError, TooLong
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Send
from text_pieces import StopWords

CHAT = "/v1/chat/completions"
# Where no token is needed, requests to other names are refused: a page of the web can give this
# machine a name of its own, and then read what it answers.
LOCAL_NAMES = ["127.0.0.1", "localhost", "[::1]"]


class ApiError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, text: str, code: str | None = None, param: str | None = None):
        super().__init__(text)
        self.status, self.code, self.param = status, code, param


def build(served: Served, default: Sampling, most_requests: int, token: str) -> FastAPI:
    """The application.

    Args:
        served: the model.
        default: how answers are drawn where a request does not say.
        most_requests: answered or waiting at a time.
        token: what a client must bring; empty: nothing, and only this machine may ask.
    """
    app = FastAPI(title="domain-finetuning", docs_url=None, redoc_url=None, openapi_url=None)
    turn = asyncio.Semaphore(served.engine.parallel)
    created = int(time.time())

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict:
        entry = {"id": served.name, "object": "model", "created": created, "owned_by": "local"}
        return {"object": "list", "data": [entry]}

    @app.post(CHAT)
    async def chat_completions(body: ChatRequest, request: Request):
        if body.model not in (None, served.name):
            text = f"there is no model {body.model!r}; this is {served.name}"
            raise ApiError(404, text, "model_not_found", "model")
        messages = [{"role": one.role, "content": one.content} for one in body.messages]
        # tokenising a long text takes a while
        ids = await anyio.to_thread.run_sync(served.prompts.ids, messages)
        sampling = sampling_of(body, default)
        sampling = replace(sampling, max_tokens=served.prompts.room(ids, sampling.max_tokens))
        answer = Answer(served, body, ids, sampling, turn)
        return Events(answer.events()) if body.stream else await answer.whole(request)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, str(error), error.code, error.param)

    @app.exception_handler(TooLong)
    async def too_long(request: Request, error: TooLong) -> JSONResponse:
        return error_response(400, str(error), "context_length_exceeded", "messages")

    @app.exception_handler(PromptError)
    async def prompt_error(request: Request, error: PromptError) -> JSONResponse:
        return error_response(400, str(error), None, "messages")

    @app.exception_handler(EngineError)
    async def engine_error(request: Request, error: EngineError) -> JSONResponse:
        status = 503 if isinstance(error, Interrupted) else 500
        return error_response(status, str(error), None, None, "server_error")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(
                400, f"the request is not JSON: {first['ctx']['error']}", None, None
            )
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return error_response(400, f"{where}: {first['msg']}".removeprefix(": "), None, where)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail), None, None)

    app.add_middleware(BodyLimit)
    app.add_middleware(Crowd, path=CHAT, most=most_requests)
    if token:
        app.add_middleware(BearerToken, token=token, open_paths=("/health",))
    else:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES, www_redirect=False)
    return app


def sampling_of(body: ChatRequest, default: Sampling) -> Sampling:
    """How this answer is drawn."""
    asked = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_tokens": body.max_completion_tokens or body.max_tokens,
        "seed": body.seed,
    }
    return replace(default, **{key: value for key, value in asked.items() if value is not None})


def error_response(
    status: int,
    text: str,
    code: str | None,
    param: str | None,
    kind: str = "invalid_request_error",
) -> JSONResponse:
    """An error in OpenAI's form."""
    error = {"message": text, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status)


class Events(StreamingResponse):
    """Server-sent events that end with their client.

    Starlette leaves it to the garbage collector to close what it no longer reads; the engine would
    go on until then.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str]) -> None:
        # a proxy in between must not wait for the end
        super().__init__(events, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})

    async def stream_response(self, send: Send) -> None:
        """Send all events."""
        async with aclosing(self.body_iterator):
            await super().stream_response(send)


class Answer:
    """One answer, on its way from the engine to the client."""

    def __init__(
        self,
        served: Served,
        body: ChatRequest,
        ids: list[int],
        sampling: Sampling,
        turn: asyncio.Semaphore,
    ) -> None:
        self._served, self._ids, self._sampling, self._turn = served, ids, sampling, turn
        self._stop = StopWords(body.stop or ())
        self._usage_last = bool(body.stream_options and body.stream_options.include_usage)
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def pieces(self) -> AsyncIterator[Piece]:
        """What the engine says when its turn has come, up to a stop word."""
        async with self._turn:
            cancelled = threading.Event()
            source = self._served.engine.generate(self._ids, self._sampling, cancelled)
            try:
                # In threads: each step computes a token. A client that goes away ends this after
                # the token that is under way.
                while piece := await anyio.to_thread.run_sync(next, source, None):
                    text = self._stop.add(piece.text)
                    if self._stop.found:
                        yield Piece(text, piece.tokens, "stop")
                        return
                    if piece.finish:
                        text += self._stop.rest()
                    yield replace(piece, text=text)
            finally:
                cancelled.set()
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(source.close)

    async def whole(self, request: Request) -> JSONResponse:
        """The answer in one, unless the client goes away before."""
        text, last = "", Piece("", 0)
        async with aclosing(self.pieces()) as pieces:
            async for last in pieces:
                text += last.text
                if await request.is_disconnected():
                    break
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": last.finish, "logprobs": None}
        return JSONResponse(
            self._object("chat.completion", [choice]) | {"usage": self._usage(last)}
        )

    async def events(self) -> AsyncIterator[str]:
        """The answer as a stream of server-sent events."""
        last = Piece("", 0)
        yield self._event({"role": "assistant", "content": ""})
        try:
            async with aclosing(self.pieces()) as pieces:
                async for last in pieces:
                    if last.text:
                        yield self._event({"content": last.text})
        except EngineError as error:
            # the status was sent long ago
            yield data_line({"error": {"message": str(error), "type": "server_error"}})
            return
        yield self._event({}, last.finish)
        if self._usage_last:
            chunk = self._object("chat.completion.chunk", []) | {"usage": self._usage(last)}
            yield data_line(chunk)
        yield "data: [DONE]\n\n"

    def _event(self, delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return data_line(self._object("chat.completion.chunk", [choice]))

    def _object(self, kind: str, choices: list[dict]) -> dict:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._served.name,
            "choices": choices,
        }

    def _usage(self, last: Piece) -> dict[str, int]:
        asked = len(self._ids)
        return {
            "prompt_tokens": asked,
            "completion_tokens": last.tokens,
            "total_tokens": asked + last.tokens,
        }


def data_line(content: dict) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
