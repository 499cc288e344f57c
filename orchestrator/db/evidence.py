"""What is known of one paid call, stored on its submission. Never fenced; a definite verdict is never replaced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.db.rows import SUBMISSIONS, write_drafts
from orchestrator.db.types import clean_text
from orchestrator.domain.job import DUPLICATE_TASK_ID, SURE_REFUSALS, FinalAnswer, Verdict
from orchestrator.domain.outcomes import AnswerComplete, CallEvidence, SubmitOutcome, TaskAccepted
from orchestrator.domain.redact import redact_links

RAW_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class Stored:
    """What became of a piece of evidence. `is_as_given`: the submission now says what the evidence says."""

    is_new: bool
    is_as_given: bool
    is_duplicate_id: bool = False
    previous_code: str | None = None


def store_evidence(
    connection: Connection,
    found: RowMapping,
    evidence: CallEvidence,
    outcome: SubmitOutcome,
    verdict: Verdict,
    *,
    now: datetime,
    decided_by: str | None,
    decided_why: str | None,
) -> Stored:
    """Fill the columns that are still NULL. `found` is the submission's row, its job locked by this transaction.

    A task id that another submission of the credential holds (fault A13) is stored as an unknown without the id.
    """
    if found["verdict"] not in (None, Verdict.UNKNOWN):
        return Stored(is_new=False, is_as_given=_says(found, outcome, verdict))
    if found["verdict"] == verdict:
        return Stored(is_new=False, is_as_given=True)
    values = _columns(found, evidence, outcome, verdict, now=now)
    values |= {"decided_by": decided_by, "decided_why": decided_why and clean_text(decided_why)}
    write = update(SUBMISSIONS).where(SUBMISSIONS.c.id == found["id"])
    try:
        with connection.begin_nested():
            connection.execute(write.values(values))
    except IntegrityError:
        if not _is_taken(connection, found, outcome):
            raise
        connection.execute(write.values(_as_duplicate(values, outcome)))
        return Stored(is_new=True, is_as_given=False, is_duplicate_id=True)
    return Stored(is_new=True, is_as_given=True, previous_code=found["provider_code"])


def _says(found: RowMapping, outcome: SubmitOutcome, verdict: Verdict) -> bool:
    if isinstance(outcome, TaskAccepted):
        return bool(found["task_id"] == outcome.task_id)
    return bool(found["verdict"] == verdict)


def _columns(
    found: RowMapping, evidence: CallEvidence, outcome: SubmitOutcome, verdict: Verdict, *, now: datetime
) -> dict[str, object]:
    once = {
        "moment": evidence.moment,
        "sent_at": evidence.sent_at,
        "answered_at": evidence.answered_at,
        "http_status": evidence.http_status,
        "raw_answer": _cap(evidence.body),
    }
    values: dict[str, object] = {name: value for name, value in once.items() if found[name] is None}
    code, message = getattr(outcome, "code", None), getattr(outcome, "message", None)
    values |= {
        "verdict": verdict,
        "verdict_at": now,
        "provider_code": code and clean_text(code),
        "message": message and clean_text(message),
    }
    if isinstance(outcome, TaskAccepted):
        values["task_id"] = clean_text(outcome.task_id)
    if isinstance(outcome, AnswerComplete):
        values["result"] = write_drafts(outcome.outputs)
    if verdict in SURE_REFUSALS or verdict in (Verdict.ANSWERED, Verdict.FAILED):
        values["slot_released_at"] = now
    if verdict is Verdict.FAILED:
        values |= {"final_at": now, "final_answer": FinalAnswer.FAIL}
    return values


def _as_duplicate(values: dict[str, object], outcome: SubmitOutcome) -> dict[str, object]:
    assert isinstance(outcome, TaskAccepted)
    message = f"the answer names task {outcome.task_id}, which another submission holds"
    changed = {"verdict": Verdict.UNKNOWN, "provider_code": DUPLICATE_TASK_ID, "message": clean_text(message)}
    return {name: value for name, value in (values | changed).items() if name != "task_id"}


def _is_taken(connection: Connection, found: RowMapping, outcome: SubmitOutcome) -> bool:
    if not isinstance(outcome, TaskAccepted):
        return False
    holder = select(SUBMISSIONS.c.id).where(
        SUBMISSIONS.c.credential == found["credential"], SUBMISSIONS.c.task_id == clean_text(outcome.task_id)
    )
    return connection.execute(holder).first() is not None


def _cap(body: str | None) -> str | None:
    if body is None:
        return None
    return redact_links(clean_text(body)).encode()[:RAW_ANSWER_BYTES].decode(errors="ignore")
