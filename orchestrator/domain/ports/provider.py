"""The provider's API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.job import Json
from orchestrator.domain.kind import Kind
from orchestrator.domain.outcomes import (
    AnswerComplete,
    CallEvidence,
    FailedAtSubmit,
    NothingUsable,
    OutputsReady,
    ProviderFailed,
    StillRunning,
    TaskAccepted,
)


@dataclass(frozen=True)
class PaidRequest:
    """One paid call. `request_id` is the submission id. `body` is frozen; its inputs are read from `archive_url`."""

    request_id: str
    kind: str
    model: str
    body: Json
    archive_url: str


@dataclass(frozen=True)
class PollQuestion:
    """Ask about one task."""

    kind: str
    model: str
    task_id: str


SubmitAnswer = TaskAccepted | AnswerComplete | FailedAtSubmit
PollAnswer = StillRunning | OutputsReady | NothingUsable | ProviderFailed


class Provider(Protocol):
    """The provider's API. Everything it cannot do it says by a StepError, never by a client library's exception."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Every kind by name."""

    async def call(self, request: PaidRequest, *, before_first_byte: Callable[[], None]) -> CallEvidence:
        """Send the paid request once and return the raw answer, whatever its status.

        `before_first_byte` is called as the last act before the first byte leaves; what it raises (LeaseTooOld) comes
        out and nothing was sent. Raises InputLost and Transient before the first byte (`evidence.moment` not_sent),
        Uncertain after it. CancelledError passes; `before_first_byte` having returned then means that bytes had left.
        """

    def interpret(self, kind: str, evidence: CallEvidence) -> SubmitAnswer:
        """Read a raw answer to a paid call; pure. Raises Throttled, Account, Permanent or Uncertain (design 7)."""

    async def poll(self, question: PollQuestion) -> PollAnswer:
        """Ask about a task. Raises Throttled, Account, Gone (the id is not known) or Transient."""

    async def close(self) -> None:
        """Close the clients."""
