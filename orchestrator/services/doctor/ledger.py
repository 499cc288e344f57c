"""The provider's own ledger against ours: what was charged, for which call, and how often a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.domain.audit import Charge, Violation
from orchestrator.domain.errors import StepError
from orchestrator.domain.job import SURE_REFUSALS
from orchestrator.domain.ports.audit import Audit, Call, Ledger
from orchestrator.services.doctor.look import Look, Seen


def compare_ledger(read: Ledger, audit: Audit) -> Seen:
    """Compare both ways. The ledger is read first and once more at the end: what was begun in between is in the second."""
    try:
        charges = read()
        yield from _compare_charges(charges, audit)
        yield from _compare_calls(charges, read, audit)
    except StepError as error:
        if error.code.startswith("database"):
            raise
        yield Violation("ledger_unreadable", "ledger", {"problem": str(error)})
        return
    yield Look("ledger", f"{len(charges)} tasks of the provider were compared")


def _compare_charges(charges: Sequence[Charge], audit: Audit) -> Iterator[Violation]:
    calls = audit.find_calls({charge.request_id for charge in charges})
    adopted = _find_adopted(charges, calls, audit)
    per_job: Counter[str] = Counter()
    for charge in charges:
        call = calls.get(charge.request_id)
        if call is not None:
            per_job[call.job_id] += charge.is_charged
            yield from _judge(charge, call)
        elif charge.is_charged and charge.task_id not in adopted:
            yield Violation("charge_unexplained", charge.task_id, {"request": charge.request_id})
    often = [job_id for job_id, count in per_job.items() if count > 1]
    for job_id, allowed in audit.count_agreed(often).items():
        if per_job[job_id] > allowed:
            yield Violation("charged_twice", job_id, {"charges": per_job[job_id], "allowed": allowed})


def _find_adopted(charges: Sequence[Charge], calls: Mapping[str, Call], audit: Audit) -> set[str]:
    """Return those tasks without a submission of ours that were adopted: somebody else's call made them."""
    open_ids = {charge.task_id for charge in charges if charge.request_id not in calls}
    return {str(call.task_id) for call in audit.iter_calls() if call.task_id in open_ids} if open_ids else set()


def _judge(charge: Charge, call: Call) -> Iterator[Violation]:
    facts: dict[str, object] = {"job": call.job_id, "request": call.id, "verdict": call.verdict}
    if not charge.is_charged:
        return
    if call.is_unsettled and charge.can_be_asked:
        yield Violation("unknown_was_charged", call.job_id, {"task": charge.task_id})
    elif call.is_unsettled:
        yield Violation("unknown_answer_lost", call.job_id)
    elif call.verdict in SURE_REFUSALS:
        yield Violation("charge_refused", charge.task_id, facts)
    elif call.task_id not in (None, charge.task_id):
        yield Violation("task_differs", charge.task_id, facts | {"task_id": call.task_id})


def _compare_calls(charges: Sequence[Charge], read: Ledger, audit: Audit) -> Iterator[Violation]:
    """Look for our accepted and unknown calls in the ledger."""
    missing = list(_find_missing(audit.iter_calls(), charges))
    if not missing:
        return
    for call in _find_missing(missing, read()):
        if call.is_unsettled:
            yield Violation("unknown_not_charged", call.job_id)
        else:
            yield Violation("task_unknown_there", str(call.task_id), {"job": call.job_id})


def _find_missing(calls: Iterator[Call] | Sequence[Call], charges: Sequence[Charge]) -> Iterator[Call]:
    tasks, requests = {charge.task_id for charge in charges}, {charge.request_id for charge in charges}
    for call in calls:
        is_there = call.id in requests if call.is_unsettled else call.task_id in tasks
        if not is_there:
            yield call
