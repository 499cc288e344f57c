"""Why no connection came about, in words: none holds the address or the URL, which the library adds."""

from __future__ import annotations

import os

import aiohttp


def describe_tls(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    """Return why no encrypted connection came about: the library's reason, which names hosts and dates only."""
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    reason = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__
    return f"no trusted TLS connection: {reason}"


def describe_refusal(error: aiohttp.ClientConnectorError) -> str:
    """Return why no connection came about: the system's words for it, without the address that the library adds."""
    return f"no connection: {os.strerror(error.errno).lower()}" if error.errno else "no connection"
