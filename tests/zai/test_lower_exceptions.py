"""What the HTTP client stands on - httpcore, h11, anyio, asyncio - raises classes of its own: should one come through
unmapped, it tells no more about the moment than any other (design section 10).
"""

from __future__ import annotations

import asyncio
import ssl

import anyio
import h11
import httpcore
import httpx
import pytest

from orchestrator.domain.errors import StepError, Transient, Uncertain
from orchestrator.domain.outcomes import Moment
from tests.zai.loopback import call, make_provider
from tests.zai.test_exceptions import Breaking

ROOTS: tuple[type[BaseException], ...] = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    h11.LocalProtocolError,
    h11.RemoteProtocolError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.BusyResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    asyncio.InvalidStateError,
    ssl.CertificateError,
    ExceptionGroup,
    EOFError,
    BufferError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
ARGUMENTS: tuple[tuple[object, ...], ...] = (
    *(("x",), (), (b"x", 9), ("x", 9), ("x", [OSError("y")])),
    *(("utf-8", b"x", 0, 1, "x"), ("utf-8", "x", 0, 1, "x"), ("x", 0, 1, "x")),
)


def with_descendants(root: type[BaseException]) -> list[type[BaseException]]:
    """The class and every class below it that the client's libraries define."""
    found = [root]
    for child in root.__subclasses__():
        if child.__module__.split(".")[0] in ("httpcore", "h11", "anyio", "asyncio", "ssl", "builtins"):
            found += with_descendants(child)
    return found


def make_error(kind: type[BaseException]) -> BaseException:
    """An instance, whatever its constructor wants."""
    for arguments in ARGUMENTS:
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"no arguments make a {kind.__qualname__}")


KINDS = sorted(
    {kind for root in ROOTS for kind in with_descendants(root)}, key=lambda kind: (kind.__qualname__, kind.__module__)
)


@pytest.mark.parametrize("after_first_byte", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_class_below_the_client_decides_the_moment(kind: type[BaseException], after_first_byte: bool) -> None:
    """Transient before the first byte, Uncertain after it, and never the class itself."""
    paid = httpx.AsyncClient(transport=Breaking(make_error(kind), after_first_byte=after_first_byte), trust_env=False)

    async def run() -> None:
        await call(make_provider("http://127.0.0.1:9/", paid=paid))

    with pytest.raises(StepError) as caught:
        asyncio.run(run())
    assert type(caught.value) is (Uncertain if after_first_byte else Transient)
    assert caught.value.evidence is not None
    assert caught.value.evidence.moment is (Moment.SENT if after_first_byte else Moment.NOT_SENT)


def test_the_walk_finds_what_matters() -> None:
    """The walk would be worth nothing if it found nothing."""
    assert {httpcore.ConnectTimeout, httpcore.WriteError, h11.RemoteProtocolError, anyio.EndOfStream} <= set(KINDS)
