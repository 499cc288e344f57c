"""No exception of the HTTP client leaves the guarded post, and every code of it has a word of advice."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp
import pytest

from orchestrator.domain.advice import Source
from orchestrator.domain.errors import Permanent, StepError, Transient
from orchestrator.egress.post import classify
from orchestrator.http import WrongPeer
from orchestrator.wiring import error_catalogue

TLS = (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)
"""Made by a failed handshake only, with its reason: tests/webhooks/test_sending.py::TestTls."""


def _exception_classes(root: type[aiohttp.ClientError]) -> Iterator[type[aiohttp.ClientError]]:
    yield root
    for child in root.__subclasses__():
        yield from _exception_classes(child)


@pytest.mark.parametrize(
    "error", sorted({kind for kind in _exception_classes(aiohttp.ClientError) if not issubclass(kind, TLS)}, key=str)
)
def test_every_exception_of_the_client_has_an_outcome(error: type[aiohttp.ClientError]) -> None:
    """Design section 10; all are Transient but a connection that leads elsewhere, or to nowhere."""
    found: StepError = classify(error.__new__(error))
    assert type(found) is (Permanent if issubclass(error, aiohttp.InvalidURL | WrongPeer) else Transient)
    assert error_catalogue().find(found.code, Source.WEBHOOK) is not None
