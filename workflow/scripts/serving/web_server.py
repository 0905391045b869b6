"""Running an ASGI application on a port: said before the model is loaded if it cannot be."""

import errno
import logging
import socket
from collections.abc import Mapping, Sequence
from types import FrameType

import uvicorn
from generation import CannotRun, Engine
from starlette.types import ASGIApp

# Connections that are still open so long after Ctrl-C are cut; a browser keeps some.
GRACE_SECONDS = 2
# More than these at a time get 503.
CONNECTIONS = 256


class PortError(CannotRun):
    """The address cannot be listened on; the text says why and what to do."""


def bind(plan: Mapping) -> socket.socket:
    """Take the port of a plan, without listening yet.

    Raises:
        PortError: it is taken, or the address is none of this machine.
    """
    host, port = plan["host"], plan["port"]
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind)
        # without it the port stays closed for a minute after the last connection
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        # bound is not taken: two sockets that both may reuse an address can bind it
        taken.listen(128)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise PortError(
                f"port {port} is in use: end what listens there, or take another one with "
                f"--port {port + 1}"
            ) from None
        raise PortError(f"cannot listen on {host}, port {port}: {error}") from None
    return taken


class _Server(uvicorn.Server):
    """A server that ends at the first Ctrl-C or SIGTERM, and at once at the second."""

    def __init__(self, config: uvicorn.Config, engines: Sequence[Engine]) -> None:
        super().__init__(config)
        self._engines = engines

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Uvicorn's own would raise the signal once more in the end."""
        self.force_exit = self.should_exit
        self.should_exit = True
        for engine in self._engines:
            engine.interrupt()
        # what is cut from now on is cut on purpose
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def run(app: ASGIApp, taken: socket.socket, engines: Sequence[Engine]) -> None:
    """Serve until Ctrl-C or SIGTERM, which also break off what the engines are at."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=CONNECTIONS,
    )
    try:
        _Server(config, engines).run(sockets=[taken])
    finally:
        taken.close()
