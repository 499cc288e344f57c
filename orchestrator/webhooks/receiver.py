"""A receiver for trying webhooks out: on loopback only, checks every signature, answers what it is told to.

Plain and small on purpose: no server for production, and no part of sending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from orchestrator.domain.errors import ConfigError
from orchestrator.webhooks.signing import decode_secret, verify

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 1 << 20
IDLE_SECONDS = 30
UNVERIFIED = 401


@dataclass(frozen=True)
class Received:
    """One request: what it brought, and what is wrong with its signature (None: nothing)."""

    at: datetime
    message_id: str
    body: bytes
    problem: str | None
    answered: int


class Receiver(ThreadingHTTPServer):
    """Listens from the moment it is made; `tell` hears of every POST, from one thread for each connection."""

    daemon_threads = True

    def __init__(
        self, *, port: int, secret: str, answer: int, now: Callable[[], datetime], tell: Callable[[Received], None]
    ) -> None:
        decode_secret(secret)
        self.secret, self.answer, self.now, self.tell = secret, answer, now, tell
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def host_port(self) -> str:
        """Where it listens, as EGRESS_ALLOW names it."""
        return f"{LOOPBACK}:{self.server_address[1]}"


@contextmanager
def receiving(
    *, port: int, secret: str, answer: int, now: Callable[[], datetime], tell: Callable[[Received], None]
) -> Iterator[Receiver]:
    """Give a receiver that listens. Raises RequestError for no secret, ConfigError for a port that cannot be had."""
    try:
        receiver = Receiver(port=port, secret=secret, answer=answer, now=now, tell=tell)
    except OSError as error:
        raise ConfigError("--port", f"{port} cannot be listened on: {error.strerror}") from error
    with receiver:
        yield receiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server: Receiver

    def do_POST(self) -> None:
        """Take one event."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length[:9]) <= MAX_BODY_BYTES):
            self.close_connection = True
            self._respond(413 if length else 411)
            return
        body = self.rfile.read(int(length))
        server, headers = self.server, {name.lower(): value for name, value in self.headers.items()}
        at = server.now()
        problem = verify(server.secret, headers, body, now=at)
        status = server.answer if problem is None else UNVERIFIED
        self._respond(status)
        server.tell(Received(at, headers.get("webhook-id", ""), body, problem, status))

    def _respond(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """Say nothing: `tell` does."""
