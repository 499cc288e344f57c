"""What performing a step reported, as values. Only `perform` makes them; only `decide` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.job import OutputDraft, StoredFile


class Moment(StrEnum):
    """How far the paid call came (design section 7): before the first byte, after it, or answered."""

    NOT_SENT = "not_sent"
    SENT = "sent"
    ANSWERED = "answered"


@dataclass(frozen=True)
class CallEvidence:
    """What is known of one paid call. `body` is the whole answer as text; whoever stores it caps and redacts it.

    `moment` None: nobody knows how far it came (a lapsed lease, a dead process).
    """

    moment: Moment | None
    sent_at: datetime | None = None
    answered_at: datetime | None = None
    http_status: int | None = None
    body: str | None = None


# -- submit ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TaskAccepted:
    """The provider took it and gave a task id."""

    task_id: str


@dataclass(frozen=True)
class AnswerComplete:
    """An immediate kind: the whole result came in the answer."""

    outputs: tuple[OutputDraft, ...]


@dataclass(frozen=True)
class NotSent:
    """Certain: no byte of the request left."""

    code: str
    message: str


@dataclass(frozen=True)
class ThrottledNow:
    """Refused before work. `until` is set when the provider named, or implied, a reset."""

    code: str
    message: str
    retry_after: timedelta | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class AccountRefused:
    """Refused because of the key or the account."""

    code: str
    message: str


@dataclass(frozen=True)
class Rejected:
    """Refused because of the request itself; nothing was charged."""

    code: str
    message: str


@dataclass(frozen=True)
class FailedAtSubmit:
    """FAIL inside the submit answer: whether it was charged is not known."""

    code: str | None
    message: str


@dataclass(frozen=True)
class Unknown:
    """Sent, and no trustworthy answer."""

    code: str
    message: str


@dataclass(frozen=True)
class InputUnusable:
    """Found before the first byte. `code` is input_missing or input_changed."""

    code: str
    message: str


SubmitOutcome = (
    TaskAccepted
    | AnswerComplete
    | NotSent
    | ThrottledNow
    | AccountRefused
    | Rejected
    | FailedAtSubmit
    | Unknown
    | InputUnusable
)


# -- poll --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StillRunning:
    """The provider is working; `word` is its status word."""

    word: str


class PauseScope(StrEnum):
    """Whom a refusal pauses."""

    MODEL = "model"
    CREDENTIAL = "credential"


@dataclass(frozen=True)
class PollFailed:
    """The question itself failed; the job is unharmed."""

    code: str
    message: str
    retry_after: timedelta | None = None
    until: datetime | None = None
    scope: PauseScope | None = None


@dataclass(frozen=True)
class TaskMissing:
    """The provider does not know the id (yet, or any more)."""

    code: str
    message: str


@dataclass(frozen=True)
class OutputsReady:
    """SUCCESS with something usable."""

    outputs: tuple[OutputDraft, ...]


@dataclass(frozen=True)
class NothingUsable:
    """SUCCESS that holds no usable link."""

    message: str


@dataclass(frozen=True)
class ProviderFailed:
    """FAIL, with whatever reason was given."""

    code: str | None
    message: str


PollOutcome = StillRunning | PollFailed | TaskMissing | OutputsReady | NothingUsable | ProviderFailed


# -- archive -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutputStored:
    """Fetched, checked, stored, read back. `source_host`: who served it; None when it came inside the answer."""

    output_id: str
    file: StoredFile
    source_host: str | None = None


@dataclass(frozen=True)
class OutputFailed:
    """Not this time. `is_suspect`: the link answered, and what it gave was not the file."""

    output_id: str
    code: str
    message: str
    retry_after: timedelta | None = None
    is_suspect: bool = False


@dataclass(frozen=True)
class OutputLinkDead:
    """The link answered 403, 404 or 410. `link_sha256` names the link without keeping it."""

    output_id: str
    link_sha256: str
    message: str


OutputResult = OutputStored | OutputFailed | OutputLinkDead


@dataclass(frozen=True)
class ArchiveStep:
    """One pass over the outputs of a job. `error` is set when the papers (manifest) could not be written."""

    results: tuple[OutputResult, ...]
    error: str | None = None


Outcome = SubmitOutcome | PollOutcome | ArchiveStep
