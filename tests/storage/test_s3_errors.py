"""Every exception of the S3 client and every answer of a store has one place in what happens next (design 10)."""

from __future__ import annotations

import inspect

import pytest
import urllib3.exceptions
from botocore import exceptions as boto

from orchestrator.domain.errors import Gone, Permanent, StepError, Transient
from orchestrator.storage.disposition import attachment
from orchestrator.storage.s3_errors import classify

BOTO_CLASSES = sorted(
    (each for _, each in inspect.getmembers(boto, inspect.isclass) if issubclass(each, Exception)), key=str
)
FOR_LATER = {
    "ConnectionError": "store_unreachable",
    "EndpointConnectionError": "store_unreachable",
    "ConnectionClosedError": "store_unreachable",
    "ProxyConnectionError": "store_unreachable",
    "HTTPClientError": "store_unreachable",
    "ResponseStreamingError": "store_unreachable",
    "IncompleteReadError": "store_unreachable",
    "EventStreamError": "store_unreachable",
    "ReadTimeoutError": "store_timeout",
    "ConnectTimeoutError": "store_timeout",
    "SSLError": "store_tls",
    "ChecksumError": "store_checksum_mismatch",
    "FlexibleChecksumError": "store_checksum_mismatch",
}
"""What may pass by itself. Everything else is a mistake in settings, credentials or code: waiting mends none of it."""


def made(kind: type[Exception]) -> Exception:
    """Make one without the arguments that its message wants."""
    error = kind.__new__(kind)
    Exception.__init__(error, "words")
    if isinstance(error, boto.ClientError):
        error.response = {"Error": {"Code": ""}, "ResponseMetadata": {"HTTPStatusCode": 500}}  # type: ignore[typeddict-item]
    return error


@pytest.mark.parametrize("kind", BOTO_CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_of_the_client_is_ordered(kind: type[Exception]) -> None:
    """Design section 10: a class that a new version brings falls to Permanent and says its name."""
    error = classify(made(kind), "store", "s3://b/k")
    if issubclass(kind, boto.ClientError) and kind is not boto.EventStreamError:
        assert type(error) is Transient
    elif kind.__name__ in FOR_LATER:
        assert (type(error), error.code) == (Transient, FOR_LATER[kind.__name__])
    else:
        assert type(error) is Permanent
        assert error.code in ("store_credentials", "store_misconfigured")
        assert kind.__name__ in error.message


@pytest.mark.parametrize(
    "error",
    [
        urllib3.exceptions.ProtocolError("broken"),
        urllib3.exceptions.IncompleteRead(3, 5),
        ConnectionResetError(),
        BrokenPipeError(),
        OSError("anything"),
    ],
)
def test_a_broken_stream_is_for_later(error: Exception) -> None:
    assert type(classify(error, "read", "s3://b/k")) is Transient


@pytest.mark.parametrize(
    ("code", "status", "kind", "ours"),
    [
        ("NoSuchKey", 404, Gone, "store_key_missing"),
        ("404", 404, Gone, "store_key_missing"),
        ("NoSuchBucket", 404, Permanent, "store_bucket_missing"),
        ("NoSuchUpload", 404, Transient, "store_upload_missing"),
        ("AccessDenied", 403, Permanent, "store_denied"),
        ("403", 403, Permanent, "store_denied"),
        ("InvalidAccessKeyId", 403, Permanent, "store_credentials"),
        ("SignatureDoesNotMatch", 403, Permanent, "store_credentials"),
        ("ExpiredToken", 400, Permanent, "store_credentials"),
        ("RequestTimeTooSkewed", 403, Permanent, "store_clock_skew"),
        ("PermanentRedirect", 301, Permanent, "store_misconfigured"),
        ("AuthorizationHeaderMalformed", 400, Permanent, "store_misconfigured"),
        ("EntityTooLarge", 400, Permanent, "store_too_large"),
        ("NotImplemented", 501, Permanent, "store_unsupported"),
        ("MethodNotAllowed", 405, Permanent, "store_unsupported"),
        ("Unheard", 418, Permanent, "store_refused"),
        ("SlowDown", 503, Transient, "store_busy"),
        ("SlowDown", 200, Transient, "store_busy"),
        ("TooManyRequests", 429, Transient, "store_busy"),
        ("RequestTimeout", 400, Transient, "store_timeout"),
        ("BadDigest", 400, Transient, "store_checksum_mismatch"),
        ("PreconditionFailed", 412, Transient, "store_conflict"),
        ("", 409, Transient, "store_conflict"),
        ("", 507, Transient, "store_full"),
        ("InternalError", 500, Transient, "store_unavailable"),
        ("InternalError", 200, Transient, "store_unavailable"),
        ("Unheard", 599, Transient, "store_unavailable"),
        ("", 0, Transient, "store_unavailable"),
    ],
)
def test_every_answer_is_ordered(code: str, status: int, kind: type[StepError], ours: str) -> None:
    """E15, E19: by code, then by status."""
    answer = {"Error": {"Code": code, "Message": "secret-canary"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = classify(boto.ClientError(answer, "PutObject"), "store", "s3://b/k")  # type: ignore[arg-type]
    assert (type(error), error.code) == (kind, ours)
    assert "secret-canary" not in str(error)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.png", 'attachment; filename="a.png"'),
        ('a"; filename=b.exe', 'attachment; filename="a__ filename=b.exe"'),
        ("a\r\nSet-Cookie: x", 'attachment; filename="a__Set-Cookie_ x"'),
        ("../../etc/passwd", 'attachment; filename="_.._etc_passwd"'),
        ("\u202egnp.exe", 'attachment; filename="_gnp.exe"'),
        ("", 'attachment; filename="download"'),
        (" . ", 'attachment; filename="download"'),
        ("ä.png", "attachment; filename=\"_.png\"; filename*=UTF-8''%C3%A4.png"),
    ],
)
def test_no_file_name_breaks_the_header(name: str, header: str) -> None:
    """I9, I13."""
    assert attachment(name) == header
