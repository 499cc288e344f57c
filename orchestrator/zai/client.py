"""The Provider port over Z.ai's HTTP API. It sends, asks and reads; what follows is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.domain.errors import ConfigError, Transient, Uncertain
from orchestrator.domain.job import OutputDraft
from orchestrator.domain.outcomes import (
    AnswerComplete,
    CallEvidence,
    FailedAtSubmit,
    NothingUsable,
    OutputsReady,
    ProviderFailed,
    StillRunning,
    TaskAccepted,
)
from orchestrator.domain.ports import Clock, PaidRequest, PollAnswer, PollQuestion, SubmitAnswer
from orchestrator.http import AnswerTooLong, PollClient, connect_within
from orchestrator.zai import wire
from orchestrator.zai.call import ANSWER_CAP_BYTES, CallTrace, send_once
from orchestrator.zai.encode import NOT_SENT, ReadInput, prepare
from orchestrator.zai.errors import clean, describe_failure, poll_error, submit_error
from orchestrator.zai.kinds import load_kinds
from orchestrator.zai.links import find_expiry
from orchestrator.zai.route import Link, Text, ZaiKind

POLL_DEADLINE = timedelta(seconds=30)
POLL_ERRORS = (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError, ValueError)
"""Everything that can come out of a poll. OSError covers ssl and TimeoutError, RuntimeError a client that is closed."""
UNCONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)
"""A question that failed so never left; it only words the message, for a poll nothing hangs on it."""
INPUT_DEADLINE = timedelta(seconds=45)
"""Inputs are read before the call's own deadline starts; less than the lease's margin over that deadline."""


class ZaiProvider:
    """One account of Z.ai. The clients come from orchestrator.http and are closed with it."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        paid: httpx.AsyncClient,
        poll: PollClient,
        clock: Clock,
        read_input: ReadInput,
        kinds: Mapping[str, ZaiKind] | None = None,
        call_deadlines: Mapping[str, timedelta] | None = None,
        link_lives: Mapping[str, timedelta] | None = None,
        poll_deadline: timedelta = POLL_DEADLINE,
        input_deadline: timedelta = INPUT_DEADLINE,
    ) -> None:
        """Deadlines and link lives are by kind; kinds not named keep their own. Raises ConfigError."""
        self._base = _checked_base(base_url)
        self._headers = _headers(api_key)
        self._urls: dict[str, httpx.URL] = {}
        self._paid, self._poll, self._clock = paid, poll, clock
        self._read_input = read_input
        self._kinds = kinds if kinds is not None else load_kinds()
        self._call_deadlines = call_deadlines or {}
        self._link_lives = link_lives or {}
        self._poll_deadline, self._input_deadline = poll_deadline, input_deadline

    @property
    def kinds(self) -> Mapping[str, ZaiKind]:
        return self._kinds

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        kind = self._kinds.get(request.kind)
        if kind is None:
            raise Transient(code="unknown_kind", message=_no_kind(request.kind), evidence=NOT_SENT)
        ready = await prepare(kind, request, read_input=self._read_input, deadline=self._input_deadline)
        deadline = self._call_deadlines.get(kind.name, kind.call_deadline)
        message = self._paid.build_request(
            "POST",
            self._url_of(ready.path),
            content=ready.content,
            headers={**self._headers, "Content-Type": ready.content_type},
            timeout=connect_within(deadline),
        )
        trace = CallTrace(self._clock, before_first_byte)
        return await send_once(self._paid, message, trace, deadline=deadline)

    def _url_of(self, path: str) -> httpx.URL:
        """Return the address of a route, read once: there are a handful, and reading one costs as much as the rest."""
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{self._base}{path}")
        return self._urls[path]

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        known = self._kinds.get(kind)
        if known is None:
            raise Uncertain(code="unknown_kind", message=_no_kind(kind), evidence=evidence)
        try:
            return self._read_submit(known, evidence)
        except wire.Unreadable as problem:
            doubt = submit_error(None, evidence)
            if isinstance(doubt, Uncertain):
                raise Uncertain(code=doubt.code, message=clean(str(problem)), evidence=evidence) from problem
            raise doubt from problem

    async def poll(self, question: PollQuestion) -> PollAnswer:
        kind = self._kinds.get(question.kind)
        if kind is None:
            raise Transient(code="unknown_kind", message=_no_kind(question.kind))
        http_status, text = await self._ask(f"{self._base}/async-result/{quote(question.task_id, safe='')}")
        return self._read_poll(kind, http_status, text, self._clock.now())

    async def close(self) -> None:
        await self._paid.aclose()
        await self._poll.close()

    def _read_poll(self, kind: ZaiKind, http_status: int, text: str, now: datetime) -> PollAnswer:
        is_good = 200 <= http_status < 300
        try:
            answer = wire.read_object(text, is_strict=False)
        except wire.Unreadable as problem:
            if is_good:
                raise Transient(code=f"http_{http_status}", message=clean(str(problem))) from problem
            raise poll_error(None, http_status, is_readable=False, now=now) from problem
        error = wire.read_error(answer)
        if not is_good or (error is not None and "task_status" not in answer):
            raise poll_error(error, http_status, is_readable=True, now=now)
        match wire.read_status(answer):
            case wire.SUCCESS:
                drafts = self._drafts(kind, kind.read_links(answer), now)
                return OutputsReady(drafts) if drafts else NothingUsable("SUCCESS without a usable link")
            case wire.FAIL:
                return ProviderFailed(*wire.read_failure(answer))
            case word:
                return StillRunning(word)

    def _read_submit(self, kind: ZaiKind, evidence: CallEvidence) -> SubmitAnswer:
        answer = wire.read_object(evidence.body, is_strict=True)
        is_good = evidence.http_status is not None and 200 <= evidence.http_status < 300
        if is_good and wire.read_status(answer) == wire.FAIL:
            return FailedAtSubmit(*wire.read_failure(answer))
        error = wire.read_error(answer)
        if error is not None and answer.get("id") is not None and is_good:
            raise wire.Unreadable("the answer holds both an id and an error")
        if error is not None or not is_good:
            raise submit_error(error, evidence)
        whole = kind.read_whole(answer, evidence.body or "")
        if whole is not None:
            drafts = self._drafts(kind, whole, evidence.answered_at or self._clock.now())
            return AnswerComplete(drafts)
        return TaskAccepted(wire.read_task_id(answer))

    def _drafts(self, kind: ZaiKind, results: Sequence[Link | Text], now: datetime) -> tuple[OutputDraft, ...]:
        life = self._link_lives.get(kind.name, kind.link_life)
        return tuple(_draft(result, now, life) for result in results)

    async def _ask(self, url: str) -> tuple[int, str]:
        try:
            async with asyncio.timeout(self._poll_deadline.total_seconds()):
                http_status, body = await self._poll.get(url, headers=self._headers, cap_bytes=ANSWER_CAP_BYTES)
        except AnswerTooLong as error:
            raise Transient(code="answer_too_long", message="the answer to a poll does not end") from error
        except POLL_ERRORS as error:
            code, message = describe_failure(error, was_sent=not isinstance(error, UNCONNECTED))
            raise Transient(code=code, message=message) from error
        return http_status, body.decode("utf-8", errors="replace")


