"""What goes wrong on the way to an endpoint, and what a person should do."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then

_WAIT = "Nothing to do: it is sent again by the schedule; tell the endpoint's owner if it goes on."
_NET = "Check the endpoint's address and this host's way out; it is sent again by the schedule."

_ROWS = (
    (
        "egress_refused",
        "the URL, or an address of its name, is not one that foreign URLs may reach",
        "List it in ORCHESTRATOR_EGRESS_ALLOW if it is meant; `orchestrator errors list egress_refused` says more.",
    ),
    (
        "secret_unusable",
        "the endpoint's secret cannot be opened, so nothing could be signed; its events wait and use up no attempts",
        "Put the former ORCHESTRATOR_SECRET_KEY back, or give the endpoint a new secret with `orchestrator webhooks rotate`.",
    ),
    ("dns_failed", "the endpoint's host name does not resolve", _NET),
    ("connect_timeout", "the endpoint's host does not take the connection", _NET),
    ("connect_failed", "no connection to the endpoint's host", _NET),
    (
        "tls_failed",
        "the endpoint's certificate is not accepted, or it does not speak TLS",
        "Have the endpoint's certificate mended; ORCHESTRATOR_CA_BUNDLE names other authorities, and nothing skips the check.",
    ),
    ("read_timeout", "no answer came", _WAIT),
    ("connection_broken", "the connection broke before the answer was whole", _WAIT),
    ("bad_answer", "the endpoint does not speak proper HTTP", _WAIT),
    (
        "webhook_deadline",
        "the endpoint did not answer in full within 15 s",
        "Have the endpoint answer first and work afterwards; it is sent again by the schedule.",
    ),
)
_STATUSES = (
    ("http_1xx", r"http_1\d\d", "the endpoint gave no final answer", _WAIT),
    (
        "http_3xx",
        r"http_3\d\d",
        "the endpoint redirects, which is not followed",
        "Give the address that it redirects to as the endpoint.",
    ),
    (
        "http_4xx",
        r"http_4\d\d",
        "the endpoint refuses the event",
        "Look at the kept answer; the endpoint's owner has to mend it.",
    ),
    ("http_5xx", r"http_5\d\d", "the endpoint has failed", _WAIT),
)
_GONE = "Enable the endpoint again if that was a mistake; nothing is sent to it meanwhile."


def entries() -> Iterator[Entry]:
    """Yield a row for every way in which an attempt to deliver fails."""
    for code, meaning, advice in _ROWS:
        yield Entry(code, Source.WEBHOOK, Then.AGAIN, meaning, advice)
    yield Entry("http_410", Source.WEBHOOK, Then.STOPPED_SENDING, "the endpoint says that it is gone for good", _GONE)
    for code, family, meaning, advice in _STATUSES:
        yield Entry(code, Source.WEBHOOK, Then.AGAIN, meaning, advice, family)
