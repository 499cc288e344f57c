"""What `serve` and `up` share: where to listen, and a server that stops when a signal or its owner says so."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from orchestrator.domain.errors import ConfigError
from orchestrator.wiring import App

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
GRACE_SECONDS = 10  # requests under way when the server is stopped; long polls and event streams are cut then
BACKLOG = 2048  # as the server program itself
CHECK_SECONDS = 1
MAX_HEADER_BYTES = 512 << 10  # what the gate still counts and answers; beyond it the connection is refused


def load_api() -> ModuleType:
    """Return orchestrator.api; its framework is an extra."""
    try:
        from orchestrator import api
    except ModuleNotFoundError as error:
        hint = "install it with: pip install 'media-orchestrator[api]'"
        raise ConfigError("serve", f"the HTTP API needs {error.name}; {hint}") from error
    return api


def safe_host(app: App, host: str) -> str:
    """Return where to listen: loopback, said aloud, as long as there is no key that anybody could be asked for."""
    if is_loopback(host) or app.keys.has_any():
        return host
    click.echo(
        f"warning: there is no API key, so this listens on {LOOPBACK} only and not on {host}; "
        "make one with: orchestrator keys create NAME --role operator",
        err=True,
    )
    return LOOPBACK


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigError for an address that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its number: only then does asyncio send small parts at once (TCP_NODELAY). Without it the body of an
    # answer waits up to 40 ms for the caller's kernel to confirm its headers.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(BACKLOG)  # who comes before the server runs is answered once it does
    except OSError as error:
        taken.close()
        raise ConfigError("--host, --port", f"{host}:{port} cannot be had: {error.strerror or error}") from error
    return taken


def url_of(taken: socket.socket) -> str:
    """Return the address that a socket listens on, as a URL."""
    host, port = taken.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Serving:
    """A server of one application, to be run in the main thread and stopped from a signal handler.

    `check` is called once a second; what it raises ends the serving, and is raised by it again for the caller.
    """

    def __init__(self, application: object, *, check: Callable[[], None] | None = None) -> None:
        import uvicorn

        async def look() -> None:
            try:
                if check is not None:
                    check()
            except BaseException as error:  # noqa: BLE001 - whatever ended a lane, its owner raises it again
                log.critical("serving_ends", extra={"error": str(error)})
                self.request_stop()

        @contextmanager
        def leave_signals() -> Iterator[None]:
            """Signals are the command's: it has more to stop than the server."""
            yield

        config = uvicorn.Config(
            application,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            http="h11",
            ws="none",
            lifespan="on",
            callback_notify=look,
            timeout_notify=CHECK_SECONDS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._server.capture_signals = leave_signals  # type: ignore[method-assign]

    def run(self, taken: socket.socket) -> None:
        """Serve until stopped."""
        self._server.run(sockets=[taken])

    def request_stop(self) -> None:
        """Take no new requests; those under way end."""
        self._server.should_exit = True

    def abort(self) -> None:
        """Cut those too."""
        self._server.force_exit = True
