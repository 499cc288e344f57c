"""Every error of ours, ordered by what happens next (design section 10).

    OrchestratorError
      RequestError        the caller can fix it
        InvalidParams, UnknownKind, BatchFileError, NotFound, Conflict, BudgetError
      StepError           raised by adapters, turned into an outcome by `perform`
        Transient         later, with backoff
        Permanent         never again as it is
        Uncertain         it may have happened
        Account           the credential is at fault: pause it
      LeaseLost           someone else owns the row: drop quietly
      ConfigError         refuse to start, name the setting

Exceptions of client libraries never leave their adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.outcomes import CallEvidence


class OrchestratorError(Exception):
    """Base of everything we raise on purpose."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where, what, and what to do. Surfaces section 3.

    `param` is a dotted path ("body.size"); line and column are 1-based and None outside files.
    A warning is told and does not refuse the input.
    """

    code: str
    param: str | None
    message: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    is_warning: bool = False
    custom_id: str | None = None
    """Of the line, where it can be read."""

    def as_dict(self) -> dict[str, object]:
        """The wire form, in the key order of surfaces section 3."""
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "param": self.param,
            "message": self.message,
            "hint": self.hint,
        }


class RequestError(OrchestratorError):
    """The caller can fix it. `status` is the HTTP status of the API, `exit_code` that of the command line."""

    status = 400
    exit_code = 2
    code = "bad_request"

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.hint = hint


class InvalidParams(RequestError):
    """One or more fields are not as the provider documents them."""

    status = 422
    code = "invalid_params"

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(first.message, param=first.param, hint=first.hint)
        self.faults = tuple(faults)


class UnknownKind(RequestError):
    """The request names no kind that we know."""

    status = 422
    code = "unknown_kind"


class BatchFileError(RequestError):
    """A job file that cannot be taken: every fault of it."""

    status = 422
    code = "invalid_file"

    def __init__(self, faults: Sequence[Fault], *, fault_count: int | None = None) -> None:
        count = fault_count if fault_count is not None else len(faults)
        super().__init__(f"the job file has {count} fault{'s' if count != 1 else ''}; nothing was submitted")
        self.faults = tuple(faults)
        self.fault_count = count


class NotFound(RequestError):
    """No such thing, or not yours."""

    status = 404
    exit_code = 5
    code = "not_found"


class Conflict(RequestError):
    """The state of the thing forbids the action."""

    status = 409
    code = "conflict"


class BudgetError(RequestError):
    """Refused because it would cost more than was allowed."""

    status = 402
    exit_code = 4
    code = "budget"


@dataclass
class StepError(OrchestratorError):
    """What an adapter raises when a step did not work.

    `code` is the provider's business code, an HTTP status ("http_502") or a word of ours ("connect_timeout").
    `retry_after` is a lower limit from the other side; `until` an absolute one. `evidence` is filled by the paid call.
    """

    code: str
    message: str
    retry_after: timedelta | None = None
    until: datetime | None = None
    evidence: CallEvidence | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Transient(StepError):
    """It did not happen; later it may."""


class Throttled(Transient):
    """Refused before work because of rate, concurrency, overload or a quota window: the model pauses."""


class Permanent(StepError):
    """It did not happen and will not as it is."""


@dataclass
class NotListed(Permanent):
    """Refused because it is not on a list of the operator's. `entry` is what would have to stand there."""

    entry: str = ""


class Gone(Permanent):
    """The other side says that the thing no longer exists (or does not yet)."""


class InputLost(Permanent):
    """A stored input is missing or is no longer the bytes that were agreed. `code`: input_missing or input_changed."""


class Uncertain(StepError):
    """It may have happened; nobody here can know."""


class Account(StepError):
    """Refused because of the account or key: the credential pauses, an operator is told."""


class LeaseLost(OrchestratorError):
    """Another worker owns the row by now."""


class LeaseTooOld(OrchestratorError):
    """The zombie check: too much of the lease has passed to begin the paid call."""


class ConfigError(OrchestratorError):
    """Refuse to start: a setting is wrong. Names the setting, its value and what is allowed."""

    code = "configuration"

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}")
        self.setting = setting
