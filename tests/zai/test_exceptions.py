"""No exception of the HTTP client, of ssl or of the system leaves the paid call as it is, and none decides the moment
(design sections 7 and 10).
"""

from __future__ import annotations

import asyncio
import ssl

import httpx
import pytest

from orchestrator.domain.errors import StepError, Transient, Uncertain
from orchestrator.domain.outcomes import Moment
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
        if kind.__module__.split(".")[0] in ("httpx", "httpcore", "ssl", "builtins", "socket", "h11")
    ]


def make_error(kind: type[BaseException]) -> BaseException:
    """An instance of any client exception, whatever its constructor wants."""
    for arguments in (("x",), (), (1, "x"), ("utf-8", b"x", 0, 1, "x")):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    request = httpx.Request("POST", "http://127.0.0.1/")
    return kind("x", request=request, response=httpx.Response(500, request=request))  # type: ignore[call-arg]


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
