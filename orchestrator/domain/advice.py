"""The form of one row of the error catalogue, and finding a row by its code. Whoever owns a code owns its row.

The domain's own rows are in domain/codes.py; adapters keep theirs beside the code that raises them; wiring puts all
together (`orchestrator errors list`, docs/errors.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """Where a code comes from."""

    JOB = "job"  # why a job failed or waits for a person
    SUBMISSION = "submission"  # how a paid call ended without a word of the provider
    PROVIDER = "provider"  # what the provider answered, or the way to it
    LINK = "link"  # a result's link and the bytes behind it
    ARCHIVE = "archive"
    JOURNAL = "journal"
    DATABASE = "database"
    FLEET = "fleet"
    WEBHOOK = "webhook"  # an event on its way to an endpoint
    COMMAND = "command"  # what was asked for cannot be done
    REQUEST = "request"  # a fault of a job file or of a single request
    CLASS = "class"  # what any code of this class means, should it have no row of its own


class Then(StrEnum):
    """What happens next without anybody doing anything."""

    AGAIN = "tried again by itself, with growing waits"
    PAUSED = "paused; goes on by itself when the pause ends"
    FRESH_LINK = "another link is asked for by itself"
    HELD = "held in needs_review until a late answer or a person settles it"
    FAILED = "the job has failed"
    ENDED = "the job has ended as was wished"
    REFUSED = "refused; nothing was submitted"
    WARNED = "a warning; the request is taken"
    STOPPED_SENDING = "the endpoint is disabled and its queued deliveries are cancelled"
    WITHOUT = "the job goes on without it"
    STOPPED = "the command has stopped; jobs are as they were"


@dataclass(frozen=True)
class Entry:
    """What there is to say about one code: whence, what happens next, what it means, and what a person should do.

    `family` is a pattern for codes that are made and not listed: `code` is then how their kind is written (http_5xx).
    """

    code: str
    source: Source
    then: Then
    meaning: str
    advice: str
    family: str | None = None

    def covers(self, code: str) -> bool:
        """Say whether the entry speaks of this code."""
        if self.family is not None:
            return re.fullmatch(self.family, code) is not None
        return code == self.code


class Catalogue:
    """Entries by code. The same code from two sources has two entries."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        order = {source: place for place, source in enumerate(Source)}
        self._entries = tuple(sorted(entries, key=lambda e: (order[e.source], e.family is not None, e.code)))

    def __iter__(self) -> Iterator[Entry]:
        """Yield every entry: by source, then by code, families last."""
        return iter(self._entries)

    def find_all(self, code: str) -> list[Entry]:
        """Return what each source says of a code, or of a family by the name it is written with: the row of the code
        itself, else of the first family that covers it.
        """
        found: dict[Source, Entry] = {}
        for entry in self._entries:
            if entry.code == code or (entry.source not in found and entry.covers(code)):
                found[entry.source] = entry
        return list(found.values())

    def find(self, code: str | None, *sources: Source) -> Entry | None:
        """Return the entry of the first of `sources` that knows the code; without sources, of any."""
        found = {entry.source: entry for entry in self.find_all(code)} if code else {}
        return next((found[source] for source in sources or Source if source in found), None)
