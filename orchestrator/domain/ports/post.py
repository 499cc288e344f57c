"""Posting bytes to a URL that a stranger chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from orchestrator.domain.errors import StepError


@dataclass(frozen=True)
class Posted:
    """An answer's head and the beginning of its body. `trouble` is what broke, or ran out, while the body was read;
    None when it came whole, or as much of it as was asked for.
    """

    status: int
    retry_after: str | None
    date: str | None
    body: bytes
    trouble: StepError | None = None


class Post(Protocol):
    """Asks the egress guard, then posts once. Follows no redirect, decodes nothing."""

    def check(self, url: str) -> None:
        """Raise Permanent for a URL that is refused by its spelling or its port. Asks no server."""

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, max_bytes: int, deadline: timedelta
    ) -> Posted:
        """Read at most `max_bytes` of the answer, and be done within `deadline`: connecting, sending, reading.

        Raises StepError when no answer came.
        """

    async def close(self) -> None:
        """Close what is open; on the loop that posted."""
