"""What the archive's codes mean and what a person should do. Paid results wait: their links say for how long."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then

_WAIT = "Nothing to do: it is tried again; check the store if it goes on, for links expire meanwhile."
_CREDENTIALS = "Correct the store's credentials (AWS_ACCESS_KEY_ID and its kin); outputs wait, and their links expire."

_ROWS = (
    ("store_bucket_missing", "the bucket does not exist", "Create the bucket, or correct ORCHESTRATOR_ARCHIVE_URL."),
    ("store_credentials", "the store does not accept the credentials, or there are none", _CREDENTIALS),
    (
        "store_denied",
        "the credentials, or the file system, do not allow it",
        "Grant read, write, list and delete below the archive's prefix; outputs wait, and their links expire.",
    ),
    ("store_clock_skew", "this host's clock differs too much from the store's", "Set this host's clock (NTP)."),
    (
        "store_misconfigured",
        "the store's address, region or way of signing is not as it wants it",
        "Check ORCHESTRATOR_ARCHIVE_URL, ORCHESTRATOR_S3_ENDPOINT_URL and ORCHESTRATOR_S3_REGION.",
    ),
    (
        "store_too_large",
        "the file is longer than the store takes",
        "Raise the store's limit, or use another archive; outputs wait, and their links expire.",
    ),
    (
        "store_unsupported",
        "the store does not offer this operation",
        "Use a store with multipart uploads and listing; the message names what is missing.",
    ),
    (
        "store_refused",
        "the store refused the request for a reason of its own",
        "Look up the code of the message in the store's documentation or log.",
    ),
    ("store_busy", "the store asks for patience", _WAIT),
    ("store_timeout", "the store did not answer in time", _WAIT),
    ("store_unreachable", "the connection to the store failed", "Check ORCHESTRATOR_S3_ENDPOINT_URL and the network."),
    (
        "store_tls",
        "the store's certificate is not accepted",
        "Renew the store's certificate, or name its authority in ORCHESTRATOR_CA_BUNDLE.",
    ),
    ("store_unavailable", "the store failed", _WAIT),
    ("store_conflict", "somebody else wrote the same object at the same time", _WAIT),
    ("store_upload_missing", "an upload in parts was ended by somebody else", _WAIT),
    ("store_incomplete", "the store did not put an upload's parts together", _WAIT),
    (
        "store_checksum_mismatch",
        "what arrived at the store is not what was sent",
        "Nothing to do: it is sent again; if it goes on, look for a proxy or a disk that alters data.",
    ),
    ("store_short_read", "the store gave fewer bytes than the object has", _WAIT),
    (
        "read_back_differs",
        "the store does not hold what was just sent",
        "Nothing to do: it is sent again; if it goes on, do not trust this store.",
    ),
    (
        "store_full",
        "the store or its disk is full",
        "Make room or raise the quota; outputs wait, and their links expire.",
    ),
    (
        "store_key_missing",
        "the archive holds no such object",
        "Restore it from a copy of the bucket or folder, or check that ORCHESTRATOR_ARCHIVE_URL is the right one.",
    ),
    (
        "store_bad_key",
        "a name that no object of the archive can have",
        "Report it: a fault of ours, nothing was stored.",
    ),
    ("spool_unreadable", "a downloaded file vanished from the data directory before it was stored", _WAIT),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every code of the archive."""
    for code, meaning, advice in _ROWS:
        yield Entry(code, Source.ARCHIVE, Then.AGAIN, meaning, advice)
