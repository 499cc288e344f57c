"""Keys, the audit log, repeated requests and uploaded inputs, as the HTTP API and the command line use them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from orchestrator.domain.access import ApiKey, AuditEntry
from orchestrator.domain.job import Batch, NewJob
from orchestrator.domain.kind import InputFacts


class Keys(Protocol):
    """API keys. Every change and its line of the audit log are one transaction."""

    def add(self, make: Callable[[datetime], ApiKey], entry: AuditEntry) -> ApiKey:
        """Keep a new key; `make` gets the transaction's time."""

    def find(self, key_id: str) -> tuple[ApiKey | None, datetime]:
        """Return the key of this id, and the time that rules on whether it is good."""

    def find_all(self, key_ids: Collection[str]) -> tuple[Mapping[str, ApiKey], datetime]:
        """Return the keys of these ids that there are, by id, and that time."""

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
class RepeatKey:
    """An idempotency key as one owner used it; it is remembered for `kept`."""

    owner: str
    key: str
    request_sha256: str
    kept: timedelta


@dataclass(frozen=True)
class SingleIntake:
    """One request that passed every check: its job, the batch of one that it is, and the line of the audit log."""

    batch: Batch
    job: NewJob
    audit: AuditEntry
    repeat: RepeatKey | None = None


@dataclass(frozen=True)
class Taken:
    """The job of a request. `is_new` False: an earlier use of its key made it, `is_same_request` with the same words."""

    job_id: str
    at: datetime
    is_new: bool
    is_same_request: bool = True


class SingleIntakes(Protocol):
    """Takes single requests in."""

    def take(self, single: SingleIntake) -> Taken:
        """Insert everything in one transaction, or find what the key has made. Raises Conflict while another request
        with the key is still being carried out.
        """

    def take_all(self, singles: Sequence[SingleIntake]) -> Sequence[Taken | Exception]:
        """Take many in, together where that can be; return for each what `take` would have returned or raised."""

    def find_repeats(self, repeats: Collection[RepeatKey]) -> Mapping[RepeatKey, Taken]:
        """Return what these keys have made, of those that are known and remembered still. Writes nothing."""


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

    def add(self, make: Callable[[datetime], Upload], *, actor: str) -> Upload:
        """Keep what was uploaded, with its line of the audit log; `make` gets the transaction's time."""

    def find(self, upload_id: str, *, owner: str) -> Upload | None:
        """Return this owner's upload, None when there is none."""
