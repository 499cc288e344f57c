"""No exception of an HTTP client, of ssl or of the system leaves the provider as it is, and none decides the moment of
the paid call (design sections 7 and 10).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import SimpleNamespace

import aiohttp
import httpx
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.domain.errors import StepError, Transient, Uncertain
from orchestrator.domain.outcomes import Moment
from orchestrator.domain.ports import PollQuestion
from orchestrator.http import PollClient
from tests.zai.loopback import call, make_provider


def subclasses(*roots: type[BaseException]) -> list[type[BaseException]]:
    """Every class below the roots, the roots included."""
    found: dict[type[BaseException], None] = {}
    waiting = list(roots)
    while waiting:
        current = waiting.pop()
        if current not in found:
            found[current] = None
            waiting += current.__subclasses__()
    return [
        kind
        for kind in found
        if kind.__module__.split(".")[0] in ("httpx", "httpcore", "aiohttp", "ssl", "builtins", "socket", "h11")
    ]


def make_error(kind: type[BaseException]) -> BaseException:
    """An instance of any client exception, whatever its constructor wants."""
    for arguments in (("x",), (), (1, "x"), ("utf-8", b"x", 0, 1, "x"), *AIOHTTP_ARGUMENTS):
        try:
            error = kind(*arguments)
            str(error)  # aiohttp's look into their arguments only here
        except (TypeError, AttributeError):
            continue
        return error
    request = httpx.Request("POST", "http://127.0.0.1/")
    return kind("x", request=request, response=httpx.Response(500, request=request))  # type: ignore[call-arg]


KEY = ConnectionKey("127.0.0.1", 9, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
AIOHTTP_ARGUMENTS: tuple[tuple[object, ...], ...] = (
    (KEY, OSError(1, "x")),
    (SimpleNamespace(real_url="http://127.0.0.1/"), ()),
    ("/socket", KEY, OSError(1, "x")),
    (b"x", b"y", "127.0.0.1", 9),
)
CLIENT_ERRORS = subclasses(httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ssl.SSLError, OSError)


class Breaking(httpx.AsyncBaseTransport):
    """Raises an error before or after the trace event of the first byte."""

    def __init__(self, error: BaseException, *, after_first_byte: bool) -> None:
        self._error, self._after = error, after_first_byte

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trace = request.extensions["trace"]
        await trace("connection.connect_tcp.started", {})
        if self._after:
            await trace("http11.send_request_headers.started", {"request": request})
        raise self._error


@pytest.mark.parametrize("after_first_byte", [False, True])
@pytest.mark.parametrize("kind", CLIENT_ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_exception_class_decides_the_moment(kind: type[BaseException], after_first_byte: bool) -> None:
    """Each exception of the HTTP client, ssl and OSError becomes Transient before and Uncertain after the event."""
    paid = httpx.AsyncClient(transport=Breaking(make_error(kind), after_first_byte=after_first_byte), trust_env=False)

    async def run() -> None:
        await call(make_provider("http://127.0.0.1:9/", paid=paid))

    wanted, moment = (Uncertain, Moment.SENT) if after_first_byte else (Transient, Moment.NOT_SENT)
    with pytest.raises(StepError) as caught:
        asyncio.run(run())
    assert type(caught.value) is wanted
    assert caught.value.evidence is not None
    assert caught.value.evidence.moment is moment


POLL_ERRORS = subclasses(aiohttp.ClientError, HttpProcessingError, ssl.SSLError, OSError)


class BreakingPoll(PollClient):
    """Raises an error instead of asking."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(ssl.create_default_context(), proxy=None, max_connections=1)
        self._error = error

    async def get(self, url: str, *, headers: Mapping[str, str], cap_bytes: int) -> tuple[int, bytes]:
        raise self._error


@pytest.mark.parametrize(
    "kind",
    [*POLL_ERRORS, ValueError, UnicodeError, RuntimeError],
    ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}",
)
def test_no_exception_of_a_question_leaves_as_it_is(kind: type[BaseException]) -> None:
    """Each exception of aiohttp, ssl and OSError becomes Transient: a question that fails is asked again (D4)."""
    provider = make_provider("http://127.0.0.1:9/", poll=BreakingPoll(make_error(kind)))
    with pytest.raises(StepError) as caught:
        asyncio.run(provider.poll(PollQuestion("video", "m", "t")))
    assert type(caught.value) is Transient


def test_the_walk_covers_the_classes_that_matter() -> None:
    """The walk would be worth nothing if it found nothing."""
    assert {
        httpx.ConnectTimeout,
        httpx.ReadError,
        httpx.ProxyError,
        ssl.SSLCertVerificationError,
        ConnectionResetError,
    } <= set(CLIENT_ERRORS)
    assert len(CLIENT_ERRORS) > 40
    assert {
        aiohttp.ClientConnectorCertificateError,
        aiohttp.ClientPayloadError,
        aiohttp.ServerDisconnectedError,
        aiohttp.ServerTimeoutError,
        aiohttp.InvalidURL,
    } <= set(POLL_ERRORS)
    assert len(POLL_ERRORS) > 50
