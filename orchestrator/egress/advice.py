"""What goes wrong on the way to a result's link, and what a person should do. The bytes themselves: domain/codes.py."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.domain.advice import Entry, Source, Then

_WAIT = "Nothing to do: it is fetched again; check this host's way out if it goes on, for links expire."
_DISK = "Make room below ORCHESTRATOR_DATA_DIR, and check its rights; outputs wait, and their links expire."
_FRESH = "Nothing to do: the provider is asked for another link; if none comes, the job says so."

_ROWS = (
    ("dns_failed", Then.AGAIN, "the link's host name does not resolve", "Check this host's name server."),
    ("connect_timeout", Then.AGAIN, "the link's host does not take the connection", _WAIT),
    ("connect_failed", Then.AGAIN, "no connection to the link's host, or its certificate is not accepted", _WAIT),
    ("read_timeout", Then.AGAIN, "the download stood still", _WAIT),
    ("connection_broken", Then.AGAIN, "the connection broke during the download", _WAIT),
    ("short_body", Then.AGAIN, "fewer bytes came than were announced", _WAIT),
    ("bad_answer", Then.AGAIN, "the link's host does not speak proper HTTP", _WAIT),
    ("too_slow", Then.AGAIN, "the download was slower than is worth its slot", _WAIT),
    ("fetch_deadline", Then.AGAIN, "the download took too long as a whole", _WAIT),
    ("spool_full", Then.AGAIN, "the data directory's disk is full", _DISK),
    ("spool_failed", Then.AGAIN, "the data directory cannot be written", _DISK),
)
_STATUSES = (
    ("http_403", None, Then.FRESH_LINK, "the link is dead, or has expired", _FRESH),
    ("http_404", None, Then.FRESH_LINK, "the link is dead", _FRESH),
    ("http_410", None, Then.FRESH_LINK, "the link is dead for good", _FRESH),
    ("http_408", None, Then.AGAIN, "the link's host ran out of time", _WAIT),
    ("http_425", None, Then.AGAIN, "the link's host asks to come later", _WAIT),
    ("http_429", None, Then.AGAIN, "the link's host asks for fewer requests", _WAIT),
    ("http_4xx", r"http_4\d\d", Then.FRESH_LINK, "the link's host refuses it", _FRESH),
    ("http_5xx", r"http_5\d\d", Then.AGAIN, "the link's host has failed", _WAIT),
)


def entries() -> Iterator[Entry]:
    """Yield a row for every way in which fetching a link fails."""
    for code, then, meaning, advice in _ROWS:
        yield Entry(code, Source.LINK, then, meaning, advice)
    for code, family, then, meaning, advice in _STATUSES:
        yield Entry(code, Source.LINK, then, meaning, advice, family)
