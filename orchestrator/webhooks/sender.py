"""One attempt to deliver an event: sign, post through the guard, and say what happened. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from orchestrator.domain.deliveries import read_retry_after
from orchestrator.domain.errors import NotListed, RequestError, StepError
from orchestrator.domain.ports import Post, Posted, Sending, Sent
from orchestrator.webhooks.redaction import redact_echo
from orchestrator.webhooks.signing import signed_headers

DEADLINE = timedelta(seconds=15)
"""Connecting, sending and reading together (surfaces section 4)."""
MAX_ANSWER_BYTES = 64 * 1024
"""What is read of an answer; nobody needs more to know a status."""
KEPT_BYTES = 4096
"""What is kept of it, for people who look for the reason."""


class WebhookSender:
    """Implements ports.Send. `version` is told to the receiver in the user agent."""

    def __init__(
        self,
        post: Post,
        *,
        version: str,
        deadline: timedelta = DEADLINE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._post = post
        self._deadline = deadline
        self._monotonic = monotonic
        self._fixed = {"Content-Type": "application/json", "User-Agent": f"media-orchestrator/{version}"}

    def check(self, url: str) -> None:
        """Raise RequestError for a URL that must not become an endpoint."""
        try:
            self._post.check(url)
        except StepError as error:
            hint = _hint_of(error.entry) if isinstance(error, NotListed) else None
            raise RequestError(f"this URL cannot be a webhook: {error.message}", param="webhook", hint=hint) from error

    async def send(self, sending: Sending) -> Sent:
        """Make one attempt; the URL is judged again, with every address of its name."""
        headers = {**self._fixed, **signed_headers(sending.secrets, sending.message_id, sending.at, sending.body)}
        started = self._monotonic()
        try:
            posted = await self._post.post(
                sending.url,
                headers=headers,
                body=sending.body,
                max_bytes=MAX_ANSWER_BYTES,
                deadline=self._deadline,
            )
        except StepError as error:
            return Sent(None, error.code, error.message, "", None, self._since(started))
        return _describe(posted, sending, headers, self._since(started))

    async def close(self) -> None:
        """Close the connections that are kept; on the event loop that sent."""
        await self._post.close()

    def _since(self, started: float) -> timedelta:
        return timedelta(seconds=self._monotonic() - started)


def _hint_of(entry: str) -> str:
    """What stands in the list already is the operator's, and told to nobody who asks over HTTP."""
    return f"if it is meant, add {entry} to ORCHESTRATOR_EGRESS_ALLOW: after a comma, where others stand there already"


def _describe(posted: Posted, sending: Sending, headers: Mapping[str, str], duration: timedelta) -> Sent:
    code, message = _judge(posted)
    answer = _head(posted.body, sending, headers)
    return Sent(posted.status, code, message, answer, _wish(posted, sending.at), duration)


def _wish(posted: Posted, at: datetime) -> timedelta | None:
    """A date counts from the receiver's clock where it tells: ours has no part in it."""
    if posted.retry_after is None:
        return None
    return read_retry_after(posted.retry_after, now=_read_date(posted.date) or at)


def _judge(posted: Posted) -> tuple[str | None, str]:
    if not 200 <= posted.status < 300:
        not_followed = "; redirects are not followed" if 300 <= posted.status < 400 else ""
        return f"http_{posted.status}", f"the endpoint answered {posted.status}{not_followed}"
    if posted.trouble is not None:
        return posted.trouble.code, f"the endpoint answered {posted.status}, but {posted.trouble.message}"
    return None, f"the endpoint answered {posted.status}"


def _head(body: bytes, sending: Sending, headers: Mapping[str, str]) -> str:
    """Return what is kept of an answer: printable, and without what would let a reader in somewhere. Cut last: half of a
    secret is not found any more.
    """
    if not body:
        return ""
    text = redact_echo(body.decode("utf-8", errors="replace"), sending, headers)
    if not text.isprintable():
        text = "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
    return text.encode()[:KEPT_BYTES].decode(errors="ignore")


def _read_date(text: str | None) -> datetime | None:
    try:
        value = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return value if value.tzinfo is not None else None
