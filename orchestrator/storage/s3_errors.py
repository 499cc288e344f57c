"""What botocore and S3 raise, ordered by what happens next. None of their exceptions leaves this package.

Transient: 5xx, SlowDown, time-outs, broken connections, checksum mismatches.
Permanent: what an operator must mend (bucket, credentials, rights, clock, address). Gone: no such key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions
from botocore import exceptions as boto

from orchestrator.domain.errors import Gone, Permanent, StepError, Transient

KEY_MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})
PERMANENT = {
    "NoSuchBucket": "store_bucket_missing",
    "InvalidAccessKeyId": "store_credentials",
    "SignatureDoesNotMatch": "store_credentials",
    "ExpiredToken": "store_credentials",
    "InvalidToken": "store_credentials",
    "TokenRefreshRequired": "store_credentials",
    "InvalidSecurity": "store_credentials",
    "NotSignedUp": "store_credentials",
    "401": "store_credentials",
    "AccessDenied": "store_denied",
    "AllAccessDisabled": "store_denied",
    "AccountProblem": "store_denied",
    "InvalidObjectState": "store_denied",
    "KMS.DisabledException": "store_denied",
    "403": "store_denied",
    "RequestTimeTooSkewed": "store_clock_skew",
    "PermanentRedirect": "store_misconfigured",
    "TemporaryRedirect": "store_misconfigured",
    "AuthorizationHeaderMalformed": "store_misconfigured",
    "AuthorizationQueryParametersError": "store_misconfigured",
    "IllegalLocationConstraintException": "store_misconfigured",
    "InvalidBucketName": "store_misconfigured",
    "301": "store_misconfigured",
    "307": "store_misconfigured",
    "EntityTooLarge": "store_too_large",
    "MethodNotAllowed": "store_unsupported",
    "NotImplemented": "store_unsupported",
    "405": "store_unsupported",
    "501": "store_unsupported",
}
TRANSIENT = {
    "SlowDown": "store_busy",
    "Throttling": "store_busy",
    "ThrottlingException": "store_busy",
    "TooManyRequests": "store_busy",
    "RequestLimitExceeded": "store_busy",
    "BandwidthLimitExceeded": "store_busy",
    "ServiceUnavailable": "store_busy",
    "429": "store_busy",
    "503": "store_busy",
    "RequestTimeout": "store_timeout",
    "408": "store_timeout",
    "BadDigest": "store_checksum_mismatch",
    "InvalidDigest": "store_checksum_mismatch",
    "XAmzContentChecksumMismatch": "store_checksum_mismatch",
    "XAmzContentSHA256Mismatch": "store_checksum_mismatch",
    "IncompleteBody": "store_checksum_mismatch",
    "NoSuchUpload": "store_upload_missing",
    "InvalidPart": "store_upload_missing",
    "PreconditionFailed": "store_conflict",
    "ConditionalRequestConflict": "store_conflict",
    "OperationAborted": "store_conflict",
    "409": "store_conflict",
    "412": "store_conflict",
    "QuotaExceeded": "store_full",
    "XMinioStorageFull": "store_full",
    "InsufficientStorage": "store_full",
    "507": "store_full",
}

CREDENTIALS: tuple[type[Exception], ...] = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.UnknownCredentialError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
    boto.ProfileNotFound,
    boto.SSOError,
    boto.LoginError,
    boto.MetadataRetrievalError,
    boto.InfiniteLoopConfigError,
)
TIME_OUTS: tuple[type[Exception], ...] = (
    boto.ReadTimeoutError,
    boto.ConnectTimeoutError,
    urllib3.exceptions.TimeoutError,
    TimeoutError,
)
REFUSED = urllib3.exceptions.NewConnectionError  # urllib3 counts it among the time-outs
TLS: tuple[type[Exception], ...] = (boto.SSLError, urllib3.exceptions.SSLError)
CHECKSUMS: tuple[type[Exception], ...] = (boto.ChecksumError, boto.FlexibleChecksumError)
BROKEN: tuple[type[Exception], ...] = (
    boto.ConnectionError,  # refused, unknown host: it is no HTTPClientError
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.EventStreamError,
    boto.ResponseStreamingError,
    urllib3.exceptions.HTTPError,
    OSError,
)


@contextmanager
def translated(action: str, target: str) -> Iterator[None]:
    """Raise what happens next in place of a client library's exception; `action` and `target` go into the message."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError, urllib3.exceptions.HTTPError, OSError) as error:
        raise classify(error, action, target) from error


def classify(error: Exception, action: str, target: str) -> StepError:
    """Return what happens next after `error`. Total: what is not known is Permanent, and says its class."""
    what = f"{action} {target}"
    if isinstance(error, boto.ClientError) and not isinstance(error, boto.EventStreamError):
        return _classify_answer(error, what)
    name = type(error).__name__
    if isinstance(error, CREDENTIALS):
        return Permanent("store_credentials", f"{what}: {name}")
    if isinstance(error, TIME_OUTS) and not isinstance(error, REFUSED):
        return Transient("store_timeout", f"{what}: {name}")
    if isinstance(error, TLS):
        return Transient("store_tls", f"{what}: {name}")
    if isinstance(error, CHECKSUMS):
        return Transient("store_checksum_mismatch", f"{what}: {name}")
    if isinstance(error, BROKEN):
        return Transient("store_unreachable", f"{what}: {name}")
    return Permanent("store_misconfigured", f"{what}: {name}: {error}")


def _classify_answer(error: boto.ClientError, what: str) -> StepError:
    """Order an answer by its code, then by its status: stores agree on few codes, HEAD answers have none."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    message = f"{what}: {code or 'no code'}, HTTP {status}"
    if code in KEY_MISSING:
        return Gone("store_key_missing", message)
    for key in (code, str(status)):
        if key in PERMANENT:
            return Permanent(PERMANENT[key], message)
        if key in TRANSIENT:
            return Transient(TRANSIENT[key], message)
    if status == 404:
        return Gone("store_key_missing", message)
    if 400 <= status < 500:
        return Permanent("store_refused", message)
    return Transient("store_unavailable", message)
