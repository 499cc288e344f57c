"""Keys, the audit log, repeated requests and uploaded inputs, as the HTTP API and the command line use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.access import ApiKey, AuditEntry
from orchestrator.domain.kind import InputFacts


class Keys(Protocol):
    """API keys. Every change and its line of the audit log are one transaction."""

    def add(self, make: Callable[[datetime], ApiKey], entry: AuditEntry) -> ApiKey:
        """Keep a new key; `make` gets the transaction's time."""

    def find(self, key_id: str) -> tuple[ApiKey | None, datetime]:
        """Return the key of this id, and the time that rules on whether it is good."""

    def list_keys(self, *, limit: int, after: str | None = None) -> Sequence[ApiKey]:
        """Return keys with an id behind `after`, in the order of their ids; revoked ones too."""

    def revoke(self, key_id: str, entry: AuditEntry) -> ApiKey:
        """Revoke a key for good; one that is revoked stays as it is. Raises NotFound."""

    def has_any(self) -> bool:
        """Say whether there is a key that is neither revoked nor expired."""


class AuditLog(Protocol):
    """Who asked for what. Append-only."""

    def append(self, entry: AuditEntry) -> None:
        """Write one line."""

    def list_entries(self, *, limit: int, after: str | None = None) -> Sequence[AuditEntry]:
        """Return entries behind `after`, newest first."""


@dataclass(frozen=True)
class Repeat:
    """What is known of a request with an idempotency key. `id` names this use of the key, whoever carries it out;
    `job_id` None: it is still running. `is_ours`: it was entered by this call, which now has to carry it out.
    """

    id: str
    job_id: str | None
    request_sha256: str
    is_ours: bool


class Repeats(Protocol):
    """Requests that must not be carried out twice."""

    def begin(self, owner: str, key: str, request_sha256: str, *, kept: timedelta, lease: timedelta) -> Repeat:
        """Enter a request, or find the one that used the key within `kept`. One that has been running for longer than
        `lease` is taken over: whoever ran it is gone.
        """

    def finish(self, repeat: Repeat, job_id: str) -> None:
        """Keep what became of it."""

    def forget(self, repeat: Repeat) -> None:
        """It was refused and made nothing: the key may be used again."""


@dataclass(frozen=True)
class Upload:
    """An input that was uploaded: named by its id in requests, kept once per content under inputs/<sha256>."""

    id: str
    owner: str
    name: str
    sha256: str
    facts: InputFacts
    archive_url: str
    created_at: datetime


class Uploads(Protocol):
    """Uploaded inputs."""

    def add(self, make: Callable[[datetime], Upload]) -> Upload:
        """Keep what was uploaded; `make` gets the transaction's time."""

    def find(self, upload_id: str, *, owner: str) -> Upload | None:
        """Return this owner's upload, None when there is none."""