def _draft(result: Link | Text, now: datetime, life: timedelta) -> OutputDraft:
    if isinstance(result, Text):
        return OutputDraft(result.index, result.role, text=result.text)
    expiry = find_expiry(result.url)
    return OutputDraft(
        result.index,
        result.role,
        url=result.url,
        expires_at=expiry if expiry is not None else now + life,
        is_expiry_assumed=expiry is None,
    )


def _no_kind(name: str) -> str:
    return f"no kind {name!r} is known to this release"


def _headers(api_key: str) -> dict[str, str]:
    """Headers of every request (zai-api.md 1.3, 1.4); a key that no header can carry is refused at start."""
    if not api_key or not all(0x21 <= ord(mark) <= 0x7E for mark in api_key):
        raise ConfigError("ORCHESTRATOR_ZAI_API_KEY", "the key is empty or holds blanks or unprintable characters")
    return {
        "Authorization": f"Bearer {api_key}",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "Accept-Language": "en-US,en",
    }


def _checked_base(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ConfigError("ORCHESTRATOR_ZAI_BASE_URL", f"{base_url!r} is not a URL") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or (url.port or 1) > 65_535:
        raise ConfigError("ORCHESTRATOR_ZAI_BASE_URL", f"{base_url!r} is not an http(s) address with a path")
    return base_url.rstrip("/")
