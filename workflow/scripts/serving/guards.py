"""What stands between the network and the application: who may ask, and how much."""

import asyncio
import json
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 1 << 20  # bytes; a conversation of more fits into no model's context
READ_ON = 32  # times as much is read before the connection is closed
BODY_SECONDS = 20  # in which a body must have come
KINDS = {401: "authentication_error", 429: "rate_limit_error"}


async def send_error(send: Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer with an error in OpenAI's form."""
    kind = KINDS.get(status, "invalid_request_error")
    body = json.dumps(
        {"error": {"message": text, "type": kind, "param": None, "code": None}}
    ).encode()
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class BodyLimit:
    """Reads the body of a request before anybody else does, up to a size and a time."""

    def __init__(self, app: ASGIApp, most: int = MAX_BODY, seconds: float = BODY_SECONDS) -> None:
        self.app, self.most, self.seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.seconds):
                # What is too large is read on for a while, and forgotten: a client that is still
                # sending when the connection is closed does not see the answer.
                while more and size <= READ_ON * self.most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size <= self.most:
                        chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            await send_error(send, 408, f"the request took longer than {self.seconds:g} s to come")
            return
        if size > self.most:
            await send_error(send, 413, f"the request is larger than {self.most} bytes")
            return
        whole: Message | None = {
            "type": "http.request",
            "body": b"".join(chunks),
            "more_body": False,
        }

        async def replay() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()  # from now on only whether the client is still there
            message, whole = whole, None
            return message

        await self.app(scope, replay, send)


class BearerToken:
    """Lets only those in who bring the token; `open_paths` are for all."""

    def __init__(self, app: ASGIApp, token: str, open_paths: tuple[str, ...]) -> None:
        self.app, self.expected = app, b"Bearer " + token.encode()
        self.open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self.open_paths:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not secrets.compare_digest(given, self.expected):
                text = "the header `Authorization: Bearer TOKEN` is missing or wrong"
                await send_error(send, 401, text, (b"www-authenticate", b"Bearer"))
                return
        await self.app(scope, receive, send)


class Crowd:
    """Sends requests to a path away while as many as may be are answered or waiting."""

    def __init__(self, app: ASGIApp, path: str, most: int) -> None:
        self.app, self.path, self.most, self.now = app, path, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self.path:
            await self.app(scope, receive, send)
            return
        if self.now >= self.most:
            text = f"{self.most} requests are answered or waiting; try again later"
            await send_error(send, 429, text, (b"retry-after", b"5"))
            return
        self.now += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.now -= 1


class OwnContentOnly:
    """Tells the browser to load nothing from elsewhere, whatever a model writes into its answer."""

    POLICY = (
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        b"frame-ancestors 'none'; form-action 'self'"
    )

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", self.POLICY)
                message["headers"] = [*message.get("headers", []), policy]
            await send(message)

        await self.app(scope, receive, with_policy)
