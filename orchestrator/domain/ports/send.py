"""Sending one event to one endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol


@dataclass(frozen=True)
class Sending:
    """One attempt: the bytes of the body as stored, and the secrets that sign them (several while rotating)."""

    url: str
    message_id: str
    at: datetime
    body: bytes
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Sent:
    """What became of an attempt. `code` is None for a 2xx whose answer was read; `status` None when none came.

    `answer_head` is the redacted beginning of the answer; `retry_after` the other side's wish, bounded.
    """

    status: int | None
    code: str | None
    message: str
    answer_head: str
    retry_after: timedelta | None
    duration: timedelta


class Send(Protocol):
    """Signs and posts through the egress guard."""

    async def send(self, sending: Sending) -> Sent:
        """Make one attempt. Whatever goes wrong stands in Sent; only CancelledError passes."""

    def check(self, url: str) -> None:
        """Raise RequestError for a URL that must not become an endpoint, by its spelling and port."""

    async def close(self) -> None:
        """Close what is open; on the event loop that sent."""
