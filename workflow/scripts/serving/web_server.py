"""Running an ASGI application on a port: said before the model is loaded if it cannot be."""

import asyncio
import errno
import socket
import sys
from collections.abc import Mapping

import uvicorn

# Answers that are not finished so long after Ctrl-C are cut.
GRACE_SECONDS = 3


class PortError(Exception):
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


def run(app, taken: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM; the application's own shutdown has run when this returns."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        limit_concurrency=256,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[taken])
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    finally:
        taken.close()
    if not server.started:
        sys.exit(1)
