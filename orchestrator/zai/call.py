"""The paid call itself: one request, once, and the exact knowledge of whether a byte of it left (design section 7).

The moment comes from the HTTP client's trace events, never from the class of an exception: on some transports a reset
after the POST surfaces as a connect time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx

from orchestrator.crashpoints import CrashPoint, reach
from orchestrator.domain.errors import Transient, Uncertain
from orchestrator.domain.outcomes import CallEvidence, Moment
from orchestrator.domain.ports import Clock
from orchestrator.zai.errors import describe_failure

ANSWER_CAP_BYTES = 8 * 1024 * 1024
"""An answer is a few kilobytes, a transcript perhaps a hundred; what is longer is cut and will not be believed."""
STOOD_STILL_SECONDS = 1.0
"""A deadline that is noticed so late was slept through: the process was stopped, or the machine suspended."""
GRACE_SECONDS = 2.0
"""Enough to read an answer that has arrived; nothing is sent in it, since the first byte asks for the lease's age."""
FIRST_BYTE_EVENT = "send_request_headers.started"
SENT_EVENT = "receive_response_headers.started"
HEAD_READ_EVENT = "receive_response_headers.complete"


@dataclass
class CallTrace:
    """What one call has done so far. `sent_at` is set by the trace event just before the first byte leaves."""

    clock: Clock
    before_first_byte: Callable[[], None]
    sent_at: datetime | None = None
    refusal: BaseException | None = None
    http_status: int | None = None
    body: bytearray = field(default_factory=bytearray)

    async def on_event(self, name: str, info: dict[str, object]) -> None:
        """The client's trace callback. A proxy's CONNECT is not our request; all other headers are.

        Its last act is `before_first_byte`: when that raises, the client sends nothing and the error comes out.
        """
        if self.sent_at is not None:
            _mark(name)
            return
        if not name.endswith(FIRST_BYTE_EVENT):
            return
        if getattr(info.get("request"), "method", None) == b"CONNECT":
            return
        now = self.clock.now()
        try:
            self.before_first_byte()
        except BaseException as error:
            self.refusal = error
            raise
        self.sent_at = now

    def evidence(self, moment: Moment, *, answered_at: datetime | None = None) -> CallEvidence:
        """Return what is known by now."""
        return CallEvidence(
            moment=moment,
            sent_at=self.sent_at,
            answered_at=answered_at,
            http_status=self.http_status,
            body=_as_text(self.body) if self.http_status is not None else None,
        )


def _mark(event: str) -> None:
    """Name the two boundaries that lie inside a call whose first byte has left."""
    if event.endswith(SENT_EVENT):
        reach(CrashPoint.SENT)
    elif event.endswith(HEAD_READ_EVENT):
        reach(CrashPoint.ANSWER_BEGUN)


async def send_once(
    client: httpx.AsyncClient, request: httpx.Request, trace: CallTrace, *, deadline: timedelta
) -> CallEvidence:
    """Send the request once and return the answer, whatever its status.

    Raises Transient (`not_sent`) or Uncertain (`sent`, with what had arrived) and what `before_first_byte` raised.
    CancelledError passes; `trace.sent_at` then says whether a byte had left, and so does the fact that
    `before_first_byte` had been called.
    """
    request.extensions = {**request.extensions, "trace": trace.on_event}
    try:
        async with asyncio.timeout(None) as limit:
            loop = asyncio.get_running_loop()
            alarm = loop.call_later(deadline.total_seconds(), _run_out, limit, loop.time() + deadline.total_seconds())
            try:
                await _exchange(client, request, trace)
            finally:
                alarm.cancel()
    except Exception as error:
        if error is trace.refusal:
            raise
        code, message = describe_failure(error, was_sent=trace.sent_at is not None)
        if trace.sent_at is None:
            raise Transient(code=code, message=message, evidence=trace.evidence(Moment.NOT_SENT)) from error
        raise Uncertain(code=code, message=message, evidence=trace.evidence(Moment.SENT)) from error
    return trace.evidence(Moment.ANSWERED, answered_at=trace.clock.now())


def _run_out(limit: asyncio.Timeout, ends_at: float) -> None:
    """End the call; a process that stood still meanwhile first reads what has come, which may have been paid for."""
    now = asyncio.get_running_loop().time()
    limit.reschedule(now + (GRACE_SECONDS if now - ends_at > STOOD_STILL_SECONDS else 0))


async def _exchange(client: httpx.AsyncClient, request: httpx.Request, trace: CallTrace) -> None:
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        trace.http_status = response.status_code
        async for chunk in response.aiter_bytes():
            trace.body += chunk
            if len(trace.body) >= ANSWER_CAP_BYTES:
                del trace.body[ANSWER_CAP_BYTES:]
                return
    finally:
        await response.aclose()


def _as_text(body: bytearray) -> str:
    """Undecodable bytes and NUL, which no database column takes, become replacement characters."""
    return body.decode("utf-8", errors="replace").replace("\0", "\ufffd")
