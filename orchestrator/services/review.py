"""What a person needs to settle a held job: the evidence in words, what is at stake, and what each command would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from orchestrator.domain.decide import decide_resubmit, decide_retry
from orchestrator.domain.errors import Conflict
from orchestrator.domain.history import SubmissionRecord
from orchestrator.domain.job import RESTORED_QUEUED, Job, Origin
from orchestrator.domain.kind import Kind
from orchestrator.domain.outcomes import Moment
from orchestrator.domain.retry import Rules
from orchestrator.services.batches import show_micros
from orchestrator.services.explain import describe
from orchestrator.services.lifecycle import last_final_answer
from orchestrator.services.views import Object, show_time

MOMENTS: Mapping[str | None, str] = {
    Moment.NOT_SENT: "nothing of it left this host",
    Moment.SENT: "it was sent, and no answer that can be trusted came back",
    Moment.ANSWERED: "it was answered, and the answer explains nothing",
    None: "nobody knows how far it came",
}


def review_object(
    job: Job,
    records: Sequence[SubmissionRecord],
    *,
    now: datetime,
    rules: Rules,
    kinds: Mapping[str, Kind],
    program: str = "orchestrator",
) -> Object:
    """Return the review of a held job with its submissions and outputs loaded. `program` begins each command."""
    doubtful = [record for record in records if record.submission.is_unsettled]
    return {
        "id": job.id,
        "object": "review",
        "custom_id": job.custom_id,
        "batch_id": job.batch_id,
        "kind": job.kind,
        "model": job.model,
        "status_reason": describe(job, now=now, kinds=kinds),
        "held_since": show_time(max((r.verdict_at for r in records if r.verdict_at), default=None)),
        "cancel_requested": job.is_cancelling,
        "at_stake": _at_stake(job, doubtful),
        "evidence": [_evidence(record) for record in records],
        "actions": list(_actions(job, now, rules, kinds, program)),
    }


def review_text(review: Object) -> Iterator[str]:
    """Yield the lines of a review for eyes."""
    name = f" ({review['custom_id']})" if review["custom_id"] else ""
    yield f"{review['id']}{name}: {review['kind']}, {review['model']}"
    yield f"  {review['status_reason']}"
    for evidence in _rows(review["evidence"]):
        yield f"  {evidence['in_words']}"
    at_stake = review["at_stake"]
    if isinstance(at_stake, Mapping):
        yield f"  at stake: {at_stake['in_words']}"
    for action in _rows(review["actions"]):
        yield f"    {action['command']}"
        yield f"        {action['does']}"


def _rows(value: object) -> list[Mapping[str, object]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _at_stake(job: Job, doubtful: Sequence[SubmissionRecord]) -> Object | None:
    """What unexplained calls may have cost already; None when none is unexplained."""
    if not doubtful:
        return None
    prices = [record.price for record in doubtful if record.price is not None]
    if len(prices) < len(doubtful):
        words = "a charge that the price table does not know"
        return {"currency": None, "amount": None, "in_words": words}
    amount, currency = show_micros(sum(price.micros for price in prices)), prices[0].currency
    return {"currency": currency, "amount": amount, "in_words": f"{amount} {currency} that may have been charged"}


def _evidence(record: SubmissionRecord) -> Object:
    submission = record.submission
    return {
        "submission_id": submission.id,
        "number": submission.number,
        "origin": str(submission.origin),
        "intent_at": show_time(submission.intent_at),
        "sent_at": show_time(record.sent_at),
        "answered_at": show_time(record.answered_at),
        "moment": record.moment,
        "http_status": record.http_status,
        "verdict": str(submission.verdict) if submission.verdict else None,
        "provider_code": submission.provider_code,
        "message": submission.message,
        "provider_task_id": submission.task_id,
        "is_superseded": submission.superseded_at is not None,
        "price": show_micros(record.price.micros) if record.price else None,
        "in_words": _in_words(record),
    }


def _in_words(record: SubmissionRecord) -> str:
    submission = record.submission
    parts = [f"submission {submission.number} of {show_time(record.sent_at or submission.intent_at)}"]
    if submission.origin is Origin.ADOPTED:
        parts.append("a task that a person named")
    if submission.task_id is not None:
        parts.append(f"task {submission.task_id}")
        parts.append(f"the provider's last word: {submission.final_answer or 'none yet'}")
    elif submission.is_unsettled or submission.superseded_at is not None:
        parts.append(MOMENTS.get(record.moment, MOMENTS[None]))
    if record.http_status is not None:
        parts.append(f"HTTP {record.http_status}")
    if submission.provider_code or submission.message:
        parts.append(": ".join(filter(None, (submission.provider_code, submission.message))))
    if submission.superseded_at is not None:
        parts.append(f"decided by {submission.decided_by or 'a person'}")
    return "; ".join(parts)


def _actions(job: Job, now: datetime, rules: Rules, kinds: Mapping[str, Kind], program: str) -> Iterator[Object]:
    """Yield what may be done, what costs nothing first."""
    free = _find_free_way(job, rules, now)
    if free is not None:
        yield _action(f"{program} jobs retry {job.id}", f"{free}; costs nothing")
    elif job.kind not in kinds or kinds[job.kind].gives_task(job.model):
        does = "if the provider's console shows its task: the job goes on with it, nothing is paid again"
        yield _action(f"{program} jobs attach {job.id} --task-id TASK_ID", does)
    if job.is_held_by_restore and job.provider_code == RESTORED_QUEUED:
        yield _action(
            f"{program} db mark-restored --release", "queues what a restore held and what left no trace since"
        )
    if free is None:
        yield _action(f"{program} jobs resubmit {job.id}", _what_resubmit_does(job, rules, now))
    does = "ends it as failed (written_off); a task id that turns up later brings it back"
    yield _action(f"{program} jobs write-off {job.id}", does)


def _find_free_way(job: Job, rules: Rules, now: datetime) -> str | None:
    try:
        decision = decide_retry(job, rules, now, last_final_answer=last_final_answer(job), may_charge=False)
    except Conflict:
        return None
    return decision.reason


def _what_resubmit_does(job: Job, rules: Rules, now: datetime) -> str:
    try:
        decide_resubmit(job, rules, now)
    except Conflict as conflict:
        return f"not now: {conflict.message}"
    price = f"{show_micros(job.price.micros)} {job.price.currency}" if job.price else "an unknown price"
    return f"a new charge of {price}; if the earlier try was taken, that is paid too"


def _action(command: str, does: str) -> Object:
    return {"command": command, "does": does}
